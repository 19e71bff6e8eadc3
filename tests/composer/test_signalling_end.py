"""The table of signalling: what is taken back, and what neighbours compare."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from meetme.composer import events as ev
from meetme.composer.answering import may_speak
from meetme.composer.bodies import body
from meetme.composer.capacity import Claim, claims, link
from meetme.composer.circuit import (
    Element,
    ElementKind,
    Hop,
    MemberId,
    Route,
    Segment,
    State,
)
from meetme.composer.effects import Build, Compose, Outcome, Remove, Send
from meetme.composer.messages import (
    ActivateBody,
    Handed,
    MessageType,
    RefusedBody,
    ReleasedBody,
    StateBody,
)
from meetme.composer.signalling import step, stranger_answer
from meetme.model.errors import Problem
from tests.composer.chains import (
    HOPS,
    ID,
    NOW,
    REQUEST,
    VLANS,
    A,
    B,
    C,
    active,
    answer,
    committed,
    composed,
    hold,
    ledger,
    middle_ready,
    sent,
    whole_trace,
)

NO = Problem("no", "no")
D = MemberId("ix-stranger")


# --- release, compare -------------------------------------------------------------------------------------------------


def test_a_release_is_answered_when_nothing_is_left_here_and_behind() -> None:
    circuit = middle_ready()
    asked = step(circuit, ev.ReleaseReceived(NOW, A, UUID(int=9), 1, 1, whole=True))
    assert asked.circuit.answers == ()
    assert sent(asked, MessageType.RELEASE) == [A, C]
    removed = step(asked.circuit, ev.Removed(NOW, 1, 1)).circuit
    assert removed.answers == ()
    done = step(removed, ev.ReleasedReceived(NOW, 1, 1, C))
    assert answer(done) == ReleasedBody()
    assert done.circuit.state is State.RELEASING, "the head has not said yet that it is done"
    assert claims(done.circuit) == frozenset()
    assert step(done.circuit, ev.ReleasedReceived(NOW, 1, 1, A)).circuit.state is State.RELEASED


@pytest.mark.parametrize(("who", "other", "at_once"), [(A, C, False), (C, A, True)])
def test_a_links_owner_is_answered_only_when_no_order_can_come_any_more(
    who: MemberId, other: MemberId, at_once: bool
) -> None:
    circuit = step(None, hold()).circuit
    circuit = step(circuit, ev.CommitReceived(NOW, C, UUID(int=1), 1, 1, whole_trace(), ledger(HOPS[1]))).circuit
    circuit = step(circuit, ev.ActivateReceived(NOW, A, UUID(int=2), 1, 1, whole_trace(), 60.0)).circuit
    circuit = step(circuit, ev.ReleaseReceived(NOW, who, UUID(int=3), 1, 1)).circuit
    circuit = step(circuit, ev.ReleasedReceived(NOW, 1, 1, other)).circuit
    assert circuit.legs[0].segment is Segment.CANCELLING
    swept = step(circuit, ev.Removed(NOW, 1, 1))
    assert bool(swept.circuit.answers) is at_once
    assert any(claim.label == 2 for claim in claims(swept.circuit)), "the label is kept here"
    if not at_once:
        assert answer(step(swept.circuit, ev.Removed(NOW + 10, 1, 1))) == ReleasedBody()


def test_a_person_need_not_wait_for_ever() -> None:
    circuit = step(active(), ev.ReleaseAsked(NOW)).circuit
    circuit = step(circuit, ev.Removed(NOW, 1, 1)).circuit
    assert {claim.label for claim in claims(circuit)} == {2}, "the label waits for the neighbour"
    over = step(circuit, ev.LetGoAsked(NOW)).circuit
    assert (over.state, claims(over)) == (State.RELEASED, frozenset())


def test_an_event_that_the_table_does_not_allow_changes_nothing() -> None:
    circuit = active()
    for event in (
        ev.CommitReceived(NOW, B, UUID(int=5), 1, 1, whole_trace(), ledger(HOPS[0])),
        ev.ReleasedReceived(NOW, 1, 1, B),
        ev.Composed(NOW, (Route(1, HOPS, 9000),), ledger(HOPS[0])),
        ev.Unanswered(NOW, 1, 1),
        ev.Built(NOW, 2, 7, 2, 2),
    ):
        outcome = step(circuit, event)
        assert replace(outcome.circuit, answers=()) == circuit
        assert outcome.effects == ()


def test_strangers_are_told_that_there_is_nothing() -> None:
    assert stranger_answer(MessageType.RELEASE) == ReleasedBody()
    assert stranger_answer(MessageType.QUERY) == StateBody(None, None)
    assert isinstance(stranger_answer(MessageType.ACTIVATE), RefusedBody)
    with pytest.raises(LookupError):
        step(None, ev.ReleaseAsked(NOW))


@pytest.mark.parametrize(
    ("who", "kind", "path", "attempt", "heard"),
    [
        (A, MessageType.RELEASE, 1, 1, True),
        (C, MessageType.QUERY, 1, 1, True),
        (D, MessageType.RELEASE, 1, 1, False),
        (D, MessageType.QUERY, 1, 1, False),
        (D, MessageType.HOLD, 1, 1, True),  # the rules look at who begins a leg
        (D, MessageType.RELEASE, 1, 2, True),  # of a leg that is not known, as of a circuit that is not
        (D, MessageType.RELEASE, 0, 0, False),
        (A, MessageType.QUERY, 0, 0, True),
    ],
)
def test_of_a_leg_only_those_beside_it_speak(
    who: MemberId, kind: MessageType, path: int, attempt: int, heard: bool
) -> None:
    circuit = middle_ready()
    assert may_speak(circuit, who, kind, path, attempt) is heard
    assert may_speak(None, who, kind, path, attempt)
    # A head that was restored has forgotten who had passed the order on, and nothing else.
    assert may_speak(replace(circuit, restored=True), who, kind, path, attempt) is (heard or path == 0)


def test_unknown_there_and_never_active_is_released() -> None:
    outcome = step(middle_ready(), ev.StateReceived(NOW, 1, 1, A, None, None))
    assert outcome.circuit.legs[0].state is State.RELEASING
    assert sent(outcome, MessageType.RELEASE) == [A, C]


def test_unknown_there_and_active_is_handed_over_once() -> None:
    circuit = active()
    outcome = step(circuit, ev.StateReceived(NOW, 1, 1, B, None, None))
    assert outcome.circuit.state is State.ACTIVE
    said = body(outcome.circuit, MessageType.QUERY, B, 1, 1, NOW)
    assert said is not None
    assert getattr(said, "handed", None) == Handed(REQUEST, REQUEST.a.member, HOPS, circuit.legs[0].trace, 1500)
    again = step(outcome.circuit, ev.StateReceived(NOW, 1, 1, B, None, None))
    assert again.circuit.state is State.DEGRADED
    assert Compose((1,)) in again.effects


def restored(*, found: bool = True, sender: str = A, **books: object) -> Outcome:
    """The composer between takes up what it has lost."""
    given = Handed(REQUEST, REQUEST.a.member, HOPS, whole_trace(), 1500)
    held = books.get("held", ())
    event = ev.Restored(
        NOW,
        ID,
        B,
        sender,
        UUID(int=3),
        1,
        4,
        given,
        State.ACTIVE,
        found,
        ledger(HOPS[1], *held),  # type: ignore[arg-type, misc]
    )
    return step(None, event)


def test_what_was_lost_is_taken_up_again_if_the_exchange_bears_witness() -> None:
    outcome = restored()
    assert outcome.circuit.state is State.ACTIVE
    assert answer(outcome) == StateBody(State.ACTIVE, State.ACTIVE)
    assert {claim.label for claim in claims(outcome.circuit)} == {2, None}


@pytest.mark.parametrize(
    "why",
    [
        {"found": False},
        {"sender": "ix-stranger"},
        {"held": (Claim(link("to-c"), "1@1", 2, 100, firm=True),)},
        {"held": (Claim(link("to-c"), "1@1", 3, 950, firm=True),)},
    ],
)
def test_what_cannot_be_so_is_not_taken_up(why: dict[str, object]) -> None:
    outcome = restored(**why)  # type: ignore[arg-type]
    assert outcome.circuit.state in (State.RELEASED, State.RELEASING)
    removes = [e for e in outcome.effects if isinstance(e, Remove)]
    assert bool(removes) is why.get("found", True)
    assert claims(outcome.circuit) == frozenset() or removes


def test_a_lost_segment_is_built_again_and_the_circuit_is_degraded_meanwhile() -> None:
    outcome = step(active(), ev.Seen(NOW, 1, 1, ready=False))
    assert outcome.circuit.state is State.DEGRADED
    assert any(isinstance(e, Build) for e in outcome.effects)
    again = step(outcome.circuit, ev.Built(NOW, 1, 1, 2, 2)).circuit
    assert (again.state, again.legs[0].segment) == (State.ACTIVE, Segment.READY)
    failed = step(outcome.circuit, ev.BuildFailed(NOW, 1, 1, NO))
    assert Compose((1,)) in failed.effects
    assert failed.circuit.search(1).excluded == (Element(ElementKind.MEMBER, A),)


def test_a_circuit_within_one_exchange_needs_nobody_else() -> None:
    request = replace(REQUEST, b=replace(REQUEST.b, port="r"))
    circuit = step(None, ev.Start(NOW, ID, A, A, request, request.a.member)).circuit
    hop = Hop(A, "p", "r")
    outcome = composed(circuit, Route(1, (hop,), 9000), books=ledger(hop, labels=VLANS))
    assert outcome.circuit.state is State.COMMITTED
    assert not any(isinstance(e, Send) for e in outcome.effects)
    assert step(outcome.circuit, ev.Built(NOW, 1, 1, 2, 2)).circuit.state is State.ACTIVE


def test_those_after_have_less_time_than_the_one_before() -> None:
    said = body(committed().circuit, MessageType.ACTIVATE, B, 1, 1, NOW)
    assert isinstance(said, ActivateBody)
    assert said.seconds == pytest.approx(96.0)
