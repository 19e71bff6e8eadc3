"""Every error code that the source raises or stores, with what it says and what to do."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markdown import table

from meetme.model import errors

MAKERS = {kind.__name__ for kind in errors.MeetMeError.__subclasses__()} | {"Problem"}
_CODE = re.compile(r"[a-z][a-z0-9_]+")
_INTRODUCTION = """# Problems

Every error has a stable code. Over HTTP it ends `type` (`urn:meetme:problem:CODE`, RFC 9457), over gRPC it
is in the metadata of the status, on the command line it stands in brackets. `{...}` is what was seen.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Values = Mapping[str, ast.expr]
"""What the names of a function stand for, as far as the source says it."""


@dataclass(frozen=True)
class Raised:
    """One place where an error is made."""

    code: str
    text: str
    hint: str


def page(source: Path) -> str:
    """The page of the problems in the Python files below `source`."""
    found = _found(source)
    rows = []
    for code in sorted(found):
        said = sorted(found[code], key=lambda r: (not r.hint, r.text, r.hint))
        texts = " / ".join(dict.fromkeys(r.text for r in said if r.text))
        rows.append((f"`{code}`", texts, " / ".join(dict.fromkeys(r.hint for r in said if r.hint))))
    return "\n".join([_INTRODUCTION, *table(("code", "says", "next step"), rows)])


def codes(source: Path) -> set[str]:
    """Every code in the Python files below `source`."""
    return set(_found(source))


def _found(source: Path) -> dict[str, set[Raised]]:
    found: dict[str, set[Raised]] = defaultdict(set)
    for path in sorted(source.rglob("*.py")):
        if "_pb2" not in path.name:
            for raised in _raised(ast.parse(path.read_text(encoding="utf-8"))):
                found[raised.code].add(raised)
    return found


def _raised(tree: ast.Module) -> Iterator[Raised]:
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    wrappers = {f.name: (f, makes[0]) for f in functions if (makes := _makes_with_its_argument(f))}
    inside = {call: f for f in functions for call in ast.walk(f) if isinstance(call, ast.Call)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        values = _assigned(inside[call], before=call.lineno) if call in inside else {}
        name = _called(call)
        if name in MAKERS:
            yield from _facts(call, values)
        elif name in wrappers:
            wrapper, making = wrappers[name]
            yield from _facts(making, {**_assigned(wrapper, before=making.lineno), **_bound(wrapper, call, values)})


def _makes_with_its_argument(f: Function) -> list[ast.Call]:
    """The calls in a wrapper that make an error of the code it is given."""
    names = {a.arg for a in (*f.args.args, *f.args.kwonlyargs)}
    calls = (node for node in ast.walk(f) if isinstance(node, ast.Call) and _called(node) in MAKERS)
    return [call for call in calls if isinstance(code := _argument(call, 0, "code"), ast.Name) and code.id in names]


def _bound(wrapper: Function, call: ast.Call, values: Values) -> Values:
    names = [a.arg for a in wrapper.args.args if a.arg != "self"]
    given = dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    return {name: values.get(node.id, node) if isinstance(node, ast.Name) else node for name, node in given.items()}


def _assigned(f: Function, *, before: int) -> Values:
    """`text = ...` and its like, the last one before that line."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(f):
        if isinstance(node, ast.Assign) and node.lineno < before and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def _facts(call: ast.Call, values: Values) -> Iterator[Raised]:
    code = _literal(_argument(call, 0, "code"), values)
    if _CODE.fullmatch(code):
        hint = _argument(call, 2 if _called(call) == "Problem" else None, "hint")
        yield Raised(code, _literal(_argument(call, 1, "text"), values), _literal(hint, values))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _argument(call: ast.Call, position: int | None, keyword: str) -> ast.expr | None:
    if position is not None and len(call.args) > position:
        return call.args[position]
    return next((k.value for k in call.keywords if k.arg == keyword), None)


def _literal(node: ast.expr | None, values: Values) -> str:
    """The text of a literal; what is filled in at run time is shown in braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_literal(part, values) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) if _literal(values.get(name), {}):
            return _literal(values[name], {})
        case ast.FormattedValue(value=value):
            return "{" + _name(value) + "}"
        case ast.BinOp(left=left, right=right):
            return _literal(left, values) + _literal(right, values)
        case ast.Name(id=name) if name in values:
            return _literal(values[name], {key: value for key, value in values.items() if key != name})
        case _:
            return ""


def _name(node: ast.expr) -> str:
    """What a person would call a value: the last name in its expression."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=ast.Attribute(attr="join" | "get" | "strip"), args=[first, *_]):
            return _name(first)
        case ast.Call(func=ast.Name(id="len" | "repr" | "str" | "sorted" | "map"), args=[*_, last]):
            return _name(last)
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Call(func=ast.Attribute(value=value)):
            return _name(value)
        case ast.GeneratorExp(generators=[ast.comprehension(iter=value)]):
            return _name(value)
        case ast.Call(func=ast.Name(id=name)):
            return name
        case ast.Constant(value=str(text)):
            return text
        case _:
            return "..."
