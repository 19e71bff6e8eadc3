"""`meetme lab`: whole networks in namespaces, from the files of a Kathara lab."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.output import format_option, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meetme.lab.source import LabSource

_DIRECTORY = click.argument("name", metavar="DIR")
_COLUMNS = ("machine", "interface", "domain", "joined", "mac", "startup")


@click.group()
def lab() -> None:
    """Whole networks in namespaces, from Kathara files.

    DIR is a directory with a lab.conf, or the name of a lab that comes with meetme, such as "thesis".
    """


@lab.command()
@_DIRECTORY
@click.option("--dry-run", is_flag=True, help="Show what would be built, and touch nothing.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=120.0, show_default=True, help="Seconds for all the startup."
)
@format_option
def up(name: str, dry_run: bool, timeout: float, form: str) -> None:
    """Build a lab and start its machines.

    It stays up after this command, until `meetme lab down`. If anything fails, nothing stays.
    """
    from meetme.lab import host

    source = _read(name)
    if not dry_run:
        signal.signal(signal.SIGTERM, _interrupt)
        built = host.up(source, timeout=timeout, progress=_progress)
        _progress(f"{source.plan.name}: up in {built.running.seconds:.2f} s")
    _print_rows(source, [_row(row) for row in source.plan.rows()], form)


@lab.command()
@_DIRECTORY
@format_option
def down(name: str, form: str) -> None:
    """End a lab; nothing of it stays.

    What a killed `up` left is cleared away too. A lab that is not up is already as wished.
    """
    from pathlib import Path

    from meetme.lab import host
    from meetme.lab.source import find_lab
    from meetme.model.errors import NotFound

    try:
        directory = Path(host.find_running(name).directory)
    except NotFound:
        directory = find_lab(name) if not Path(name).is_dir() else Path(name).resolve()
    was_up = host.down(directory)
    _progress(f"{directory.name}: {'down' if was_up else 'was not up'}")
    if form == "json":
        print_json({"directory": str(directory), "was_up": was_up})


@lab.command("list")
@click.option("--shipped", is_flag=True, help="Only those that come with meetme, with what they show.")
@format_option
def list_labs(shipped: bool, form: str) -> None:
    """The labs that are up, and those that come with meetme."""
    from meetme.lab.state import running_labs

    up = [
        {"lab": each.name, "directory": each.directory, "machines": list(each.namespaces), "keeper": each.keeper}
        for each in running_labs()
    ]
    if form == "json":
        print_json(_shipped() if shipped else up)
        return
    if not shipped:
        rows = [[str(each["lab"]), str(len(each["machines"])), str(each["directory"])] for each in up]  # type: ignore[arg-type]
        print_table(["lab", "machines", "directory"], rows, empty="no lab is up")
        click.echo("")
    rows = [[each["lab"], str(len(each["machines"])), each["shows"]] for each in _shipped()]
    print_table(["comes with meetme", "machines", "shows"], rows, empty="none comes with meetme")


def _shipped() -> list[dict[str, Any]]:
    from meetme.lab.source import read_lab, shipped_labs

    plans = {name: read_lab(folder).plan for name, folder in shipped_labs().items()}
    return [
        {"lab": name, "shows": plan.description, "machines": [machine.name for machine in plan.machines]}
        for name, plan in plans.items()
    ]


@lab.command()
@_DIRECTORY
@click.argument("machine", required=False)
@format_option
def inspect(name: str, machine: str | None, form: str) -> None:
    """A lab that is up: its interfaces, their addresses, and what its startup printed.

    With a MACHINE, that one alone, with its startup log.
    """
    from meetme.lab import host
    from meetme.lab.inspection import inspect_lab

    found = inspect_lab(host.Lab(host.find_running(name)), machine)
    if form == "json":
        print_json(found)
        return
    rows = [
        [each["name"], port["name"], port["domain"], port["joined"], port["mac"], " ".join(port["addresses"])]
        for each in found["machines"]
        for port in each["interfaces"] or [dict.fromkeys(("name", "domain", "joined", "mac"), "") | {"addresses": []}]
    ]
    print_table(["machine", "interface", "domain", "joined", "mac", "addresses"], rows, empty="no machine")
    if machine is not None:
        click.echo(found["machines"][0]["startup_log"], nl=False)


@lab.command()
@_DIRECTORY
@click.option("--format", "form", type=click.Choice(["text", "dot", "svg", "json"]), default="text", show_default=True)
def graph(name: str, form: str) -> None:
    """Draw a lab: who meets whom."""
    from meetme.lab import graph as picture

    source = _read(name)
    if form == "json":
        _print_rows(source, [_row(row) for row in source.plan.rows()], form)
    else:
        click.echo({"text": picture.text, "dot": picture.dot, "svg": picture.svg}[form](source.plan))


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_DIRECTORY
@click.argument("machine")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_inside(name: str, machine: str, command: tuple[str, ...]) -> int:
    """Run a command in a machine: meetme lab exec DIR MACHINE -- COMMAND.

    Standard streams and terminal are passed on; the exit status is that of the command.
    """
    from meetme.lab import host
    from meetme.lab.enter import enter

    arguments = command[1:] if command[0] == "--" else command
    if not arguments:
        raise click.UsageError("Missing argument 'COMMAND...'.")
    return enter(host.Lab(host.find_running(name)).entrance(machine), arguments)


@lab.command()
@_DIRECTORY
@click.option(
    "--checks", "file", type=click.Path(exists=True, dir_okay=False), help="Instead of the lab's checks.toml."
)
@format_option
def verify(name: str, file: str | None, form: str) -> int:
    """Prove with packets what the lab's checks.toml says: what must arrive arrives, and the rest does not."""
    from pathlib import Path

    from meetme.lab import host
    from meetme.lab.verify import read_checks, verify_lab

    running = host.Lab(host.find_running(name))
    steps = read_checks(Path(file) if file else Path(running.running.directory, "checks.toml"), running.machines)
    report = verify_lab(running, steps, progress=_progress)
    if form == "json":
        print_json(report.as_json())
    else:
        rows = [
            (
                "ok" if each.ok else "FAILED",
                each.name,
                f"{each.proto} {each.address or ''}".strip(),
                f"{each.received} of {each.sent}",
                each.seen_as or "",
            )
            for each in report.checks
        ]
        print_table(("", "check", "packets", "arrived", "seen as"), rows, empty="no checks")
        for each in report.checks:
            if not each.ok:
                click.echo(f"FAILED {each.name} ({each.source} to {each.to}): {each.why}")
    return 0 if report.ok else 1


def _read(name: str) -> LabSource:
    from meetme.lab.source import find_lab, read_lab

    source = read_lab(find_lab(name))
    for note in source.plan.notes:
        _progress(note)
    return source


def _row(row: object) -> dict[str, str]:
    return {column: getattr(row, column) for column in _COLUMNS}


def _print_rows(source: LabSource, rows: Iterable[Mapping[str, str]], form: str) -> None:
    if form == "json":
        value: dict[str, Any] = {"lab": source.plan.name, "directory": str(source.directory), "rows": list(rows)}
        print_json(value)
    else:
        print_table(_COLUMNS, [[row[column] for column in _COLUMNS] for row in rows], empty="nothing to build")


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    from meetme.cli.main import run

    sys.exit(run(["lab", *sys.argv[1:]]))
