"""Settings of a service: default < file < environment < flag.

A service declares its settings as a frozen dataclass; `resolve` fills it. The file is TOML with one table for each
service; keys are the flags with `_`; the environment has `MEETME_<SERVICE>_<KEY>`. A list is a TOML list, a repeated
flag, or comma-separated. A path in the file is relative to the file. A field that is a tuple of dataclasses is a list
of tables (`[[composer.port]]`), which only the file can have.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from meetme.model.errors import InvalidInput, MeetMeError, NotFound, Problem

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    S = TypeVar("S", bound=DataclassInstance)
else:
    S = TypeVar("S")

Parse = Callable[..., Any]
_PARSE = "parse"
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def setting(parse: Parse, **options: Any) -> Any:
    """A dataclass field whose texts `parse(text, field=...)` reads; `options` are those of `dataclasses.field`."""
    return field(metadata={_PARSE: parse}, **options)


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file as read: tables by service. Without a file there is nothing in it."""

    path: Path | None = None
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, *, services: Collection[str]) -> SettingsFile:
        """Read a file that may have tables for `services`.

        Raises NotFound `settings_missing`, InvalidInput `settings_malformed` or `setting_unknown`.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(
                "settings_missing", f"{path}: must be a file that can be read ({error})", field="config"
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidInput("settings_malformed", f"{path}: must be TOML ({error})", field="config") from None
        for name, table in tables.items():
            if name not in services:
                raise _unknown(f"{path}: [{name}]", name, services)
            if not isinstance(table, dict):
                raise InvalidInput("settings_malformed", f"{path}: {name}: must be a table ([{name}])", field=name)
        return cls(path, tables)


def resolve(
    cls: type[S], service: str, *, file: SettingsFile, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> S:
    """An instance of the dataclass `cls`: each field from its flag, else the environment, else the file, else default.

    A flag that is None or an empty list was not given. Raises InvalidInput `setting_unknown`, `setting_invalid` or
    `setting_missing` (then with every one that is missing); texts name the place (file and key, variable, or flag).
    """
    table = file.tables.get(service, {})
    known = {declared.name: declared for declared in fields(cls)}
    for key in table:
        if key not in known:
            raise _unknown(f"{file.path}: {service}.{key}", key, known)
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    missing: list[Problem] = []
    for name, declared in known.items():
        flag, variable = "--" + name.replace("_", "-"), f"MEETME_{service}_{name}".upper()
        value: Any
        if (value := flags.get(name)) not in (None, (), []):
            where, base = flag, None
        elif (value := environ.get(variable)) is not None:
            where, base = variable, None
        elif (value := table.get(name)) is not None:
            where, base = f"{file.path}: {service}.{name}", file.path
        elif declared.default is MISSING and declared.default_factory is MISSING:
            hint = f"as a flag, as {variable}, or as {name} in [{service}] of the settings file"
            missing.append(Problem("setting_missing", f"{flag}: must be given", hint, name))
            continue
        else:
            continue
        reader = _Reader(where, name, declared.metadata.get(_PARSE), base)
        values[name] = reader.read(value, hints[name])
    if missing:
        first = missing[0]
        raise InvalidInput(first.code, first.text, hint=first.hint, field=first.field, problems=tuple(missing))
    return cls(**values)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One value on its way from what was written to what is declared."""

    where: str
    name: str
    parse: Parse | None
    base: Path | None

    def read(self, value: Any, wanted: Any) -> Any:
        if get_origin(wanted) is tuple and self.parse is None and is_dataclass(get_args(wanted)[0]):
            return tuple(self.tables(value, get_args(wanted)[0]))
        if get_origin(wanted) is tuple:
            return tuple(self.one(part, get_args(wanted)[0]) for part in self.parts(value))
        return self.one(value, wanted)

    def parts(self, value: Any) -> list[Any]:
        given = list(value) if isinstance(value, list | tuple) else [value]
        return [
            part
            for entry in given
            for part in (map(str.strip, entry.split(",")) if isinstance(entry, str) else [entry])
            if part != ""
        ]

    def tables(self, value: Any, wanted: Any) -> Iterator[Any]:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.wrong(f"a list of tables, each written [[...{self.name}]] in the settings file", value)
        hints = get_type_hints(wanted)
        known: dict[str, Field[Any]] = {declared.name: declared for declared in fields(wanted)}
        for index, entry in enumerate(value):
            where = f"{self.where}[{index}]"
            for key in entry:
                if key not in known:
                    raise _unknown(f"{where}.{key}", key, known)
            values = {}
            for name, declared in known.items():
                if name in entry:
                    reader = _Reader(f"{where}.{name}", name, declared.metadata.get(_PARSE), self.base)
                    values[name] = reader.read(entry[name], hints[name])
                elif declared.default is MISSING and declared.default_factory is MISSING:
                    raise InvalidInput("setting_missing", f"{where}.{name}: must be given", field=name)
            yield wanted(**values)

    def one(self, value: Any, wanted: Any) -> Any:
        if self.parse is not None:
            if not isinstance(value, str):
                self.wrong("a text", value)
            try:
                return self.parse(value, field=self.name)
            except MeetMeError as error:
                raise InvalidInput(
                    error.code, f"{self.where}: {error.text}", hint=error.hint, field=self.name
                ) from None
        if get_origin(wanted) in (Union, UnionType):
            wanted = next(choice for choice in get_args(wanted) if choice is not NoneType)
        if wanted is bool:
            truth = _TRUTH.get(value.lower()) if isinstance(value, str) else value
            return truth if isinstance(truth, bool) else self.wrong("true or false", value)
        if wanted in (int, float):
            try:
                return wanted(value) if not isinstance(value, bool) else self.wrong("a number", value)
            except (ValueError, TypeError):
                self.wrong("a whole number" if wanted is int else "a number", value)
        if not isinstance(value, str | Path):
            self.wrong("a text", value)
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            choices = [str(choice.value) for choice in wanted]
            return wanted(value) if value in choices else self.wrong(" or ".join(choices), value)
        if wanted is Path:
            return self.base.parent / value if self.base is not None else Path(value)
        return str(value)

    def wrong(self, what: str, seen: Any) -> Any:
        raise InvalidInput("setting_invalid", f"{self.where}: must be {what} ({seen!r})", field=self.name)


def _unknown(where: str, key: str, known: Collection[str]) -> InvalidInput:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    return InvalidInput("setting_unknown", f"{where}: must not be there (unknown)", hint=hint, field=key)
