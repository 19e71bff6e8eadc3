"""Following something while it happens: across restarts of the service that is asked, but not without end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar
from uuid import UUID

import click

from meetme.model.errors import Unreachable
from meetme.runtime.api_client import PATIENCE, Patience

V = TypeVar("V")


@asynccontextmanager
async def watched(
    follow: Callable[[UUID | str, Patience], AsyncGenerator[V, None]], id: UUID | str, *, what: str, at: str, show: str
) -> AsyncIterator[AsyncGenerator[V, None]]:
    """`follow(id)`. While the service does not answer, that is said; what it had begun goes on when it is back.

    `what` is followed, `at` which service, `show` tells how it stands. Raises Unreachable with them as its hint.
    """

    def told(away: bool) -> None:
        if away:
            line = f"  the {at} does not answer; waiting for it, {PATIENCE.seconds:.0f} s at most"
        else:
            line = f"  the {at} answers again"
        click.secho(line, fg="yellow", err=True)

    try:
        async with aclosing(follow(id, Patience(PATIENCE.seconds, told))) as views:
            yield views
    except Unreachable as error:
        hint = f"the {what} is kept, and goes on as soon as the {at} runs; how it stands: {show} {id}"
        raise Unreachable(error.code, error.text, hint=hint, field=error.field, fault=error.fault) from error
