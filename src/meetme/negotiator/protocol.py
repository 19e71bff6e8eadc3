"""How two members agree: the one place where a negotiation changes state.

Rules of this file:

1. Every change of state is in `TRANSITIONS`; `step` refuses to make one that is not. The diagram in the documentation
   is made from this table. What each event does is in `reactions`.
2. It does no I/O and knows no clock: events in, the next value and the effects owed out. Both sides run one table.
3. An event that the table does not allow changes nothing. If it was a message, the answer says where this side stands.
4. The initiator drives until `confirm`; from then on it never rolls back alone, because the responder may have decided
   *active*. The responder decides in one step: `confirm` before its own deadline, or never.
5. Nothing is active before packets crossed: the responder answers `committed` only after its probe, the initiator sends
   `confirm` only after its own probe and that answer.
6. Whatever was put on the device is owed a removal until the removal is verified, and keeps what it claimed until then.
7. A change of an active agreement is a negotiation inside it, which `step` moves by this same table (see `changing`).
"""

from __future__ import annotations

from dataclasses import replace

from meetme.model.agreement import Role
from meetme.model.errors import Fault, Problem
from meetme.negotiator import changing, comparing, endings, reactions
from meetme.negotiator import events as ev
from meetme.negotiator.claims import claims
from meetme.negotiator.effects import Cancel, Outcome
from meetme.negotiator.events import Event
from meetme.negotiator.messages import ActiveBody, Body, FailedBody, MessageType, RefuseBody, StateBody, TerminatedBody
from meetme.negotiator.negotiation import Answer, Negotiation
from meetme.negotiator.states import State

__all__ = ["ONLY", "TRANSITIONS", "allowed", "claims", "step", "stranger_answer"]

S = State
TRANSITIONS: dict[tuple[State | None, type[Event]], tuple[State, ...]] = {
    # the offer
    (None, ev.Start): (S.PROPOSED, S.FAILED),
    (None, ev.ProposeReceived): (S.PROPOSED, S.HELD, S.REFUSED),
    (S.PROPOSED, ev.ProposeReceived): (S.PROPOSED, S.HELD, S.REFUSED),
    (S.PROPOSED, ev.CounterReceived): (S.PROPOSED, S.FAILED),
    (S.PROPOSED, ev.HoldReceived): (S.COMMITTED, S.FAILED),
    (S.PROPOSED, ev.RefuseReceived): (S.REFUSED, S.SUPERSEDED),
    (S.PROPOSED, ev.Superseded): (S.SUPERSEDED,),
    (S.PROPOSED, ev.Deadline): (S.FAILED,),
    (S.HELD, ev.CommitReceived): (S.COMMITTED, S.HELD, S.FAILED),
    (S.HELD, ev.Deadline): (S.FAILED,),
    # both configure and probe
    (S.COMMITTED, ev.Applied): (S.COMMITTED,),
    (S.COMMITTED, ev.ApplyFailed): (S.FAILED,),
    (S.COMMITTED, ev.DeviceAhead): (S.COMMITTED,),
    (S.COMMITTED, ev.Probed): (S.COMMITTED, S.CONFIRMING, S.FAILED),
    (S.COMMITTED, ev.ProbeFailed): (S.COMMITTED, S.FAILED),
    (S.COMMITTED, ev.CommittedReceived): (S.COMMITTED, S.CONFIRMING, S.FAILED),
    (S.COMMITTED, ev.FailedReceived): (S.FAILED,),
    (S.COMMITTED, ev.ConfirmReceived): (S.ACTIVE, S.FAILED),
    (S.COMMITTED, ev.Deadline): (S.FAILED,),
    # the decision
    (S.CONFIRMING, ev.ActiveReceived): (S.ACTIVE,),
    (S.CONFIRMING, ev.FailedReceived): (S.FAILED,),
    (S.CONFIRMING, ev.StateReceived): (S.CONFIRMING, S.ACTIVE, S.FAILED, S.TERMINATING),
    (S.CONFIRMING, ev.QueryReceived): (S.CONFIRMING, S.ACTIVE, S.FAILED, S.TERMINATING),
    (S.CONFIRMING, ev.DeviceConfirmed): (S.CONFIRMING,),
    (S.CONFIRMING, ev.DeviceLost): (S.CONFIRMING,),
    (S.CONFIRMING, ev.DeviceAhead): (S.CONFIRMING,),
    (S.CONFIRMING, ev.Applied): (S.CONFIRMING,),
    (S.CONFIRMING, ev.ApplyFailed): (S.CONFIRMING,),
    (S.CONFIRMING, ev.CompareDue): (S.CONFIRMING,),
    # active: the device is kept right, both sides compare
    (S.ACTIVE, ev.DeviceConfirmed): (S.ACTIVE,),
    (S.ACTIVE, ev.DeviceLost): (S.ACTIVE,),
    (S.ACTIVE, ev.DeviceAhead): (S.ACTIVE,),
    (S.ACTIVE, ev.Applied): (S.ACTIVE,),
    (S.ACTIVE, ev.ApplyFailed): (S.ACTIVE,),
    (S.ACTIVE, ev.HealthTurned): (S.ACTIVE,),
    (S.ACTIVE, ev.CompareDue): (S.ACTIVE,),
    (S.ACTIVE, ev.StateReceived): (S.ACTIVE, S.TERMINATING),
    (S.ACTIVE, ev.QueryReceived): (S.ACTIVE, S.TERMINATING),
    (None, ev.Restored): (S.ACTIVE,),
    # active: a change is a negotiation inside, in a state of its own
    (S.ACTIVE, ev.ChangeAsked): (S.ACTIVE,),
    (S.ACTIVE, ev.ChangeWanted): (S.ACTIVE,),
    (S.ACTIVE, ev.ChangeRefused): (S.ACTIVE,),
    (S.ACTIVE, ev.ChangeDue): (S.ACTIVE,),
    (S.ACTIVE, ev.OfChange): (S.ACTIVE,),
    # taking it back
    (S.PROPOSED, ev.TerminateAsked): (S.TERMINATING,),
    (S.HELD, ev.TerminateAsked): (S.TERMINATING,),
    (S.COMMITTED, ev.TerminateAsked): (S.TERMINATING,),
    (S.CONFIRMING, ev.TerminateAsked): (S.TERMINATING,),
    (S.ACTIVE, ev.TerminateAsked): (S.TERMINATING,),
    (S.PROPOSED, ev.TerminateReceived): (S.TERMINATED,),
    (S.HELD, ev.TerminateReceived): (S.TERMINATED,),
    (S.COMMITTED, ev.TerminateReceived): (S.TERMINATING,),
    (S.CONFIRMING, ev.TerminateReceived): (S.TERMINATING,),
    (S.ACTIVE, ev.TerminateReceived): (S.TERMINATING,),
    (S.TERMINATING, ev.TerminateReceived): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.TerminatedReceived): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.DeviceAhead): (S.TERMINATING,),
    (S.TERMINATING, ev.Removed): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.QueryReceived): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.Deadline): (S.TERMINATED,),
    (S.TERMINATING, ev.CircuitReleased): (S.TERMINATING,),
    (S.TERMINATING, ev.QuarantineOver): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.ReleaseAsked): (S.TERMINATING, S.TERMINATED),
    # what an end still owes
    (S.FAILED, ev.DeviceAhead): (S.FAILED,),
    (S.FAILED, ev.Removed): (S.FAILED,),
    (S.FAILED, ev.TerminatedReceived): (S.FAILED,),
    (S.FAILED, ev.Deadline): (S.FAILED,),
    (S.FAILED, ev.TerminateReceived): (S.FAILED,),
    (S.FAILED, ev.ReleaseAsked): (S.FAILED,),
    (S.TERMINATED, ev.TerminatedReceived): (S.TERMINATED,),
    (S.TERMINATED, ev.ReleaseAsked): (S.TERMINATED,),
}
"""(state, event) → the states it may lead to. None is a negotiation that does not exist yet."""

