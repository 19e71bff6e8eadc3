"""Faults seeded into the rules: the ordinary run has to find each of them. A mutant takes the place of `Rules`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from meetme.composer import answering, capacity
from meetme.composer import events as ev
from meetme.composer.capacity import Claim, Kind
from meetme.composer.circuit import Circuit, Leg, MemberId, Segment, State
from meetme.composer.effects import Effect, Outcome, Remove, Send, Wake
from meetme.composer.events import Event
from meetme.composer.messages import Body, MessageType, RefusedBody, ReleaseBody
from meetme.composer.releasing import settle
from tests.simulation.chains.rules import Rules

if TYPE_CHECKING:
    from tests.simulation.chains.member import Composer, Letter


@dataclass(frozen=True)
class Mutant:
    """A fault, and the plot that is likeliest to show it: its seeds are tried first."""

    rules: type[Rules]
    plot: str
    likely: int = 0
    """Which seed of the plot is tried first: of a fault that few show, one that does."""


MUTANTS: dict[str, Mutant] = {}


def mutant(plot: str, likely: int = 0) -> Callable[[type[Rules]], type[Rules]]:
    """Register a class under its name."""

    def register(cls: type[Rules]) -> type[Rules]:
        MUTANTS[cls.__name__] = Mutant(cls, plot, likely)
        return cls

    return register


class Without(Rules):
    """The rules, but for effects that are forgotten."""

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        outcome = super().step(now, event)
        kept = tuple(e for e in outcome.effects if not self.forgotten(outcome.circuit, event, e))
        return replace(outcome, effects=kept)

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        """Whether this one is."""
        raise NotImplementedError


# --- what is owed -----------------------------------------------------------------------------------------------------


@mutant("partitions", 23)
class HoldNeverExpires(Without):
    """What is held is held until somebody comes."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return isinstance(effect, Wake) and effect.event is ev.Deadline


@mutant("quiet")
class ReleaseNotSentOn(Without):
    """The next composer is not told."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return (
            isinstance(effect, Send)
            and effect.type is MessageType.RELEASE
            and any(leg.path == effect.path and leg.beyond == effect.to for leg in circuit.legs)
        )


@mutant("exchanges")
class ReleaseNotSentBack(Without):
    """The previous composer is not told that a route was given up."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return (
            isinstance(effect, Send)
            and effect.type is MessageType.RELEASE
            and any(leg.path == effect.path and leg.before == effect.to for leg in circuit.legs)
        )


@mutant("exchanges")
class RefusedSegmentNotRemoved(Without):
    """What was built although the route failed stays at the exchange."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return isinstance(effect, Remove) and not circuit.established


@mutant("exchanges")
class NoSweep(Rules):
    """An order that was still on its way when it was removed is not looked for again."""

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        if now is not None and isinstance(event, ev.Removed):
            leg = now.leg(event.path, event.attempt)
            if leg is not None and leg.segment is Segment.CANCELLING:
                now = _with(now, replace(leg, segment=Segment.REMOVING))
        return super().step(now, event)


@mutant("liars")
class NoCompare(Without):
    """Nobody looks whether what was built is still there."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return isinstance(effect, Wake) and effect.event is ev.CompareDue


@mutant("redundant")
class NeverHeals(Without):
    """A broken path stays broken."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return isinstance(effect, Wake) and effect.event is ev.SearchDue and circuit.established


@mutant("quiet")
class FollowedAtOnce(Without):
    """Whoever passed a request on does not ask what became of it."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        return isinstance(effect, Wake) and effect.event is ev.CompareDue and circuit.passed and not circuit.legs


@mutant("partitions")
class DeadAreHopedFor(Without):
    """Others wait for what a neighbour has not given back, however long ago it should have."""

    def forgotten(self, circuit: Circuit, event: Event, effect: Effect) -> bool:
        if not (isinstance(effect, Wake) and effect.event is ev.Deadline):
            return False
        leg = circuit.leg(effect.path, effect.attempt)
        return leg is not None and leg.state is State.RELEASING


# --- what is decided --------------------------------------------------------------------------------------------------


@mutant("quiet")
class ActiveBeforeTheOthers(Rules):
    """The head does not wait for the exchanges beyond it."""

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        if now is not None and now.is_head and isinstance(event, ev.Built):
            leg = now.leg(event.path, event.attempt)
            if leg is not None and leg.state is State.COMMITTED:
                now = _with(now, replace(leg, ready_beyond=True))
        return super().step(now, event)


@mutant("quiet")
class ActivatedBeforeTheOwn(Rules):
    """A composer says `activated` before its own segment is in production."""

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        if isinstance(event, ev.ActivateReceived) and now is not None:
            leg = now.leg(event.path, event.attempt)
            if leg is not None and leg.state is State.COMMITTED:
                now = _with(now, replace(leg, segment=Segment.READY))
        return super().step(now, event)


