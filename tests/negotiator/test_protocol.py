"""The table of the protocol, row by row and target by target, and what holds in all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import get_args
from uuid import UUID, uuid4

import pytest

from meetme.model.addresses import Prefix
from meetme.model.agreement import Role
from meetme.model.errors import Fault, Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Can, Usage
from meetme.negotiator.claims import claims
from meetme.negotiator.effects import Cancel, Outcome, Probe, Program, Send, Verb, Wake
from meetme.negotiator.endings import QUARANTINE_SECONDS, UNDO_SECONDS
from meetme.negotiator.events import Event, Rival
from meetme.negotiator.messages import (
    ActiveBody,
    CommittedBody,
    CounterBody,
    FailedBody,
    HoldBody,
    MessageType,
    RefuseBody,
    StateBody,
    TerminatedBody,
    Verified,
    type_of,
)
from meetme.negotiator.negotiation import Claim, Health, HealthState, Negotiation, Wish
from meetme.negotiator.protocol import ONLY, TRANSITIONS, allowed, step, stranger_answer
from meetme.negotiator.reactions import (
    COMMIT_SECONDS,
    DECIDE_SECONDS,
    DEVICE_CONFIRM_SECONDS,
    HOLD_SECONDS,
    MAX_ROUNDS,
    OVERTAKE_SECONDS,
    PROBE_SECONDS,
    PROPOSE_SECONDS,
)
from meetme.negotiator.states import ENDED, LIVE, Device, State
from tests.negotiator import stages as at
from tests.negotiator.stages import AT, PROBED, TROUBLE, after

S = State
OTHER = UUID(int=5)
SILENCE = Problem("probe_unanswered", "nothing came back", fault=Fault.REMOTE)
Case = tuple[Callable[[], Negotiation] | None, Callable[[], Event], State]


def refusing() -> MemberPolicy:
    return MemberPolicy(announce=(ip_network("198.51.100.0/24"),))


def rounds_used_up() -> Negotiation:
    return replace(at.offered(), round=MAX_ROUNDS)


def waiting_for_the_peer() -> Negotiation:
    return after(at.terminating(), ev.Removed(AT))


def waiting_for_the_device() -> Negotiation:
    return after(at.terminating(), ev.TerminatedReceived(AT))


def circuit_gone() -> Negotiation:
    return after(waiting_for_the_peer(), ev.CircuitReleased(AT))


def withdrawn() -> Negotiation:
    """Taken back before anything was on a device."""
    return after(at.proposed(), ev.TerminateAsked(AT))


CASES: list[Case] = [
    (None, at.start, S.PROPOSED),
    (None, lambda: at.start(replace(at.own("alfa"), prefixes=())), S.FAILED),
    (None, lambda: at.proposal(at.proposed()), S.PROPOSED),
    (None, lambda: at.proposal(at.offered()), S.HELD),
    (None, lambda: at.proposal(at.proposed(), policy=refusing()), S.REFUSED),
    (None, at.restored, S.ACTIVE),
    (at.countered, lambda: at.proposal(at.proposed()), S.PROPOSED),
    (at.countered, lambda: at.proposal(at.offered()), S.HELD),
    (at.countered, lambda: at.proposal(at.offered(), policy=refusing()), S.REFUSED),
    (at.proposed, at.counter, S.PROPOSED),
    (rounds_used_up, at.counter, S.FAILED),
    (at.offered, at.hold, S.COMMITTED),
    (at.offered, lambda: replace(at.hold(), agreement=replace(at.agreement(), mtu=9000)), S.FAILED),
    (at.proposed, lambda: ev.RefuseReceived(AT, (TROUBLE,)), S.REFUSED),
    (at.proposed, lambda: ev.RefuseReceived(AT, (TROUBLE,), OTHER), S.SUPERSEDED),
    (at.proposed, lambda: ev.Superseded(AT, OTHER), S.SUPERSEDED),
    (at.proposed, lambda: ev.Deadline(AT), S.FAILED),
    (at.held, at.commit, S.COMMITTED),
    (at.held, lambda: replace(at.commit(), agreement=replace(at.agreement(), mtu=1400)), S.HELD),
    (at.held, lambda: replace(at.commit(), at=AT + HOLD_SECONDS), S.FAILED),
    (at.held, lambda: ev.Deadline(AT), S.FAILED),
    (at.committed, lambda: ev.Applied(AT), S.COMMITTED),
    (at.committed, lambda: ev.ApplyFailed(AT, TROUBLE), S.FAILED),
    (at.committed, lambda: ev.DeviceAhead(AT, 99), S.COMMITTED),
    (at.committed, lambda: PROBED, S.COMMITTED),
    (lambda: after(at.committed(), ev.CommittedReceived(AT, None)), lambda: PROBED, S.CONFIRMING),
    (lambda: after(at.committed(), ev.CommittedReceived(AT, None)), lambda: ev.Probed(AT, None), S.FAILED),
    (at.committed, lambda: ev.ProbeFailed(AT, TROUBLE), S.FAILED),
    (at.committed, lambda: ev.ProbeFailed(AT, SILENCE), S.COMMITTED),
    (at.committed, lambda: ev.ProbeFailed(AT + COMMIT_SECONDS - 0.4, SILENCE), S.FAILED),
    (at.committed, lambda: ev.CommittedReceived(AT, Verified.PATH), S.COMMITTED),
    (lambda: after(at.committed(), PROBED), lambda: ev.CommittedReceived(AT, None), S.CONFIRMING),
    (lambda: after(at.committed(), PROBED), lambda: ev.CommittedReceived(AT + COMMIT_SECONDS, None), S.FAILED),
    (at.committed, lambda: ev.FailedReceived(AT, TROUBLE), S.FAILED),
    (at.ready_there, at.confirm, S.ACTIVE),
    (at.committed_there, at.confirm, S.FAILED),
    (at.committed, lambda: ev.Deadline(AT), S.FAILED),
    (at.confirming, lambda: ev.ActiveReceived(AT), S.ACTIVE),
    (at.confirming, lambda: ev.FailedReceived(AT, TROUBLE), S.FAILED),
    (at.confirming, lambda: at.state(S.COMMITTED), S.CONFIRMING),
    (at.confirming, lambda: at.state(S.ACTIVE), S.ACTIVE),
    (at.confirming, lambda: at.state(None), S.FAILED),
    (at.confirming, lambda: at.state(S.TERMINATED), S.TERMINATING),
    (at.confirming, lambda: at.query(S.COMMITTED), S.CONFIRMING),
    (at.confirming, lambda: at.query(S.ACTIVE), S.ACTIVE),
    (at.confirming, lambda: at.query(S.FAILED), S.FAILED),
    (at.confirming, lambda: at.query(S.TERMINATING), S.TERMINATING),
    (at.confirming, lambda: ev.DeviceConfirmed(AT), S.CONFIRMING),
    (at.confirming, lambda: ev.DeviceLost(AT), S.CONFIRMING),
    (at.confirming, lambda: ev.DeviceAhead(AT, 99), S.CONFIRMING),
    (at.confirming, lambda: ev.Applied(AT), S.CONFIRMING),
    (at.confirming, lambda: ev.ApplyFailed(AT, TROUBLE), S.CONFIRMING),
    (at.confirming, lambda: ev.CompareDue(AT), S.CONFIRMING),
    (at.active, lambda: ev.DeviceConfirmed(AT), S.ACTIVE),
    (at.active, lambda: ev.DeviceLost(AT), S.ACTIVE),
    (at.active, lambda: ev.DeviceAhead(AT, 99), S.ACTIVE),
    (at.active, lambda: ev.Applied(AT), S.ACTIVE),
    (at.active, lambda: ev.ApplyFailed(AT, TROUBLE), S.ACTIVE),
    (at.active, lambda: ev.HealthTurned(AT, Health(HealthState.DOWN, None, 1.0)), S.ACTIVE),
    (at.active, lambda: ev.CompareDue(AT), S.ACTIVE),
    (at.active, lambda: at.state(None), S.ACTIVE),
    (at.active, lambda: at.state(S.FAILED), S.TERMINATING),
    (at.active, lambda: at.query(S.CONFIRMING), S.ACTIVE),
    (at.active_there, lambda: at.query(S.TERMINATED), S.TERMINATING),
    (at.proposed, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.held, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.committed, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.confirming, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.active, lambda: ev.TerminateAsked(AT), S.TERMINATING),
    (at.countered, at.terminate, S.TERMINATED),
    (at.held, at.terminate, S.TERMINATED),
    (at.committed, at.terminate, S.TERMINATING),
    (at.confirming, at.terminate, S.TERMINATING),
    (at.active_there, at.terminate, S.TERMINATING),
    (at.terminating, at.terminate, S.TERMINATING),
    (waiting_for_the_peer, at.terminate, S.TERMINATED),
    (at.terminating, lambda: ev.TerminatedReceived(AT), S.TERMINATING),
    (waiting_for_the_peer, lambda: ev.TerminatedReceived(AT), S.TERMINATED),
    (at.terminating, lambda: ev.DeviceAhead(AT, 99), S.TERMINATING),
    (at.terminating, lambda: ev.Removed(AT), S.TERMINATING),
    (waiting_for_the_device, lambda: ev.Removed(AT), S.TERMINATED),
    (at.terminating, lambda: at.query(S.ACTIVE), S.TERMINATING),
    (waiting_for_the_peer, lambda: at.query(S.TERMINATED), S.TERMINATED),
    (waiting_for_the_peer, lambda: ev.CircuitReleased(AT), S.TERMINATING),
    (circuit_gone, lambda: ev.QuarantineOver(AT + QUARANTINE_SECONDS - 1), S.TERMINATING),
    (circuit_gone, lambda: ev.QuarantineOver(AT + QUARANTINE_SECONDS), S.TERMINATED),
    (withdrawn, lambda: ev.Deadline(AT), S.TERMINATED),
    (at.terminating, lambda: ev.ReleaseAsked(AT), S.TERMINATING),
    (waiting_for_the_peer, lambda: ev.ReleaseAsked(AT), S.TERMINATED),
    (at.failed, lambda: ev.DeviceAhead(AT, 99), S.FAILED),
    (at.failed, lambda: ev.Removed(AT), S.FAILED),
    (at.failed, lambda: ev.TerminatedReceived(AT), S.FAILED),
    (at.failed, lambda: ev.Deadline(AT), S.FAILED),
    (at.failed, at.terminate, S.FAILED),
    (at.failed, lambda: ev.ReleaseAsked(AT), S.FAILED),
    (at.terminated, lambda: ev.TerminatedReceived(AT), S.TERMINATED),
    (at.terminated, lambda: ev.ReleaseAsked(AT), S.TERMINATED),
    (at.active, lambda: ev.ChangeAsked(AT, Wish(mtu=1400), replace(at.own("alfa"), mtu=1400)), S.ACTIVE),
    (at.active, lambda: ev.ChangeWanted(AT, at.message(), at.own("alfa")), S.ACTIVE),
    (at.active, lambda: ev.ChangeDue(AT, at.own("alfa")), S.ACTIVE),
    (at.active_there, lambda: ev.ChangeRefused(AT, (TROUBLE,)), S.ACTIVE),
    (at.active, lambda: ev.OfChange(1, at.terminate()), S.ACTIVE),
]


def made(case: Case) -> tuple[Negotiation | None, Event, State]:
    before, event, target = case
    return (before() if before else None), event(), target


@pytest.mark.parametrize("case", CASES, ids=lambda c: "")
def test_a_row_of_the_table(case: Case) -> None:
    before, event, target = made(case)
    result = step(before, event).negotiation
    assert result.state is target
    moved = before is None or before.state is not target
    assert result.revision == (before.revision if before else 0) + moved


def test_every_row_and_every_target_has_a_case() -> None:
    seen = {(n.state if n else None, type(event), target) for n, event, target in map(made, CASES)}
    rows = {(state, event, target) for (state, event), targets in TRANSITIONS.items() for target in targets}
    assert rows - seen == set()
    assert seen - rows == set()


STAGES = (
    at.proposed, at.offered, at.countered, at.held, at.committed, at.committed_there, at.ready_there, at.confirming,
    at.active, at.active_there, at.terminating, waiting_for_the_peer, at.terminated, at.failed,
)  # fmt: skip
EVENTS: dict[type[Event], Event] = {type(event): event for _, event, _ in map(made, CASES)}


def test_there_is_an_event_of_every_kind() -> None:
    assert set(EVENTS) == set(get_args(Event))


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.__name__)
def test_what_the_table_does_not_allow_changes_nothing(stage: Callable[[], Negotiation]) -> None:
    n = replace(stage(), answers=())
    for event in EVENTS.values():
        if not allowed(n, event):
            outcome = step(n, event)
            assert replace(outcome.negotiation, answers=()) == n
            assert outcome.effects == ()
            answers = outcome.negotiation.answers
            inner = event.event if isinstance(event, ev.OfChange) else event
            assert [a.to for a in answers] == ([inner.message] if hasattr(inner, "message") else [])


@pytest.mark.parametrize("event", [e for e in EVENTS.values() if (None, type(e)) not in TRANSITIONS])
def test_what_cannot_begin_a_negotiation_is_an_error(event: Event) -> None:
    with pytest.raises(LookupError):
        step(None, event)


def test_only_the_right_role_takes_an_event() -> None:
    assert not allowed(at.committed(), at.confirm())
    assert not allowed(at.committed_there(), ev.CommittedReceived(AT, None))
    assert not allowed(at.proposed(), at.proposal(at.offered()))
    assert set(ONLY.values()) == set(Role)


def test_the_states_are_live_or_ended() -> None:
    assert set(State) == LIVE | ENDED
    assert not {state for state, _ in TRANSITIONS} & {S.REFUSED, S.SUPERSEDED}


# --- the way to active ------------------------------------------------------------------------------------------------


def effects(now: Negotiation | None, event: Event) -> tuple[object, ...]:
    return step(now, event).effects


def test_the_offer_goes_out_under_a_deadline() -> None:
    n = at.proposed()
    assert set(effects(None, at.start())) == {
        Send(MessageType.PROPOSE, n.message(MessageType.PROPOSE)),
        Wake(ev.Deadline, PROPOSE_SECONDS),
    }
    assert n.deadline == AT + PROPOSE_SECONDS


def test_each_round_is_a_message_of_its_own_and_a_repetition_is_not() -> None:
    assert at.proposed().message(MessageType.PROPOSE) != at.offered().message(MessageType.PROPOSE)
    assert at.proposed().message(MessageType.PROPOSE) == at.proposed().message(MessageType.PROPOSE)
    assert at.active().message(MessageType.TERMINATE) != at.active_there().message(MessageType.TERMINATE)


def test_the_hold_names_its_deadline() -> None:
    body = at.held().answers[0].body
    assert isinstance(body, HoldBody)
    assert body.seconds == HOLD_SECONDS
    assert Wake(ev.Deadline, HOLD_SECONDS) in effects(at.countered(), at.proposal(at.offered()))


def test_commit_and_the_own_device_go_in_parallel() -> None:
    n, owed = at.committed(), effects(at.offered(), at.hold())
    assert Send(MessageType.COMMIT, n.message(MessageType.COMMIT)) in owed
    assert Program(Verb.APPLY, n.generation, DEVICE_CONFIRM_SECONDS) in owed
    assert n.device is Device.APPLYING


def test_committed_is_answered_only_after_the_probe() -> None:
    waiting = after(at.committed_there(), ev.Applied(AT))
    assert waiting.answers == ()
    assert Probe(PROBE_SECONDS) in effects(at.committed_there(), ev.Applied(AT))
    ready = after(waiting, PROBED)
    assert [a.body for a in ready.answers] == [CommittedBody(Verified.PATH)]
    assert ready.pending == ()


def test_the_proof_is_asked_for_until_the_time_is_over() -> None:
    n = after(at.committed(), ev.Applied(AT))
    for passed, left in ((12.0, 12.0), (24.0, 11.0), (34.4, 0.6)):
        outcome = step(n, ev.ProbeFailed(AT + passed, SILENCE))
        assert outcome.negotiation.state is S.COMMITTED
        (again,) = outcome.effects
        assert isinstance(again, Probe)
        assert again.within == pytest.approx(left)
        n = outcome.negotiation
    assert n.problem == SILENCE, "whoever looks sees what it waits for"
    late = step(n, ev.Deadline(AT + COMMIT_SECONDS)).negotiation
    assert (late.state, late.problem) == (S.FAILED, SILENCE)
    cause = step(n, ev.Deadline(AT + COMMIT_SECONDS, TROUBLE)).negotiation
    assert cause.problem == TROUBLE, "the last attempt counts"
    proven = after(n, PROBED, ev.CommittedReceived(AT + 30, Verified.PATH))
    assert (proven.state, proven.problem) == (S.CONFIRMING, None)


def test_confirm_is_sent_only_after_both_probes() -> None:
    for first, second in ((PROBED, ev.CommittedReceived(AT, None)), (ev.CommittedReceived(AT, None), PROBED)):
        half = step(after(at.committed(), ev.Applied(AT)), first)
        assert not any(isinstance(e, Send) for e in half.effects)
        both = step(half.negotiation, second)
        assert Send(MessageType.CONFIRM, both.negotiation.message(MessageType.CONFIRM)) in both.effects
        assert Cancel("timer:Deadline") in both.effects


def test_confirm_is_answered_with_the_decision() -> None:
    event = at.confirm()
    outcome = step(at.ready_there(), event)
    assert [(a.to, type_of(a.body)) for a in outcome.negotiation.answers] == [(event.message, MessageType.ACTIVE)]
    assert Program(Verb.CONFIRM, outcome.negotiation.generation) in outcome.effects


@pytest.mark.parametrize("late", [0.0, 0.001, 100.0])
def test_a_late_confirm_fails_even_if_no_timer_has_fired(late: float) -> None:
    event = replace(at.confirm(), at=AT + DECIDE_SECONDS + late)
    outcome = step(at.ready_there(), event)
    assert outcome.negotiation.state is S.FAILED
    assert isinstance(outcome.negotiation.answers[0].body, FailedBody)
    assert Program(Verb.REMOVE, outcome.negotiation.generation) in outcome.effects


def test_confirm_without_a_proof_of_either_side_fails() -> None:
    unproven = after(at.committed_there(), ev.Applied(AT), ev.Probed(AT, None))
    outcome = step(unproven, at.confirm(None))
    assert outcome.negotiation.state is S.FAILED
    assert outcome.negotiation.problem is not None
    assert outcome.negotiation.problem.code == "cannot_verify"


def test_a_repeated_confirm_is_answered_as_things_stand() -> None:
    again = step(at.active_there(), at.confirm()).negotiation.answers[0].body
    assert again == ActiveBody(Verified.PATH)
    assert isinstance(step(at.failed(), at.confirm()).negotiation.answers[0].body, FailedBody)


def test_after_confirm_no_timer_of_its_own_ends_it() -> None:
    n = at.confirming()
    assert (S.CONFIRMING, ev.Deadline) not in TRANSITIONS
    assert n.deadline is None
    asked = step(n, ev.CompareDue(AT))
    assert any(isinstance(e, Send) and e.type is MessageType.QUERY for e in asked.effects)


def test_what_the_device_lost_is_put_back() -> None:
    outcome = step(at.active(), ev.DeviceLost(AT))
    assert outcome.effects == (Program(Verb.APPLY, outcome.negotiation.generation),)
    retry = step(outcome.negotiation, ev.ApplyFailed(AT, TROUBLE))
    assert retry.negotiation.problem == TROUBLE
    assert after(retry.negotiation, ev.Applied(AT)).problem is None


@pytest.mark.parametrize(
    ("n", "verb", "confirm"),
    [
        (at.committed(), Verb.APPLY, DEVICE_CONFIRM_SECONDS),
        (after(at.committed(), ev.Applied(AT)), Verb.APPLY, DEVICE_CONFIRM_SECONDS),
        (at.confirming(), Verb.CONFIRM, None),
        (after(at.confirming(), ev.DeviceLost(AT)), Verb.APPLY, None),
        (at.active(), Verb.CONFIRM, None),
        (after(at.active(), ev.DeviceLost(AT)), Verb.APPLY, None),
        (at.terminating(), Verb.REMOVE, None),
        (at.failed(), Verb.REMOVE, None),
    ],
)
def test_an_order_that_the_device_finds_too_old_is_given_again_above_all_it_has_seen(
    n: Negotiation, verb: Verb, confirm: float | None
) -> None:
    outcome = step(n, ev.DeviceAhead(AT, n.generation + 500))
    assert outcome.effects == (Program(verb, n.generation + 501, confirm, OVERTAKE_SECONDS),)
    assert outcome.negotiation.generation == n.generation + 501
    assert step(n, ev.DeviceAhead(AT, 0)).negotiation.generation == n.generation + 1, "it never goes down"


def test_nothing_on_the_device_is_no_reason_to_give_it_orders() -> None:
    n = waiting_for_the_peer()
    assert n.device is Device.ABSENT
    assert step(n, ev.DeviceAhead(AT, 99)).effects == ()


def test_every_order_to_the_device_has_a_higher_generation() -> None:
    seen = [
        effect.generation
        for n, event in (
            (at.offered(), at.hold()),
            (after(at.committed(), PROBED), ev.CommittedReceived(AT, None)),
            (at.active(), ev.DeviceLost(AT)),
            (after(at.active(), ev.DeviceLost(AT)), ev.TerminateAsked(AT)),
        )
        for effect in step(n, event).effects
        if isinstance(effect, Program)
    ]
    assert seen == sorted(set(seen))
    assert seen[0] > 7


# --- comparing --------------------------------------------------------------------------------------------------------


def test_a_query_is_answered_with_the_state_after_it() -> None:
    event = at.query(S.TERMINATED)
    n = step(at.active(), event).negotiation
    assert n.answers[0].body == StateBody(S.TERMINATING, n.revision, None, 1)


@pytest.mark.parametrize("heard", [at.query, at.state])
def test_a_peer_that_takes_it_back_hears_that_it_is_gone_here_too(heard: Callable[[State], Event]) -> None:
    outcome = step(at.active(), heard(S.TERMINATING))
    assert outcome.negotiation.state is S.TERMINATING
    assert any(isinstance(e, Send) and e.type is MessageType.TERMINATE for e in outcome.effects)
    gone = after(outcome.negotiation, ev.Removed(AT))
    assert gone.state is S.TERMINATING, "until the peer has heard it"
    assert after(gone, ev.TerminatedReceived(AT)).state is S.TERMINATED


@pytest.mark.parametrize("ended", [S.TERMINATED, S.FAILED])
def test_a_peer_that_has_ended_is_not_told(ended: State) -> None:
    outcome = step(at.active(), at.state(ended))
    assert not any(isinstance(e, Send) and e.type is MessageType.TERMINATE for e in outcome.effects)
    assert after(outcome.negotiation, ev.Removed(AT)).state is S.TERMINATED


def test_a_peer_that_has_lost_it_gets_the_agreement() -> None:
    outcome = step(at.active(), at.state(None))
    assert outcome.negotiation.peer_lost
    assert any(isinstance(e, Send) and e.type is MessageType.QUERY for e in outcome.effects)
    assert not after(outcome.negotiation, at.state(S.ACTIVE)).peer_lost


def test_what_is_restored_is_put_on_the_device_again() -> None:
    event = at.restored()
    outcome = step(None, event)
    assert Program(Verb.APPLY, 100) in outcome.effects
    assert outcome.negotiation.answers[0].body == StateBody(S.ACTIVE, 1, None, 1)
    assert outcome.negotiation.revision == 1


# --- glare and refusals -----------------------------------------------------------------------------------------------


def test_the_lower_member_id_survives() -> None:
    rival = Rival(uuid4(), Role.INITIATOR, S.PROPOSED)
    yields = step(None, at.proposal(at.offered(), rival=rival)).negotiation  # alfa proposes to bravo
    assert yields.state is S.HELD
    stays = step(None, at.proposal(at.offered(), rival=rival, peer="zulu")).negotiation
    assert (stays.state, stays.superseded_by) == (S.REFUSED, rival.id)
    body = stays.answers[0].body
    assert isinstance(body, RefuseBody)
    assert body.superseded_by == rival.id


@pytest.mark.parametrize("state", sorted(LIVE - {S.PROPOSED}))
def test_whoever_is_further_along_keeps_the_circuit(state: State) -> None:
    rival = Rival(uuid4(), Role.INITIATOR, state)
    n = step(None, at.proposal(at.offered(), rival=rival)).negotiation
    assert (n.state, n.superseded_by) == (S.REFUSED, None)
    assert n.problem is not None
    assert n.problem.code == "circuit_in_use"


def test_rounds_are_bounded() -> None:
    n = at.proposed()
    for _ in range(MAX_ROUNDS + 1):
        if n.state is S.PROPOSED:
            lacking = replace(at.counter().counter, lacking=None)
            n = after(n, ev.CounterReceived(AT, lacking, at.own("alfa")))
    assert n.state is S.FAILED
    assert n.problem is not None
    assert n.problem.code == "rounds_exhausted"


def test_nothing_new_to_offer_ends_the_rounds_with_the_reason() -> None:
    n = at.offered()
    lacking = ev.CounterReceived(AT, replace(at.counter().counter, lacking=TROUBLE, free_aliases=()), at.own("alfa"))
    again = after(n, lacking)
    assert again.offer is not None
    assert (again.state, again.offer.aliases) == (S.PROPOSED, ()), "there was something to offer before"
    ended = after(again, lacking)
    assert (ended.state, ended.problem) == (S.FAILED, TROUBLE)


def test_more_is_offered_where_others_were_quicker() -> None:
    n = at.offered()
    lacking = replace(at.counter().counter, lacking=TROUBLE)
    wider = after(n, ev.CounterReceived(AT, lacking, at.own("alfa")))
    widest = after(wider, ev.CounterReceived(AT, lacking, at.own("alfa")))
    sizes = [len(n.offer.aliases) for n in (n, wider, widest) if n.offer]
    assert sizes == [1, 9, 65]
    ended = after(widest, ev.CounterReceived(AT, lacking, at.own("alfa")))
    assert (ended.state, ended.problem) == (S.FAILED, TROUBLE), "what was lacking, not how often it was asked for"


def test_an_agreement_that_clashes_by_now_is_not_signed() -> None:
    busy = replace(at.own("alfa"), usage=Usage(held=(at.NET,)), can=Can(unnumbered=False))
    agreement = at.agreement()
    plain = replace(agreement.responder.prefixes[0], alias=at.NET, translator=None)
    wrong = replace(agreement, responder=replace(agreement.responder, prefixes=(plain,)))
    ended = after(at.offered(), ev.HoldReceived(AT, wrong, busy, MemberPolicy()))
    assert ended.state is S.FAILED
    assert ended.problem is not None
    assert ended.problem.code == "agreement_overlap"


# --- what is owed at the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [at.committed, at.committed_there, at.ready_there, at.confirming, at.active])
def test_what_was_on_the_device_is_owed_a_removal(stage: Callable[[], Negotiation]) -> None:
    n = stage()
    for event in (ev.TerminateAsked(AT), at.terminate(), ev.Deadline(AT), ev.FailedReceived(AT, TROUBLE)):
        if allowed(n, event):
            outcome = step(n, event)
            assert Program(Verb.REMOVE, n.generation + 1) in outcome.effects
            assert outcome.negotiation.device is Device.REMOVING
            assert claims(outcome.negotiation)


def test_terminate_is_answered_when_nothing_is_left() -> None:
    event = at.terminate()
    waiting = step(at.active_there(), event).negotiation
    assert (waiting.answers, waiting.pending) == ((), (event.message,))
    done = after(waiting, ev.Removed(AT))
    assert [(a.to, a.body) for a in done.answers] == [(event.message, TerminatedBody())]
    assert done.state is S.TERMINATED


def says(outcome: Outcome, kind: MessageType) -> list[Send]:
    return [e for e in outcome.effects if isinstance(e, Send) and e.type is kind]


def test_the_peer_hears_that_the_own_device_is_clean() -> None:
    begun = step(at.active(), ev.TerminateAsked(AT))
    (early,) = says(begun, MessageType.TERMINATE)
    assert early.after == UNDO_SECONDS, "first the own side; it mostly takes no time"
    removed = step(begun.negotiation, ev.Removed(AT))
    (late,) = says(removed, MessageType.TERMINATE)
    assert (late.after, late.key) == (0.0, early.key)
    assert late.message != early.message, "it says something else"
    # Who takes it back because the peer has done so has nothing to say but the answer.
    assert not says(step(after(at.active_there(), at.terminate()), ev.Removed(AT)), MessageType.TERMINATE)


def test_nothing_is_free_before_the_peer_is_known_to_be_clean() -> None:
    for stage in (at.active, at.active_there):
        before = claims(stage())
        told = step(stage(), at.terminate(undone=False))
        assert says(told, MessageType.TERMINATE), "it asks until it knows"
        removed = step(told.negotiation, ev.Removed(AT))
        waiting = removed.negotiation
        assert (waiting.state, claims(waiting)) == (S.TERMINATING, before)
        assert [type_of(a.body) for a in waiting.answers] == [MessageType.TERMINATED], "the peer need not wait"
        assert says(removed, MessageType.TERMINATE)
        assert claims(after(waiting, at.terminate(undone=False))) == before
        for heard in (at.terminate(), ev.TerminatedReceived(AT), at.query(S.TERMINATED)):
            assert claims(after(waiting, heard)) == frozenset(), heard
    # The same where the peer was asked instead.
    asked = step(at.active(), at.state(S.TERMINATING))
    assert says(asked, MessageType.TERMINATE)
    assert claims(after(asked.negotiation, ev.Removed(AT))) == claims(at.active())


def test_what_never_was_active_waits_for_no_peer() -> None:
    """Its confirm timer takes it back on the peer's device."""
    n = after(at.ready_there(), at.terminate(undone=False), ev.Removed(AT))
    assert (n.state, claims(n)) == (S.TERMINATED, frozenset())