ONLY: dict[type[Event], Role] = {
    ev.CounterReceived: Role.INITIATOR,
    ev.HoldReceived: Role.INITIATOR,
    ev.RefuseReceived: Role.INITIATOR,
    ev.CommittedReceived: Role.INITIATOR,
    ev.ActiveReceived: Role.INITIATOR,
    ev.FailedReceived: Role.INITIATOR,
    ev.Superseded: Role.INITIATOR,
    ev.ChangeWanted: Role.INITIATOR,
    ev.ChangeDue: Role.INITIATOR,
    ev.ProposeReceived: Role.RESPONDER,
    ev.CommitReceived: Role.RESPONDER,
    ev.ConfirmReceived: Role.RESPONDER,
    ev.ChangeRefused: Role.RESPONDER,
}
"""Events that only one role can take."""


def allowed(now: Negotiation | None, event: Event) -> bool:
    """Whether the table has a row for this event in this state, for this role."""
    state = now.state if now else None
    role_fits = now is None or ONLY.get(type(event), now.role) is now.role
    return role_fits and (state, type(event)) in TRANSITIONS


def step(now: Negotiation | None, event: Event) -> Outcome:
    """Advance one side's negotiation by one event. Raises LookupError for an event that cannot create one."""
    if not allowed(now, event):
        if now is None:
            raise LookupError(f"{type(event).__name__} cannot begin a negotiation")
        return Outcome(replace(now, answers=_standing_answer(now, event)))
    before = replace(now, answers=()) if now else None
    after, effects = _react(before, event)
    old = now.state if now else None
    if old is S.ACTIVE is not after.state:
        after, more = changing.ended_around(after, event.at)
        effects += more
    elif now is not None and old is S.ACTIVE and after.agreement != now.agreement:
        after = replace(after, revision=after.revision + 1)
    if after.state not in TRANSITIONS[old, type(event)]:
        raise AssertionError(f"{type(event).__name__} may not lead from {old} to {after.state}")
    if after.state is not old:
        after = replace(after, revision=after.revision + 1)
    return Outcome(after, effects)


