"""All members, their routers and everything between them, in one process and in virtual time.

The negotiators are the real loop, ledger, store, inbox, desk, performer and rules, each member's on its own SQLite.
Modelled are the device and its configurator's process, the ways between them, and fate. One run is a schedule: trouble
for a virtual minute, then everything heals, both sides have to agree and to end, and what is left has to be nothing.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import structlog

from meetme.model.addresses import Prefix
from meetme.model.agreement import MemberId, Role
from meetme.model.intent import LinkIntent, LinkState
from meetme.negotiator import store
from meetme.negotiator.events import Event, OfChange
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.reactions import DEVICE_CONFIRM_SECONDS
from meetme.negotiator.states import State
from meetme.runtime.ledger import Step
from tests.simulation import invariants, trust
from tests.simulation.crook import Crook
from tests.simulation.device import Device
from tests.simulation.disk import disk
from tests.simulation.layout import End
from tests.simulation.member import Member, Negotiator, Parts
from tests.simulation.process import Process, tracked
from tests.simulation.schedule import Schedule
from tests.simulation.scheduler import Chance, Skew, Stroke, VirtualClock, VirtualLoop
from tests.simulation.story import Story

Row = tuple[State | None, str]


@dataclass
class Result:
    """What came of a run."""

    schedule: Schedule
    violation: str | None
    strokes: list[Stroke]
    trace: list[str]
    rows: set[Row]
    reached: set[str]
    crashed: set[str]
    commits: int
    seconds: float


class Watched:
    """The machine, with every step noted."""

    def __init__(
        self, world: World, member: Member, machine: NegotiationMachine, saved: Callable[[UUID], None]
    ) -> None:
        self.name = machine.name
        self._world = world
        self._member = member
        self._machine = machine
        self._saved = saved

    def load(self, tx: Any, instance: str) -> Negotiation | None:
        return self._machine.load(tx, instance)

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = self._machine.step(state, event)
        before = state.state if state else None
        self._world.rows.add((before, type(event).__name__))
        who = self._world.label(step.state.id)
        after = "" if before is step.state.state else f" -> {step.state.state}"
        if isinstance(event, OfChange):
            change = step.state.change.state if step.state.change else f"over, revision {_revision(step.state)}"
            after = f" {event.number} {type(event.event).__name__}{after} ({change})"
        self._world.trace(f"{self._member.id} {who} {before or '-'}: {type(event).__name__}{after}")
        return step

    def save(self, tx: Any, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
        self._machine.save(tx, before, after, event, now)
        self._saved(after.id)


def _revision(n: Negotiation) -> int:
    return n.agreement.revision if n.agreement else 0


@dataclass
class World:
    """One run."""

    schedule: Schedule
    parts: Parts = field(default_factory=Parts)
    members: dict[MemberId, Member] = field(default_factory=dict)
    cut: bool = False
    dark: set[str] = field(default_factory=set)
    muted: set[str] = field(default_factory=set)
    """Messages and orders that do not arrive at present."""
    ill: set[str] = field(default_factory=set)
    """Processes that die easily at present."""
    crossed: set[tuple[UUID, int]] = field(default_factory=set)
    """Agreements and their revisions over which packets were seen to cross."""
    wished: dict[MemberId, set[tuple[Prefix, ...]]] = field(default_factory=dict)
    """What a person has asked a member to announce by now, besides what it announces anyway."""
    asked_to_end: set[UUID] = field(default_factory=set)
    """What a person has taken back, at either side."""
    ever_active: set[tuple[MemberId, UUID]] = field(default_factory=set)
    committed_at: dict[tuple[MemberId, UUID], float] = field(default_factory=dict)
    change_committed_at: dict[tuple[MemberId, UUID, int], float] = field(default_factory=dict)
    entered: dict[tuple[MemberId, UUID], float] = field(default_factory=dict)
    started: dict[MemberId, list[UUID]] = field(default_factory=dict)
    answers: dict[tuple[MemberId, str, UUID], str] = field(default_factory=dict)
    databases_lost: bool = False
    rows: set[Row] = field(default_factory=set)
    points: set[str] = field(default_factory=set)
    crashed: set[str] = field(default_factory=set)
    commits: int = 0

    def __post_init__(self) -> None:
        self.seed = self.schedule.seed
        self.chance = Chance(self.seed, self.schedule.rates, self.schedule.dropped, self.schedule.quiet)
        self._loop = VirtualLoop()
        self._loop.set_task_factory(tracked)  # type: ignore[arg-type]
        self.layout = self.schedule.layout
        self._clocks: dict[str, VirtualClock] = {}
        self._lines: list[str] = []
        self._labels: dict[UUID, str] = {}
        self._ids = Random(f"{self.seed}/ids")
        self._outside = Context()
        self._violation: str | None = None
        self._down_for: float | None = None
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._anything = asyncio.Event()
        self._tentative: dict[tuple[MemberId, str, str], tuple[int, float]] = {}
        for number, home in enumerate(self.layout.homes):
            disk(number).wipe()
            self.members[home.id] = Member(home, disk(number))
            self.members[home.id].set_up(self.layout.circuits)
        self.crooks = {id: Crook(self, self.members[id]) for id in self.layout.crooks}
        self.honest = [member for member in self.members.values() if not member.home.crooked]

    # --- a run --------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run the schedule to its end, or to the first violation."""
        before = structlog.get_config()
        structlog.configure(processors=[self._logged], cache_logger_on_first_use=False)
        try:
            self._loop.run_until_complete(self._until_failure())
        finally:
            structlog.configure(**before)
            self._loop.run_until_complete(self._end())
            self._loop.close()
        return Result(
            self.schedule,
            self._violation,
            self.chance.strokes,
            self._lines,
            self.rows,
            self.points,
            self.crashed,
            self.commits,
            self.now,
        )

    async def _end(self) -> None:
        for member in self.members.values():
            for process in (*member.alive, *member.configurators.values()):
                if process is not None:
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

    def start_processes(self, member: Member) -> None:
        """Start what is not running."""
        for router in member.configurators:
            self._start_configurator(member, router)
        for slot in range(len(member.negotiators)):
            self._start_negotiator(member, slot)

    def _start_configurator(self, member: Member, router: str) -> None:
        if member.configurators[router] is None:
            configurator = self.parts.configurator(self, member.id, member.devices[router])
            member.configurators[router] = configurator

    def _start_negotiator(self, member: Member, slot: int) -> None:
        if member.negotiators[slot] is None:
            member.lives += 1
            member.negotiators[slot] = Negotiator(self, member, slot, self.parts)

    def kill(self, process: Process | None, seconds: float) -> None:
        """Kill a process, which is started again after so many seconds."""
        if process is not None:
            self._down_for = seconds
            process.kill()

    def died(self, process: Process) -> None:
        """A process was killed: somebody starts it again, some time."""
        seconds, self._down_for = self._down_for, None
        if seconds is None:
            seconds = self.chance.amount(f"down {process.name}", 0.05, 1.0)
            if self.chance.amount(f"long down {process.name}", 0.0, 1.0) < 0.2:
                seconds = self.chance.amount(f"down {process.name}", 1.0, 60.0)
        for member in self.members.values():
            for slot, negotiator in enumerate(member.negotiators):
                if negotiator is process:
                    member.negotiators[slot] = None
                    self.later(seconds, lambda m=member, s=slot: self._start_negotiator(m, s))  # type: ignore[misc]
            for router, configurator in member.configurators.items():
                if configurator is process:
                    member.configurators[router] = None
                    self.later(seconds, lambda m=member, r=router: self._start_configurator(m, r))  # type: ignore[misc]

    def reached(self, point: str) -> None:
        """A crash point was passed."""
        self.points.add(point)

    def crashed_at(self, point: str) -> None:
        """And here a process really died."""
        self.crashed.add(point)

    # --- what is seen -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()

    def clock(self, process: str) -> VirtualClock:
        """The clock of a process, which is that of its host: it outlives the process."""
        if process not in self._clocks:
            self._clocks[process] = VirtualClock(self._loop, self.schedule.skews.get(process, Skew()))
        return self._clocks[process]

    def new_id(self) -> UUID:
        """Ids that are the same in every run of the seed."""
        return UUID(int=self._ids.getrandbits(128), version=4)

    def label(self, id: UUID) -> str:
        """A short name for a negotiation: n1 is the first."""
        return self._labels.setdefault(id, f"n{len(self._labels) + 1}")

    def trace(self, line: str) -> None:
        """Note what happens."""
        for id, label in self._labels.items():
            line = line.replace(str(id), label)
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

    def watched(self, member: Member, machine: NegotiationMachine, saved: Callable[[UUID], None]) -> Any:
        """The machine, with every step noted."""
        return Watched(self, member, machine, saved)

    def crosses(self, name: str) -> bool:
        """Whether packets cross: the circuit is up, and the routers at both ends carry intents that fit each other."""
        circuit = self.layout.by_name.get(name)
        if circuit is None or name in self.dark:
            return False
        one, two = (self._carried_at(end, name) for end in circuit.ends)
        if one is None or two is None:
            return False
        same = (one.agreement, one.mtu) == (two.agreement, two.mtu) and {one.role, two.role} == set(Role)
        there = [m.wire for m in one.local] == [m.wire for m in two.remote]
        back = [m.wire for m in two.local] == [m.wire for m in one.remote]
        if one.link is None or two.link is None:
            return same and there and back and one.link is two.link
        return same and there and back and (one.link.local, one.link.peer) == (two.link.peer, two.link.local)

    def _carried_at(self, end: End, circuit: str) -> LinkIntent | None:
        found = self.members[end.member].devices[end.router].carried.get(circuit)
        return found if found is not None and found.port == end.port else None

    def packets_crossed(self, circuit: str, device: Device) -> None:
        """A probe was answered."""
        intent = device.carried[circuit]
        assert intent is not None
        self.crossed.add((intent.agreement, intent.revision))

    async def anything_changed(self) -> None:
        """Wait for the next change of a device or of a circuit."""
        await self._anything.wait()

    def change(self) -> None:
        """Tell who waits that something is different now."""
        self._anything.set()
        self._anything = asyncio.Event()

    # --- invariants ---------------------------------------------------------------------------------------------------

    def committed(
        self, member: Member, changed: Mapping[UUID, Negotiation], claims: list[tuple[str, str, str]]
    ) -> None:
        """A transaction was committed: everything must hold."""
        self.commits += 1
        if member.home.crooked:
            member.known |= changed
            return
        for id, n in changed.items():
            self.check(invariants.ends_for_a_reason(self, member, n))
            self.check(invariants.a_wrong_clock_is_named(self, member, n))
            self.check(trust.everybody_keeps_to_its_circuits(self, member, n))
            if n.state is State.ACTIVE:
                self.ever_active.add((member.id, id))
            if n.change is not None and n.change.state is State.COMMITTED:
                self.change_committed_at.setdefault((member.id, id, n.change.number), self.now)
            self.check(invariants.change_decided_in_time(self, member, n))
            if n.state is State.COMMITTED:
                self.committed_at.setdefault((member.id, id), self.now)
            if n.state is not (before.state if (before := member.known.get(id)) else None):
                self.entered[member.id, id] = self.now
                self.check(invariants.decided_in_time(self, member, n))
            member.known[id] = n
            member.held[id] = invariants.reserved(n)
        member.claims = {}
        for holder, kind, value in claims:
            member.claims.setdefault(UUID(holder), set()).add((kind, value))
        for id in changed:
            self.check(invariants.nobody_contradicts(self, id))
        self.check(trust.no_more_agreements_than_allowed(self, member))
        self.check(invariants.nothing_is_given_out_twice(self, member, changed))
        self.check(invariants.undone_means_nothing_is_left(self, member))
        self.check(invariants.active_after_packets_crossed(self, member))
        self.check(invariants.what_is_carried_is_claimed(self, member))

    def ordered(self, id: MemberId, device: Device, intent: LinkIntent) -> None:
        """A configurator was told to carry something."""
        member = self.members[id]
        if not member.home.crooked:
            self.check(trust.no_more_than_policy_allows(self, member, device, intent))

    def changes(self, id: MemberId, device: Device, circuit: str, intent: LinkIntent | None) -> None:
        """A router is about to carry something else on a circuit."""
        self.check(invariants.what_is_in_force_stays(self, self.members[id], device, circuit, intent))

    def device_changed(self, id: MemberId) -> None:
        """A router carries something else, or its configurator has written something down."""
        member = self.members[id]
        if not member.home.crooked:
            self.check(invariants.a_port_has_one_intent(self, member))
            self.check(invariants.only_what_was_agreed_is_carried(self, member))
            self.check(trust.nobody_sees_another(self, member))
            self.check(invariants.what_is_carried_is_claimed(self, member))
            self.check(invariants.undone_means_nothing_is_left(self, member))
            self.check(invariants.tentative_until_decided(self, member))
        self._note_tentative(member)
        self.change()

    def _note_tentative(self, member: Member) -> None:
        for device in member.devices.values():
            for circuit in self.layout.by_name:
                at = (member.id, device.router, circuit)
                kept = device.kept.get(circuit)
                if kept is None or kept.state is not LinkState.TENTATIVE:
                    self._tentative.pop(at, None)
                elif at not in self._tentative or self._tentative[at][0] != kept.generation:
                    self._tentative[at] = (kept.generation, self.now)

    def tentative_since(self, member: Member, device: Device, circuit: str) -> float | None:
        """Since when something is on the device under a timer, while its configurator was up."""
        found = self._tentative.get((member.id, device.router, circuit))
        configurator = member.configurators[device.router]
        if found is None or configurator is None:
            return None
        return max(found[1], configurator.born - DEVICE_CONFIRM_SECONDS)

    def tick(self) -> None:
        """What has to be looked at from time to time."""
        for member in self.honest:
            self.check(invariants.tentative_until_decided(self, member))
            self.check(invariants.nothing_waits_for_ever(self, member))
        self.later(10.0, self.tick)

    def acknowledge(self, member: Member, sender: MemberId, text: str, answer: str) -> None:
        """An answer to what was sent leaves."""
        if member.home.crooked:
            return
        sent = json.loads(text)
        message, negotiation = UUID(sent["message"]), UUID(sent["negotiation"])
        if sent["body"].get("dry_run"):
            return
        self.check(invariants.answered_what_is_on_disk(self, member, sender, message, answer))
        if not sent.get("change"):
            self.check(invariants.terminated_means_undone(self, member, negotiation, answer))
        if member.disk.run(lambda tx: store.MAILBOX.known(tx, sender, message)) is not None:
            self.answers[member.id, sender, message] = answer

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
        note = str(event.get("note", ""))
        if note.startswith("claim_conflict"):
            self.fail(f"nothing is given out twice: {note}")
        raise structlog.DropEvent


def simulate(schedule: Schedule, parts: Parts | None = None) -> Result:
    """One run."""
    return World(schedule, parts or Parts()).run()
