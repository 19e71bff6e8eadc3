"""Keeps the books and the switches together: at the start, whenever a configurator comes back, and now and then.

Between two looks the switches tell what becomes of their pieces. The configurators repair what drifts by themselves;
here is what they cannot know: that their database was lost, or is an older backup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from uuid import UUID

import structlog

from meetme.ixapi import comparing, store
from meetme.ixapi.bundle import Bundle, Event, Leftover
from meetme.ixapi.switches import SwitchDoor
from meetme.model.errors import MeetMeError, Unsupported
from meetme.model.intent import AppliedSegment, LinkEventKind
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.loop import Loop

COMPARE_SECONDS = 60.0
"""Between two looks at a switch that tells nothing."""
RECONNECT_SECONDS = 2.0
"""Between two attempts to watch a switch whose configurator is away."""
SETTLE_SECONDS = 0.5
"""Changes come in bursts, most of them ordered: one look is enough."""
MOST_NAMED = 10
"""How many of many strays a log line names."""


class Watcher:
    """Compares what switches have with the books, and has the rules put right what differs."""

    def __init__(
        self,
        database: Database,
        loop: Loop[Bundle, Event],
        clock: Clock,
        mtu: int,
        reordered: Callable[[str], None],
        *,
        compare_seconds: float = COMPARE_SECONDS,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        """`reordered` is told the switch of every piece that is ordered again."""
        self._database = database
        self._loop = loop
        self._clock = clock
        self._mtu = mtu
        self._reordered = reordered
        self._compare_seconds = compare_seconds
        self._reconnect_seconds = reconnect_seconds
        self._log = structlog.get_logger().bind(service="ixapi")

    async def follow(self, switch: SwitchDoor) -> None:
        """Compare whenever it is reached, whenever it loses something, and now and then, until cancelled."""
        while True:
            heard: asyncio.Task[None] | None = None
            lost = asyncio.Event()
            try:
                heard = asyncio.create_task(self._hear(switch, lost), name=f"hear {switch.name}")
                while not heard.done():
                    lost.clear()
                    await self.compare(switch)
                    if await _first(heard, lost, self._compare_seconds):
                        await asyncio.sleep(SETTLE_SECONDS)
                await heard
            except MeetMeError as error:
                self._log.info("a switch is not being watched", switch=switch.name, problem=error.text)
            except Exception:
                self._log.exception("watching a switch failed unexpectedly", switch=switch.name)
            finally:
                if heard is not None:
                    heard.cancel()
                    await asyncio.gather(heard, return_exceptions=True)
            await asyncio.sleep(self._reconnect_seconds)

    async def _hear(self, switch: SwitchDoor, lost: asyncio.Event) -> None:
        try:
            async for event in switch.watch():
                if event.kind in (LinkEventKind.REMOVED, LinkEventKind.ROLLED_BACK):
                    lost.set()
        except Unsupported:
            await asyncio.Event().wait()  # it tells nothing; it is looked at now and then

    async def compare(self, switch: SwitchDoor) -> None:
        """One look at a switch, and what follows from it. Raises Unreachable, DeviceFailed."""
        before = await self._database.read(store.standing)
        segments = await switch.segments()
        now = self._clock.now()
        for id, differs in comparing.missing(switch.name, before, segments, self._mtu, now):
            self._log.warning("a switch does not have what it had been ordered", switch=switch.name, piece=differs.name)
            self._reordered(switch.name)
            await self._loop.deliver(str(id), differs)
        await self._strays(switch, segments, now)

    async def _strays(self, switch: SwitchDoor, segments: Collection[AppliedSegment], now: float) -> None:
        found: Collection[AppliedSegment] = comparing.unknown(
            switch.name, await self._database.read(store.standing), segments
        )
        strays = []
        known = comparing.owners(found, await self._database.read(store.ids)) if found else {}
        for each in found:
            id = known.get(each.intent.circuit)
            if id is None or not await self._taken_away(id, comparing.leftover(switch.name, each, now)):
                strays.append(each)
        self._noted(switch, tuple(strays))

    async def _taken_away(self, id: UUID, event: Leftover) -> bool:
        """Whether its bundle has it taken away. Not, where the switch has a later order than the books know of."""
        bundle = await self._loop.deliver(str(id), event)
        return any(work.switch == event.switch and work.name == event.name for work in bundle.works)

    def _noted(self, switch: SwitchDoor, strays: tuple[AppliedSegment, ...]) -> None:
        new = _names(strays) - _names(switch.strays)
        switch.strays = strays
        if new:
            self._log.warning(
                "segments on a switch are of no service that is known here",
                switch=switch.name,
                number=len(new),
                circuits=sorted(new)[:MOST_NAMED],
                hint="is it the right database, or was it lost? They are left alone: meetme exchange strays",
            )


def _names(strays: Iterable[AppliedSegment]) -> set[str]:
    return {each.intent.circuit for each in strays}


async def _first(task: asyncio.Task[None], event: asyncio.Event, seconds: float) -> bool:
    """Wait until the task ends, the event is set, or time is over. Whether it was the event."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((task, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return event.is_set()
