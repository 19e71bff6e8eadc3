"""Every verb with its help, in the order of `meetme --help`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from meetme.cli.main import SECTIONS, cli


def page() -> str:
    """The page of the commands."""
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
