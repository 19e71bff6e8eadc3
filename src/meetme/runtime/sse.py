"""Event streams (SSE) that a client can resume: what it missed is read from the database, then it waits for more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import StreamingResponse

from meetme.model.errors import InvalidInput

PING_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream. `id` grows; a client that comes back names the last one it has seen."""

    id: int
    name: str
    data: Any
    """What `json.dumps` takes."""


@dataclass(frozen=True, slots=True)
class Page:
    """The events after some id, oldest first, and whether there will ever be more."""

    events: Sequence[StreamEvent]
    ended: bool = False


class Bell:
    """Rung after a commit that others may be waiting for; whoever listens looks again. Loses no ring."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self._rung.set()
        self._rung = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """Set at the next ring. To be asked for before looking, so that no ring falls in between."""
        return self._rung


def last_event_id(value: Annotated[str | None, Header(alias="Last-Event-ID")] = None) -> int:
    """A dependency: after which event the client goes on; 0: all. Raises InvalidInput `last_event_id_malformed`."""
    if value is None or value == "":
        return 0
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise InvalidInput(
            "last_event_id_malformed",
            f"Last-Event-ID: must be the id of an event ('{value[:40]}')",
            hint="leave it out to start from the beginning",
            field="Last-Event-ID",
        )
    return int(value)


def event_stream(load: Callable[[int], Awaitable[Page]], bell: Bell, after: int) -> StreamingResponse:
    """Everything `load(after)` knows, then what comes with each ring of `bell`, until a page says that it has ended."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(load, bell, after), media_type="text/event-stream", headers=headers)


async def _stream(load: Callable[[int], Awaitable[Page]], bell: Bell, after: int) -> AsyncIterator[bytes]:
    while True:
        rung = bell.listen()
        page = await load(after)
        for event in page.events:
            yield f"id: {event.id}\nevent: {event.name}\ndata: {json.dumps(event.data)}\n\n".encode()
            after = event.id
        if page.ended:
            return
        try:
            async with asyncio.timeout(PING_SECONDS):
                await rung.wait()
        except TimeoutError:
            yield b": still here\n\n"  # a client that is gone is noticed by writing to it
