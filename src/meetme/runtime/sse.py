"""News for clients: event streams (SSE) that can be resumed, and answers that wait until there is something new.

What a client missed is read from the database, then it waits for more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from weakref import WeakValueDictionary

from fastapi import Header
from fastapi.responses import StreamingResponse

from meetme.model.errors import InvalidInput

PING_SECONDS = 15.0
WAIT_LIMIT = 20.0
"""How many seconds an answer waits at most, whatever the client prefers."""
T = TypeVar("T")


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
        # Those who wait hold the event; what nobody waits for is forgotten.
        self._waiting: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def ring(self, about: Iterable[str] = ()) -> None:
        """Wake those who wait for news about one of these; without any, wake everybody who waits."""
        for key in tuple(about) or tuple(self._waiting):
            if (rung := self._waiting.pop(key, None)) is not None:
                rung.set()

    def listen(self, about: str) -> asyncio.Event:
        """Set at the next ring about it. To be asked for before looking, so that no ring falls in between."""
        rung = self._waiting.get(about)
        if rung is None:
            rung = self._waiting[about] = asyncio.Event()
        return rung


class Silence:
    """Of a stream: it is broken in time, also where it is rung for all the while about nothing that is told."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.is_broken()

    def is_broken(self) -> None:
        """Something was written."""
        self._until = self._loop.time() + PING_SECONDS

    async def lasts(self, rung: asyncio.Event) -> bool:
        """Wait for the ring; whether it is time to say that nobody has gone, which breaks it."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._until):
                await rung.wait()
        over = self._loop.time() >= self._until
        if over:
            self.is_broken()
        return over


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


def preferred_wait(value: Annotated[str | None, Header(alias="Prefer")] = None) -> float:
    """A dependency: how many seconds the client is ready to wait for news (`Prefer: wait=5`, RFC 7240, section 4.3).

    0: it is not. What it says is a wish: one that makes no sense is none.
    """
    for preference in (value or "").lower().split(","):
        name, _, seconds = preference.partition(";")[0].strip().partition("=")
        if name == "wait" and seconds.isascii() and seconds.isdigit():
            return min(float(seconds[:9]), WAIT_LIMIT)
    return 0.0


async def as_it_stands(
    look: Callable[[], Awaitable[tuple[T, int]]], bell: Bell, about: str, after: int, seconds: float
) -> tuple[T, int]:
    """What `look` sees, and the last event that is part of it: at once, or, to who is ready to wait `seconds` and knows
    all up to event `after`, as soon as there is a later one or they are over.
    """
    return await as_soon_as(look, lambda seen: seen[1] > after, bell, about, seconds)


async def as_soon_as(
    look: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], bell: Bell, about: str, seconds: float
) -> T:
    """What `look` sees as soon as `is_so` says yes to it, looking again at each ring; or after `seconds`, as it is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        rung = bell.listen(about)
        seen = await look()
        if is_so(seen) or loop.time() >= deadline:
            return seen
        try:
            async with asyncio.timeout_at(deadline):
                await rung.wait()
        except TimeoutError:
            return seen


def event_stream(load: Callable[[int], Awaitable[Page]], bell: Bell, about: str, after: int) -> StreamingResponse:
    """Everything `load(after)` knows, then what comes with each ring about it, until a page says that it has ended."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(load, bell, about, after), media_type="text/event-stream", headers=headers)


async def _stream(load: Callable[[int], Awaitable[Page]], bell: Bell, about: str, after: int) -> AsyncIterator[bytes]:
    silence = Silence()
    while True:
        rung = bell.listen(about)
        page = await load(after)
        for event in page.events:
            yield f"id: {event.id}\nevent: {event.name}\ndata: {json.dumps(event.data)}\n\n".encode()
            after = event.id
            silence.is_broken()
        if page.ended:
            return
        if await silence.lasts(rung):
            yield b": still here\n\n"  # a client that is gone is noticed by writing to it
