"""The rules by which a configurator takes an order, confirms it, rolls it back and repairs drift."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.configurator import plan
from meetme.configurator.plan import Kept
from meetme.model.errors import MeetMeError
from meetme.model.intent import LinkState
from tests.configurator.device import AGREEMENT, OTHER, intent


def kept(**changes: object) -> Kept:
    return replace(Kept(intent(), LinkState.CONFIRMED, 1), **changes)


def test_applying_again_what_is_confirmed_leaves_it_confirmed() -> None:
    again = plan.admit(intent(), kept(), (), seen=1, deadline=100.0)
    assert (again.state, again.deadline) == (LinkState.CONFIRMED, None)


def test_applying_again_what_is_tentative_moves_the_deadline_and_keeps_the_base() -> None:
    base = intent(mtu=1400)
    before = kept(state=LinkState.TENTATIVE, deadline=50.0, base=base)
    again = plan.admit(intent(), before, (), seen=1, deadline=100.0)
    assert (again.deadline, again.base) == (100.0, base)


def test_a_higher_generation_alone_is_no_change() -> None:
    again = plan.admit(intent(generation=7), kept(), (), seen=1, deadline=100.0)
    assert (again.state, again.generation) == (LinkState.CONFIRMED, 7)


def test_a_base_keeps_its_port_until_the_change_is_confirmed() -> None:
    moving = kept(intent=intent(circuit="c2", port="eth9"), state=LinkState.TENTATIVE, base=intent(circuit="c2"))
    with pytest.raises(MeetMeError, match="must be free"):
        plan.admit(intent(), None, (moving,), seen=0, deadline=None)
    confirmed = plan.confirm(moving, circuit="c2", agreement=AGREEMENT, generation=1, seen=1, now=0.0)
    assert plan.admit(intent(), None, (confirmed,), seen=0, deadline=None).intent == intent()


def test_what_is_being_removed_can_not_be_confirmed() -> None:
    with pytest.raises(MeetMeError) as caught:
        plan.confirm(kept(state=LinkState.REMOVING), circuit="c1", agreement=AGREEMENT, generation=1, seen=1, now=0.0)
    assert caught.value.code == "link_unknown"


def test_another_agreement_is_not_there_to_be_removed() -> None:
    assert plan.remove(kept(), agreement=OTHER, generation=0, seen=9) is None


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_retries_never_run_wild_and_never_stop(failures: int, chance: float) -> None:
    assert 0.3 < plan.retry_after(failures, chance) <= plan.LAST_RETRY
    assert 0 <= plan.pause_after(failures) < 5


ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["apply", "confirm", "remove", "expire", "cleared"]),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from([AGREEMENT, OTHER]),
    ),
    max_size=12,
)


@given(ORDERS)
def test_whatever_is_ordered_a_generation_never_goes_back(orders: list) -> None:
    now: Kept | None = None
    seen, clock = 0, 0.0
    for order, generation, revision, agreement in orders:
        before, clock = now, clock + 1
        try:
            if order == "apply":
                wish = intent(generation=generation, revision=revision, agreement=agreement, mtu=1300 + revision)
                now = plan.admit(wish, now, (), seen=seen, deadline=clock + 3 if revision else None)
            elif order == "confirm":
                now = plan.confirm(now, circuit="c1", agreement=agreement, generation=generation, seen=seen, now=clock)
            elif order == "remove":
                now = plan.remove(now, agreement=agreement, generation=generation, seen=seen) or now
            elif order == "expire" and now is not None:
                now = plan.expire(now, clock)
            elif order == "cleared" and now is not None and now.wanted is None:
                now = None
        except MeetMeError:
            assert now == before
        if now is not None:
            assert now.generation >= seen
            assert (now.state is LinkState.TENTATIVE) == (now.deadline is not None)
            assert now.base is None or now.state is LinkState.TENTATIVE
            seen = now.generation
