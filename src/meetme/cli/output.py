"""What a person sees: tables, JSON, errors with their next step, and the exit status of each kind of error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from meetme.model.errors import (
    Conflict,
    DeviceFailed,
    Exhausted,
    Fault,
    Forbidden,
    InvalidInput,
    MeetMeError,
    NotFound,
    Pending,
    Problem,
    Refused,
    Stale,
    TooLarge,
    Unauthenticated,
    Unreachable,
    Unsupported,
)

if TYPE_CHECKING:
    from rich.text import Text

P = ParamSpec("P")
R = TypeVar("R")

EXIT_STATUS: dict[type[MeetMeError], int] = {
    InvalidInput: 2,
    Unauthenticated: 2,
    Forbidden: 3,
    NotFound: 2,
    TooLarge: 2,
    Conflict: 1,
    Refused: 3,
    Exhausted: 1,
    Stale: 1,
    Unsupported: 1,
    Unreachable: 4,
    Pending: 4,
    DeviceFailed: 1,
}

_ENDLESS = 10_000
"""Columns of what is no terminal."""

WHOSE = {Fault.LOCAL: "", Fault.REMOTE: "the other side: ", Fault.DEVICE: "the device: "}


def format_option(command: Callable[P, R]) -> Callable[P, R]:
    """`--format table|json`, the same for every verb that prints data."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Tables for people, JSON for programs.",
    )(command)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, empty: str) -> None:
    """A table on stdout; `empty` is what to say where there is no row. Columns without names get no head.

    On a terminal that is too narrow even for the longest words, each row becomes a block of lines, one a column.
    Into a file or a pipe a line is as long as it has to be.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Column, Table
    from rich.text import Text

    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(highlight=False, width=None if known else _ENDLESS)
    heads = (Column(name, overflow="fold") for name in columns)
    table = Table(*heads, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=any(columns))
    for row in cells:
        table.add_row(*row)
    if Measurement.get(console, console.options.update(max_width=_ENDLESS), table).minimum > console.width:
        table = Table(box=None, show_edge=False, pad_edge=False, show_header=False)
        for number, row in enumerate(cells):
            if number:
                table.add_row()
            for name, cell in zip(columns, row, strict=True):
                if cell:
                    table.add_row(name, cell)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_problem(problem: Problem) -> None:
    """An error on stderr: whose fault, the fact, the code; on the next line the next step."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True, color=False if os.environ.get("NO_COLOR") else None)
    click.echo(f"{WHOSE[problem.fault]}{problem.text}  [{problem.code}]", err=True)
    if problem.hint:
        click.echo(f"  {problem.hint}", err=True)


def explain(error: Exception) -> int:
    """Say what went wrong and give the exit status. What is not one of ours is our own defect, and says so."""
    if isinstance(error, MeetMeError):
        for problem in error.problems or (error.problem,):
            show_problem(problem)
        return EXIT_STATUS.get(type(error), 1)
    import traceback

    if os.environ.get("MEETME_DEBUG"):
        traceback.print_exception(error)
    show_problem(
        Problem(
            "internal_error",
            f"{type(error).__name__}: {error}",
            "this is a defect of meetme; run again with MEETME_DEBUG=1 and report what it prints",
        )
    )
    return 1


def log_failure(error: MeetMeError) -> int:
    """The same for a program that reads the log: one line each; gives the exit status."""
    import structlog

    for problem in error.problems or (error.problem,):
        facts = {"code": problem.code, "hint": problem.hint, "field": problem.field, "fault": problem.fault.value}
        structlog.get_logger().error("cannot go on", text=problem.text, **facts)
    return EXIT_STATUS.get(type(error), 1)


def asynchronous(command: Callable[P, Any]) -> Callable[P, Any]:
    """Let a click command be an `async def`; Ctrl-C cancels it, so its clean-up runs."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        import asyncio

        return asyncio.run(command(*args, **kwargs))

    return run
