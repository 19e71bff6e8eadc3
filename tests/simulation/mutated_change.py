"""What may be wrong where an agreement in force is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meetme.model.members import MemberPolicy
from meetme.negotiator import changing
from meetme.negotiator import events as ev
from meetme.negotiator.claims import claims
from meetme.negotiator.effects import Verb
from meetme.negotiator.events import Event
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Claim, Negotiation
from meetme.negotiator.states import Device, State
from meetme.runtime.ledger import Owed, Step
from tests.simulation.mutants import mutant
from tests.simulation.mutated_rules import Effects, MutatedClaims, MutatedRules, _verb


def _inside(event: Event, kind: type[Event]) -> bool:
    return isinstance(event, ev.OfChange) and isinstance(event.event, kind)


@mutant("machine", "change")
class ChangeAdoptedAlone(NegotiationMachine):
    """The initiator takes a change for decided as soon as it has sent `confirm`."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        change = step.state.change
        if change is None or change.state is not State.CONFIRMING:
            return step
        alone = replace(step.state, agreement=change.agreement, document=change.document, change=None)
        return Step(alone, step.effects)


@mutant("machine", "change")
class FailedChangeStays(MutatedRules):
    """The router is not told to carry what was in force before."""

    def effects(self, before: Negotiation | None, after: Negotiation, effects: Effects) -> Effects:
        was = before.change if before is not None else None
        ended = was is not None and was.device is not Device.ABSENT and not changing.under_way(after)
        if not ended or after.state is not State.ACTIVE:
            return effects
        return tuple(e for e in effects if not (isinstance(e, Owed) and _verb(e) == Verb.APPLY))


@mutant("machine", "change")
class LeavingGivenOut(MutatedClaims):
    """What a change gives up is free before the router has let go of it."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return claims(replace(after, leaving=()))


@mutant("machine", "change")
class ChangeNotClaimed(MutatedClaims):
    """What a change adds is not kept from the others while it is made."""

    def held(self, before: Negotiation | None, after: Negotiation, said: frozenset[Claim]) -> Iterable[Claim]:
        return claims(replace(after, change=None)) if changing.under_way(after) else said


@mutant("machine", "hub")
class PolicyOfChangesNotAsked(NegotiationMachine):
    """What policy forbids at the beginning may be added later."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if isinstance(event, ev.OfChange) and isinstance(event.event, ev.ProposeReceived | ev.HoldReceived):
            event = replace(event, event=replace(event.event, policy=MemberPolicy()))
        return super().step(state, event)


@mutant("machine", "change", seed=2607)
class LateChangeAccepted(NegotiationMachine):
    """The responder decides on a change although its time is over."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if state is not None and state.change is not None and _inside(event, ev.ConfirmReceived):
            state = replace(state, change=replace(state.change, deadline=None))
        return super().step(state, event)


@mutant("machine", "change_crashes")
class ChangeRolledBackAlone(NegotiationMachine):
    """After `confirm` the initiator gives a change up without having asked."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        change = state.change if state is not None else None
        if change is not None and change.state is State.CONFIRMING and _inside(event, ev.CompareDue):
            event = ev.OfChange(change.number, ev.FailedReceived(event.at, changing.OVERTAKEN))
        return super().step(state, event)


@mutant("machine", "change")
class ChangeNotProbed(NegotiationMachine):
    """A change is said to carry packets."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        step = super().step(state, event)
        change = step.state.change
        if change is not None and _inside(event, ev.Applied) and not change.probe_done:
            probed = ev.Probed(event.at, step.state.verified)
            more = super().step(step.state, ev.OfChange(change.number, probed))
            return Step(more.state, (*step.effects, *more.effects))
        return step


@mutant("machine", "backups")
class OlderRevisionKept(NegotiationMachine):
    """A side that was restored from a backup goes on with the revision that it knows."""

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        if isinstance(event, ev.QueryReceived | ev.StateReceived):
            event = replace(event, handed=None)
        return super().step(state, event)
