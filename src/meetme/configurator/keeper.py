"""The keeper: carries out orders on one device, writes each down first, and keeps the device as the intents say.

There is one way to change the device: `plan(read(), render(intent))`, apply. Orders, repairs, roll-backs and the
recovery after a crash are all that, one at a time for each circuit. What is kept always says where the device is going,
so a process killed anywhere finds out on its next start what is left to do.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar
from uuid import UUID

from meetme.configurator import checks, plan
from meetme.configurator.figures import DeviceFigures
from meetme.configurator.plan import Kept
from meetme.configurator.records import Records
from meetme.configurator.standing import Standing
from meetme.configurator.strays import Strays
from meetme.configurator.tender import POLL_SECONDS, Survey, Tender
from meetme.drivers.base import Change, ConfigT, Driver, ReportsUplinks, RouterFacts
from meetme.model.errors import DeviceFailed, MeetMeError
from meetme.model.intent import (
    Capabilities,
    Intent,
    LinkEvent,
    LinkEventKind,
    LinkState,
    Observation,
    ProbeReport,
    ProbeRequest,
    Removal,
)
from meetme.model.segment import Uplink
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database

T = TypeVar("T")

DEVICE_SECONDS = 60.0
"""For one call to the device; then it counts as failed, and later orders are not held up behind it."""


class Keeper(Generic[ConfigT]):
    """One device and what it is to have. Every method may be called at any time, by several callers at once."""

    def __init__(
        self,
        driver: Driver[ConfigT],
        database: Database,
        clock: Clock,
        *,
        poll_seconds: float = POLL_SECONDS,
        device_seconds: float = DEVICE_SECONDS,
        stray_seconds: float = 0.0,
        figures: DeviceFigures | None = None,
    ) -> None:
        """`stray_seconds`: how long what no record speaks of is left alone, once `strays.heard` was called."""
        self._driver = driver
        self._clock = clock
        self._device_seconds = device_seconds
        self.strays = Strays(clock, stray_seconds)
        self._records = Records(database)
        self._kept, self._seen = self._records.kept, self._records.seen
        self._standing = Standing(self._kept, figures or DeviceFigures())
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._working: set[asyncio.Task[Any]] = set()
        if isinstance(driver, ReportsUplinks):
            driver.follow_uplinks(self._uplinks)
        self._tender = Tender(
            heal=self._heal,
            survey=self._survey,
            facts=self._look,
            disturbances=driver.watch,
            deadlines=self._deadlines,
            clock=clock,
            poll_seconds=poll_seconds,
        )

    async def start(self) -> None:
        """Open the device and finish what an earlier process left undone. A circuit that fails is tried again later.

        Raises what the driver's `open` raises.
        """
        await self._records.load()
        await self._driver.open()
        await self._tender.look_around()
        self._tender.start()

    async def stop(self) -> None:
        """Finish the orders under way and let go of the device, which stays as it is."""
        await self._tender.stop()
        self.end_watches()
        await asyncio.gather(*self._working, return_exceptions=True)
        await self._driver.close()

    def end_watches(self) -> None:
        """End the iteration of everybody who watches."""
        self._standing.close()

    async def apply(
        self, intent: Intent, *, confirm_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Bring `intent` into force; the commands that it took, or with `dry_run` would take. Empty: it was in force.

        Raises InvalidInput, Stale, Conflict, Unsupported or DeviceFailed; then everything is as it was.
        """
        checks.check(intent)
        return await self._alone(intent.circuit, lambda: self._apply(intent, confirm_seconds, dry_run))

    async def _apply(self, intent: Intent, confirm_seconds: float | None, dry_run: bool) -> tuple[str, ...]:
        circuit = intent.circuit
        self._admit(intent, confirm_seconds)
        change = await self._difference(circuit, intent)
        if dry_run:
            return change.commands
        before = self._kept.get(circuit)
        kept = self._admit(intent, confirm_seconds)  # once more: others were at work during the look at the device
        await self._keep(kept)
        try:
            if not change.empty:
                await self._touch(self._driver.apply(change))
        except Exception as error:
            outcome = await self._put_back(plan.undo(kept, before))
            if isinstance(error, MeetMeError):
                raise _with(error, outcome) from error
            raise
        self._well(circuit)
        self._standing.tell(circuit, LinkEventKind.STATE, kept.state.value)
        self._tender.wake()  # there may be a new deadline
        return change.commands

    def _admit(self, intent: Intent, confirm_seconds: float | None) -> Kept:
        deadline = self._clock.now() + confirm_seconds if confirm_seconds else None
        others = (kept for circuit, kept in self._kept.items() if circuit != intent.circuit)
        seen = self._seen.get(intent.circuit, 0)
        return plan.admit(intent, self._kept.get(intent.circuit), others, seen=seen, deadline=deadline)

    async def _put_back(self, target: Kept) -> str:
        circuit = target.intent.circuit
        await self._keep(target)
        try:
            await self._bring(target)
        except Exception as error:
            self._standing.ill(circuit, error)
            self._tender.retry(circuit)
            return "what was there before could not be put back yet and is tried again"
        self._well(circuit)
        return "what was there before is back" if target.wanted else "nothing of it is left on the device"

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """End the confirm timer. Raises NotFound `link_unknown`, Stale."""
        checks.check_reference(circuit, generation)

        async def work() -> None:
            before = self._kept.get(circuit)
            kept = plan.confirm(
                before,
                circuit=circuit,
                agreement=agreement,
                generation=generation,
                seen=self._seen.get(circuit, 0),
                now=self._clock.now(),
            )
            if kept != before:
                await self._keep(kept)
                self._standing.tell(circuit, LinkEventKind.STATE, kept.state.value)

        await self._alone(circuit, work)

    async def remove(self, circuit: str, agreement: UUID, generation: int) -> Removal:
        """Take everything of the agreement back and verify it. Raises Stale; DeviceFailed, then it is tried again."""
        checks.check_reference(circuit, generation)

        async def work() -> Removal:
            kept = self._kept.get(circuit)
            target = plan.remove(kept, agreement=agreement, generation=generation, seen=self._seen.get(circuit, 0))
            if target is not None:
                await self._keep(target)
                try:
                    await self._bring(target)
                except MeetMeError as error:
                    self._standing.ill(circuit, error)
                    self._tender.retry(circuit)
                    raise _with(error, "the removal is tried again until it is done") from error
            elif kept is None:
                if generation > self._seen.get(circuit, 0):
                    await self._forget(circuit, generation)
                await self._clear(circuit)
            return Removal()

        return await self._alone(circuit, work)

    async def observe(self) -> Observation:
        """What the device has, and what is kept for it."""
        reports = self._driver.uplinks if isinstance(self._driver, ReportsUplinks) else lambda _: ()
        return self._standing.observation(await self._touch(self._driver.facts()), reports)

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Send echo requests from the router. Waits for `request.within` at most."""
        async with asyncio.timeout(request.within + self._device_seconds):
            return await self._driver.probe(request)

    async def capabilities(self) -> Capabilities:
        """What the device can do."""
        return await self._touch(self._driver.capabilities())

    def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every link, then every change, until the keeper stops. Raises Exhausted `watch_too_slow`."""
        return self._standing.watch()

    def standing(self) -> dict[tuple[LinkState, bool], int]:
        """How many links there are by state, and by whether the device has them as ordered."""
        return self._standing.count()

    async def tend(self) -> None:
        """Look at the whole device now: roll back what is overdue, repair what drifted, clear what nobody ordered."""
        await self._tender.look_around()

    async def _survey(self) -> Survey:
        present = await self._touch(self._driver.circuits())
        self.strays.found(present - self._seen.keys())
        return Survey(present | self._kept.keys(), await self._look())

    async def _look(self) -> RouterFacts:
        return await self._touch(self._driver.facts())

    def _deadlines(self) -> Iterator[tuple[str, float]]:
        return ((circuit, kept.deadline) for circuit, kept in self._kept.items() if kept.deadline is not None)

    async def _heal(self, circuit: str, facts: RouterFacts | None) -> bool:
        async def work() -> bool:
            kept = self._kept.get(circuit)
            if kept is None:
                if circuit not in self._seen and not self.strays.over:
                    return False
                await self._clear(circuit)
                self.strays.settled(circuit)
                self._tender.forget(circuit)
                return False
            due = plan.expire(kept, self._clock.now())
            if due is not kept:
                await self._keep(due)
                self._standing.tell(circuit, LinkEventKind.ROLLED_BACK, "not confirmed in time")
            change = await self._difference(circuit, due.wanted, facts)
            drifted = due is kept and due.wanted is not None and not change.empty
            if drifted:
                self._standing.drifted(circuit)
                self._standing.tell(circuit, LinkEventKind.DRIFT, "; ".join(change.commands))
            await self._enforce(due, change)
            if due.wanted is not None:
                self._well(circuit)
            if drifted:
                self._standing.tell(circuit, LinkEventKind.REPAIRED, "; ".join(change.commands))
            return drifted

        try:
            return await self._alone(circuit, work)
        except Exception as error:
            self._standing.ill(circuit, error)
            raise

    async def _enforce(self, kept: Kept, change: Change[ConfigT]) -> None:
        """Make the device as `kept` wants it. Once it is clean, nothing is kept any more."""
        circuit = kept.intent.circuit
        if not change.empty:
            await self._touch(self._driver.apply(change))
        if kept.wanted is None:
            await self._verify_clear(circuit)
            await self._forget(circuit, kept.generation)
            self._standing.tell(circuit, LinkEventKind.REMOVED, "", agreement=kept.intent.agreement)

    async def _bring(self, kept: Kept) -> None:
        await self._enforce(kept, await self._difference(kept.intent.circuit, kept.wanted))

    async def _clear(self, circuit: str) -> None:
        """Remove what carries our tag though nobody ordered it."""
        change = await self._difference(circuit, None)
        if not change.empty:
            await self._touch(self._driver.apply(change))
            await self._verify_clear(circuit)
            self._standing.tell(circuit, LinkEventKind.REMOVED, "belonged to no agreement that is known")

    async def _verify_clear(self, circuit: str) -> None:
        if await self._touch(self._driver.read(circuit)) is not None:
            raise DeviceFailed(
                "removal_incomplete",
                f'circuit: must be gone after its removal ("{circuit}" is still on the device)',
                field="circuit",
                hint="the device's log may say what it refused",
            )

    async def _difference(
        self, circuit: str, wanted: Intent | None, facts: RouterFacts | None = None
    ) -> Change[ConfigT]:
        if wanted is None:
            return self._driver.plan(circuit, await self._touch(self._driver.read(circuit)), None)
        known, have = await self._touch(
            asyncio.gather(
                self._driver.facts() if facts is None else asyncio.sleep(0, facts), self._driver.read(circuit)
            )
        )
        return self._driver.plan(circuit, have, self._driver.render(wanted, known))

    async def _touch(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._device_seconds):
                return await call
        except TimeoutError:
            raise DeviceFailed(
                "device_timeout",
                f"device: must answer within {self._device_seconds:g} seconds (it did not)",
                hint="is the device up, and its management reachable?",
            ) from None

    async def _alone(self, circuit: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` when no other is done for this circuit.

        A caller that leaves while it waits for its turn takes its order along; one that leaves later does not interrupt
        the device half-way.
        """
        lock = self._locks[circuit]
        await lock.acquire()

        async def locked() -> T:
            try:
                return await work()
            finally:
                lock.release()

        task = asyncio.ensure_future(locked())
        self._working.add(task)
        task.add_done_callback(self._worked)
        return await asyncio.shield(task)

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # for whoever waits; nobody may be waiting any more

    async def _keep(self, kept: Kept) -> None:
        self.strays.settled(kept.intent.circuit)
        await self._records.keep(kept)

    async def _forget(self, circuit: str, generation: int) -> None:
        await self._records.forget(circuit, generation)
        self._standing.forget(circuit)
        self._tender.forget(circuit)

    def _well(self, circuit: str) -> None:
        if circuit in self._kept:
            self._standing.well(circuit)
            self._tender.well(circuit)

    def _uplinks(self, circuit: str, uplinks: tuple[Uplink, ...]) -> None:
        if circuit in self._kept:
            self._standing.uplinks(circuit, uplinks)


def _with(error: MeetMeError, outcome: str) -> MeetMeError:
    text = f"{error.text}; {outcome}"
    return type(error)(error.code, text, hint=error.hint, field=error.field, fault=error.fault)
