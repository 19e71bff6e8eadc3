"""The configurator's contract, from the .proto with its comments."""

from __future__ import annotations

import re
from pathlib import Path

from markdown import table

_BLOCK = re.compile(r"(?P<kind>service|message) (?P<name>\w+) \{(?P<empty>\})?")
_CALL = re.compile(r"rpc (?P<name>\w+)\((?P<takes>\w+)\) returns \((?P<gives>[\w ]+)\);")
_FIELD = re.compile(r"(?P<type>(repeated )?\w+) (?P<name>\w+) = (?P<number>\d+);")
_INTRODUCTION = """# gRPC

What a configurator listens to, at `--listen` (default 127.0.0.1:8475): with mutual TLS, or in the clear on loopback and
unix sockets where no `clients` are named. Health checking and reflection are there too.

A [problem](problems.md) is a status with its facts as JSON in the trailing metadata `meetme-problem-bin`; the three
actions say it in their `Result`.

The contract is `configurator.proto`, which is installed with the package in `meetme/configurator/v1/`.
"""


def page(proto: Path) -> str:
    """The page of the services and messages in `proto`."""
    comment: list[str] = []
    lines, rows, columns = [_INTRODUCTION], [], ("", "")
    for line in map(str.strip, proto.read_text(encoding="utf-8").splitlines()):
        code, _, said = (part.strip() for part in line.partition("//"))
        if not code:
            comment = [*comment, said] if "//" in line else []
            continue
        if found := _BLOCK.match(code):
            columns = ("call", "takes", "gives", "") if found["kind"] == "service" else ("field", "type", "number", "")
            lines += [f"{'##' if found['kind'] == 'service' else '###'} {found['name']}", ""]
            lines += [" ".join(comment), ""] if comment else []
            lines += ["No fields.", ""] if found["empty"] else []
        elif found := _CALL.match(code):
            links = (_link(found["takes"]), _link(found["gives"]))
            rows.append((f"`{found['name']}`", *links, " ".join(comment) or said))
        elif found := _FIELD.match(code):
            rows.append((f"`{found['name']}`", _link(found["type"]), found["number"], " ".join(comment) or said))
        elif code == "}" and rows:
            lines += table(columns, rows)
            rows = []
        elif code.startswith("syntax"):
            lines += ["\n".join(comment), ""]
        elif code.startswith("package"):
            lines += [f"`{code.rstrip(';')}`", ""]
        comment = []
    return "\n".join(lines)


def _link(name: str) -> str:
    """A message's name leads to where it is described."""
    *before, last = name.split()
    return " ".join([*before, f"[{last}](#{last.lower()})" if last[0].isupper() else last])
