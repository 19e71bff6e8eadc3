"""Watches the data plane of every active agreement: asks every few seconds, remembers, and tells when a state turns.

What is seen lives in memory. The store, the event streams and the log hear of a turn alone, so that a thousand healthy
agreements cost probes and nothing else. Each replica watches for itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol
from uuid import UUID

import structlog

from meetme.model.errors import MeetMeError
from meetme.negotiator import events as ev
from meetme.negotiator import store
from meetme.negotiator.health import Course, Round, turned
from meetme.negotiator.negotiation import Health, Negotiation
from meetme.negotiator.states import State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database

WITHIN_SECONDS = 1.0
"""An answer that takes longer counts as lost."""
DOUBT_SHARE = 5
"""What speaks against the state that is known is looked at this many times as often."""
HURRIED = 32
"""So many at one router at a time: when it has lost everything, looking must not hold up what puts it right."""
TAKE_UP_SECONDS = 2.0
"""Between two looks at which agreements there are: other replicas begin and end some too."""
AFRESH = 12
"""Rounds after which an agreement is read again, whether or not anything says that it has changed."""
READ_AT_ONCE = 100
"""Agreements that are read in one transaction: nobody else waits long for it."""
AT_ONCE = 256
"""Probes under way at one router: what is silent takes a second each, and must not keep the others waiting."""
LOW_BITS = 1 << 32
"""Of an id: all of them chance, which the higher ones are not (RFC 9562 section 5.4)."""


class Eye(Protocol):
    """What looks at the data plane (`probing.Probing`)."""

    async def look(self, n: Negotiation, within: float) -> Round | None:
        """One round; None: this side has nothing to look with."""


@dataclass(slots=True)
class _Watched:
    """One agreement: how it does, and the task that looks."""

    n: Negotiation
    course: Course
    told: Health | None
    revision: int
    task: asyncio.Task[None] | None = None


def moment(id: UUID) -> float:
    """When in its interval an agreement is looked at, as a share of 1: another one for each, by its id."""
    return (id.int % LOW_BITS) / LOW_BITS


class HealthMonitor:
    """One task for each active agreement, spread over the interval."""

    def __init__(
        self,
        database: Database,
        eye: Eye,
        deliver: Callable[[str, ev.HealthTurned], Awaitable[object]],
        clock: Clock,
        *,
        every: float,
        seen: Callable[[str, Round], None] = lambda _peer, _round: None,
        take_up_seconds: float = TAKE_UP_SECONDS,
    ) -> None:
        """`every`: seconds between two rounds of one agreement. `seen` counts each, with the peer that it is about."""
        self._database = database
        self._eye = eye
        self._deliver = deliver
        self._clock = clock
        self._every = every
        self._seen = seen
        self._take_up_seconds = take_up_seconds
        self._watched: dict[UUID, _Watched] = {}
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._doubted: defaultdict[str, dict[UUID, None]] = defaultdict(dict)
        """By router: what is in doubt, the longest first."""
        self._log = structlog.get_logger().bind(service="negotiator")

    def present(self, n: Negotiation) -> Health | None:
        """How the data plane of `n` does right now, as far as this process knows; else as it was last told."""
        watched = self._watched.get(n.id)
        return n.health if watched is None or watched.course.health is None else watched.course.health

    def states(self) -> list[tuple[str, Health | None]]:
        """The peer and the health of every agreement that is watched."""
        return [(w.n.peer, w.course.health) for w in list(self._watched.values())]

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._take_up()
                except Exception:
                    self._log.exception("the agreements to watch cannot be read")
                await asyncio.sleep(self._take_up_seconds)
        finally:
            for id in list(self._watched):
                self._let_go(id)

    async def _take_up(self) -> None:
        active = await self._database.read(store.active)
        for id in self._watched.keys() - active.keys():
            self._let_go(id)
        news = [id for id, revision in active.items() if not self._knows(id, revision)]
        for first in range(0, len(news), READ_AT_ONCE):
            await self._read(news[first : first + READ_AT_ONCE])

    def _knows(self, id: UUID, revision: int) -> bool:
        watched = self._watched.get(id)
        return watched is not None and watched.revision == revision

    async def _read(self, ids: Sequence[UUID]) -> None:
        found = await self._database.read(lambda tx: [(id, store.load(tx, id)) for id in ids])
        for id, n in found:
            if n is None or n.state is not State.ACTIVE:
                self._let_go(id)
            else:
                self._take(id, n)

    def _take(self, id: UUID, n: Negotiation) -> None:
        watched = self._watched.get(id)
        if watched is None:
            watched = self._watched[id] = _Watched(n, Course.taken_up(n.health), n.health, n.revision)
            watched.task = asyncio.create_task(self._watch(watched), name=f"health {id}")
        watched.n, watched.revision = n, n.revision

    def _let_go(self, id: UUID) -> None:
        watched = self._watched.pop(id, None)
        if watched is None:
            return
        self._doubted[watched.n.attachment.router].pop(id, None)
        if watched.task is not None:
            watched.task.cancel()

    async def _watch(self, watched: _Watched) -> None:
        await asyncio.sleep(self._every * moment(watched.n.id))
        rounds = 0
        while True:
            began = self._clock.monotonic()
            try:
                rounds += 1
                if rounds % AFRESH == 0:
                    await self._read([watched.n.id])
                await self._look(watched)
            except MeetMeError as error:
                self._log.warning("an agreement cannot be watched", negotiation=str(watched.n.id), problem=error.text)
            except Exception:
                self._log.exception("an agreement cannot be watched", negotiation=str(watched.n.id))
            wait = self._every / DOUBT_SHARE if self._hurries(watched) else self._every
            await asyncio.sleep(max(wait / 2, wait - (self._clock.monotonic() - began)))

    def _hurries(self, watched: _Watched) -> bool:
        """Whether it is looked at more often: it is in doubt, and not too many have been for longer."""
        doubted = self._doubted[watched.n.attachment.router]
        if not watched.course.in_doubt:
            doubted.pop(watched.n.id, None)
            return False
        doubted[watched.n.id] = None
        return watched.n.id in islice(doubted, HURRIED)

    async def _look(self, watched: _Watched) -> None:
        n = watched.n
        async with self._places[n.attachment.router]:
            seen = await self._eye.look(n, min(WITHIN_SECONDS, self._every))
        if seen is None:
            return
        self._seen(n.peer, seen)
        watched.course = watched.course.see(seen)
        health = watched.course.health
        if health is not None and turned(watched.told, health):
            await self._tell(watched, health)

    async def _tell(self, watched: _Watched, health: Health) -> None:
        n, reason = watched.n, health.reason
        self._log.info(
            "health turned",
            negotiation=str(n.id),
            peer=n.peer,
            health=health.state.value,
            problem=reason.text if reason else None,
        )
        await self._deliver(str(n.id), ev.HealthTurned(self._clock.now(), health))
        watched.told = health  # now: what could not be written is told with the next round
