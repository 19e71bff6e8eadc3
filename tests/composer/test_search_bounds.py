"""Every search has an end, and one that was in vain pauses before the next."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from meetme.composer import events as ev
from meetme.composer.capacity import Shortage, claims, reserve
from meetme.composer.circuit import Circuit, Element, ElementKind, Leg, Redundancy, Reservation, Route, State
from meetme.composer.effects import Cancel, Compose, Effect, Remove, Send, Wake
from meetme.composer.heading import MOST_DETOURS, SEARCH_SECONDS, STEADY_SECONDS
from meetme.composer.messages import MessageType
from meetme.composer.releasing import OVERDUE_SECONDS
from meetme.composer.signalling import step
from meetme.model.errors import Problem
from tests.composer.chains import HOPS, NOW, A, B, active, begun, committed, composed, hold, ledger, whole_trace

NO = Problem("no", "no")
ROUTE = Route(1, HOPS, 9000)
PASSING = Element(ElementKind.LINK, B, ("to-c",), passing=True)
FOR_GOOD = replace(PASSING, passing=False)


def timers(effects: tuple[Effect, ...], kind: type[ev.Event] = ev.SearchDue) -> list[float]:
    """After how many seconds each timer of this kind is due."""
    return [each.after for each in effects if isinstance(each, Wake) and each.event is kind]


def composes(effects: tuple[Effect, ...]) -> list[tuple[int, ...]]:
    """The paths that routes are to be found for."""
    return [each.paths for each in effects if isinstance(each, Compose)]


def search(circuit: Circuit, effects: tuple[Effect, ...], at: float, element: Element) -> tuple[Circuit, float, int]:
    """Refuse the only route whenever it is tried, until the search is over: how it ends, when, after which attempts."""
    attempts = 0
    while not circuit.ending and circuit.search(1).over is None:
        assert attempts < 500, "it goes on for ever"
        if composes(effects):
            if circuit.search(1).excluded:
                outcome = step(circuit, ev.ComposeFailed(at, NO))
            else:
                attempts += 1
                held = composed(circuit, at=at, books=ledger(HOPS[0], bandwidth=100_000)).circuit
                at += 0.05
                number = held.search(1).attempt
                outcome = step(held, ev.RefusedReceived(at, 1, number, B, NO, element))
        else:
            (pause,) = timers(effects)
            at += pause
            outcome = step(circuit, ev.SearchDue(at))
        circuit, effects = outcome.circuit, outcome.effects
    return circuit, at, attempts


# --- what is never given back -----------------------------------------------------------------------------------------


def given_up() -> Circuit:
    """The head, whose neighbour does not answer: its own part is free, the label on the link is kept for that one."""
    outcome = step(committed().circuit, ev.ReleaseReceived(NOW, B, UUID(int=1), 1, 1, NO, FOR_GOOD))
    assert timers(outcome.effects, ev.Deadline) == [OVERDUE_SECONDS]
    circuit = step(outcome.circuit, ev.Removed(NOW, 1, 1)).circuit
    return step(circuit, ev.Removed(NOW + 10, 1, 1)).circuit


def shortage(circuit: Circuit) -> Shortage:
    """What another circuit is told that needs all of the link."""
    (kept,) = claims(circuit)
    books = ledger(HOPS[0], kept, bandwidth=100)
    found = reserve(None, A, Leg(1, 1, HOPS, 0, 9000, NOW), 100, books)
    assert isinstance(found, Shortage)
    return found


def test_what_is_not_given_back_in_time_is_waited_for_by_nobody() -> None:
    circuit = given_up()
    assert shortage(circuit).element.passing, "so far it may come any moment"
    outcome = step(circuit, ev.Deadline(NOW + OVERDUE_SECONDS, 1, 1))
    assert outcome.circuit.legs[0].state is State.RELEASING, "it is owed still"
    assert claims(outcome.circuit) == {replace(claim, firm=True) for claim in claims(circuit)}, "and kept"
    assert not shortage(outcome.circuit).element.passing
    assert outcome.effects == ()


def test_what_is_given_back_is_looked_after_no_more() -> None:
    outcome = step(given_up(), ev.ReleasedReceived(NOW + 11, 1, 1, B))
    assert outcome.circuit.legs == () or outcome.circuit.legs[0].state is State.RELEASED
    assert Cancel(Wake(ev.Deadline, 0, 1, 1).key) in outcome.effects


def test_a_segment_that_the_exchange_does_not_remove_is_waited_for_by_nobody_either() -> None:
    outcome = step(active(), ev.ReleaseAsked(NOW))
    assert any(isinstance(each, Remove) for each in outcome.effects)
    assert not any(claim.firm for claim in claims(outcome.circuit))
    late = step(outcome.circuit, ev.Deadline(NOW + OVERDUE_SECONDS, 1, 1)).circuit
    assert all(claim.firm for claim in claims(late))
    assert claims(late)


# --- a new circuit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", [PASSING, Element(ElementKind.END, B, ("q",), passing=True)])
def test_waiting_for_what_others_hold_comes_to_an_end(element: Element) -> None:
    first = begun()
    circuit, at, attempts = search(first, (Compose((1,)),), NOW, element)
    assert circuit.ending
    assert SEARCH_SECONDS <= at - NOW < SEARCH_SECONDS + 1, "it is tried a last time when the time is over"
    assert 10 < attempts < 40
    assert circuit.problem is not None


def test_what_is_refused_for_good_ends_with_the_ninth_refusal() -> None:
    circuit, at = begun(), NOW
    effects: tuple[Effect, ...] = (Compose((1,)),)
    for attempt in range(1, 10):
        assert composes(effects) == [(1,)]
        held = composed(circuit, at=at).circuit
        outcome = step(held, ev.RefusedReceived(at, 1, attempt, B, NO, FOR_GOOD))
        circuit, effects = outcome.circuit, outcome.effects
    assert circuit.ending


def test_after_nine_detours_it_waits_although_there_are_others() -> None:
    circuit = begun()
    for attempt in range(1, MOST_DETOURS + 2):
        circuit = composed(circuit).circuit
        outcome = step(circuit, ev.RefusedReceived(NOW, 1, attempt, B, NO, replace(PASSING, ports=(f"to-{attempt}",))))
        circuit = outcome.circuit
        assert bool(composes(outcome.effects)) is (attempt <= MOST_DETOURS)
    assert len(timers(outcome.effects)) == 1
    assert circuit.search(1).excluded == ()
    assert circuit.search(1).tries == 0


# --- a broken path ----------------------------------------------------------------------------------------------------


def broken(circuit: Circuit, at: float, path: int = 1) -> tuple[Circuit, tuple[Effect, ...]]:
    """A neighbour gives an active leg up."""
    leg = circuit.live_leg(path)
    assert leg is not None
    assert leg.state is State.ACTIVE
    outcome = step(circuit, ev.ReleaseReceived(at, B, UUID(int=int(at) + path), path, leg.attempt, NO, FOR_GOOD))
    return outcome.circuit, outcome.effects


def built(circuit: Circuit, at: float, *paths: int, state: State = State.ACTIVE) -> Circuit:
    """Routes are found for these paths, held, committed and built."""
    circuit = composed(circuit, *(replace(ROUTE, path=path) for path in paths), at=at).circuit
    for path in paths:
        leg = circuit.live_leg(path)
        assert leg is not None
        assert leg.own is not None
        first, label = leg.own, leg.own.out_label
        trace = (first, Reservation(B, label, label, 9000), replace(whole_trace()[2], in_label=label))
        message = UUID(int=int(at) * 10 + path)
        circuit = step(circuit, ev.CommitReceived(at, B, message, path, leg.attempt, trace, ledger(HOPS[0]))).circuit
    for path in paths:
        leg = circuit.live_leg(path)
        assert leg is not None
        assert leg.own is not None
        circuit = step(circuit, ev.Built(at, path, leg.attempt, leg.own.in_label, leg.own.out_label)).circuit
        circuit = step(circuit, ev.ActivatedReceived(at, path, leg.attempt)).circuit
    assert circuit.state is state
    return circuit


def test_a_broken_path_does_not_wait_for_ever_for_what_others_hold() -> None:
    circuit, effects = broken(active(), NOW)
    # What broke it is no part of the map any more, so that the next route is refused anew.
    fresh = replace(circuit.search(1), excluded=())
    circuit = replace(circuit, searches=(fresh,))
    circuit, at, attempts = search(circuit, effects, NOW, PASSING)
    assert not circuit.ending
    assert SEARCH_SECONDS <= at - NOW < SEARCH_SECONDS + 1
    assert attempts < 40
    due = circuit.search(1).due
    assert due is not None
    assert due - at >= 2.5, "then it pauses"


def test_a_path_that_breaks_again_and_again_is_not_searched_again_at_once_for_ever() -> None:
    circuit, at = active(), NOW
    pauses = []
    for _ in range(8):
        circuit, effects = broken(circuit, at)
        if not composes(effects):
            (pause,) = timers(effects)
            pauses.append(pause)
            at += pause
            circuit = step(circuit, ev.SearchDue(at)).circuit
        at += 1
        circuit = built(circuit, at, 1)
    assert len(pauses) == 6, "twice at once"
    assert 2.5 <= pauses[0] <= 5
    assert pauses[-1] >= 80, "they grow"
    well = step(circuit, ev.CompareDue(at + STEADY_SECONDS)).circuit
    assert composes(broken(well, at + STEADY_SECONDS + 1)[1]) == [(1,)], "all was well for a while"


def two_paths() -> Circuit:
    """The head of a circuit over two paths, both of them active."""
    return built(begun(Redundancy.STRICT), NOW, 1, 2)


def test_a_path_that_pauses_is_not_searched_because_the_other_one_breaks() -> None:
    circuit, effects = broken(two_paths(), NOW + 1, 2)
    assert composes(effects) == [(2,)]
    circuit = replace(circuit, heals=5)
    over = step(circuit, ev.ComposeFailed(NOW + 2, NO))
    (pause,) = timers(over.effects)
    assert pause > 60
    circuit, effects = broken(over.circuit, NOW + 3, 1)
    assert composes(effects) == [(1,)], "one is searched, the other one pauses"
    # The first path finds another way, and waits for what others hold: its timer does not wake the other one.
    held = composed(circuit, at=NOW + 4).circuit
    attempt = held.search(1).attempt
    refused = step(held, ev.RefusedReceived(NOW + 4, 1, attempt, B, NO, PASSING)).circuit
    waits = step(refused, ev.ComposeFailed(NOW + 5, NO))
    (short,) = timers(waits.effects)
    assert short < 1
    due = step(waits.circuit, ev.SearchDue(NOW + 5 + short))
    assert composes(due.effects) == [(1,)]
    (rest,) = timers(due.effects)
    assert rest == pytest.approx(pause - 3 - short), "the other one is still called in its time"
    last = step(due.circuit, ev.SearchDue(NOW + 2 + pause))
    assert composes(last.effects) == [(1, 2)]
    assert not any(isinstance(each, Send) and each.type is MessageType.HOLD for each in last.effects)


@pytest.mark.parametrize("redundancy", [Redundancy.STRICT, Redundancy.BEST_EFFORT])
def test_where_both_are_broken_one_is_better_than_none(redundancy: Redundancy) -> None:
    circuit = built(begun(redundancy), NOW, 1, 2)
    circuit, _ = broken(circuit, NOW + 1, 2)
    circuit, effects = broken(circuit, NOW + 1, 1)
    assert composes(effects) == [(1, 2)]
    found = composed(circuit, ROUTE, at=NOW + 2)
    assert found.circuit.wanted == 2
    assert found.circuit.live_leg(1) is not None
    (pause,) = timers(found.effects)
    assert pause >= 2.5, "the other one is not searched at once"
    alone = built(circuit, NOW + 2, 1, state=State.DEGRADED)
    later = step(alone, ev.SearchDue(NOW + 2 + pause))
    assert composes(later.effects) == [(2,)]
    assert built(later.circuit, NOW + 9, 2).problem is None


@pytest.mark.parametrize("early", [1e-10, 5.0])
def test_who_is_woken_too_early_is_woken_again(early: float) -> None:
    circuit = step(None, hold(2)).circuit
    (leg,) = circuit.legs
    assert (leg.state, leg.deadline) == (State.COMMITTED, NOW + 30)
    outcome = step(circuit, ev.Deadline(NOW + 30 - early, 1, 1))
    assert outcome.circuit.legs == circuit.legs
    assert timers(outcome.effects, ev.Deadline) == [pytest.approx(max(0.05, early))]
    assert step(circuit, ev.Deadline(NOW + 30, 1, 1)).circuit.legs[0].state is State.RELEASING
