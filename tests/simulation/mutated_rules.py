"""What may be wrong in the rules, and in what is claimed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection

from meetme.model.errors import Problem
from meetme.negotiator import endings, store
from meetme.negotiator import events as ev
from meetme.negotiator.claims import claims
from meetme.negotiator.effects import Verb
from meetme.negotiator.events import Event
from meetme.negotiator.machine import NegotiationMachine, write_effect
from meetme.negotiator.messages import TerminatedBody
from meetme.negotiator.negotiation import Answer, Claim, Negotiation
from meetme.negotiator.states import ENDED, Device, State
from meetme.runtime.ledger import Cancelled, Owed, Step
from tests.simulation.mutants import mutant

Effects = tuple[Owed | Cancelled, ...]


# --- the rules --------------------------------------------------------------------------------------------------------


class MutatedRules(NegotiationMachine):
    """The rules, with what they decide changed afterwards."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        return Step(step.state, self.effects(state, step.state, step.effects))

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        """What is owed."""
        return effects


def _without(effects: Effects, key: str) -> Effects:
    return tuple(e for e in effects if not (isinstance(e, Owed) and e.key == key))


def _verb(effect: Owed | Cancelled) -> str | None:
    return json.loads(effect.body)["verb"] if isinstance(effect, Owed) and effect.kind == "program" else None


@mutant("machine", "silence")
class DeadlineDropped(MutatedRules):
    """Nobody is woken when the time is over."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return _without(effects, "timer:Deadline")


@mutant("machine", "device_trouble")
class RemovalNotOwedAfterFailure(MutatedRules):
    """What failed stays on the device."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return tuple(e for e in effects if not (after.state is State.FAILED and _verb(e) == Verb.REMOVE))


@mutant("machine")
class TerminateNotSent(MutatedRules):
    """The peer is not told."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return _without(effects, "send:terminate")


@mutant("machine", "last_words")
class DeviceNeverConfirmed(MutatedRules):
    """The confirm timer is never ended."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return tuple(e for e in effects if _verb(e) != Verb.CONFIRM)


@mutant("machine")
class AppliedWithoutTimer(MutatedRules):
    """What is not decided yet would stay on the device for ever."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        return tuple(
            replace(e, body=json.dumps({**json.loads(e.body), "confirm_seconds": None}))
            if isinstance(e, Owed) and _verb(e) == Verb.APPLY
            else e
            for e in effects
        )


@mutant("machine", "regret")
class GenerationNotBumped(NegotiationMachine):
    """An order that was overtaken on its way is obeyed."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        if state is None or state.device is Device.ABSENT:
            return step
        effects = tuple(
            replace(e, body=json.dumps({**json.loads(e.body), "generation": state.generation}))
            if isinstance(e, Owed) and _verb(e) is not None
            else e
            for e in step.effects
        )
        return Step(replace(step.state, generation=state.generation), effects)


@mutant("machine", "too_late")
class LateConfirmAccepted(NegotiationMachine):
    """The responder decides after its deadline."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and isinstance(event, ev.ConfirmReceived):
            state = replace(state, deadline=None)
        return super().step(state, event)


@mutant("machine", "last_words")
class InitiatorRollsBackAlone(NegotiationMachine):
    """After `confirm` the initiator gives up without having asked."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and state.state is State.CONFIRMING and isinstance(event, ev.CompareDue):
            after, effects = endings.fail(state, Problem("gave_up", "gave up"), event.at)
            return Step(after, tuple(write_effect(effect) for effect in effects))
        return super().step(state, event)


@mutant("machine")
class ActiveBeforeTheDecision(NegotiationMachine):
    """The initiator reports active as soon as it has sent `confirm`."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        if step.state.state is State.CONFIRMING:
            return Step(replace(step.state, state=State.ACTIVE), step.effects)
        return step


@mutant("machine", "last_words")
class DeviceLostIgnored(NegotiationMachine):
    """What the device has rolled back is not put back."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and isinstance(event, ev.DeviceLost):
            return Step(replace(state, device=Device.CONFIRMED))
        return super().step(state, event)


@mutant("machine")
class TerminateAnsweredBeforeRemoval(NegotiationMachine):
    """The peer is told that all is undone when it is not yet."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        if isinstance(event, ev.TerminateReceived) and not step.state.answers:
            return Step(replace(step.state, answers=(Answer(event.message, TerminatedBody()),)), step.effects)
        return step


@mutant("machine")
class LaterAnswersForgotten(NegotiationMachine):
    """What is answered when the work is done is not written down: the peer asks for ever."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        now = getattr(event, "message", None)
        return Step(replace(step.state, answers=tuple(a for a in step.state.answers if a.to == now)), step.effects)


# --- what is claimed --------------------------------------------------------------------------------------------------


class MutatedClaims(NegotiationMachine):
    """The machine, with other claims written than the rules say."""

    def save(self, tx: Connection, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
        super().save(tx, before, after, event, now)
        said = claims(after)
        held = self.held(before, after, said)
        if held != said:
            store.claim(tx, after.id, held)

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        """What is claimed instead."""
        return said


@mutant("machine")
class ClaimNotReleased(MutatedClaims):
    """What has ended keeps its circuit."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return claims(replace(after, state=State.TERMINATING, released=False)) if after.state in ENDED else said


@mutant("machine", "glare")
class SupersededKeepsItsClaims(MutatedClaims):
    """Who gave way keeps what it had leased."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        if after.state is State.SUPERSEDED and after.offer is not None:
            return frozenset(Claim("prefix", str(p), p) for p in after.offer.aliases[:1]) or frozenset(
                {Claim("kept", "after all")}
            )
        return said


@mutant("machine")
class CandidateNotLeased(MutatedClaims):
    """What is offered to one peer is offered to the next."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return frozenset(c for c in said if c.prefix is None) if after.state is State.PROPOSED else said


@mutant("machine")
class QuarantineDroppedEarly(MutatedClaims):
    """An alias is free again before the removal is verified."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return frozenset() if after.state is State.TERMINATING else said
