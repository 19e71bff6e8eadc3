"""Circuits over a thousand composers in one process: the rules of signalling, a ledger in memory, virtual time.

An exchange builds a segment in `BUILD_SECONDS` and never fails; what fails are members and lines. Of what composers
know of each other there is one map, as old as the measurement wants it.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median
from typing import Any
from uuid import UUID

from meetme.cli.federation_model import ACCESS_PORTS, Line, Model
from meetme.composer import bodies, capacity, signalling
from meetme.composer import events as ev
from meetme.composer.advertisement import AdvertisedPoint, PointKind, told
from meetme.composer.capacity import Claim, Kind, Ledger, Limit, Resource, resources
from meetme.composer.circuit import ENDED, Circuit, CircuitRequest, End, Hop, MemberId, State
from meetme.composer.effects import Build, Cancel, Compose, Effect, Look, Remove, Send, Wake
from meetme.composer.events import Event
from meetme.composer.graph import NoPath
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
PATIENCE = 120.0
"""Virtual seconds until whatever is not up counts as not up."""


@dataclass(slots=True)
class Owed:
    """An effect that is owed."""

    effect: Effect
    token: int
    attempts: int = 0


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
        """How often a route was looked for, for each circuit."""
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
        self.tries[id] += 1
        excluded = [element for path in effect.paths for element in circuit.search(path).excluded]
        try:
            routes = find_routes(self.atlas, circuit.request, effect.paths, excluded=excluded)
        except NoPath as error:
            return ev.ComposeFailed(self.now, error.problem)
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


# --- what is measured -------------------------------------------------------------------------------------------------


def measure(model: Model, atlas: Atlas, seed: int, count: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Circuits on a map that is true, on one that is old, and on one that is true again."""
    random = Random(seed)
    circuits = Circuits(model, atlas, seed)
    figures = {"all is well": _batch(circuits, random, count, tell, "all is well")}
    failing = random.sample(range(len(model.sites)), max(1, len(model.sites) // 20))
    circuits.down = {model.sites[index].name for index in failing}
    name = "a twentieth of the exchanges is down, nobody knows"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    circuits.atlas = _told(circuits, model)
    name = "a twentieth of the exchanges is down, all know"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    circuits.down = set()
    circuits.atlas = _told(circuits, model)
    lines = set(random.sample(model.lines, max(1, len(model.lines) // 10)))
    for line in lines:
        circuits.cut(line)
    name = "a tenth of the lines is cut, nobody knows"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    circuits.atlas = _told(circuits, Model(model.sites, tuple(line for line in model.lines if line not in lines)))
    name = "a tenth of the lines is cut, all know"
    figures[name] = _batch(circuits, random, count // 4, tell, name)
    return figures


def _told(circuits: Circuits, model: Model) -> Atlas:
    """The map as it is once everybody alive has told what is free, and the words of the others have expired."""
    words = []
    for index, (site, near) in enumerate(zip(model.sites, model.lines_of(), strict=True)):
        if site.name in circuits.down:
            continue
        party = circuits.parties[site.name]
        ad = model.advertisement(index, near, now=BEGIN, version=2)
        words.append(replace(ad, points=tuple(replace(p, bandwidth=_free(party, p)) for p in ad.points)))
    return Atlas(words, BEGIN + 1)


def _free(party: Party, point: AdvertisedPoint) -> int:
    resource = (capacity.access if point.kind is PointKind.ACCESS else capacity.link)(point.port)
    limit = party.limits.get(resource)
    used = sum(claim.bandwidth for claims in party.on.get(resource, {}).values() for claim in claims)
    return 0 if limit is None else told(limit.bandwidth - used, limit.bandwidth)


def _batch(circuits: Circuits, random: Random, count: int, tell: Callable[[str], None], name: str) -> dict[str, Any]:
    tell(f"{count} circuits: {name} ...")
    alive = [index for index, site in enumerate(circuits.model.sites) if site.name not in circuits.down]
    circuits.messages, began_at = 0, circuits.now
    began = time.process_time()
    orders: dict[UUID, tuple[MemberId, float]] = {}
    for _ in range(count):
        a, b = random.sample(alive, 2)
        after = random.uniform(0.0, 10.0)
        id, head = circuits.order(a, b, random.choice(BANDWIDTHS), after)
        orders[id] = head, circuits.now + after
    up: dict[UUID, float] = {}
    failed: set[UUID] = set()

    def done() -> bool:
        for id, (head, ordered) in orders.items():
            if id in up or id in failed:
                continue
            circuit = circuits.parties[head].circuits.get(id)
            if circuit is not None and circuit.state is State.ACTIVE:
                up[id] = circuits.now - ordered
            elif circuit is not None and (circuit.ending or circuit.state in ENDED):
                failed.add(id)
        return len(up) + len(failed) == count

    circuits.run(done, PATIENCE)
    done()
    seconds = time.process_time() - began
    tries = [circuits.tries[id] for id in orders]
    hops = [len(circuits.parties[head].circuits[id].legs[-1].hops) for id, (head, _) in orders.items() if id in up]
    times = sorted(up.values())
    return {
        "ordered": count,
        "active": len(up),
        "refused": len(failed),
        "crank_backs": sum(each - 1 for each in tries if each),
        "most_crank_backs_of_one": max(tries, default=1) - 1,
        "exchanges_a_circuit": round(sum(hops) / len(hops), 2) if hops else None,
        "seconds_to_active": {
            "median": round(median(times), 3) if times else None,
            "p99": round(times[round(0.99 * (len(times) - 1))], 3) if times else None,
        },
        "messages_a_circuit": round(circuits.messages / count, 1),
        "circuits_a_processor_second": round(count / seconds, 1),
        "oversold": oversold(circuits),
        "virtual_seconds": round(circuits.now - began_at, 1),
    }


def oversold(circuits: Circuits) -> int:
    """Resources of which more was given out than there is, or a label twice. None, or something is wrong."""
    wrong = 0
    for party in circuits.parties.values():
        for resource, held in party.on.items():
            claims = [claim for each in held.values() for claim in each]
            labels = [claim.label for claim in claims if claim.label is not None]
            limit = party.limit(resource)
            wrong += len(labels) != len(set(labels))
            wrong += limit is not None and sum(claim.bandwidth for claim in claims) > limit.bandwidth
    return wrong
