"""A process that can be killed at any moment: everything it had begun is gone, what it had written down is not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.world import World

NEGOTIATOR_POINTS = (
    "after an effect, before it is settled",
    "before an effect",
    "after a message was handled, before its answer left",
    "before a message is handled",
    "before a transaction",
    "after a transaction",
)
CONFIGURATOR_POINTS = (
    "before a probe",
    "half-way through a change of the device",
    "after the device was changed",
    "after an order was written down, before the device was touched",
    "after an order was carried out, before its answer left",
    "before an order is written down",
)
"""Where they die."""
RUNNING: ContextVar[Process | None] = ContextVar("running", default=None)


class Process:
    """One life of a process. Tasks that its tasks begin are its own as well."""

    trouble = "crash"

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.born = world.now
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin a task in this process."""
        context = copy_context()
        context.run(RUNNING.set, self)
        context.run(asyncio.get_running_loop().create_task, work)

    def would_crash(self, point: str) -> bool:
        """Whether the process dies at this point. Points are counted: every one has to be reached."""
        self.world.reached(point)
        where = f"{self.name} {point}"
        kinds = [self.trouble, f"crash {point}", *(["crash when ill"] if self.name in self.world.ill else [])]
        return self.alive and any(self.world.strikes(kind, where) for kind in kinds)

    def crash_point(self, point: str) -> None:
        """Here the process may die."""
        if not self.alive:
            raise asyncio.CancelledError
        if self.would_crash(point):
            self.crash(point)

    def crash(self, point: str) -> None:
        """Die here."""
        self.world.crashed_at(point)
        self.kill()
        raise asyncio.CancelledError

    def kill(self) -> None:
        """kill -9: nothing of it runs any more."""
        self.alive = False
        self.world.trace(f"{self.name} is killed")
        for task in list(self.tasks):
            task.cancel()
        self.world.died(self)


def tracked(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
    """A task factory: every task is known to the process whose code began it."""
    task = asyncio.Task(work, loop=loop, **more)
    process = RUNNING.get()
    if process is not None:
        if not process.alive:
            task.cancel()
        process.tasks[task] = None
        task.add_done_callback(process.tasks.pop)
    return task
