"""Generate docs/reference from the code: `python scripts/reference.py [--check]`.

`commands.md` comes from the command line's own help, `problems.md` from every error that the source raises or stores.
With `--check` nothing is written; the exit status is 1 when a page is stale.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from meetme.cli.main import SECTIONS, cli
from meetme.model import errors

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
KINDS = {kind.__name__ for kind in errors.MeetMeError.__subclasses__()}
MAKERS = KINDS | {"Problem"}


def commands_page() -> str:
    """Every verb with its help, in the order of `meetme --help`."""
    lines = ["# Commands", "", "Made from `meetme --help`. Exit status of every verb:", ""]
    doc = sys.modules["meetme.cli.main"].__doc__ or ""
    lines += [" ".join(doc.split("Exit status: ", 1)[1].split("\n\n")[0].split()), ""]
    for section, verbs in SECTIONS.items():
        lines += [f"## {section}", ""]
        for verb in verbs:
            command = cli.get_command(click.Context(cli), verb)
            assert command is not None
            for path, each in _walk((verb,), command):
                context = click.Context(each, info_name=f"meetme {' '.join(path)}", max_content_width=100)
                lines += [f"### meetme {' '.join(path)}", "", "```text", each.get_help(context).rstrip(), "```", ""]
    return "\n".join(lines)


def _walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from _walk((*path, name), child)


@dataclass(frozen=True)
class Raised:
    """One place where an error is made."""

    code: str
    kind: str
    text: str
    hint: str


def problems_page() -> str:
    """Every code, with what it says and what to do."""
    found: dict[str, set[Raised]] = defaultdict(set)
    for path in sorted((ROOT / "src" / "meetme").rglob("*.py")):
        if "_pb2" in path.name:
            continue
        for raised in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            found[raised.code].add(raised)
    lines = [
        "# Problems",
        "",
        "Every error has a stable code. Over HTTP it ends `type` (`urn:meetme:problem:CODE`, RFC 9457), over gRPC it",
        "is in the metadata of the status, on the command line it stands in brackets. `{...}` is what was seen.",
        "",
        "| code | says | next step |",
        "|---|---|---|",
    ]
    for code in sorted(found):
        said = sorted(found[code], key=lambda r: (not r.hint, r.text, r.hint))
        texts = " / ".join(dict.fromkeys(_cell(r.text) for r in said if r.text)) or "-"
        hints = " / ".join(dict.fromkeys(_cell(r.hint) for r in said if r.hint)) or "-"
        lines.append(f"| `{code}` | {texts} | {hints} |")
    return "\n".join([*lines, ""])


def _raised(tree: ast.Module) -> Iterator[Raised]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        arguments = node.args
        if name not in MAKERS or not arguments or not _literal(arguments[0]).replace("_", "").isalnum():
            continue
        code = _literal(arguments[0])
        if not code.islower():
            continue
        keywords = {k.arg: k.value for k in node.keywords}
        hint = keywords.get("hint") or (arguments[2] if name == "Problem" and len(arguments) > 2 else None)
        text = _literal(arguments[1]) if len(arguments) > 1 else ""
        yield Raised(code, name, text, _literal(hint) if hint is not None else "")


def _literal(node: ast.expr) -> str:
    """The text of a literal; what is filled in at run time is shown in braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_literal(v) for v in values)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value).split(".")[-1].split("(")[0] + "}"
        case ast.BinOp(left=left, right=right):
            return _literal(left) + _literal(right)
        case _:
            return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for name, text in (("commands.md", commands_page()), ("problems.md", problems_page())):
        path = PAGES / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            PAGES.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
