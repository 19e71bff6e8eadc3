"""What each event does to a negotiation, once `protocol` has allowed it: the next value and the effects owed.

The rules named here are those of `protocol`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from meetme.model.agreement import MemberId, Role
from meetme.model.errors import Fault, Problem
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Counter, Offer, Own, Refusal
from meetme.negotiator.agreeing import agree, make_offer
from meetme.negotiator.effects import Cancel, Effect, Probe, Send, Verb, Wake
from meetme.negotiator.endings import (
    COMPARE_SECONDS,
    Move,
    S,
    all_cancelled,
    fail,
    mark,
    on_removed,
    order_device,
    too_late,
    wait,
)
from meetme.negotiator.messages import (
    ActiveBody,
    CommittedBody,
    CounterBody,
    FailedBody,
    HoldBody,
    MessageType,
    RefuseBody,
    StateBody,
)
from meetme.negotiator.negotiation import Answer, Health, HealthState, Negotiation
from meetme.negotiator.objecting import objections
from meetme.negotiator.policy import announce_problems, policy_problems
from meetme.negotiator.states import Device

PROPOSE_SECONDS = 15.0
"""How long the initiator tries to get an agreement held."""
HOLD_SECONDS = 10.0
"""How long the responder holds what was agreed while it waits for `commit`."""
DECIDE_SECONDS = 30.0
"""From `commit` to `confirm`, by the responder's clock."""
COMMIT_SECONDS = 35.0
"""How long the initiator waits until everything is in place: longer, so that it hears what the responder lacked."""
DEVICE_CONFIRM_SECONDS = 45.0
"""The confirm timer on the device: longer than any decision, so it only ever fires for a negotiator that is gone."""
PROBE_SECONDS = 12.0
"""For one attempt at the proof; the next one begins afresh, as the time for the state allows."""
LEAST_PROBE_SECONDS = 0.5
"""What an answer may take in any case: it is not asked again for less."""
OVERTAKE_SECONDS = 0.5
"""Until an order that the device found too old is given again."""
MAX_ROUNDS = 4


# --- the offer --------------------------------------------------------------------------------------------------------


def start(event: ev.Start) -> Move:
    """A person or a catalogue begins one: the first offer goes out."""
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
    return open_talk(n, event.own, event.at)


def open_talk(n: Negotiation, own: Own, at: float) -> Move:
    """The first offer."""
    n, deadline = wait(n, PROPOSE_SECONDS, at)
    return _propose(n, own, None, at, (deadline,))


def _propose(n: Negotiation, own: Own, counter: Counter | None, at: float, more: tuple[Effect, ...] = ()) -> Move:
    again = n.round - 1 if counter and counter.lacking else 0
    offer = make_offer(own, counter, n.base, again=again, even=n.me < n.peer)
    if isinstance(offer, Refusal):
        return fail(n, offer.problems[0], at)
    if counter and counter.lacking and _nothing_new(counter.lacking, offer, n.offer):
        return fail(n, counter.lacking, at)
    n = replace(n, offer=offer, round=n.round + 1)
    return n, (Send(MessageType.PROPOSE, n.message(MessageType.PROPOSE)), *more)


def _nothing_new(lacking: Problem, offer: Offer, before: Offer | None) -> bool:
    """Whether the peer would lack the very same again."""
    if before is None or offer.peer_prefixes != before.peer_prefixes:
        return False
    if lacking.field == "negotiated_networks":
        return offer.links == before.links
    return (offer.aliases, offer.need_alias) == (before.aliases, before.need_alias)


def on_counter(n: Negotiation, event: ev.CounterReceived) -> Move:
    """The responder lacked a fact: offer again, a bounded number of times."""
    if n.round >= MAX_ROUNDS:
        problem = Problem(
            "rounds_exhausted",
            f"offer: no agreement within {MAX_ROUNDS} rounds",
            "widen --private-networks and --negotiated-networks at both sides",
        )
        return fail(n, event.counter.lacking or problem, event.at)
    return _propose(n, event.own, event.counter, event.at)


