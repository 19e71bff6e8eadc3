"""All members and everything beneath them, in one process and in virtual time.

The catalogs are the real loop, ledger, store, inbox, desk, performer and rules, each member's on its own SQLite.
Modelled are composers and negotiators, the ways to them, and fate. One run is a schedule: trouble for a virtual
minute, then everything heals; both sides have to agree, and when all is taken back nothing may be left.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import structlog

from meetme.catalog.events import Event
from meetme.catalog.machine import OrderMachine
from meetme.catalog.offers import Entry
from meetme.catalog.order import Order
from meetme.catalog.words import Party, State
from meetme.model.agreement import MemberId
from meetme.runtime.ledger import Step
from tests.simulation.disk import disk
from tests.simulation.orders import invariants, times
from tests.simulation.orders.crook import Crook
from tests.simulation.orders.ground import Ground
from tests.simulation.orders.member import Catalog, Member, Parts, entries
from tests.simulation.orders.schedule import Schedule
from tests.simulation.orders.story import Story
from tests.simulation.process import Process, tracked
from tests.simulation.scheduler import Chance, Skew, Stroke, VirtualClock, VirtualLoop

Row = tuple[Party, State | None, str]


@dataclass
class Result:
    """What came of a run."""

    schedule: Schedule
    violation: str | None
    strokes: list[Stroke]
    trace: list[str]
    rows: set[Row]
    crashed: set[str]
    states: list[State]
    """Where every order stood, at both sides, when all had healed."""


class Watched:
    """The machine, with every step noted."""

    def __init__(self, world: World, member: Member, machine: OrderMachine, saved: Callable[[UUID], None]) -> None:
        self.name = machine.name
        self._world = world
        self._member = member
        self._machine = machine
        self._saved = saved

    def load(self, tx: Any, instance: str) -> Order | None:
        return self._machine.load(tx, instance)

    def step(self, state: Order | None, event: Event) -> Step[Order]:
        step = self._machine.step(state, event)
        before, after = state.state if state else None, step.state
        self._world.rows.add((after.party, before, type(event).__name__))
        said = getattr(event, "what", getattr(event, "standing", getattr(event, "state", "")))
        what = f"{type(event).__name__} {said}".strip()
        change = "" if before is after.state else f" -> {after.state}"
        self._world.trace(f"{self._member.id} {self._world.label(after.id)} {before or '-'}: {what}{change}")
        return step

    def save(self, tx: Any, before: Order | None, after: Order, event: Event, now: float) -> None:
        self._machine.save(tx, before, after, event, now)
        self._saved(after.id)


class World:
    """One run."""

    def __init__(self, schedule: Schedule, parts: Parts | None = None) -> None:
        self.schedule = schedule
        self.parts = parts or Parts()
        self.seed = schedule.seed
        self.chance = Chance(schedule.seed, schedule.rates, schedule.dropped)
        self.ground = Ground(self)
        self.away: set[MemberId] = set()
        """Members whose composers and negotiator do not answer."""
        self.cut: set[MemberId] = set()
        """Members that nobody reaches, and that reach nobody."""
        self.ill: set[str] = set()
        """Processes that die easily at present: none here."""
        self.placed: list[UUID] = []
        self.acknowledged: set[UUID] = set()
        """What whoever ordered it was told that it is on its way."""
        self.parties: dict[UUID, tuple[MemberId, MemberId]] = {}
        self.approved: set[UUID] = set()
        self.rows: set[Row] = set()
        self.crashed: set[str] = set()
        self._loop = VirtualLoop()
        self._loop.set_task_factory(tracked)  # type: ignore[arg-type]
        self._clocks: dict[str, VirtualClock] = {}
        self._lines: list[str] = []
        self._labels: dict[UUID, str] = {}
        self._ids = Random(f"ids {schedule.seed}")
        self._outside = Context()
        self._violation: str | None = None
        self._down_for: float | None = None
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self.states: list[State] = []
        self.members: dict[MemberId, Member] = {}
        for number, name in enumerate(schedule.members):
            disk(number, "catalog").wipe()
            member = Member(name, disk(number, "catalog"), schedule.replicas, name in schedule.crooks)
            self.members[name] = member
        self.crooks = {name: Crook(self) for name in schedule.crooks}
        self.honest = [member for member in self.members.values() if not member.crooked]

    # --- a run --------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run the schedule to its end, or to the first violation."""
        before = structlog.get_config()
        structlog.configure(processors=[self._logged], cache_logger_on_first_use=False)
        try:
            with times.shorter():
                self._loop.run_until_complete(self._until_failure())
        finally:
            structlog.configure(**before)
            self._loop.run_until_complete(self._end())
            self._loop.close()
        return Result(
            self.schedule, self._violation, self.chance.strokes, self._lines, self.rows, self.crashed, self.states
        )

    async def _end(self) -> None:
        for member in self.members.values():
            for process in member.alive:
                process.alive = False
        for _ in range(20):
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
            await asyncio.sleep(0)

    async def _until_failure(self) -> None:
        script = asyncio.ensure_future(Story(self).tell())
        await asyncio.wait([script, self._failed], return_when=asyncio.FIRST_COMPLETED)
        if script.done():
            script.result()
        script.cancel()

    # --- processes ----------------------------------------------------------------------------------------------------

    def start(self, member: Member) -> None:
        """Start what is not running."""
        for slot, catalog in enumerate(member.negotiators):
            if catalog is None:
                member.lives += 1
                member.negotiators[slot] = Catalog(self, member, slot, self.parts)

    def kill(self, process: Catalog, seconds: float) -> None:
        """Kill a process, which is started again after so many seconds."""
        self._down_for = seconds
        process.kill()

    def died(self, process: Process) -> None:
        """A process was killed: somebody starts it again, some time."""
        seconds, self._down_for = self._down_for, None
        if seconds is None:
            seconds = self.chance.amount(f"down {process.name}", 0.05, 1.0)
            if self.chance.amount(f"long down {process.name}", 0.0, 1.0) < 0.2:
                seconds = self.chance.amount(f"down {process.name}", 1.0, 40.0)
        for member in self.members.values():
            for slot, catalog in enumerate(member.negotiators):
                if catalog is process:
                    member.negotiators[slot] = None
                    self.later(seconds, lambda m=member: self.start(m))  # type: ignore[misc]

    def reached(self, point: str) -> None:
        """A crash point was passed."""

    def crashed_at(self, point: str) -> None:
        """And here a process really died."""
        self.crashed.add(point)

    # --- what is seen -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()

    async def a_while(self, seconds: float) -> None:
        """Let others go on."""
        await asyncio.sleep(seconds)

    def clock(self, process: str) -> VirtualClock:
        """The clock of a process: they are right, which is looked after elsewhere."""
        return self._clocks.setdefault(process, VirtualClock(self._loop, Skew()))

    def new_id(self) -> UUID:
        """Ids that are the same in every run of the seed."""
        return UUID(int=self._ids.getrandbits(128), version=4)

    def label(self, id: UUID) -> str:
        """A short name for an order: o1 is the first."""
        return self._labels.setdefault(id, f"o{len(self._labels) + 1}")

    def catalogue(self) -> list[Entry]:
        """What everybody knows of everybody's offers."""
        return [entry for member in self.members.values() for entry in entries(member)]

    def cut_off(self, one: MemberId, other: MemberId) -> bool:
        """Whether these two cannot reach each other."""
        return one in self.cut or other in self.cut

    def trace(self, line: str) -> None:
        """Note what happens."""
        self._lines.append(f"{self.now:9.4f}  {line}")

    def strikes(self, kind: str, where: str) -> bool:
        """Whether trouble strikes."""
        struck = self.chance.strikes(kind, where, self.now)
        if struck:
            self.trace(f"! {kind}: {where}")
        return struck

    def at(self, moment: float, work: Callable[[], object]) -> None:
        """Do something at a moment of the run."""
        self._loop.call_at(moment, self._guarded, work, context=self._outside)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do something after a while, whoever dies meanwhile."""
        self._loop.call_later(seconds, self._guarded, work, context=self._outside)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            self.fail(f"the simulation itself: {traceback.format_exc()}")

    def watched(self, member: Member, machine: OrderMachine, saved: Callable[[UUID], None]) -> Any:
        """The machine, with every step noted."""
        return Watched(self, member, machine, saved)

    # --- invariants ---------------------------------------------------------------------------------------------------

    def committed(self, member: Member, changed: Mapping[UUID, Order]) -> None:
        """A transaction was committed: everything must hold."""
        for id, n in changed.items():
            if not member.crooked:
                self.check(invariants.every_step_once(member, n))
                self.check(invariants.ended_is_ended(self, member, n))
                self.check(invariants.active_is_proven(self, member, n))
                self.check(invariants.approved_by_whom_it_concerns(self, member, n))
            before = member.known.get(id)
            if n.party is Party.BUYER and id not in self.parties:
                self.placed.append(id)
                self.parties[id] = (n.me, n.partner)
            if before is None or before.state is not n.state:
                member.entered[id] = self.now
            member.known[id] = n

    def answered(self, member: Member, sender: MemberId, text: str, answer: str) -> None:
        """An answer leaves."""
        said, order = json.loads(answer), UUID(json.loads(text)["order"])
        mine = order in self.parties and sender in self.parties[order] and member.id in self.parties[order]
        if said["type"] == "terminated" and json.loads(text)["type"] == "terminate" and mine and not member.crooked:
            self.check(invariants.terminated_is_clean(self, member, order))

    def check(self, wrong: Iterable[str]) -> None:
        """Fail at the first thing that is wrong."""
        for text in wrong:
            self.fail(text)

    def fail(self, text: str) -> None:
        """The run has failed."""
        if self._violation is None:
            self._violation = text
            self.trace(f"VIOLATED {text}")
            self._failed.set_result(None)

    def _logged(self, _logger: Any, level: str, event: Any) -> Any:
        if level in ("error", "critical", "exception") or event.get("exc_info"):
            self.fail(f"internal error: {event.get('event')}: {traceback.format_exc(limit=-6)}")
        raise structlog.DropEvent


def simulate(schedule: Schedule, parts: Parts | None = None) -> Result:
    """One run."""
    return World(schedule, parts).run()