def test_a_circuit_that_was_given_back_frees_the_rest_a_day_later() -> None:
    n = waiting_for_the_peer()
    released = step(n, ev.CircuitReleased(AT + 5))
    assert released.effects == (Wake(ev.QuarantineOver, QUARANTINE_SECONDS),)
    again = step(released.negotiation, ev.CircuitReleased(AT + 50))
    assert again == Outcome(released.negotiation), "giving it back twice makes it no longer"
    day = AT + 5 + QUARANTINE_SECONDS
    assert claims(after(again.negotiation, ev.QuarantineOver(day - 1))) == claims(n)
    over = step(again.negotiation, ev.QuarantineOver(day))
    assert (over.negotiation.state, claims(over.negotiation)) == (S.TERMINATED, frozenset())
    assert Cancel("send:terminate") not in over.effects, "the message is owed for ever"
    # Not before the own device is clean.
    stuck = after(at.terminating(), ev.CircuitReleased(AT), ev.QuarantineOver(AT + QUARANTINE_SECONDS))
    assert (stuck.state, claims(stuck)) == (S.TERMINATING, claims(at.active()))
    assert after(stuck, ev.Removed(AT + QUARANTINE_SECONDS + 9)).state is S.TERMINATED


def test_who_waits_for_committed_hears_of_the_failure() -> None:
    n = at.committed_there()
    failed = after(n, ev.ProbeFailed(AT, TROUBLE))
    assert [(a.to, type_of(a.body)) for a in failed.answers] == [(n.pending[0], MessageType.FAILED)]