def on_propose(n: Negotiation | None, event: ev.ProposeReceived) -> Move:
    """An offer has arrived: hold the one agreement it allows, ask for another, or refuse it with every reason."""
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
    if event.rival is not None and not yields(event.rival, me=n.me, peer=n.peer):
        return _refuse(n, event, (_rival_problem(event.rival),), event.rival)
    policy = event.policy if n.base is None else replace(event.policy, max_agreements=None)
    problems = tuple(
        policy_problems(
            policy,
            prefixes=event.offer.prefixes,
            order=event.order,
            agreements=event.agreements,
            field="offer.prefixes",
        )
    )
    if problems:
        return _refuse(n, event, problems)
    result = agree(event.offer, event.own, id=n.id, circuit=n.circuit, initiator=n.peer, order=n.order, current=n.base)
    if isinstance(result, Refusal):
        return _refuse(n, event, result.problems)
    if isinstance(result, Counter):
        answer = Answer(event.message, CounterBody(result))
        n, deadline = wait(n, HOLD_SECONDS, event.at)
        return replace(n, offer=event.offer, round=n.round + 1, answers=(answer,)), (deadline,)
    if n.base is not None and replace(result, revision=n.base.revision) == n.base:
        return _refuse(n, event, (_NOTHING,))
    answer = Answer(event.message, HoldBody(result, HOLD_SECONDS))
    n = replace(n, state=S.HELD, offer=event.offer, agreement=result, round=n.round + 1, answers=(answer,))
    n, deadline = wait(n, HOLD_SECONDS, event.at)
    return mark(n, "held", event.at), (deadline,)


_NOTHING = Problem(
    "change_nothing",
    "change: would leave the agreement as it is",
    "see it with meetme show; what the two sides can carry may allow no more",
)


def yields(rival: ev.Rival, *, me: MemberId, peer: MemberId) -> bool:
    """Glare: of two proposals for one circuit that of the lower member id survives; anything further along stays."""
    return rival.role is Role.INITIATOR and rival.state is S.PROPOSED and peer < me


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
    return mark(ended, "refused", event.at, ok=False), all_cancelled()


def on_refuse(n: Negotiation, event: ev.RefuseReceived) -> Move:
    """The responder refused, or its own negotiation for the same circuit survives."""
    if event.superseded_by is not None:
        return replace(n, state=S.SUPERSEDED, superseded_by=event.superseded_by), all_cancelled()
    unnamed = Problem("refused", "the peer refused without a reason", fault=Fault.REMOTE)
    refused = replace(n, state=S.REFUSED, problem=event.problems[0] if event.problems else unnamed)
    return mark(refused, "propose", event.at, ok=False), all_cancelled()


def on_hold(n: Negotiation, event: ev.HoldReceived) -> Move:
    """The responder holds an agreement: check it against the own usage and policy, then commit and configure."""
    offer, agreement = n.offer, event.agreement
    if offer is None:
        raise AssertionError("an initiator has an offer")
    problems = objections(agreement, offer, event.own, n.base)
    if (agreement.id, agreement.circuit, agreement.order, agreement.responder.member) != (
        n.id,
        n.circuit,
        n.order,
        n.peer,
    ):
        text = "agreement: is not about this negotiation, circuit and order"
        problems = (Problem("agreement_not_offered", text, fault=Fault.REMOTE), *problems)
    theirs = (p.real for p in agreement.responder.prefixes)
    rules = announce_problems(event.policy, theirs, "agreement.responder.prefixes")
    problems = (*problems, *rules)
    if problems:
        return fail(n, problems[0], event.at)
    n = mark(replace(n, state=S.COMMITTED, agreement=agreement), "propose", event.at)
    n, program = order_device(n, Verb.APPLY, confirm=DEVICE_CONFIRM_SECONDS)
    commit = Send(MessageType.COMMIT, n.message(MessageType.COMMIT))
    n, deadline = wait(n, COMMIT_SECONDS, event.at)
    return n, (commit, program, deadline)


# --- both configure and probe -----------------------------------------------------------------------------------------


def on_commit(n: Negotiation, event: ev.CommitReceived) -> Move:
    """The initiator has signed what is held: configure. The answer waits for the probe."""
    if event.agreement != n.agreement:
        problem = Problem("agreement_differs", "commit.agreement: is not the one that is held", fault=Fault.REMOTE)
        return replace(n, answers=(Answer(event.message, FailedBody(problem)),)), ()
    if late := too_late(n, event.at):
        return fail(replace(n, pending=(event.message,)), late, event.at)
    n = replace(n, state=S.COMMITTED, pending=(event.message,))
    n, program = order_device(n, Verb.APPLY, confirm=DEVICE_CONFIRM_SECONDS)
    n, deadline = wait(n, DECIDE_SECONDS, event.at)
    return mark(n, "commit", event.at), (program, deadline)


def on_device(
    n: Negotiation, event: ev.Applied | ev.ApplyFailed | ev.DeviceConfirmed | ev.DeviceLost | ev.Removed
) -> Move:
    """What the own router did with the last order."""
    match event:
        case ev.Applied(at=at) if n.state is S.COMMITTED:
            return mark(replace(n, device=Device.APPLIED), "configure", at), (Probe(PROBE_SECONDS),)
        case ev.Applied():
            return replace(n, device=Device.CONFIRMED, problem=None), ()
        case ev.ApplyFailed(at=at, problem=problem) if n.state is S.COMMITTED:
            return fail(mark(n, "configure", at, ok=False), problem, at)
        case ev.ApplyFailed(problem=problem):
            n, program = order_device(n, Verb.APPLY, after=5.0)
            return replace(n, problem=problem), (program,)
        case ev.DeviceConfirmed():
            return replace(n, device=Device.CONFIRMED), ()
        case ev.DeviceLost():
            n, program = order_device(n, Verb.APPLY)
            return n, (program,)
        case ev.Removed():
            return on_removed(n, event)


