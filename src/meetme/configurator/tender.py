"""When to look at a circuit again: at device events, at deadlines, some time after a failure, and every few seconds.

The tender decides *when*; the keeper heals. A circuit is healed by one task at a time, never in a tight loop, and one
that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from meetme.configurator import plan
from meetme.drivers.base import Disturbance, RouterFacts
from meetme.model.errors import MeetMeError
from meetme.runtime.clock import Clock

POLL_SECONDS = 5.0
"""Between two looks at the whole device: the backstop where its events were lost."""
QUIET_SECONDS = 10.0
"""After this long without drift a repair is the first in its row again."""
HEALED_AT_ONCE = 8
SETTLE_SECONDS = 0.25
"""Events right after a change of ours are most likely its echo, and others come in bursts: one look is enough."""


REST_SHARE = 4
"""A survey that events asked for starts this many times as long after the last one as that one took."""


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at the whole device: every circuit that is, or should be, on it, and the router's facts."""

    circuits: frozenset[str]
    facts: RouterFacts


@dataclass(slots=True)
class _Pace:
    failures: int = 0
    repairs: int = 0
    repaired_at: float = 0.0
    not_before: float = 0.0


class Tender:
    """Keeps calling `heal(circuit, facts)`, which says whether it had to repair anything, or raises."""

    def __init__(
        self,
        *,
        heal: Callable[[str, RouterFacts | None], Awaitable[bool]],
        survey: Callable[[], Awaitable[Survey]],
        facts: Callable[[], Awaitable[RouterFacts]],
        disturbances: Callable[[], AsyncIterator[Disturbance]],
        deadlines: Callable[[], Iterable[tuple[str, float]]],
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._heal = heal
        self._survey = survey
        self._facts = facts
        self._disturbances = disturbances
        self._deadlines = deadlines
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._chance = chance
        self._pace: defaultdict[str, _Pace] = defaultdict(_Pace)
        self._disturbed: set[str] = set()
        self._healing: set[str] = set()
        self._places = asyncio.Semaphore(HEALED_AT_ONCE)
        self._surveying = False
        self._survey_at = clock.monotonic() + poll_seconds
        self._survey_pause = 0.0
        """Monotonic second before which no event brings the next survey forward."""
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to follow the device."""
        self._spawn(self._follow())
        self._spawn(self._run())

    async def stop(self) -> None:
        """End the own tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look at the deadlines anew."""
        self._wake.set()

    def well(self, circuit: str) -> None:
        """The circuit has just been seen, or brought, in force: failures before this count no more."""
        pace = self._pace[circuit]
        pace.failures = 0
        pace.not_before = self._clock.monotonic() + SETTLE_SECONDS

    def retry(self, circuit: str) -> None:
        """The circuit failed: heal it after a while, longer with each failure in a row."""
        pace = self._pace[circuit]
        pace.failures += 1
        pace.not_before = self._clock.monotonic() + plan.retry_after(pace.failures, self._chance())
        self._disturbed.add(circuit)
        self._wake.set()

    def forget(self, circuit: str) -> None:
        """The circuit is gone."""
        self._pace.pop(circuit, None)
        self._disturbed.discard(circuit)

    async def look_around(self) -> None:
        """Heal whatever on the device is not as it should be, and whatever is due; return when that has been tried."""
        begin, self._surveying = self._clock.monotonic(), True
        self._survey_at = begin + self._poll_seconds
        try:
            survey = await self._survey()
            await asyncio.gather(*(self._visit(circuit, survey.facts) for circuit in sorted(survey.circuits)))
        except Exception as error:
            _log("device cannot be surveyed", error)
        finally:
            self._surveying = False
            now = self._clock.monotonic()
            self._survey_pause = now + max(SETTLE_SECONDS, REST_SHARE * (now - begin))
            self._wake.set()

    async def _visit(self, circuit: str, facts: RouterFacts | None = None) -> None:
        if self._resting(circuit):
            return  # it is being seen to, or will be
        self._healing.add(circuit)
        self._disturbed.discard(circuit)
        try:
            async with self._places:
                repaired = await self._heal(circuit, facts)
        except Exception:  # the keeper has told why
            self.retry(circuit)
        else:
            if repaired:
                self._count_repair(circuit)
        finally:
            self._healing.discard(circuit)
            self._wake.set()

    async def _visit_together(self, circuits: Collection[str]) -> None:
        """One look at the router serves many: to take one for each of them costs as the square of their number."""
        try:
            facts = await self._facts()
        except Exception as error:
            _log("device cannot be looked at", error)
            facts = None
        self._disturbed.update(filter(self._resting, circuits))
        await asyncio.gather(*(self._visit(circuit, facts) for circuit in circuits))

    def _resting(self, circuit: str) -> bool:
        return circuit in self._healing or self._pace[circuit].not_before > self._clock.monotonic()

    def _count_repair(self, circuit: str) -> None:
        pace, now = self._pace[circuit], self._clock.monotonic()
        pace.repairs = pace.repairs + 1 if now - pace.repaired_at < QUIET_SECONDS else 1
        pace.repaired_at = now
        pace.not_before = now + max(plan.pause_after(pace.repairs), SETTLE_SECONDS)

    async def _follow(self) -> None:
        while True:
            try:
                async for disturbance in self._disturbances():
                    if disturbance.circuit is None:
                        self._survey_at = self._clock.monotonic()
                    else:
                        self._disturbed.add(disturbance.circuit)
                    self._wake.set()
            except Exception as error:  # whatever it was: the surveys go on, and events are tried again
                _log("device events cannot be followed", error)
            await asyncio.sleep(self._poll_seconds)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now, moment = self._clock.now(), self._clock.monotonic()
            waits = [self._poll_seconds]
            survey_in = max(self._survey_at, self._survey_pause) - moment
            if survey_in > 0:
                waits.append(survey_in)
            elif not self._surveying:
                self._spawn(self.look_around())
            for circuit, deadline in self._deadlines():
                if deadline <= now:
                    self._disturbed.add(circuit)
                else:
                    waits.append(deadline - now)
            due = set[str]()
            for circuit in self._disturbed - self._healing:
                wait = self._pace[circuit].not_before - moment
                if wait <= 0:
                    due.add(circuit)
                else:
                    waits.append(wait)
            if len(due) == 1:
                self._spawn(self._visit(due.pop()))
            elif due:
                self._disturbed -= due
                self._spawn(self._visit_together(due))
            try:
                async with asyncio.timeout(min(waits)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _log(event: str, error: Exception) -> None:
    unexpected = None if isinstance(error, MeetMeError) else error
    structlog.get_logger().warning(event, problem=str(error), exc_info=unexpected)
