"""JSON to values and back, for the `wire` of every room: one adapter for each type, and errors that name the field."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from meetme.model.errors import Fault, InvalidInput

T = TypeVar("T")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def adapter(kind: Any) -> TypeAdapter[Any]:
    """The adapter of a type."""
    return _built(kind)


@cache
def _built(kind: Any) -> TypeAdapter[Any]:
    # When first needed: building one takes longer than everything a command line does.
    return TypeAdapter(kind)


def read(kind: type[T], value: Any, *, path: str, code: str) -> T:
    """`value`, as JSON gives it, as a `kind`. Raises InvalidInput `code`, whose field begins with `path`."""
    try:
        result: T = adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in (path, *first["loc"]))
        raise InvalidInput(code, f"{where}: {first['msg'].lower()}", field=where, fault=Fault.REMOTE) from None
    return result


def load(text: str | bytes, *, path: str, code: str) -> Any:
    """The JSON value of a text. Raises InvalidInput `code`."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if _HALF.search(text if isinstance(text, str) else text.decode(errors="replace")):
            # Half a character (RFC 8259 section 8.2) can be escaped, and neither be stored nor said again.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidInput(code, f"{path}: must be JSON", field=path, fault=Fault.REMOTE) from None
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
