"""One composer: the rules with a ledger, an outbox and an inbox of the simplest kind, which all survive a crash.

What a transaction writes (state, claims, answers, what is owed) it writes at once; a crash comes before or after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from meetme.composer import events as ev
from meetme.composer.capacity import Claim, Ledger, conflict
from meetme.composer.circuit import Circuit, MemberId
from meetme.composer.effects import COMPOSE, Build, Cancel, Compose, Effect, Look, Outcome, Remove, Send, Wake
from meetme.composer.events import Event
from meetme.composer.messages import Body, MessageType
from tests.simulation.chains.exchange import Built, Exchange, Refusing
from tests.simulation.chains.places import place
from tests.simulation.chains.rules import Rules

if TYPE_CHECKING:
    from tests.simulation.chains.world import World

TIMEOUT = 8.0
Made = Event | Callable[[], Event] | None


@dataclass
class Owed:
    """An effect that is owed."""

    effect: Effect
    due: float
    token: int
    attempts: int = 0
    leased: int | None = None
    """By which life of the process."""


@dataclass(frozen=True)
class Letter:
    """A message on its way."""

    id: UUID
    """Of the circuit."""
    message: UUID
    type: MessageType
    path: int
    attempt: int
    sender: MemberId
    body: Body


class Disk:
    """What survives."""

    def __init__(self) -> None:
        self.circuits: dict[UUID, Circuit] = {}
        self.claims: dict[UUID, frozenset[Claim]] = {}
        self.owed: dict[tuple[UUID, str], Owed] = {}
        self.letters: dict[tuple[MemberId, UUID], Body | None] = {}
        self.turns: dict[UUID, bool] = {}
        """Who is being set up, and in their order who waits for it."""
        self.given_up: dict[tuple[UUID, int], int] = {}
        """Attempts at paths that were released before they were held."""

    def backup(self) -> Disk:
        """A copy as it is now."""
        other = Disk()
        other.circuits, other.claims = dict(self.circuits), dict(self.claims)
        other.letters, other.turns, other.given_up = dict(self.letters), dict(self.turns), dict(self.given_up)
        other.owed = {key: replace(owed, leased=None) for key, owed in self.owed.items()}
        return other


class Composer:
    """A process of one member, and its disk."""

    def __init__(self, world: World, name: MemberId, rules: Rules) -> None:
        self._world = world
        self.name = name
        self.rules = rules
        self.disk = Disk()
        self.exchange = Exchange(world, name)
        self.alive = True
        self.since = 0.0
        """When this life began."""
        self.life = 0
        self.saved: Disk | None = None
        self._tokens = 0
        self._waiting: dict[tuple[MemberId, UUID], list[Callable[[Body | None], None]]] = {}

    def now(self) -> float:
        """By the own clock, which may be wrong and may run wrong."""
        skew, drift = self._world.skews.get(self.name, (0.0, 0.0))
        return 1_800_000_000.0 + skew + self._world.now * (1.0 + drift)

    # --- the transaction ----------------------------------------------------------------------------------------------

    def ledger(self, circuit: UUID) -> Ledger:
        """What the other circuits have."""
        held = tuple(claim for other, claims in self.disk.claims.items() if other != circuit for claim in claims)
        return Ledger(self._world.federation.limits[self.name], held)

    def deliver(self, id: UUID, event: Event) -> Outcome | None:
        """One event, as one transaction."""
        world = self._world
        before = self.disk.circuits.get(id)
        if before is None and not isinstance(event, ev.Start | ev.PassedOn | ev.HoldReceived | ev.Restored):
            return None
        outcome = self.rules.step(before, event)
        after = outcome.circuit
        if before is None or before.legs is not after.legs:
            claims = self.rules.claims(after)
            if claims != self.disk.claims.get(id, frozenset()):
                self._claim(id, claims)
        self.disk.circuits[id] = replace(after, answers=()) if after.answers else after
        for effect in outcome.effects:
            self._owe(id, effect)
        for answer in after.answers:
            self.disk.letters[answer.peer, answer.to] = answer.body
            for waiter in self._waiting.pop((answer.peer, answer.to), []):
                waiter(answer.body)
        if before is not None and before.searching and not after.searching:
            self.rules.leave(self, id)
        world.happened(self, before, event, after)
        return outcome

    # --- turns --------------------------------------------------------------------------------------------------------

    def call_next(self) -> None:
        """Give turns to those that wait, as long as there are some."""
        for id in list(self.disk.turns):
            if sum(self.disk.turns.values()) >= self.rules.setups:
                return
            if not self.disk.turns[id]:
                self.disk.turns[id] = True
                owed = self.disk.owed.get((id, COMPOSE))
                if owed is not None and owed.leased is None:
                    owed.due = self._world.now
                    self._plan((id, COMPOSE), owed.token, 0.0)

    def _claim(self, id: UUID, claims: frozenset[Claim]) -> None:
        limits = self._world.federation.limits[self.name]
        others = [claim for other, held in self.disk.claims.items() if other != id for claim in held]
        for claim in claims:
            beside = [x for x in (*others, *(claims - {claim})) if x.resource == claim.resource]
            broken = conflict(limits.get(claim.resource), claim, beside)
            if broken is not None:
                self._world.fail(f"{self.name}: {claim} given out although {broken}")
        self.disk.claims[id] = claims
        if not claims:
            del self.disk.claims[id]

    def _owe(self, id: UUID, effect: Effect) -> None:
        key = (id, effect.key)
        if isinstance(effect, Cancel):
            self.disk.owed.pop(key, None)
            return
        self._tokens += 1
        after = getattr(effect, "after", 0.0)
        self.disk.owed[key] = Owed(effect, self._world.now + after, self._tokens)
        self._plan(key, self._tokens, after)

    def _plan(self, key: tuple[UUID, str], token: int, after: float) -> None:
        life = self.life
        self._world.later(max(after, 0.001), lambda: self._perform(key, token, life))

    # --- crashes ------------------------------------------------------------------------------------------------------

    def crash(self, point: str, *, down: float | None = None) -> bool:
        """The process dies here, if fate wants it. What was leased is performed again by its next life."""
        world = self._world
        if not self.alive or (down is None and not world.strikes(f"crash {point}", self.name)):
            return not self.alive
        world.crashed.add(point)
        self.alive = False
        self.life += 1
        self._waiting.clear()
        world.tell(f"{self.name} dies {point}")
        world.later(down or world.random.uniform(0.05, 20.0), self.start)
        return True

    def start(self) -> None:
        """Begin again from the disk."""
        self.alive = True
        self.since = self._world.now
        for key, owed in self.disk.owed.items():
            owed.leased = None
            self._plan(key, owed.token, max(0.0, owed.due - self._world.now))

    def restore(self) -> None:
        """The disk is lost and a backup takes its place."""
        if self.saved is None:
            return
        self._world.tell(f"{self.name} is restored from a backup")
        self.life += 1
        self._waiting.clear()
        self._tokens += 1000
        self.disk = self.saved.backup()
        self.alive = True
        self.start()

    # --- performing ---------------------------------------------------------------------------------------------------

    def _perform(self, key: tuple[UUID, str], token: int, life: int) -> None:
        owed = self.disk.owed.get(key)
        if owed is None or owed.token != token or life != self.life or not self.alive or owed.leased == life:
            return
        if self.crash("before an effect"):
            return
        if isinstance(owed.effect, Compose) and not self.rules.has_turn(self, key[0]):
            return  # whose turn ends calls it
        owed.leased = life
        settle = self._settler(key, token, life)
        id, effect = key[0], owed.effect
        circuit = self.disk.circuits[id]
        match effect:
            case Wake():
                settle(self._wake(effect))
            case Send():
                self._send(circuit, effect, settle)
            case Compose():
                self._world.later(
                    self._world.random.uniform(0.001, 0.02), lambda: settle(lambda: self._compose(id, effect))
                )
            case Build():
                self._build(circuit, effect, settle)
            case Remove():
                self._remove(effect, settle)
            case Look():
                ready = self.exchange.ready(effect.reference)
                settle(lambda: ev.Seen(self.now(), effect.path, effect.attempt, ready))

    def _settler(self, key: tuple[UUID, str], token: int, life: int) -> Callable[..., None]:
        def settle(made: Made, *, again: float | None = None) -> None:
            owed = self.disk.owed.get(key)
            if life != self.life or not self.alive or owed is None or owed.token != token or owed.leased != life:
                return
            if self.crash("after an effect, before it is settled"):
                return
            if again is not None:
                owed.leased, owed.attempts = None, owed.attempts + 1
                owed.due = self._world.now + again
                self._plan(key, token, again)
                return
            del self.disk.owed[key]
            event = made() if callable(made) else made
            if event is not None:
                self.deliver(key[0], event)
                self.crash("after an effect was settled")

        settle.attempts = lambda: self.disk.owed[key].attempts if key in self.disk.owed else 0  # type: ignore[attr-defined]
        return settle

    def _wake(self, effect: Wake) -> Made:
        if effect.event in (ev.Deadline, ev.Unanswered):
            return effect.event(self.now(), effect.path, effect.attempt)  # type: ignore[call-arg]
        return effect.event(self.now())  # type: ignore[call-arg]

    def _compose(self, id: UUID, effect: Compose) -> Event:
        circuit = self.disk.circuits[id]
        request = circuit.request
        paths = effect.paths
        kept = [leg.hops for leg in circuit.legs if leg.live and leg.path not in paths]
        avoid = {path: circuit.search(path).excluded for path in paths}
        a, b = place(request.a), place(request.b)
        strict = request.redundancy == "strict" or circuit.established
        routes = self._world.federation.find(a, b, paths, avoid, kept, strict)
        if not routes:
            return ev.ComposeFailed(self.now(), self.rules.no_route)
        return ev.Composed(self.now(), routes, self.ledger(id))

    # --- the exchange -------------------------------------------------------------------------------------------------

    def _build(self, circuit: Circuit, effect: Build, settle: Callable[..., None]) -> None:
        world = self._world
        leg = circuit.leg(effect.path, effect.attempt)
        if leg is None or leg.own is None:
            return
        hop, own = leg.hop, leg.own
        wanted = Built(
            effect.reference, hop.in_port, own.in_label, hop.out_port, own.out_label, circuit.request.bandwidth
        )
        travel = world.random.uniform(0.005, 0.05)
        if world.strikes("order late", self.name):
            travel += world.random.uniform(1.0, 9.0)
        if world.strikes("exchange lies", self.name):
            world.later(
                travel, lambda: settle(lambda: ev.Built(self.now(), leg.path, leg.attempt, own.in_label, own.out_label))
            )
            return

        def arrives() -> None:
            try:
                self.exchange.order(wanted)
            except Refusing as no:
                problem = replace(self.rules.no_route, code="exchange_refused", text=str(no))
                settle(lambda: ev.BuildFailed(self.now(), leg.path, leg.attempt, problem))
                return
            lost = world.strikes("lose exchange's answer", self.name)
            slow = world.strikes("exchange slow", self.name)
            world.later(world.random.uniform(60, 200) if slow else world.random.uniform(0.01, 0.3), lambda: done(lost))

        def done(lost: bool) -> None:
            built = self.exchange.finish(effect.reference)
            if lost or built is None:
                settle(None, again=1.0)
                return
            settle(lambda: ev.Built(self.now(), leg.path, leg.attempt, built.in_vlan, built.out_vlan))

        world.later(travel, arrives)

    def _remove(self, effect: Remove, settle: Callable[..., None]) -> None:
        world = self._world
        if world.strikes("exchange down", self.name):
            world.later(0.5, lambda: settle(None, again=world.random.uniform(0.5, 5.0)))
            return

        def gone() -> None:
            self.exchange.remove(effect.reference)
            settle(lambda: ev.Removed(self.now(), effect.path, effect.attempt))

        world.later(world.random.uniform(0.01, 0.2), gone)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _send(self, circuit: Circuit, effect: Send, settle: Callable[..., None]) -> None:
        said = self.rules.body(circuit, effect.type, effect.to, effect.path, effect.attempt, self.now())
        if said is None:
            settle(None)
            return
        letter = Letter(circuit.id, effect.message, effect.type, effect.path, effect.attempt, self.name, said)
        pause = min(30.0, 0.2 * 2.0 ** settle.attempts()) * self._world.random.uniform(0.5, 1.0)  # type: ignore[attr-defined]
        answered = [False]

        def back(answer: Body | None) -> None:
            if answered[0]:
                return
            answered[0] = True
            if answer is None:
                settle(None, again=pause)
            else:
                settle(lambda: self.rules.heard(self, circuit.id, effect, answer))

        self._world.post(letter, effect.to, back)
        self._world.later(TIMEOUT, lambda: back(None))

    def receive(self, letter: Letter, reply: Callable[[Body | None], None]) -> None:
        """A message has arrived: `reply` is called with the answer, perhaps later, perhaps never."""
        if not self.alive or self.crash("before a message is handled"):
            return
        key = (letter.sender, letter.message)
        if key not in self.disk.letters:
            made = self.rules.received(self, letter)
            if not isinstance(made, Event):
                reply(made)
                return
            self.disk.letters[key] = None
            self.deliver(letter.id, made)
        answer = self.disk.letters[key]
        if self.crash("after a message was handled, before its answer left"):
            return
        if answer is None:
            self._waiting.setdefault(key, []).append(reply)
        else:
            reply(answer)
