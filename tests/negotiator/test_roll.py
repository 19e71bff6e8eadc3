"""What two sides compare of settled agreements, and who has something to tell whom."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from meetme.model.agreement import Role
from meetme.negotiator.messages import MessageType
from meetme.negotiator.negotiation import Negotiation, Wish
from meetme.negotiator.roll import Listed, differs, listed
from meetme.negotiator.states import State
from tests.negotiator import stages as at
from tests.negotiator.two import active

ID = UUID(int=1)


def test_what_is_settled_is_listed() -> None:
    n = at.active()
    assert n.agreement is not None
    assert listed(n) == Listed(n.id, n.agreement.revision, 0)


def test_what_ends_or_is_still_to_be_decided_is_not() -> None:
    n = at.active()
    for state in set(State) - {State.ACTIVE}:
        assert listed(replace(n, state=state)) is None
    assert listed(replace(n, agreement=None)) is None
    assert listed(replace(n, peer_lost=True)) is None
    assert listed(replace(n, peer_wants=True)) is None
    assert listed(replace(n, wanted=Wish(None, None, 1400))) is None


def test_a_change_that_is_under_way_keeps_it_off_the_roll_and_its_end_brings_it_back() -> None:
    two = active()
    assert listed(two.a.now) is not None
    two.ask(two.a, "10.0.0.0/24", "10.1.0.0/24", "10.5.0.0/24")
    assert listed(two.a.now) is None
    two.run()
    here, there = listed(two.a.now), listed(two.b.now)
    assert here is not None
    assert here == there
    assert (here.agreed, here.changes) == (2, 1)


@pytest.mark.parametrize(
    ("initiator", "responder", "expected"),
    [
        ((1, 0), (1, 0), False),
        ((2, 1), (1, 0), True),
        ((1, 0), (2, 1), True),
        ((1, 1), (1, 0), False),  # a change that never reached the responder
        ((1, 0), (1, 1), True),  # a number that the initiator has lost, and would use again
    ],
)
def test_both_sides_judge_alike(initiator: tuple[int, int], responder: tuple[int, int], expected: bool) -> None:
    first, second = Listed(ID, *initiator), Listed(ID, *responder)
    assert differs(first, second, Role.INITIATOR) is expected
    assert differs(second, first, Role.RESPONDER) is expected


@pytest.mark.parametrize("who", ["a", "b"])
def test_where_nothing_differs_a_question_would_change_nothing(who: str) -> None:
    """The roll leaves out only questions that are idle."""
    two = active()
    two.ask(two.a, "10.0.0.0/24")
    two.run()
    half, other = (two.a, two.b) if who == "a" else (two.b, two.a)
    before = (half.now, other.now)
    from meetme.negotiator import events as ev

    two.give(half, ev.CompareDue(two.at))
    asked = [key for key in half.owed if key == "send:query"]
    assert asked
    two.run()
    for n, was in zip((half.now, other.now), before, strict=True):
        assert _without_counts(n) == _without_counts(was)


def _without_counts(n: Negotiation) -> Negotiation:
    return replace(n, queries=0, answers=())


def test_a_question_has_a_message_of_its_own_each_time() -> None:
    n = at.active()
    assert n.message(MessageType.QUERY) != replace(n, queries=n.queries + 1).message(MessageType.QUERY)
