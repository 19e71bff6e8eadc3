"""Telling many readers what happens, without ever waiting for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from meetme.model.errors import Exhausted
from meetme.model.intent import LinkEvent

EVENTS_WAITING = 1024
"""How far a reader may fall behind before it is sent away; it connects anew and starts from the present state."""


class Watchers:
    """Readers of link events, each with a bounded queue of its own."""

    def __init__(self, waiting: int = EVENTS_WAITING) -> None:
        self._waiting = waiting
        self._queues: set[asyncio.Queue[LinkEvent | None]] = set()
        self._open = True

    def tell(self, event: LinkEvent) -> None:
        """Put `event` into every queue; a reader whose queue is full is sent away."""
        for queue in list(self._queues):
            if queue.full():
                self._dismiss(queue)
            else:
                queue.put_nowait(event)

    async def watch(self, present: Callable[[], Iterable[LinkEvent]]) -> AsyncIterator[LinkEvent]:
        """What `present` says now, then what is told, until `close`. Raises Exhausted `watch_too_slow`."""
        queue: asyncio.Queue[LinkEvent | None] = asyncio.Queue(self._waiting)
        self._queues.add(queue)
        try:
            for event in list(present()):
                yield event
            while (told := await queue.get()) is not None:
                yield told
        finally:
            self._queues.discard(queue)
        if self._open:
            raise Exhausted(
                "watch_too_slow",
                f"watch: must be read as fast as links change (more than {self._waiting} events behind)",
                hint="connect again; the first events say how every link stands",
            )

    def close(self) -> None:
        """End every reader's iteration."""
        self._open = False
        for queue in list(self._queues):
            self._dismiss(queue)

    def _dismiss(self, queue: asyncio.Queue[LinkEvent | None]) -> None:
        self._queues.discard(queue)
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)
