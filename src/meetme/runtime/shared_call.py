"""One call for many who ask at the same time, none of whom gets an answer older than the question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Calls `work` no more than once at a time.

    Who asks while it runs waits for the next run, together with everybody else who asked meanwhile: that one begins
    after their questions, so its answer is as good as one made for each of them.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """What `work` gives. Raises what it raises, to everybody who shares that run."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._run(self._running))
            self._next.add_done_callback(_seen)
        return await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._work()


def _seen(task: asyncio.Task[T]) -> None:
    """Whoever waited may have left: an error is then for nobody."""
    if not task.cancelled():
        task.exception()