@mutant("exchanges")
class OtherVlanAccepted(Rules):
    """What the exchange built is not compared with what was ordered."""

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        if now is not None and isinstance(event, ev.Built):
            leg = now.leg(event.path, event.attempt)
            if leg is not None and leg.own is not None:
                event = replace(event, in_vlan=leg.own.in_label, out_vlan=leg.own.out_label)
        return super().step(now, event)


@mutant("reuse")
class ReleasedBeforeItIsGone(Rules):
    """A neighbour is told that nothing is left while something is."""

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        outcome = super().step(now, event)
        if not isinstance(event, ev.ReleaseReceived):
            return outcome
        leg = outcome.circuit.leg(event.path, event.attempt)
        if leg is None or leg.state is not State.RELEASING:
            return outcome
        hasty = replace(leg, segment=Segment.ABSENT, before_done=True, beyond_done=True)
        circuit, _ = settle(_with(outcome.circuit, hasty), hasty)
        return replace(outcome, circuit=_with(circuit, replace(leg, before_asks=(), beyond_asks=())))


@mutant("detour")
class ReleaseIsNoEnd(Rules):
    """That the circuit as a whole is taken back is not said."""

    def body(
        self, circuit: Circuit, kind: MessageType, to: MemberId, path: int, attempt: int, at: float
    ) -> Body | None:
        said = super().body(circuit, kind, to, path, attempt, at)
        return replace(said, whole=False) if isinstance(said, ReleaseBody) else said

    def heard(self, here: Composer, id: UUID, asked: Send, answer: Body) -> Event | None:
        return super().heard(
            here, id, asked, replace(answer, whole=False) if isinstance(answer, RefusedBody) else answer
        )


@mutant("scarce", 8)
class ReleaseNotRemembered(Rules):
    """What was released before it was held is held all the same."""

    def given_up(self, here: Composer, id: UUID, path: int) -> int:
        return 0


@mutant("reuse")
class TurnNotGivenBack(Rules):
    """Who was set up keeps the others waiting."""

    def leave(self, here: Composer, id: UUID) -> None:
        pass


@mutant("scarce")
class EverybodyAtOnce(Rules):
    """Nobody waits for a turn."""

    def has_turn(self, here: Composer, id: UUID) -> bool:
        return True


# --- what is claimed --------------------------------------------------------------------------------------------------


@mutant("scarce")
class CapacityNotClaimed(Rules):
    """Nobody counts what a link carries."""

    def claims(self, circuit: Circuit) -> frozenset[Claim]:
        return frozenset(replace(x, bandwidth=0) for x in capacity.claims(circuit))


@mutant("scarce")
class LabelNotClaimed(Rules):
    """A label may be given to the next one too."""

    def claims(self, circuit: Circuit) -> frozenset[Claim]:
        return frozenset(x for x in capacity.claims(circuit) if x.resource.kind is not Kind.LINK)


@mutant("reuse")
class LabelFreeTooEarly(Rules):
    """A label is free again while the neighbour's exchange still uses it."""

    def claims(self, circuit: Circuit) -> frozenset[Claim]:
        legs = tuple(replace(x, before_done=True, beyond_done=True) for x in circuit.legs)
        return capacity.claims(replace(circuit, legs=legs))


@mutant("quiet")
class ClaimNotReleased(Rules):
    """What is over keeps what it had."""

    def claims(self, circuit: Circuit) -> frozenset[Claim]:
        over = tuple(replace(x, state=State.ACTIVE) if x.state is State.RELEASED else x for x in circuit.legs)
        return capacity.claims(replace(circuit, legs=over))


@mutant("redundant")
class PortHeldTwice(Rules):
    """Each path of a circuit claims the access port for itself."""

    def claims(self, circuit: Circuit) -> frozenset[Claim]:
        legs = {leg.key: capacity.leg_claims(leg, circuit.request.bandwidth) for leg in circuit.legs}
        return frozenset(replace(x, holder=key) for key, held in legs.items() for x in held)


@mutant("partitions", 1)
class NeighboursOnly(Rules):
    """Of a leg that is not known, only those beside another one of the circuit may speak."""

    def may_speak(self, circuit: Circuit | None, letter: Letter) -> bool:
        if circuit is None or letter.type is MessageType.HOLD:
            return True
        return letter.sender in answering.neighbours(circuit, letter.path, letter.attempt)


def _with(circuit: Circuit, leg: Leg) -> Circuit:
    same = tuple(leg if (x.path, x.attempt) == (leg.path, leg.attempt) else x for x in circuit.legs)
    return replace(circuit, legs=same)
