"""Beginning something and following it: across restarts of the service that is asked, but not without end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar
from uuid import UUID, uuid4

import click

from meetme.model.errors import MeetMeError, Unreachable
from meetme.runtime.api_client import PATIENCE, Patience

V = TypeVar("V")


async def begun(begin: Callable[[str, Patience], Awaitable[V]], key: str | None, *, what: str, at: str, show: str) -> V:
    """`begin` with the Idempotency-Key, or a new one. Where its answer was lost it is asked again, and that is said.

    `what` is begun, `at` which service, `show` lists what there is. Raises what `begin` raises, with them as its hint
    where nobody can know whether it was begun.
    """
    key = key or str(uuid4())
    lost = False

    def told(away: bool) -> None:
        nonlocal lost
        lost = away
        _say(at, away=away)

    try:
        return await begin(key, Patience(PATIENCE.seconds, told))
    except MeetMeError as error:
        if not lost:
            raise
        hint = f"whether the {what} was begun is not known: {show} tells; the same with --key {key} makes no second one"
        raise type(error)(error.code, error.text, hint=hint, field=error.field, fault=error.fault) from error


@asynccontextmanager
async def watched(
    follow: Callable[[UUID | str, Patience], AsyncGenerator[V, None]], id: UUID | str, *, what: str, at: str, show: str
) -> AsyncIterator[AsyncGenerator[V, None]]:
    """`follow(id)`. While the service does not answer, that is said; what it had begun goes on when it is back.

    `what` is followed, `at` which service, `show` tells how it stands. Raises Unreachable with them as its hint.
    """
    try:
        async with aclosing(follow(id, Patience(PATIENCE.seconds, lambda away: _say(at, away=away)))) as views:
            yield views
    except Unreachable as error:
        hint = f"the {what} is kept, and goes on as soon as the {at} runs; how it stands: {show} {id}"
        raise Unreachable(error.code, error.text, hint=hint, field=error.field, fault=error.fault) from error


def _say(at: str, *, away: bool) -> None:
    if away:
        line = f"  the {at} does not answer; waiting for it, {PATIENCE.seconds:.0f} s at most"
    else:
        line = f"  the {at} answers again"
    click.secho(line, fg="yellow", err=True)
