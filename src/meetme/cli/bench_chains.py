"""Composers that set circuits up in one process: the rules of signalling, a ledger in memory, virtual time.

An exchange builds a segment in `BUILD_SECONDS` and never fails; what fails are members and lines. Of what composers
know of each other there is one map, as old as the measurement wants it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from uuid import UUID

from meetme.cli.federation_model import ACCESS_PORTS, Line, Model
from meetme.composer import bodies, building, capacity, signalling
from meetme.composer import events as ev
from meetme.composer.capacity import Claim, Kind, Ledger, Limit, Resource, resources
from meetme.composer.circuit import Circuit, CircuitRequest, End, Hop, MemberId
from meetme.composer.effects import Build, Cancel, Compose, Effect, Look, Remove, Send, Wake
from meetme.composer.events import Event
from meetme.composer.graph import NoPath
from meetme.composer.heading import SEARCH_SECONDS
from meetme.composer.messages import (
    ActivateBody,
    ActivatedBody,
    Body,
    CommitBody,
    HeldBody,
    HoldBody,
    QueryBody,
    RefusedBody,
    ReleaseBody,
    ReleasedBody,
    StateBody,
)
from meetme.composer.offers import find_routes
from meetme.composer.topology import Atlas

BUILD_SECONDS = 0.05
HANDLING = 0.001
TIMEOUT, RETRY_SECONDS = 8.0, 0.2
TRANSIT = 400_000
LABELS = ((2, 4094),)
BANDWIDTHS = (50, 100, 100, 200, 500)
BEGIN = 1_800_000_000.0
"""Virtual time at which it begins."""
LONGEST = SEARCH_SECONDS + building.HOLD_SECONDS + building.BUILD_SECONDS
"""Virtual seconds that a circuit may take until it is up or has failed: its search, and the last attempt of it."""


@dataclass(slots=True)
class Owed:
    """An effect that is owed."""

    effect: Effect
    token: int
    attempts: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Party:
    """One composer: its circuits, what they claim, what is owed, the messages it has answered."""

    name: MemberId
    limits: dict[Resource, Limit] = field(default_factory=dict)
    circuits: dict[UUID, Circuit] = field(default_factory=dict)
    claims: dict[UUID, frozenset[Claim]] = field(default_factory=dict)
    on: dict[Resource, dict[UUID, list[Claim]]] = field(default_factory=dict)
    """The same by what they are on."""
    owed: dict[tuple[UUID, str], Owed] = field(default_factory=dict)
    letters: dict[UUID, Body | None] = field(default_factory=dict)
    waiting: dict[UUID, list[Callable[[Body], None]]] = field(default_factory=dict)
    segments: set[str] = field(default_factory=set)

    def limit(self, resource: Resource) -> Limit | None:
        """How much there is of it."""
        return Limit(TRANSIT) if resource.kind is Kind.TRANSIT else self.limits.get(resource)

    def ledger(self, circuit: UUID, hops: tuple[Hop, ...], position: int) -> Ledger:
        """What there is of what a hop needs, and what others have of it."""
        if not position < len(hops):
            return Ledger({})
        needed = resources(hops, position)
        limits = {resource: limit for resource in needed if (limit := self.limit(resource)) is not None}
        held = (
            claim
            for resource in needed
            for other, claims in self.on.get(resource, {}).items()
            if other != circuit
            for claim in claims
        )
        return Ledger(limits, tuple(held))

    def ledger_of(self, circuit: Circuit, path: int, attempt: int) -> Ledger:
        """The same for a leg that is there."""
        leg = circuit.leg(path, attempt)
        return Ledger({}) if leg is None else self.ledger(circuit.id, leg.hops, leg.position)

    def claim(self, circuit: UUID, claims: frozenset[Claim]) -> None:
        """From now on the circuit has these."""
        before = self.claims.get(circuit, frozenset())
        if claims == before:
            return
        for claim in before:
            self.on[claim.resource].pop(circuit, None)
        for claim in claims:
            self.on.setdefault(claim.resource, {}).setdefault(circuit, []).append(claim)
        self.claims[circuit] = claims


class Circuits:
    """A federation of composers that set circuits up."""

    def __init__(self, model: Model, atlas: Atlas, seed: int) -> None:
        self.model = model
        self.atlas = atlas
        self.now = BEGIN
        self.down: set[str] = set()
        self.messages = 0
        self.tries: Counter[UUID] = Counter()
        """How many routes were tried, for each circuit."""
        self._random = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._delay: dict[frozenset[str], float] = {}
        self.parties = {site.name: Party(site.name) for site in model.sites}
        for party in self.parties.values():
            ports = (f"p{number}" for number in range(1, ACCESS_PORTS + 1))
            party.limits |= {capacity.access(port): Limit(10_000, LABELS) for port in ports}
        for line in model.lines:
            a, b = model.sites[line.a].name, model.sites[line.b].name
            self.parties[a].limits[capacity.link(f"n{line.b:04}")] = Limit(line.bandwidth, LABELS)
            self.parties[b].limits[capacity.link(f"n{line.a:04}")] = Limit(line.bandwidth, LABELS)
            self._delay[frozenset((a, b))] = HANDLING + line.latency_ms / 1000

    def cut(self, line: Line) -> None:
        """A line is gone: both exchanges know it, nobody else does yet."""
        a, b = self.model.sites[line.a].name, self.model.sites[line.b].name
        self.parties[a].limits.pop(capacity.link(f"n{line.b:04}"), None)
        self.parties[b].limits.pop(capacity.link(f"n{line.a:04}"), None)

    def revive(self) -> None:
        """Whoever is down comes back with all that was on its disk."""
        back, self.down = self.down, set()
        for party in (self.parties[MemberId(name)] for name in sorted(back)):
            for key, owed in party.owed.items():
                if owed.due <= self.now:
                    self._plan(party, key, owed.token, 0.0)

    def order(self, a: int, b: int, bandwidth: int, after: float) -> tuple[UUID, MemberId]:
        """A circuit between two exchanges, ordered in a while."""
        id = UUID(int=self._random.getrandbits(128), version=4)
        head = self.model.sites[a].name
        request = CircuitRequest(self._end(a), self._end(b), bandwidth)
        party = self.parties[head]

        def begin() -> None:
            self._deliver(party, id, ev.Start(self.now, id, head, head, request, request.a.member))

        self._later(after, begin)
        return id, head

    def _end(self, index: int) -> End:
        number = self._random.randint(1, ACCESS_PORTS)
        return End(MemberId(f"csp-{index:04}-{number}"), f"p{number}")

    def run(self, done: Callable[[], bool], seconds: float) -> None:
        """Let virtual time pass until it is done."""
        end = self.now + seconds
        checked = 0
        while self._events and self._events[0][0] <= end:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
            checked += 1
            if checked % 64 == 0 and done():
                return

    def _later(self, after: float, happens: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + after, self._number, happens))

    # --- one transaction ----------------------------------------------------------------------------------------------

    def _deliver(self, party: Party, id: UUID, event: Event) -> None:
        before = party.circuits.get(id)
        if before is None and not isinstance(event, ev.Start | ev.HoldReceived):
            return
        outcome = signalling.step(before, event)
        after = outcome.circuit
        if before is None or before.legs is not after.legs:
            party.claim(id, capacity.claims(after))
        party.circuits[id] = replace(after, answers=()) if after.answers else after
        for effect in outcome.effects:
            self._owe(party, id, effect)
        for answer in after.answers:
            party.letters[answer.to] = answer.body
            for reply in party.waiting.pop(answer.to, ()):
                reply(answer.body)

    def _owe(self, party: Party, id: UUID, effect: Effect) -> None:
        key = (id, effect.key)
        if isinstance(effect, Cancel):
            party.owed.pop(key, None)
            return
        self._number += 1
        party.owed[key] = Owed(effect, self._number)
        self._plan(party, key, self._number, getattr(effect, "after", 0.0))

    def _plan(self, party: Party, key: tuple[UUID, str], token: int, after: float) -> None:
        party.owed[key].due = self.now + after
        self._later(after, lambda: self._perform(party, key, token))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _perform(self, party: Party, key: tuple[UUID, str], token: int) -> None:
        owed = party.owed.get(key)
        if owed is None or owed.token != token or party.name in self.down:
            return
        id, effect = key[0], owed.effect

        def settle(make: Callable[[], Event | None]) -> None:
            if party.owed.get(key) is owed:
                del party.owed[key]
                event = make()
                if event is not None:
                    self._deliver(party, id, event)

        def again() -> None:
            if party.owed.get(key) is owed:
                owed.attempts += 1
                self._plan(party, key, token, min(30.0, RETRY_SECONDS * 2.0**owed.attempts))

        match effect:
            case Wake():
                settle(lambda: self._woken(effect))
            case Compose():
                settle(lambda: self._compose(party, id, effect))
            case Build(path=path, attempt=attempt, reference=name):
                leg = party.circuits[id].leg(path, attempt)
                own = leg.own if leg else None
                party.segments.add(name)
                labels = (own.in_label, own.out_label) if own else (None, None)
                self._later(BUILD_SECONDS, lambda: settle(lambda: ev.Built(self.now, path, attempt, *labels)))
            case Remove(path=path, attempt=attempt, reference=name):
                party.segments.discard(name)
                self._later(BUILD_SECONDS, lambda: settle(lambda: ev.Removed(self.now, path, attempt)))
            case Look(path=path, attempt=attempt, reference=name):
                settle(lambda: ev.Seen(self.now, path, attempt, name in party.segments))
            case Send():
                self._send(party, id, effect, settle, again)

    def _woken(self, timer: Wake) -> Event:
        if timer.event is ev.Deadline:
            return ev.Deadline(self.now, timer.path, timer.attempt)
        if timer.event is ev.Unanswered:
            return ev.Unanswered(self.now, timer.path, timer.attempt)
        return ev.SearchDue(self.now) if timer.event is ev.SearchDue else ev.CompareDue(self.now)

    def _compose(self, party: Party, id: UUID, effect: Compose) -> Event:
        circuit = party.circuits[id]
        excluded = [element for path in effect.paths for element in circuit.search(path).excluded]
        try:
            routes = find_routes(self.atlas, circuit.request, effect.paths, excluded=excluded)
        except NoPath as error:
            return ev.ComposeFailed(self.now, error.problem)
        self.tries[id] += 1
        return ev.Composed(self.now, routes, party.ledger(id, routes[0].hops, 0))

    def _send(
        self,
        party: Party,
        id: UUID,
        effect: Send,
        settle: Callable[[Callable[[], Event | None]], None],
        again: Callable[[], None],
    ) -> None:
        said = bodies.body(party.circuits[id], effect.type, effect.to, effect.path, effect.attempt, self.now)
        if said is None:
            settle(lambda: None)
            return
        delay = self._delay[frozenset((party.name, effect.to))]
        self.messages += 1
        came = False

        def back(answer: Body) -> None:
            nonlocal came
            if not came:
                came = True
                self.messages += 1
                self._later(delay, lambda: settle(lambda: self._heard(party, id, effect, answer)))

        def late() -> None:
            if not came:
                again()

        self._later(delay, lambda: self._receive(effect.to, party.name, id, effect, said, back))
        self._later(TIMEOUT, late)

    def _receive(
        self, to: MemberId, sender: MemberId, id: UUID, effect: Send, said: Body, back: Callable[[Body], None]
    ) -> None:
        if to in self.down:
            return
        party = self.parties[to]
        if effect.message not in party.letters:
            event = self._event(party, sender, id, effect, said)
            if not isinstance(event, Event):
                if event is not None:
                    back(event)
                return
            party.letters[effect.message] = None
            self._deliver(party, id, event)
        answer = party.letters[effect.message]
        if answer is None:
            party.waiting.setdefault(effect.message, []).append(back)
        else:
            back(answer)

    def _event(self, party: Party, sender: MemberId, id: UUID, effect: Send, said: Body) -> Event | Body | None:
        """The event that a message is; or its answer, where nothing is known of what it is about."""
        at, message, about = self.now, effect.message, (effect.path, effect.attempt)
        if isinstance(said, HoldBody):
            ledger = party.ledger(id, said.hops, len(said.trace))
            return ev.HoldReceived(at, id, party.name, sender, message, *about, said, ledger)
        circuit = party.circuits.get(id)
        if circuit is None:
            return ReleasedBody() if isinstance(said, ReleaseBody) else signalling.stranger_answer(effect.type)
        match said:
            case CommitBody(trace):
                return ev.CommitReceived(at, sender, message, *about, trace, party.ledger_of(circuit, *about))
            case ActivateBody(trace, seconds):
                return ev.ActivateReceived(at, sender, message, *about, trace, seconds)
            case ReleaseBody(problem, element, whole):
                return ev.ReleaseReceived(at, sender, message, *about, problem, element, whole)
            case QueryBody(state=state, whole=standing):
                return ev.QueryReceived(at, sender, message, *about, state, standing)
            case _:
                return None

    def _heard(self, party: Party, id: UUID, asked: Send, answer: Body) -> Event | None:
        """The event that an answer is."""
        at, about = self.now, (asked.path, asked.attempt)
        match answer:
            case HeldBody(label):
                return ev.HeldReceived(at, *about, label, party.ledger_of(party.circuits[id], *about))
            case ActivatedBody():
                return ev.ActivatedReceived(at, *about)
            case RefusedBody(problem, element, whole, seen):
                return ev.RefusedReceived(at, *about, asked.to, problem, element, whole, seen)
            case ReleasedBody():
                return ev.ReleasedReceived(at, *about, asked.to)
            case StateBody(state, standing, problem):
                return ev.StateReceived(at, *about, asked.to, state, standing, problem)
            case _:
                return None