def test_an_ended_and_undone_negotiation_claims_nothing() -> None:
    for n in (at.terminated(), after(at.failed(), ev.Removed(AT)), after(at.held(), ev.Deadline(AT))):
        assert n.state in ENDED
        assert claims(n) == frozenset()


def test_what_cannot_be_taken_back_stays_claimed_until_it_is_released() -> None:
    left = after(at.terminating(), ev.TerminatedReceived(AT), ev.Removed(AT, ("ip route del ...",)))
    assert left.state is S.TERMINATED
    assert claims(left)
    released = after(left, ev.ReleaseAsked(AT))
    assert (claims(released), released.left_on_device) == (frozenset(), ())


def test_what_is_claimed_at_each_stage() -> None:
    place = {Claim("port", "r1/eth2"), Claim("circuit", at.CIRCUIT)}
    assert place <= claims(at.proposed())
    assert claimed(at.proposed(), "local") == {at.NET}
    candidates = claimed(at.offered(), "prefix")
    offer = at.offered().offer
    assert offer is not None
    assert candidates == {*offer.aliases, *offer.links}
    assert claims(at.countered()) == frozenset()
    agreement = at.agreement()
    alias, link = agreement.initiator.prefixes[0].alias, agreement.link.initiator
    assert link is not None
    for stage in (at.held, at.committed, at.committed_there, at.confirming, at.active, at.terminating, at.failed):
        assert claimed(stage(), "prefix") == {alias, link.network}
        assert claimed(stage(), "local") == {at.NET}
        assert place <= claims(stage())


