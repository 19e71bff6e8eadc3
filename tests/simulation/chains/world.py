"""Everything in one run: the composers, their exchanges, the network between them, what people do, and fate.

Time is a heap of what happens next. A run is a function of its seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from uuid import UUID

from meetme.composer import events as ev
from meetme.composer.circuit import Circuit, CircuitRequest, MemberId, State
from meetme.composer.events import Event
from meetme.composer.messages import Body
from meetme.composer.signalling import OF_LEG
from tests.simulation.chains import invariants
from tests.simulation.chains.federation import Federation
from tests.simulation.chains.member import Composer, Letter
from tests.simulation.chains.rules import Rules

LOOKS = (100.0, 200.0, 400.0, 800.0, 1600.0)
"""When, in seconds after the last trouble, it is looked whether everything has come right. The last look counts.

Before the first one nothing can have come right by chance: no message and no order is on its way so long.
"""
MOST_MESSAGES = 4000
"""How many messages one circuit may cost, comparing for the whole run included."""

LOOK_SECONDS = 20.0


class Violated(Exception):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Action:
    """What is done to the federation at one point in time: a method of `World`, and what it is called with."""

    at: float
    what: str
    args: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:8.3f}  {self.what} {' '.join(map(str, self.args))}"


@dataclass(frozen=True)
class Schedule:
    """Everything that a run follows from."""

    seed: int
    plot: str
    federation: Federation
    actions: tuple[Action, ...]
    rates: dict[str, float]
    skews: dict[MemberId, tuple[float, float]]
    seconds: float
    backups: bool = False


@dataclass
class Result:
    """What became of a run."""

    schedule: Schedule
    violation: str | None
    trace: list[str]
    rows: set[tuple[State | None, str]]
    crashed: set[str]
    states: Counter[str]
    messages: int


class World:
    """One run."""

    def __init__(self, schedule: Schedule, rules: type[Rules] = Rules) -> None:
        self.schedule = schedule
        self.federation = schedule.federation
        self.random = Random(schedule.seed)
        self.now = 0.0
        self.calm = False
        self.skews = schedule.skews
        self.cuts: set[frozenset[MemberId]] = set()
        self.composers = {name: Composer(self, name, rules()) for name in self.federation.exchanges}
        self.asked: set[UUID] = set()
        """Circuits that somebody has ordered, at a composer that has written it down."""
        self.release_asked: set[UUID] = set()
        self.established: set[UUID] = set()
        self.given_up: dict[tuple[MemberId, UUID, str], float] = {}
        """Since when each composer takes a leg back."""
        self.log: list[str] = []
        self.rows: set[tuple[State | None, str]] = set()
        self.crashed: set[str] = set()
        self.messages: Counter[UUID] = Counter()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # --- time and chance ----------------------------------------------------------------------------------------------

    def later(self, after: float, what: Callable[[], None]) -> None:
        """Do it so many seconds from now."""
        self._count += 1
        heappush(self._heap, (self.now + after, self._count, what))

    def strikes(self, kind: str, where: str) -> bool:
        """Whether this kind of trouble strikes here and now."""
        rate = self.schedule.rates.get(kind, 0.0)
        if self.calm or rate <= 0.0 or self.random.random() >= rate:
            return False
        self.tell(f"{kind}: {where}")
        return True

    def tell(self, line: str) -> None:
        """A line of the story."""
        self.log.append(f"{self.now:9.3f}  {line}")

    def fail(self, what: str) -> None:
        """An invariant is broken."""
        raise Violated(what)

    def clash(self, what: str) -> None:
        """Two segments want one label. Only a ledger that was restored from a backup may lead to that."""
        if not self.schedule.backups:
            self.fail(f"given out twice at {what}")

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """From the first action until everything has come right, or not."""
        for action in self.schedule.actions:
            self.later(action.at, lambda action=action: self._act(action))  # type: ignore[misc]
        self.later(self.schedule.seconds, self._calm_down)
        self.later(LOOK_SECONDS, self._look_around)
        violation = None
        try:
            for last in LOOKS:
                self._turn(self.schedule.seconds + last)
                if self._came_right(last == LOOKS[-1]):
                    break
        except Violated as broken:
            violation = str(broken)
        except AssertionError as broken:
            violation = f"internal error: {broken}"
        states = Counter(str(c.state) for x in self.composers.values() for c in x.disk.circuits.values() if c.is_head)
        return Result(self.schedule, violation, self.log, self.rows, self.crashed, states, sum(self.messages.values()))

    def _came_right(self, last: bool) -> bool:
        try:
            invariants.at_the_end(self)
        except Violated:
            if last:
                raise
            return False
        return True

    def _turn(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what = heappop(self._heap)
            what()

    def _act(self, action: Action) -> None:
        self.tell(f"* {action.what} {' '.join(map(str, action.args))}")
        getattr(self, action.what)(*action.args)

    def _look_around(self) -> None:
        invariants.now_and_then(self)
        self.later(LOOK_SECONDS, self._look_around)

    def _calm_down(self) -> None:
        self.tell("* from here on nothing goes wrong")
        self.calm = True
        self.cuts.clear()
        for composer in self.composers.values():
            composer.exchange.refuses = False
            if not composer.alive:
                composer.start()

    def happened(self, composer: Composer, before: Circuit | None, event: Event, after: Circuit) -> None:
        """One event was delivered: count the row, tell it, check what must hold at every moment."""
        if isinstance(event, OF_LEG) and event.path:
            begins = isinstance(event, ev.HoldReceived | ev.Restored)
            leg = None if begins or before is None else before.leg(event.path, event.attempt)
            self.rows.add((leg.state if leg else None, type(event).__name__))
        else:
            self.rows.add((before.state if before else None, type(event).__name__))
        about = f"{event.path}@{event.attempt}" if isinstance(event, OF_LEG) else ""
        for leg in after.legs:
            if leg.state is State.RELEASING:
                self.given_up.setdefault((composer.name, after.id, leg.key), self.now)
        legs = " ".join(f"{x.key}:{x.state}/{x.segment}" for x in after.legs)
        number = self.number(after.id)
        self.tell(f"{composer.name} #{number} {type(event).__name__} {about} -> {after.state} [{legs}]")
        if isinstance(event, ev.Unanswered) and event.path == 0 and after.ending:
            self.release_asked.add(after.id)  # whoever was asked has given up
        if after.is_head and after.established:
            self.established.add(after.id)
        invariants.after_an_event(self, composer, before, after)

    def number(self, id: UUID) -> int:
        """A short name of a circuit."""
        return id.int & 0xFFFF

    # --- the network --------------------------------------------------------------------------------------------------

    def post(self, letter: Letter, to: MemberId, back: Callable[[Body | None], None]) -> None:
        """Bring a message there, and its answer back; or lose, repeat, delay either."""
        self.messages[letter.id] += 1
        if self.messages[letter.id] > MOST_MESSAGES:
            self.fail(f"circuit #{self.number(letter.id)} costs more than {MOST_MESSAGES} messages")
        where = f"{letter.sender}>{to} {letter.type} {letter.path}@{letter.attempt}"
        way = frozenset((letter.sender, to))
        for _ in range(2 if self.strikes("repeat", where) else 1):
            if self.strikes("lose", where):
                continue
            delay = self.random.uniform(0.002, 0.03)
            if self.strikes("delay", where):
                delay += self.random.uniform(0.1, 40.0)
            self.later(delay, lambda: self._arrive(letter, to, way, where, back))

    def _arrive(
        self, letter: Letter, to: MemberId, way: frozenset[MemberId], where: str, back: Callable[[Body | None], None]
    ) -> None:
        if way in self.cuts:
            return

        def reply(answer: Body | None) -> None:
            if way not in self.cuts and not self.strikes("lose answer", where):
                self.later(self.random.uniform(0.002, 0.03), lambda: back(answer))

        self.composers[to].receive(letter, reply)

    # --- what people and fate do --------------------------------------------------------------------------------------

    def order(self, number: int, at: MemberId, head: MemberId, request: CircuitRequest) -> None:
        """Somebody orders a circuit at composer `at`."""
        composer = self.composers[at]
        if not composer.alive:
            return
        id = UUID(int=(number << 16) | number)
        self.asked.add(id)
        composer.deliver(id, ev.Start(composer.now(), id, at, head, request, request.a.member))

    def release(self, number: int, at: MemberId) -> None:
        """Somebody takes it back there."""
        composer, id = self.composers[at], UUID(int=(number << 16) | number)
        circuit = composer.disk.circuits.get(id)
        if composer.alive and circuit is not None and circuit.state not in (State.FAILED, State.RELEASED):
            self.release_asked.add(id)
            composer.deliver(id, ev.ReleaseAsked(composer.now()))

    def release_between(self, number: int, at: MemberId) -> None:
        """The operator of an exchange that is at neither end takes it back there."""
        circuit = self.composers[at].disk.circuits.get(UUID(int=(number << 16) | number))
        if circuit is not None and all(leg.before is not None and leg.beyond is not None for leg in circuit.legs):
            self.release(number, at)

    def let_go(self, number: int, at: MemberId) -> None:
        """A person ends the quarantine there."""
        composer, id = self.composers[at], UUID(int=(number << 16) | number)
        if composer.alive and id in composer.disk.circuits:
            composer.deliver(id, ev.LetGoAsked(composer.now()))

    def kill(self, name: MemberId, down: float) -> None:
        """The process of a composer dies."""
        self.composers[name].crash("by order", down=down)

    def cut(self, one: MemberId, other: MemberId) -> None:
        """The two cannot reach each other."""
        self.cuts.add(frozenset((one, other)))

    def join(self, one: MemberId, other: MemberId) -> None:
        """They can again."""
        self.cuts.discard(frozenset((one, other)))

    def back_up(self, name: MemberId) -> None:
        """A backup is made."""
        self.composers[name].saved = self.composers[name].disk.backup()

    def restore(self, name: MemberId) -> None:
        """And restored."""
        self.composers[name].restore()

    def refuse(self, name: MemberId, yes: bool) -> None:
        """The exchange builds nothing new, or does again."""
        self.composers[name].exchange.refuses = yes

    def lose(self, name: MemberId) -> None:
        """The exchange loses a segment."""
        segments = self.composers[name].exchange.segments
        if segments:
            segments.pop(sorted(segments)[self.random.randrange(len(segments))])