def overtake(n: Negotiation, event: ev.DeviceAhead) -> Move:
    """Give the present order again, with a generation above all that the device has seen.

    Who asks for it has made sure that the circuit is this negotiation's. A little later: a device that always says so
    is not to be asked in a tight loop.
    """
    if n.device is Device.ABSENT:
        return n, ()
    tentative = n.state is S.COMMITTED
    verb = Verb.APPLY if tentative or n.device is Device.APPLYING else Verb.CONFIRM
    verb = Verb.REMOVE if n.device is Device.REMOVING else verb
    confirm = DEVICE_CONFIRM_SECONDS if tentative else None
    n = replace(n, generation=max(n.generation, event.seen))
    n, program = order_device(n, verb, confirm=confirm, after=OVERTAKE_SECONDS)
    return n, (program,)


def on_probe(n: Negotiation, event: ev.Probed | ev.ProbeFailed) -> Move:
    """Whether packets crossed: the proof that active stands on.

    What was not answered is asked again until the time for this state is over: the other side may be about to be ready.
    What could not be sent is not asked again.
    """
    match event:
        case ev.ProbeFailed(at=at, problem=problem):
            left = n.deadline - at if n.deadline is not None else 0.0
            if problem.fault is Fault.REMOTE and left >= LEAST_PROBE_SECONDS:
                return replace(n, problem=problem), (Probe(min(PROBE_SECONDS, left)),)
            return fail(mark(n, "probe", at, ok=False), problem, at)
        case ev.Probed(at=at, verified=verified):
            health = _first_health(event)
            n = mark(replace(n, probe_done=True, verified=verified, health=health, problem=None), "probe", at)
            if n.role is Role.INITIATOR:
                return decide(n, at)
            answers = tuple(Answer(message, CommittedBody(verified)) for message in n.pending)
            return replace(n, pending=(), answers=answers), ()


def _first_health(event: ev.Probed) -> Health | None:
    if event.verified is None:
        return None
    return Health(HealthState.UP, event.rtt_ms, 0.0, datetime.fromtimestamp(event.at, UTC))


def decide(n: Negotiation, at: float) -> Move:
    """Initiator: once both sides have configured and probed, ask the responder for the decision (rule 5)."""
    if late := too_late(n, at):
        return fail(n, late, at)
    if not (n.probe_done and n.peer_ready):
        return n, ()
    if n.verified is None and n.peer_verified is None:
        problem = Problem(
            "cannot_verify",
            "probe: neither side's configurator can prove that packets cross",
            "give one side a configurator with LinkConfigurator, or a probe target that the negotiator's host reaches",
        )
        return fail(n, problem, at)
    n, program = order_device(replace(n, state=S.CONFIRMING, deadline=None), Verb.CONFIRM)
    confirm = Send(MessageType.CONFIRM, n.message(MessageType.CONFIRM))
    return n, (confirm, program, Cancel(Wake(ev.Deadline, 0).key), Wake(ev.CompareDue, COMPARE_SECONDS))


# --- the decision -----------------------------------------------------------------------------------------------------


def on_confirm(n: Negotiation, event: ev.ConfirmReceived) -> Move:
    """The responder decides, here and nowhere else (rule 4)."""
    problem = too_late(n, event.at)
    if not n.probe_done or (n.verified is None and event.verified is None):
        problem = Problem("cannot_verify", "confirm: sent although packets were not seen to cross", fault=Fault.REMOTE)
    if problem:
        return fail(replace(n, pending=(*n.pending, event.message)), problem, event.at)
    n, program = order_device(replace(n, peer_verified=event.verified), Verb.CONFIRM)
    active, effects = activate(n, event.at)
    return replace(active, answers=(Answer(event.message, ActiveBody(active.verified)),)), (program, *effects)


def activate(n: Negotiation, at: float) -> Move:
    """Packets crossed and the responder has decided: active."""
    n = mark(replace(n, state=S.ACTIVE, deadline=None, problem=None), "active", at)
    timers = (Wake(ev.Deadline, 0), Wake(ev.CompareDue, 0))
    return n, (Cancel("send"), *(Cancel(timer.key) for timer in timers))


def restore(event: ev.Restored) -> Move:
    """Take up an active agreement again that the own store has lost, from the signed document."""
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
        answers=(Answer(event.message, StateBody(S.ACTIVE, 1, None, event.agreement.revision)),),
    )
    n, program = order_device(n, Verb.APPLY)
    return mark(n, "restored", event.at), (program,)