def claimed(n: Negotiation, kind: str) -> set[Prefix | None]:
    return {claim.prefix for claim in claims(n) if claim.kind == kind}


def test_what_the_peer_announces_is_claimed_from_the_offer_on() -> None:
    """Two peers with one prefix, both under way: the second one gets an alias, and neither has to begin anew."""
    theirs = ip_network("10.7.0.0/24")
    counter = replace(at.counter(), counter=replace(at.counter().counter, prefixes=(theirs,)))
    first = after(at.proposed(), counter)
    assert theirs in claimed(first, "prefix")
    busy = Usage(held=(at.NET, *(c.prefix for c in claims(first) if c.prefix)))
    second = after(at.proposed(), replace(counter, own=replace(at.own("alfa"), usage=busy)))
    assert second.offer is not None
    assert second.offer.need_alias == (theirs,)
    assert theirs not in claimed(second, "prefix")


def test_a_vlan_of_a_port_is_claimed_apart() -> None:
    tagged = replace(at.held(), attachment=replace(at.PORT, vlan=7))
    assert Claim("port", "r1/eth2.7") in claims(tagged)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (MessageType.TERMINATE, TerminatedBody),
        (MessageType.QUERY, StateBody),
        (MessageType.COMMIT, FailedBody),
        (MessageType.CONFIRM, FailedBody),
    ],
)
def test_a_stranger_is_answered_without_a_trace(kind: MessageType, expected: type) -> None:
    body = stranger_answer(kind)
    assert isinstance(body, expected)
    if isinstance(body, StateBody):
        assert body.state is None


def test_a_first_offer_is_countered_with_what_is_free() -> None:
    body = at.countered().answers[0].body
    assert isinstance(body, CounterBody)
    assert body.counter.prefixes == (at.NET,)
