"""The table of signalling, step by step. That all of it fits together is shown by `tests/simulation/chains`."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from meetme.composer import events as ev
from meetme.composer.bodies import body
from meetme.composer.capacity import Claim, claims, link
from meetme.composer.circuit import (
    Element,
    ElementKind,
    Hop,
    Redundancy,
    Reservation,
    Route,
    State,
    reference,
)
from meetme.composer.effects import Build, Compose, Remove, Wake
from meetme.composer.messages import (
    HeldBody,
    HoldBody,
    MessageType,
    RefusedBody,
)
from meetme.composer.signalling import step
from meetme.model.errors import Problem
from tests.composer.chains import (
    HOPS,
    ID,
    NOW,
    REQUEST,
    A,
    B,
    C,
    answer,
    begun,
    committed,
    composed,
    hold,
    ledger,
    middle_ready,
    sent,
    whole_trace,
)

NO = Problem("no", "no")


# --- hold -------------------------------------------------------------------------------------------------------------


def test_the_head_reserves_its_part_and_passes_it_on() -> None:
    outcome = composed(begun())
    (leg,) = outcome.circuit.legs
    assert outcome.circuit.state is State.HELD
    assert leg.own == Reservation(A, 2, 2, 9000)
    assert sent(outcome, MessageType.HOLD) == [B]
    said = body(outcome.circuit, MessageType.HOLD, B, 1, 1, NOW)
    assert isinstance(said, HoldBody)
    assert (said.label, said.trace, said.seconds) == (2, leg.trace, pytest.approx(24.0))


def test_the_next_takes_the_label_of_the_owner_and_gives_its_own() -> None:
    outcome = step(None, hold(label=77))
    assert answer(outcome) == HeldBody(77)
    assert outcome.circuit.legs[0].own == Reservation(B, 77, 2, 9000)
    assert sent(outcome, MessageType.HOLD) == [C]
    mirrored = Claim(link("to-a"), "1@1", 77, 0, firm=False)
    assert mirrored in claims(outcome.circuit), "the owner alone gives the capacity, both keep the label"


def test_from_the_far_end_commit_runs_back() -> None:
    outcome = step(None, hold(2))
    assert outcome.circuit.state is State.COMMITTED
    assert sent(outcome, MessageType.COMMIT) == [B]
    assert sent(outcome, MessageType.HOLD) == []


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (hold(trace=(Reservation(B, 2, 2, 9000),)), "path_loop"),
        (hold(sender=C), "path_malformed"),
        (hold(me=C), "path_malformed"),
        (hold(trace=()), "path_malformed"),
        (hold(hops=(HOPS[0], Hop(B, "x1", "x1"), HOPS[2])), "path_malformed"),
        (hold(hops=(replace(HOPS[0], in_port="z"), *HOPS[1:])), "path_malformed"),
        (hold(hops=(*HOPS, HOPS[0])), "path_malformed"),
        (hold(hops=HOPS[:2]), "path_malformed"),
        (hold(hops=()), "path_malformed"),
        (hold(label=None), "label_malformed"),
        (hold(label=4095), "label_malformed"),
        (hold(ledger=ledger(HOPS[1], bandwidth=99)), "capacity_exhausted"),
        (hold(ledger=ledger(HOPS[1], Claim(link("to-a"), "1@1", 2, 0, firm=True))), "label_in_use"),
        (
            hold(ledger=ledger(HOPS[1], Claim(link("to-c"), "1@1", 5, 1, firm=True), labels=((5, 5),))),
            "labels_exhausted",
        ),
        (hold(ledger=ledger(HOPS[0])), "port_unknown"),
        (hold(objection=Problem("mandate_missing", "member: has not ordered it")), "mandate_missing"),
    ],
)
def test_what_cannot_be_held_is_refused_and_leaves_nothing(event: ev.HoldReceived, code: str) -> None:
    outcome = step(None, event)
    refused = answer(outcome)
    assert isinstance(refused, RefusedBody)
    assert refused.problem.code == code
    assert claims(outcome.circuit) == frozenset()
    assert outcome.effects == ()
    assert outcome.circuit.state is State.RELEASED


def test_an_attempt_that_is_not_new_is_refused_with_the_highest_seen() -> None:
    circuit = step(None, hold(attempt=5)).circuit
    late = step(circuit, hold(attempt=4, message=UUID(int=1)))
    assert isinstance(refused := answer(late), RefusedBody)
    assert refused.seen == 5
    assert late.circuit.legs == circuit.legs


def test_an_access_port_that_is_taken_has_no_way_around_it() -> None:
    mine = replace(REQUEST, a=replace(REQUEST.a, vlan=9))
    taken = Claim(
        ledger(HOPS[0]).limits and next(r for r in ledger(HOPS[0]).limits if r.kind == "access"), "", 9, 1, True
    )
    circuit = step(None, ev.Start(NOW, ID, A, A, mine, mine.a.member)).circuit
    outcome = composed(circuit, books=ledger(HOPS[0], taken))
    assert outcome.circuit.state is State.FAILED
    assert outcome.circuit.problem is not None
    assert outcome.circuit.problem.code == "vlan_unavailable"


# --- crank-back -------------------------------------------------------------------------------------------------------


def test_what_refused_is_left_out_of_the_next_route() -> None:
    circuit = composed(begun()).circuit
    element = Element(ElementKind.LINK, B, ("to-c",))
    outcome = step(circuit, ev.ReleaseReceived(NOW, B, UUID(int=1), 1, 1, NO, element))
    assert outcome.circuit.search(1).excluded == (element,)
    assert Compose((1,)) in outcome.effects
    assert outcome.circuit.state is State.HELD
    assert sent(outcome, MessageType.RELEASE) == [B]


def test_the_next_attempt_has_the_next_number_and_attempts_are_bounded() -> None:
    circuit = begun()
    for attempt in range(1, 10):
        circuit = composed(circuit).circuit
        assert circuit.live_leg(1) is not None
        circuit = step(
            circuit, ev.RefusedReceived(NOW, 1, attempt, B, NO, Element(ElementKind.RISK, B, (), f"r{attempt}"))
        ).circuit
    assert circuit.ending
    assert circuit.problem == NO


def test_what_is_held_for_the_moment_is_waited_for_when_there_is_no_other_route() -> None:
    circuit = composed(begun()).circuit
    passing = Element(ElementKind.LINK, B, ("to-c",), passing=True)
    circuit = step(circuit, ev.RefusedReceived(NOW, 1, 1, B, NO, passing)).circuit
    outcome = step(circuit, ev.ComposeFailed(NOW, NO))
    assert outcome.circuit.state is State.HELD
    assert outcome.circuit.search(1).excluded == ()
    (timer,) = (e for e in outcome.effects if isinstance(e, Wake))
    assert timer.event is ev.SearchDue
    again = step(outcome.circuit, ev.SearchDue(NOW + 1))
    assert Compose((1,)) in again.effects
    assert step(again.circuit, ev.ComposeFailed(NOW + 2, NO)).circuit.ending, "nothing is in the way for the moment"


def test_both_paths_are_searched_anew_where_the_first_leaves_no_room_for_the_second() -> None:
    circuit = begun(Redundancy.STRICT)
    circuit = composed(circuit, Route(1, HOPS, 9000), Route(2, HOPS, 9000)).circuit
    circuit = step(circuit, ev.RefusedReceived(NOW, 2, 1, B, NO, Element(ElementKind.LINK, B, ("to-c",)))).circuit
    outcome = step(circuit, ev.ComposeFailed(NOW, NO))
    assert Compose((1, 2)) in outcome.effects
    assert outcome.circuit.live_leg(1) is None


def test_strict_paths_are_built_together() -> None:
    circuit = composed(begun(Redundancy.STRICT), Route(1, HOPS, 9000), Route(2, HOPS, 9000)).circuit
    trace = (Reservation(A, 2, 2, 9000), *whole_trace()[1:])
    first = step(circuit, ev.CommitReceived(NOW, B, UUID(int=1), 1, 1, trace, ledger(HOPS[0])))
    assert not any(isinstance(e, Build) for e in first.effects)
    other = (Reservation(A, 2, 3, 9000), Reservation(B, 3, 3, 9000), Reservation(C, 3, 2, 9000))
    both = step(first.circuit, ev.CommitReceived(NOW, B, UUID(int=2), 2, 1, other, ledger(HOPS[0])))
    assert [e.path for e in both.effects if isinstance(e, Build)] == [1, 2]


# --- commit and activate ----------------------------------------------------------------------------------------------


def test_commit_makes_the_head_build_and_activate() -> None:
    outcome = committed()
    assert outcome.circuit.state is State.COMMITTED
    assert outcome.circuit.legs[0].mtu == 1500, "the least of all"
    assert Build(1, 1, reference(ID, 1, 1)) in outcome.effects
    assert sent(outcome, MessageType.ACTIVATE) == [B]


def test_what_comes_after_the_deadline_and_before_the_timer_counts_still() -> None:
    assert committed(at=NOW + 31).circuit.legs[0].state is State.COMMITTED


def test_who_wakes_too_late_has_perhaps_not_read_what_was_said_and_waits_once_more() -> None:
    circuit = composed(begun()).circuit
    punctual = step(circuit, ev.Deadline(NOW + 30.5, 1, 1)).circuit
    assert punctual.legs[0].state is State.RELEASING
    late = step(circuit, ev.Deadline(NOW + 36, 1, 1))
    assert late.circuit.legs[0].state is State.HELD
    assert [e.after for e in late.effects if isinstance(e, Wake)] == [6.0]
    assert step(late.circuit, ev.Deadline(NOW + 42.5, 1, 1)).circuit.legs[0].state is State.RELEASING
    assert step(circuit, ev.Deadline(NOW + 95, 1, 1)).circuit.legs[0].state is State.RELEASING, "not for ever"


def test_an_answer_is_waited_for_longer_by_who_wakes_too_late() -> None:
    circuit = composed(begun()).circuit
    assert step(circuit, ev.Unanswered(NOW + 10.5, 1, 1)).circuit.legs[0].state is State.RELEASING
    late = step(circuit, ev.Unanswered(NOW + 14, 1, 1))
    assert late.circuit.legs[0].state is State.HELD
    assert any(isinstance(e, Wake) and e.event is ev.Unanswered for e in late.effects)
    assert step(circuit, ev.Unanswered(NOW + 29.9, 1, 1)).circuit.legs[0].state is State.RELEASING


@pytest.mark.parametrize(
    ("code", "attempt", "passing"),
    [(None, 1, True), ("peer_timeout", 2, True), ("peer_timeout", 3, False), ("peer_unreachable", 1, False)],
)
def test_who_is_silent_may_be_busy_and_is_asked_again_who_is_not_there_is_not(
    code: str | None, attempt: int, passing: bool
) -> None:
    circuit = step(None, hold(attempt=attempt)).circuit
    cause = Problem(code, "no") if code else None
    leg = step(circuit, ev.Unanswered(NOW + 10.5, 1, attempt, cause)).circuit.legs[0]
    assert leg.element == Element(ElementKind.MEMBER, C, passing=passing)


def test_a_hold_that_its_release_has_overtaken_begins_nothing() -> None:
    for given_up, state in ((0, State.HELD), (2, State.HELD), (3, State.RELEASED), (4, State.RELEASED)):
        outcome = step(None, hold(attempt=3, given_up=given_up))
        assert outcome.circuit.legs[0].state is state
        assert bool(claims(outcome.circuit)) is (state is State.HELD)
        assert bool(sent(outcome, MessageType.HOLD)) is (state is State.HELD)


def test_the_time_to_set_up_begins_with_the_turn() -> None:
    circuit = begun()
    assert circuit.searching
    assert circuit.turn is None
    late = NOW + 5000
    none = Problem("no_path", "no")
    outcome = composed(circuit, at=late)
    assert outcome.circuit.turn == late
    refused = step(
        outcome.circuit,
        ev.RefusedReceived(late + 1, 1, 1, B, NO, Element(ElementKind.LINK, B, ("to-c",), passing=True)),
    )
    assert refused.circuit.searching, "another route is looked for in the same turn"
    waits = step(refused.circuit, ev.ComposeFailed(late + 2, none)).circuit
    assert waits.state is State.HELD
    assert not waits.searching, "who waits for others lets others have the turn"
    again = step(waits, ev.SearchDue(late + 3)).circuit
    assert again.searching
    assert again.turn == late
    assert step(again, ev.ComposeFailed(late + 200, none)).circuit.state is State.RELEASING


def test_the_routes_of_an_offer_are_kept_until_they_are_tried() -> None:
    route = Route(1, HOPS, 9000)
    outcome = step(None, ev.Start(NOW, ID, A, A, REQUEST, REQUEST.a.member, (route,)))
    assert outcome.circuit.offered == (route,)
    assert outcome.effects == (Compose((1,)),)
    assert composed(outcome.circuit, route).circuit.offered == ()


def test_active_only_once_everything_is_in_production() -> None:
    circuit = committed().circuit
    beyond_first = step(circuit, ev.ActivatedReceived(NOW, 1, 1)).circuit
    assert beyond_first.state is State.COMMITTED
    outcome = step(beyond_first, ev.Built(NOW, 1, 1, 2, 2))
    assert outcome.circuit.state is State.ACTIVE
    assert sent(outcome, MessageType.QUERY) == [B]


def test_another_vlan_than_ordered_is_a_failure_and_is_removed() -> None:
    outcome = step(committed().circuit, ev.Built(NOW, 1, 1, 2, 3))
    leg = outcome.circuit.legs[0]
    assert (leg.state, leg.problem and leg.problem.code) == (State.RELEASING, "vlan_differs")
    assert Remove(1, 1, reference(ID, 1, 1)) in outcome.effects


def test_an_order_that_may_still_be_on_its_way_is_swept_up() -> None:
    circuit = step(committed().circuit, ev.ReleaseAsked(NOW)).circuit
    circuit = step(circuit, ev.ReleasedReceived(NOW, 1, 1, B)).circuit
    once = step(circuit, ev.Removed(NOW, 1, 1))
    assert once.circuit.state is State.RELEASING
    assert [e.after for e in once.effects if isinstance(e, Remove)] == [10.0]
    assert step(once.circuit, ev.Removed(NOW + 10, 1, 1)).circuit.state is State.RELEASED


def test_who_is_ready_waits_for_the_head_however_long_it_takes() -> None:
    circuit = middle_ready()
    assert circuit.state is State.COMMITTED
    assert step(circuit, ev.Deadline(NOW + 9999, 1, 1)).circuit.legs == circuit.legs
    word = step(circuit, ev.QueryReceived(NOW, A, UUID(int=3), 1, 1, State.ACTIVE, State.ACTIVE))
    assert word.circuit.state is State.ACTIVE
    assert sent(word, MessageType.QUERY) == [C], "the word is passed on"


def test_labels_that_change_on_the_way_are_refused() -> None:
    circuit = step(None, hold()).circuit
    circuit = step(circuit, ev.CommitReceived(NOW, C, UUID(int=1), 1, 1, whole_trace(), ledger(HOPS[1]))).circuit
    twisted = (Reservation(A, 2, 9, 9000), *whole_trace()[1:])
    outcome = step(circuit, ev.ActivateReceived(NOW, A, UUID(int=2), 1, 1, twisted, 60.0))
    assert isinstance(answer(outcome), RefusedBody)
    assert outcome.circuit.legs[0].state is State.RELEASING