def _react(n: Negotiation | None, event: Event) -> endings.Move:
    if n is None:
        match event:
            case ev.Start():
                return reactions.start(event)
            case ev.ProposeReceived():
                return reactions.on_propose(None, event)
            case ev.Restored():
                return reactions.restore(event)
            case _:
                raise LookupError(type(event).__name__)
    if changing.on_device_already(n, event) and n.change is not None:
        event = ev.OfChange(n.change.number, event)
    match event:
        case ev.ProposeReceived():
            return reactions.on_propose(n, event)
        case ev.CounterReceived():
            return reactions.on_counter(n, event)
        case ev.HoldReceived():
            return reactions.on_hold(n, event)
        case ev.RefuseReceived():
            return reactions.on_refuse(n, event)
        case ev.Superseded(by=by):
            return replace(n, state=S.SUPERSEDED, superseded_by=by), endings.all_cancelled()
        case ev.CommitReceived():
            return reactions.on_commit(n, event)
        case ev.CommittedReceived():
            mark = endings.mark(n, "peer_ready", event.at)
            return reactions.decide(replace(mark, peer_ready=True, peer_verified=event.verified), event.at)
        case ev.ConfirmReceived():
            return reactions.on_confirm(n, event)
        case ev.ActiveReceived():
            return reactions.activate(n, event.at)
        case ev.FailedReceived(at=at, problem=problem):
            return endings.fail(n, problem, at, tell_peer=False)
        case ev.Applied() | ev.ApplyFailed() | ev.DeviceConfirmed() | ev.DeviceLost() | ev.Removed():
            after, effects = reactions.on_device(n, event)
            after, more = changing.after_device(n, after, event.at, step)
            return after, (*effects, *more)
        case ev.DeviceAhead():
            return reactions.overtake(n, event)
        case ev.Probed() | ev.ProbeFailed():
            return reactions.on_probe(n, event)
        case ev.HealthTurned(health=health):
            return replace(n, health=health), ()
        case ev.TerminateAsked(at=at):
            return endings.terminate(n, at)
        case ev.TerminateReceived():
            return endings.on_terminate(n, event)
        case ev.TerminatedReceived(at=at):
            return endings.settle_end(replace(n, peer_ended=True), at, (Cancel("send:terminate"),))
        case ev.StateReceived() | ev.QueryReceived():
            compared, effects = changing.compare(n, event, step) if n.state is S.ACTIVE else (n, ())
            after, more = comparing.on_peer_state(compared, event)
            return after, (*effects, *more)
        case ev.CircuitReleased():
            return endings.on_circuit_released(n, event)
        case ev.QuarantineOver(at=at):
            return endings.settle_end(n, at)
        case ev.ReleaseAsked(at=at):
            return endings.settle_end(replace(n, released=True, left_on_device=()), at)
        case ev.Deadline():
            return endings.on_deadline(n, event)
        case ev.CompareDue():
            compared, effects = comparing.compare(n)
            after, more = changing.remind(compared)
            return after, (*effects, *more)
        case ev.ChangeAsked():
            return changing.ask(n, event)
        case ev.ChangeWanted():
            return changing.on_wanted(n, event)
        case ev.ChangeRefused():
            return changing.on_refused(n, event)
        case ev.ChangeDue():
            return changing.on_due(n, event)
        case ev.OfChange():
            return changing.relay(n, event, step)
        case ev.Start() | ev.Restored():
            raise LookupError(type(event).__name__)


def _standing_answer(n: Negotiation, event: Event) -> tuple[Answer, ...]:
    """Rule 3: a message that changes nothing is told where this side stands."""
    gone = n.problem or Problem("negotiation_ended", f"negotiation: is {n.state} here", fault=Fault.REMOTE)
    match event:
        case ev.ProposeReceived(message=message):
            return (Answer(message, RefuseBody((Problem("negotiation_known", f"negotiation: is {n.state} here"),))),)
        case ev.CommitReceived(message=message):
            return (Answer(message, FailedBody(gone)),)
        case ev.ConfirmReceived(message=message):
            return (Answer(message, ActiveBody(n.verified) if n.state is S.ACTIVE else FailedBody(gone)),)
        case ev.TerminateReceived(message=message):
            return (Answer(message, TerminatedBody()),)
        case ev.QueryReceived(message=message) | ev.Restored(message=message) | ev.ChangeWanted(message=message):
            return (Answer(message, comparing.standing(n)),)
        case ev.OfChange():
            return tuple(changing.stale_answer(n, event))
        case _:
            return ()


_UNKNOWN = Problem("negotiation_unknown", "negotiation: is not known here", "propose it first")


def stranger_answer(kind: MessageType) -> Body:
    """The answer to a message about a negotiation that this side does not know."""
    match kind:
        case MessageType.TERMINATE:
            return TerminatedBody()
        case MessageType.QUERY:
            return StateBody(None, 0)
        case MessageType.PROPOSE | MessageType.CHANGE:
            return RefuseBody((_UNKNOWN,))
        case _:
            return FailedBody(_UNKNOWN)
