"""The protocol on its way to active, and what both sides compare afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from meetme.model.errors import Fault, Problem
from meetme.negotiator import events as ev
from meetme.negotiator.effects import Cancel, Probe, Program, Send, Verb, Wake
from meetme.negotiator.events import Event
from meetme.negotiator.messages import (
    ActiveBody,
    CommittedBody,
    FailedBody,
    HoldBody,
    MessageType,
    StateBody,
    Verified,
    type_of,
)
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.protocol import TRANSITIONS, step
from meetme.negotiator.reactions import (
    COMMIT_SECONDS,
    DECIDE_SECONDS,
    DEVICE_CONFIRM_SECONDS,
    HOLD_SECONDS,
    OVERTAKE_SECONDS,
    PROBE_SECONDS,
    PROPOSE_SECONDS,
)
from meetme.negotiator.states import Device, State
from tests.negotiator import stages as at
from tests.negotiator.stages import AT, PROBED, TROUBLE, after

S = State
OTHER = UUID(int=5)
SILENCE = Problem("probe_unanswered", "nothing came back", fault=Fault.REMOTE)


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
    n = at.waiting_for_the_peer()
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
