"""The published schema of IX-API 2.1.0, as something that answers can be held against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

ERRATA = frozenset((("/facilities/{id}", "get"), ("/metro-areas/{id}", "get")))
"""Where the published schema has a list for a single object; every client expects the object."""


@dataclass(frozen=True)
class Published:
    """The document, and what it says of answers."""

    document: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Published:
        return cls(json.loads(path.read_text()))

    def operations(self) -> dict[str, tuple[str, str]]:
        """Method and path of each operation, by its name."""
        return {
            operation["operationId"]: (method, path)
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if isinstance(operation, dict)
        }

    def check(self, method: str, path: str, status: int, answer: Any) -> None:
        """Raises where the schema does not allow this answer."""
        # 206 came with later versions: the same list.
        responses = self.document["paths"][path][method.lower()]["responses"]
        found = responses.get("200" if status == 206 else str(status))
        assert found is not None, f"{method} {path}: {status} is not in the schema: {answer}"
        schema = found["content"]["application/json"]["schema"]
        if (path, method.lower()) in ERRATA and status == 200:
            schema = schema["items"]
        jsonschema.Draft202012Validator(
            {**self._converted(schema), "components": {"schemas": self._schemas()}},
            format_checker=jsonschema.FormatChecker(),
        ).validate(answer)

    def _schemas(self) -> dict[str, Any]:
        return {name: self._converted(each) for name, each in self.document["components"]["schemas"].items()}

    def _converted(self, schema: Any) -> Any:
        """From OpenAPI 3.0 to JSON Schema: null, and the choice that a discriminator makes."""
        if isinstance(schema, list):
            return [self._converted(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        if "discriminator" in schema and "oneOf" in schema:
            name = schema["discriminator"]["propertyName"]
            mapping = schema["discriminator"]["mapping"]
            chosen = [
                {"if": {"properties": {name: {"const": value}}}, "then": {"$ref": ref}}
                for value, ref in mapping.items()
            ]
            return {"required": [name], "properties": {name: {"enum": list(mapping)}}, "allOf": chosen}
        plain = {
            key: {name: self._converted(each) for name, each in value.items()}
            if key == "properties"
            else self._converted(value)
            for key, value in schema.items()
            if key not in ("nullable", "example", "description", "readOnly", "title", "default", "format")
            or (key == "format" and value in ("date", "date-time"))
        }
        return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain
