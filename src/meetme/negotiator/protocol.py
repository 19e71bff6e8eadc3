"""How two members agree: the one place where a negotiation changes state.

Rules of this file:

1. Every change of state is in `TRANSITIONS`; `step` refuses to make one that is not. The diagram in the documentation
   is made from this table.
2. It does no I/O and knows no clock: events in, the next value and the effects owed out. Both sides run one table.
3. An event that the table does not allow changes nothing. If it was a message, the answer says where this side stands.
4. The initiator drives until `confirm`; from then on it never rolls back alone, because the responder may have decided
   *active*. The responder decides in one step: `confirm` before its own deadline, or never.
5. Nothing is active before packets crossed: the responder answers `committed` only after its probe, the initiator sends
   `confirm` only after its own probe and that answer.
6. Whatever was put on the device is owed a removal until the removal is verified, and keeps what it claimed until then.
"""

from __future__ import annotations

from dataclasses import replace

from meetme.model.agreement import AgreedPrefix, Role
from meetme.model.errors import Fault, Problem
from meetme.negotiator import negotiation as ev
from meetme.negotiator.addressing import Counter, Own, Refusal, agree, make_offer, objections
from meetme.negotiator.messages import (
    ActiveBody,
    Body,
    CommittedBody,
    CounterBody,
    FailedBody,
    HoldBody,
    MessageType,
    RefuseBody,
    StateBody,
    TerminatedBody,
)
from meetme.negotiator.negotiation import (
    Answer,
    Cancel,
    Claim,
    Effect,
    Event,
    Health,
    HealthState,
    Negotiation,
    Outcome,
    Probe,
    Program,
    Send,
    StepTime,
    Verb,
    Wake,
)
from meetme.negotiator.policy import policy_problems
from meetme.negotiator.states import ENDED, Device, State

PROPOSE_SECONDS = 15.0
"""How long the initiator tries to get an agreement held."""
HOLD_SECONDS = 10.0
"""How long the responder holds what was agreed while it waits for `commit`."""
DECIDE_SECONDS = 30.0
"""From `commit` to `confirm`, by either side's own clock."""
DEVICE_CONFIRM_SECONDS = 45.0
"""The confirm timer on the device: longer than any decision, so it only ever fires for a negotiator that is gone."""
PROBE_SECONDS = 12.0
COMPARE_SECONDS = 30.0
FAREWELL_SECONDS = 60.0
"""How long a failed negotiation still tries to tell its peer, which ends by its own deadline in any case."""
MAX_ROUNDS = 4

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
    (S.HELD, ev.CommitReceived): (S.COMMITTED, S.HELD),
    (S.HELD, ev.Deadline): (S.FAILED,),
    # both configure and probe
    (S.COMMITTED, ev.Applied): (S.COMMITTED,),
    (S.COMMITTED, ev.ApplyFailed): (S.FAILED,),
    (S.COMMITTED, ev.Probed): (S.COMMITTED, S.CONFIRMING, S.FAILED),
    (S.COMMITTED, ev.ProbeFailed): (S.FAILED,),
    (S.COMMITTED, ev.CommittedReceived): (S.COMMITTED, S.CONFIRMING, S.FAILED),
    (S.COMMITTED, ev.FailedReceived): (S.FAILED,),
    (S.COMMITTED, ev.ConfirmReceived): (S.ACTIVE, S.FAILED),
    (S.COMMITTED, ev.Deadline): (S.FAILED,),
    # the decision
    (S.CONFIRMING, ev.ActiveReceived): (S.ACTIVE,),
    (S.CONFIRMING, ev.FailedReceived): (S.FAILED,),
    (S.CONFIRMING, ev.StateReceived): (S.CONFIRMING, S.ACTIVE, S.FAILED, S.TERMINATING, S.TERMINATED),
    (S.CONFIRMING, ev.QueryReceived): (S.CONFIRMING, S.ACTIVE, S.FAILED, S.TERMINATING, S.TERMINATED),
    (S.CONFIRMING, ev.DeviceConfirmed): (S.CONFIRMING,),
    (S.CONFIRMING, ev.DeviceLost): (S.CONFIRMING,),
    (S.CONFIRMING, ev.Applied): (S.CONFIRMING,),
    (S.CONFIRMING, ev.ApplyFailed): (S.CONFIRMING,),
    (S.CONFIRMING, ev.CompareDue): (S.CONFIRMING,),
    # active: the device is kept right, both sides compare
    (S.ACTIVE, ev.DeviceConfirmed): (S.ACTIVE,),
    (S.ACTIVE, ev.DeviceLost): (S.ACTIVE,),
    (S.ACTIVE, ev.Applied): (S.ACTIVE,),
    (S.ACTIVE, ev.ApplyFailed): (S.ACTIVE,),
    (S.ACTIVE, ev.Probed): (S.ACTIVE,),
    (S.ACTIVE, ev.ProbeFailed): (S.ACTIVE,),
    (S.ACTIVE, ev.CompareDue): (S.ACTIVE,),
    (S.ACTIVE, ev.StateReceived): (S.ACTIVE, S.TERMINATING, S.TERMINATED),
    (S.ACTIVE, ev.QueryReceived): (S.ACTIVE, S.TERMINATING, S.TERMINATED),
    (None, ev.Restored): (S.ACTIVE,),
    # taking it back
    (S.PROPOSED, ev.TerminateAsked): (S.TERMINATING, S.TERMINATED),
    (S.HELD, ev.TerminateAsked): (S.TERMINATING, S.TERMINATED),
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
    (S.TERMINATING, ev.Removed): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.StateReceived): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.QueryReceived): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.Deadline): (S.TERMINATING, S.TERMINATED),
    (S.TERMINATING, ev.ReleaseAsked): (S.TERMINATING, S.TERMINATED),
    # what an end still owes
    (S.FAILED, ev.Removed): (S.FAILED,),
    (S.FAILED, ev.TerminatedReceived): (S.FAILED,),
    (S.FAILED, ev.Deadline): (S.FAILED,),
    (S.FAILED, ev.TerminateReceived): (S.FAILED,),
    (S.FAILED, ev.ReleaseAsked): (S.FAILED,),
    (S.TERMINATED, ev.TerminatedReceived): (S.TERMINATED,),
    (S.TERMINATED, ev.Removed): (S.TERMINATED,),
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
    ev.ProposeReceived: Role.RESPONDER,
    ev.CommitReceived: Role.RESPONDER,
    ev.ConfirmReceived: Role.RESPONDER,
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
    if after.state not in TRANSITIONS[old, type(event)]:
        raise AssertionError(f"{type(event).__name__} may not lead from {old} to {after.state}")
    if after.state is not old:
        after = replace(after, revision=after.revision + 1)
    return Outcome(after, effects)


Move = tuple[Negotiation, tuple[Effect, ...]]


def _react(n: Negotiation | None, event: Event) -> Move:
    if n is None:
        match event:
            case ev.Start():
                return _start(event)
            case ev.ProposeReceived():
                return _on_propose(None, event)
            case ev.Restored():
                return _restore(event)
            case _:
                raise LookupError(type(event).__name__)
    match event:
        case ev.ProposeReceived():
            return _on_propose(n, event)
        case ev.CounterReceived():
            return _on_counter(n, event)
        case ev.HoldReceived():
            return _on_hold(n, event)
        case ev.RefuseReceived():
            return _on_refuse(n, event)
        case ev.Superseded(by=by):
            return replace(n, state=S.SUPERSEDED, superseded_by=by), _all_cancelled()
        case ev.CommitReceived():
            return _on_commit(n, event)
        case ev.CommittedReceived():
            mark = _mark(n, "peer_ready", event.at)
            return _decide(replace(mark, peer_ready=True, peer_verified=event.verified), event.at)
        case ev.ConfirmReceived():
            return _on_confirm(n, event)
        case ev.ActiveReceived():
            return _activate(n, event.at)
        case ev.FailedReceived(at=at, problem=problem):
            return _fail(n, problem, at, tell_peer=False)
        case ev.Applied() | ev.ApplyFailed() | ev.DeviceConfirmed() | ev.DeviceLost() | ev.Removed():
            return _on_device(n, event)
        case ev.Probed() | ev.ProbeFailed():
            return _on_probe(n, event)
        case ev.TerminateAsked(at=at):
            return _terminate(n, at)
        case ev.TerminateReceived():
            return _on_terminate(n, event)
        case ev.TerminatedReceived(at=at):
            return _settle_end(replace(n, peer_ended=True), at, (Cancel("send:terminate"),))
        case ev.StateReceived() | ev.QueryReceived():
            return _on_peer_state(n, event)
        case ev.ReleaseAsked(at=at):
            return _settle_end(replace(n, released=True, left_on_device=()), at)
        case ev.Deadline():
            return _on_deadline(n, event)
        case ev.CompareDue():
            return _compare(n)
        case ev.Start() | ev.Restored():
            raise LookupError(type(event).__name__)


# --- the offer --------------------------------------------------------------------------------------------------------


def _start(event: ev.Start) -> Move:
    n = Negotiation(
        id=event.id,
        role=Role.INITIATOR,
        me=event.own.member,
        peer=event.peer,
        circuit=event.circuit,
        order=event.order,
        attachment=event.attachment,
        generation=event.generation,
        started=event.at,
        probe_target=event.probe_target,
    )
    return _propose(n, event.own, None, event.at, (Wake(ev.Deadline, PROPOSE_SECONDS),))


def _propose(n: Negotiation, own: Own, counter: Counter | None, at: float, more: tuple[Effect, ...] = ()) -> Move:
    offer = make_offer(own, counter)
    if isinstance(offer, Refusal):
        return _fail(n, offer.problems[0], at)
    n = replace(n, offer=offer, round=n.round + 1)
    return n, (Send(MessageType.PROPOSE, n.message(MessageType.PROPOSE)), *more)


def _on_counter(n: Negotiation, event: ev.CounterReceived) -> Move:
    if n.round >= MAX_ROUNDS:
        problem = Problem(
            "rounds_exhausted",
            f"offer: no agreement within {MAX_ROUNDS} rounds",
            "widen --private-networks and --negotiated-networks at both sides",
        )
        return _fail(n, problem, event.at)
    return _propose(n, event.own, event.counter, event.at)


def _on_propose(n: Negotiation | None, event: ev.ProposeReceived) -> Move:
    if n is None:
        n = Negotiation(
            id=event.id,
            role=Role.RESPONDER,
            me=event.own.member,
            peer=event.peer,
            circuit=event.circuit,
            order=event.order,
            attachment=event.attachment,
            generation=event.generation,
            started=event.at,
        )
    if event.rival is not None and not _yields(n, event.rival):
        return _refuse(n, event, (_rival_problem(event.rival),), event.rival)
    problems = tuple(
        policy_problems(
            event.policy,
            prefixes=event.offer.prefixes,
            order=event.order,
            agreements=event.agreements,
            field="offer.prefixes",
        )
    )
    if problems:
        return _refuse(n, event, problems)
    result = agree(event.offer, event.own, id=n.id, circuit=n.circuit, initiator=n.peer, order=n.order)
    if isinstance(result, Refusal):
        return _refuse(n, event, result.problems)
    if isinstance(result, Counter):
        answer = Answer(event.message, CounterBody(result))
        n = replace(n, offer=event.offer, round=n.round + 1, answers=(answer,))
        return n, (Wake(ev.Deadline, HOLD_SECONDS),)
    answer = Answer(event.message, HoldBody(result, HOLD_SECONDS))
    n = replace(n, state=S.HELD, offer=event.offer, agreement=result, round=n.round + 1, answers=(answer,))
    return _mark(n, "held", event.at), (Wake(ev.Deadline, HOLD_SECONDS),)


def _yields(n: Negotiation, rival: ev.Rival) -> bool:
    """Glare: of two proposals for one circuit that of the lower member id survives; anything further along stays."""
    return rival.role is Role.INITIATOR and rival.state is S.PROPOSED and n.peer < n.me


def _rival_problem(rival: ev.Rival) -> Problem:
    if rival.role is Role.INITIATOR and rival.state is S.PROPOSED:
        return Problem("superseded", f"circuit: the negotiation {rival.id} was started at the same time and survives")
    return Problem(
        "circuit_in_use",
        f"circuit: negotiation {rival.id} has it ({rival.state})",
        "terminate that one first, or name another circuit",
        "circuit",
    )


def _refuse(
    n: Negotiation, event: ev.ProposeReceived, problems: tuple[Problem, ...], rival: ev.Rival | None = None
) -> Move:
    superseded_by = rival.id if rival and problems[0].code == "superseded" else None
    remote = tuple(replace(p, fault=Fault.REMOTE if p.fault is Fault.LOCAL else Fault.LOCAL) for p in problems)
    answer = Answer(event.message, RefuseBody(remote, superseded_by))
    ended = replace(n, state=S.REFUSED, problem=problems[0], superseded_by=superseded_by, answers=(answer,))
    return _mark(ended, "refused", event.at, ok=False), _all_cancelled()


def _on_refuse(n: Negotiation, event: ev.RefuseReceived) -> Move:
    if event.superseded_by is not None:
        return replace(n, state=S.SUPERSEDED, superseded_by=event.superseded_by), _all_cancelled()
    unnamed = Problem("refused", "the peer refused without a reason", fault=Fault.REMOTE)
    refused = replace(n, state=S.REFUSED, problem=event.problems[0] if event.problems else unnamed)
    return _mark(refused, "propose", event.at, ok=False), _all_cancelled()


def _on_hold(n: Negotiation, event: ev.HoldReceived) -> Move:
    offer, agreement = n.offer, event.agreement
    if offer is None:
        raise AssertionError("an initiator has an offer")
    problems = objections(agreement, offer, event.own)
    if (agreement.id, agreement.circuit, agreement.order, agreement.responder.member) != (
        n.id,
        n.circuit,
        n.order,
        n.peer,
    ):
        text = "agreement: is not about this negotiation, circuit and order"
        problems = (Problem("agreement_not_offered", text, fault=Fault.REMOTE), *problems)
    theirs = (p.real for p in agreement.responder.prefixes)
    rules = policy_problems(
        replace(event.policy, order_required=False, max_agreements=None),
        prefixes=theirs,
        order=n.order,
        agreements=0,
        field="agreement.responder.prefixes",
    )
    problems = (*problems, *rules)
    if problems:
        return _fail(n, problems[0], event.at)
    n = _mark(replace(n, state=S.COMMITTED, agreement=agreement), "propose", event.at)
    n, program = _program(n, Verb.APPLY, confirm=DEVICE_CONFIRM_SECONDS)
    commit = Send(MessageType.COMMIT, n.message(MessageType.COMMIT))
    return n, (commit, program, Wake(ev.Deadline, DECIDE_SECONDS))


# --- both configure and probe -----------------------------------------------------------------------------------------


def _on_commit(n: Negotiation, event: ev.CommitReceived) -> Move:
    if event.agreement != n.agreement:
        problem = Problem("agreement_differs", "commit.agreement: is not the one that is held", fault=Fault.REMOTE)
        return replace(n, answers=(Answer(event.message, FailedBody(problem)),)), ()
    n = replace(n, state=S.COMMITTED, pending=(event.message,))
    n, program = _program(n, Verb.APPLY, confirm=DEVICE_CONFIRM_SECONDS)
    return _mark(n, "commit", event.at), (program, Wake(ev.Deadline, DECIDE_SECONDS))


def _on_device(
    n: Negotiation, event: ev.Applied | ev.ApplyFailed | ev.DeviceConfirmed | ev.DeviceLost | ev.Removed
) -> Move:
    match event:
        case ev.Applied(at=at) if n.state is S.COMMITTED:
            return _mark(replace(n, device=Device.APPLIED), "configure", at), (Probe(PROBE_SECONDS),)
        case ev.Applied(at=at):
            return replace(n, device=Device.CONFIRMED), (Probe(PROBE_SECONDS),) if n.state is S.ACTIVE else ()
        case ev.ApplyFailed(at=at, problem=problem) if n.state is S.COMMITTED:
            return _fail(_mark(n, "configure", at, ok=False), problem, at)
        case ev.ApplyFailed(problem=problem):
            n, program = _program(n, Verb.APPLY, after=5.0)
            return replace(n, problem=problem), (program,)
        case ev.DeviceConfirmed():
            return replace(n, device=Device.CONFIRMED), ()
        case ev.DeviceLost():
            n, program = _program(n, Verb.APPLY)
            return n, (program,)
        case ev.Removed(at=at, left=left):
            return _settle_end(replace(n, device=Device.ABSENT, left_on_device=() if n.released else left), at)


def _on_probe(n: Negotiation, event: ev.Probed | ev.ProbeFailed) -> Move:
    if n.state is S.ACTIVE:
        return replace(n, health=_health(event)), ()
    match event:
        case ev.ProbeFailed(at=at, problem=problem):
            return _fail(_mark(n, "probe", at, ok=False), problem, at)
        case ev.Probed(at=at, verified=verified):
            n = _mark(replace(n, probe_done=True, verified=verified, health=_health(event)), "probe", at)
            if n.role is Role.INITIATOR:
                return _decide(n, at)
            answers = tuple(Answer(message, CommittedBody(verified)) for message in n.pending)
            return replace(n, pending=(), answers=answers), ()


def _health(event: ev.Probed | ev.ProbeFailed) -> Health | None:
    if isinstance(event, ev.ProbeFailed):
        return Health(HealthState.DOWN, None, 1.0)
    if event.verified is None:
        return None
    return Health(HealthState.UP if event.loss < 0.01 else HealthState.DEGRADED, event.rtt_ms, event.loss)


def _decide(n: Negotiation, at: float) -> Move:
    """Initiator: once both sides have configured and probed, ask the responder for the decision (rule 5)."""
    if not (n.probe_done and n.peer_ready):
        return n, ()
    if n.verified is None and n.peer_verified is None:
        problem = Problem(
            "cannot_verify",
            "probe: neither side's configurator can prove that packets cross",
            "give one side a configurator with LinkConfigurator, or a probe target that the negotiator's host reaches",
        )
        return _fail(n, problem, at)
    n, program = _program(replace(n, state=S.CONFIRMING), Verb.CONFIRM)
    confirm = Send(MessageType.CONFIRM, n.message(MessageType.CONFIRM))
    return n, (confirm, program, Cancel(Wake(ev.Deadline, 0).key), Wake(ev.CompareDue, COMPARE_SECONDS))


# --- the decision -----------------------------------------------------------------------------------------------------


def _on_confirm(n: Negotiation, event: ev.ConfirmReceived) -> Move:
    if not n.probe_done or (n.verified is None and event.verified is None):
        problem = Problem("cannot_verify", "confirm: sent although packets were not seen to cross", fault=Fault.REMOTE)
        failed, effects = _fail(n, problem, event.at)
        return replace(failed, answers=(*failed.answers, Answer(event.message, FailedBody(problem)))), effects
    n, program = _program(replace(n, peer_verified=event.verified), Verb.CONFIRM)
    active, effects = _activate(n, event.at)
    return replace(active, answers=(Answer(event.message, ActiveBody(active.verified)),)), (program, *effects)


def _activate(n: Negotiation, at: float) -> Move:
    n = _mark(replace(n, state=S.ACTIVE, problem=None), "active", at)
    return n, (Cancel("send"), Cancel(Wake(ev.Deadline, 0).key), Wake(ev.CompareDue, COMPARE_SECONDS))


def _restore(event: ev.Restored) -> Move:
    sides = (event.agreement.initiator.member, event.agreement.responder.member)
    me, peer = sides if event.role is Role.INITIATOR else sides[::-1]
    n = Negotiation(
        id=event.agreement.id,
        role=event.role,
        me=me,
        peer=peer,
        circuit=event.agreement.circuit,
        order=event.agreement.order,
        attachment=event.attachment,
        generation=event.generation,
        started=event.at,
        state=S.ACTIVE,
        agreement=event.agreement,
        answers=(Answer(event.message, StateBody(S.ACTIVE, 1)),),
    )
    n, program = _program(n, Verb.APPLY)
    return _mark(n, "restored", event.at), (program, Wake(ev.CompareDue, COMPARE_SECONDS))


def _compare(n: Negotiation) -> Move:
    n = replace(n, queries=n.queries + 1)
    ask = Send(MessageType.QUERY, n.message(MessageType.QUERY), "send:query")
    again = Wake(ev.CompareDue, COMPARE_SECONDS)
    return n, (ask, again, Probe(2.0)) if n.state is S.ACTIVE else (ask, again)


def _on_peer_state(n: Negotiation, event: ev.StateReceived | ev.QueryReceived) -> Move:
    """What the peer says of itself, asked or not. Ended there is ended here."""
    if isinstance(event, ev.QueryReceived):
        moved, effects = _follow(n, event.state, event.at)
        answer = Answer(event.message, StateBody(moved.state, moved.revision + (moved.state is not n.state)))
        return replace(moved, answers=(*moved.answers, answer)), effects
    return _follow(n, event.state, event.at)


def _follow(n: Negotiation, theirs: State | None, at: float) -> Move:
    ended = theirs in ENDED or theirs is S.TERMINATING
    if n.state is S.CONFIRMING:
        if theirs is S.ACTIVE:
            return _activate(n, at)
        if theirs is None or theirs in (S.FAILED, S.REFUSED, S.SUPERSEDED):
            problem = Problem("peer_rolled_back", "confirm: the peer had already given up", fault=Fault.REMOTE)
            return _fail(n, problem, at, tell_peer=False)
    if n.state is S.TERMINATING:
        if theirs is None or theirs in ENDED:
            return _settle_end(replace(n, peer_ended=True), at, (Cancel("send:terminate"),))
        return n, ()
    if ended:
        return _terminate(replace(n, peer_ended=True), at)
    if theirs is None and n.state is S.ACTIVE and not n.peer_lost:
        n = replace(n, queries=n.queries + 1, peer_lost=True)
        return n, (Send(MessageType.QUERY, n.message(MessageType.QUERY), "send:query"),)
    return replace(n, peer_lost=theirs is None), ()


# --- taking it back ---------------------------------------------------------------------------------------------------


def _terminate(n: Negotiation, at: float, reason: Problem | None = None) -> Move:
    touched = n.device is not Device.ABSENT
    n = replace(n, state=S.TERMINATING, problem=reason or n.problem)
    effects: tuple[Effect, ...] = _all_cancelled()
    if touched:
        n, program = _program(n, Verb.REMOVE)
        effects += (program,)
    if not n.peer_ended:
        effects += (Send(MessageType.TERMINATE, n.message(MessageType.TERMINATE), "send:terminate"),)
        # a side that never put anything on a device ends by its own hold deadline, whether it hears of this or not
        effects += (Wake(ev.CompareDue, COMPARE_SECONDS),) if touched else (Wake(ev.Deadline, FAREWELL_SECONDS),)
    ended, more = _settle_end(_mark(n, "terminate", at), at)
    return ended, effects + more


def _on_terminate(n: Negotiation, event: ev.TerminateReceived) -> Move:
    n = replace(n, pending=(*n.pending, event.message), peer_ended=True)
    if n.state in (S.TERMINATING, S.FAILED):
        return _settle_end(n, event.at, (Cancel("send:terminate"),))
    reason = replace(event.reason, fault=Fault.REMOTE) if event.reason else None
    return _terminate(n, event.at, reason)


def _settle_end(n: Negotiation, at: float, effects: tuple[Effect, ...] = ()) -> Move:
    """After anything that may have been the last thing owed: answer who waits, and end what can end."""
    gone = n.device is Device.ABSENT
    if gone and n.pending:
        n = replace(n, answers=(*n.answers, *(Answer(m, TerminatedBody()) for m in n.pending)), pending=())
    if n.state is S.TERMINATING and gone and (n.peer_ended or n.released):
        timers = (Cancel(Wake(ev.CompareDue, 0).key), Cancel(Wake(ev.Deadline, 0).key), Cancel("send:query"))
        return _mark(replace(n, state=S.TERMINATED), "terminated", at), (*effects, *timers)
    return n, effects


def _fail(n: Negotiation, problem: Problem, at: float, *, tell_peer: bool = True) -> Move:
    """End without having been active: whoever waits is told, the device is undone, the peer hears of it."""
    touched = n.device is not Device.ABSENT
    told = tuple(Answer(message, FailedBody(replace(problem, fault=_seen_from_peer(problem)))) for message in n.pending)
    known_there = n.role is Role.RESPONDER or n.round > 0
    n = replace(n, state=S.FAILED, problem=problem, pending=(), answers=(*n.answers, *told))
    effects = _all_cancelled()
    if touched:
        n, program = _program(n, Verb.REMOVE)
        effects += (program,)
    if tell_peer and known_there and n.role is Role.INITIATOR:
        effects += (Send(MessageType.TERMINATE, n.message(MessageType.TERMINATE), "send:terminate"),)
        effects += (Wake(ev.Deadline, FAREWELL_SECONDS),)
    return _mark(n, "failed", at, ok=False), effects


def _seen_from_peer(problem: Problem) -> Fault:
    return Fault.LOCAL if problem.fault is Fault.REMOTE else Fault.REMOTE


def _on_deadline(n: Negotiation, event: ev.Deadline) -> Move:
    if n.state is S.FAILED:
        return n, (Cancel("send:terminate"),)
    if n.state is S.TERMINATING:
        return _settle_end(replace(n, peer_ended=True), event.at, (Cancel("send:terminate"),))
    late = {
        S.PROPOSED: Problem(
            "negotiation_timeout", "propose: the peer did not answer in time", "try again", fault=Fault.REMOTE
        ),
        S.HELD: Problem(
            "hold_expired", "hold: the initiator did not commit in time", "start again", fault=Fault.REMOTE
        ),
        S.COMMITTED: Problem(
            "decision_timeout", "commit: not everything was in place in time", "see the steps for what was missing"
        ),
    }
    return _fail(n, event.cause or late[n.state], event.at)


# --- small things -----------------------------------------------------------------------------------------------------


def _program(
    n: Negotiation, verb: Verb, *, confirm: float | None = None, after: float = 0.0
) -> tuple[Negotiation, Program]:
    device = {Verb.APPLY: Device.APPLYING, Verb.REMOVE: Device.REMOVING, Verb.CONFIRM: n.device}[verb]
    n = replace(n, generation=n.generation + 1, device=device)
    return n, Program(verb, n.generation, confirm, after)


def _mark(n: Negotiation, name: str, at: float, *, ok: bool = True) -> Negotiation:
    return replace(n, steps=(*n.steps, StepTime(name, max(0.0, at - n.started), ok)))


def _all_cancelled() -> tuple[Effect, ...]:
    keys = ("send", "send:query", "probe", "device", Wake(ev.Deadline, 0).key, Wake(ev.CompareDue, 0).key)
    return tuple(Cancel(key) for key in keys)


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
        case ev.QueryReceived(message=message) | ev.Restored(message=message):
            return (Answer(message, StateBody(n.state, n.revision)),)
        case _:
            return ()


def stranger_answer(kind: MessageType) -> Body:
    """The answer to a message about a negotiation that this side does not know."""
    match kind:
        case MessageType.TERMINATE:
            return TerminatedBody()
        case MessageType.QUERY:
            return StateBody(None, 0)
        case _:
            return FailedBody(Problem("negotiation_unknown", "negotiation: is not known here", "propose it first"))


def claims(n: Negotiation) -> frozenset[Claim]:
    """What this side keeps from every other negotiation, as a function of the state alone (invariant 2, rule 6)."""
    undone = n.device is Device.ABSENT and not n.left_on_device
    if n.released or (n.state in ENDED and undone):
        return frozenset()
    a = n.attachment
    port = f"{a.router}/{a.port}" + (f".{a.vlan}" if a.vlan is not None else "")
    held = {Claim("port", port), Claim("circuit", n.circuit)}
    if n.agreement is not None:
        sides = ((Role.INITIATOR, n.agreement.initiator), (Role.RESPONDER, n.agreement.responder))
        mine = {_prefix(e) for owner, side in sides for e in side.prefixes if n.role in (owner.other, e.translator)}
        own_link = n.agreement.link.initiator
        link = {Claim("prefix", str(own_link.network), own_link.network)} if own_link else set()
        return frozenset(held | mine | link)
    if n.role is Role.INITIATOR and n.offer is not None:
        candidates = (*n.offer.aliases, *n.offer.links)
        return frozenset(held | {Claim("prefix", str(p), p) for p in candidates})
    return frozenset()


def _prefix(entry: AgreedPrefix) -> Claim:
    return Claim("prefix", str(entry.alias), entry.alias)
