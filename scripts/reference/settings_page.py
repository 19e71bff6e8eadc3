"""Every setting of every table of the settings file, from the dataclasses that hold them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from markdown import table

from meetme.catalog.settings import CatalogSettings
from meetme.cli.serve import serve
from meetme.cli.serving import MemberSettings
from meetme.composer.settings import ComposerSettings
from meetme.configurator.settings import ConfiguratorSettings
from meetme.ixapi.settings import IxApiSettings
from meetme.negotiator.settings import Configurator, NegotiatorSettings

TABLES = {"member": MemberSettings, "negotiator": NegotiatorSettings, "configurator": ConfiguratorSettings}
TABLES |= {"composer": ComposerSettings, "ixapi": IxApiSettings, "catalog": CatalogSettings}
_INTRODUCTION = """# Settings

Of `meetme serve`. A setting comes from its flag, else from the environment, else from the settings file (TOML, one
table a service, named with `--config` or `MEETME_CONFIG`), else from its default. A list is a TOML list, a repeated
flag, or comma-separated. A path in the file is relative to the file. An unknown key is an error.
"""


def page(source: Path) -> str:
    """The page of the settings. Raises LookupError for a setting whose meaning is nowhere said."""
    lines = [_INTRODUCTION]
    flags = {option.name: option.opts[0] for option in serve.params}
    for service, cls in TABLES.items():
        lines += [f"## [{service}]", "", " ".join((inspect.getdoc(cls) or "").split()), ""]
        said, hints = meanings(cls), get_type_hints(cls)
        nested = {each.name: get_args(hints[each.name])[0] for each in fields(cls) if _is_table(hints[each.name])}
        rows = [
            (
                f"`{each.name}`",
                f"`{flags[each.name]}`" if each.name in flags and service != "member" else "-",
                f"`MEETME_{service}_{each.name}`".upper(),
                type_name(hints[each.name]),
                _default(each),
                said[each.name],
            )
            for each in fields(cls)
            if each.name not in nested
        ]
        lines += table(("key", "flag", "environment", "type", "default", "meaning"), rows)
        for name, kind in nested.items():
            lines += _tables(service, name, kind, said[name])
    return "\n".join(lines)


def _tables(service: str, name: str, cls: type[Any], text: str) -> list[str]:
    """A list of tables, which only the file can have."""
    said, hints = meanings(cls), get_type_hints(cls)
    rows = [(f"`{f.name}`", type_name(hints[f.name]), _default(f), said[f.name]) for f in fields(cls)]
    heading = [f"### [[{service}.{name}]]", "", f"{text} One table each.", ""]
    return [*heading, *table(("key", "type", "default", "meaning"), rows)]


def _is_table(hint: Any) -> bool:
    # `Configurator` is a dataclass too, but one that a text says.
    return get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]) and get_args(hint)[0] is not Configurator


def meanings(cls: type[Any]) -> dict[str, str]:
    """The text beneath each field."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found[name] = said
    if missing := [each.name for each in fields(cls) if each.name not in found]:
        raise LookupError(f"{cls.__name__}: say beneath each field what it means ({', '.join(missing)})")
    return found


def type_name(hint: Any) -> str:
    """The type of a setting in a person's words."""
    if get_origin(hint) is tuple:
        return f"list of {type_name(get_args(hint)[0])}"
    if get_origin(hint) in (Union, UnionType):
        names = dict.fromkeys(type_name(choice) for choice in get_args(hint) if choice is not NoneType)
        return " or ".join(names)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f"`{choice.value}`" for choice in hint)
    names = {"str": "text", "IPv4Network": "prefix", "IPv6Network": "prefix", "IPv4Address": "address"}
    names |= {"IPv6Address": "address", "Configurator": "NAME=HOST:PORT", "Path": "path"}
    return names.get(hint.__name__, hint.__name__)


def _default(each: Field[Any]) -> str:
    if isinstance(each.default, tuple) and any(map(is_dataclass, each.default)):
        return "-"
    if each.default is MISSING and each.default_factory is MISSING:
        return "has to be given"
    return f"`{each.default}`" if each.default not in (None, (), "") else "-"
