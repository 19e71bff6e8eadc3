"""What a person sees: tables, JSON, errors with their next step, and the exit status of each kind of error."""

from __future__ import annotations

import json
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
    Problem,
    Refused,
    Stale,
    TooLarge,
    Unauthenticated,
    Unreachable,
    Unsupported,
)

if TYPE_CHECKING:
    from rich.console import Console

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
    DeviceFailed: 1,
}

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


def console(*, err: bool = False) -> Console:
    """A rich console; colours only on a terminal and never against NO_COLOR."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, soft_wrap=not (sys.stderr if err else sys.stdout).isatty())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str, title: str | None = None) -> None:
    """A table on stdout; `empty` is what to say where there is no row."""
    from rich import box
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    if table.row_count == 0:
        click.echo(empty, err=True)
        return
    console().print(table)


def show_problem(problem: Problem) -> None:
    """An error on stderr: whose fault, the fact, the code; on the next line the next step."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(f"{WHOSE[problem.fault]}{problem.text}  [{problem.code}]", err=True)
    if problem.hint:
        click.echo(f"  {problem.hint}", err=True)


def explain(error: Exception) -> int:
    """Say what went wrong and give the exit status. What is not one of ours is our own defect, and says so."""
    if isinstance(error, MeetMeError):
        show_problem(error.problem)
        return EXIT_STATUS.get(type(error), 1)
    import os
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


def asynchronous(command: Callable[P, Any]) -> Callable[P, Any]:
    """Let a click command be an `async def`; Ctrl-C cancels it, so its clean-up runs."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        import asyncio

        return asyncio.run(command(*args, **kwargs))

    return run
