"""What a member lets a peer do: every rule, and every refusal with its name."""

from __future__ import annotations

from ipaddress import ip_network
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.model.agreement import MemberId
from meetme.model.members import MemberPolicy
from meetme.negotiator.pace import WINDOW_SECONDS, Pace
from meetme.negotiator.policy import policy_problems, rate_problem
from meetme.negotiator.reactions import MAX_ROUNDS
from meetme.runtime.clock import ManualClock
from tests.negotiator.networks import addresses, blocks


def codes(policy: MemberPolicy, *prefixes: str, order: str | None = None, agreements: int = 0) -> list[str]:
    found = policy_problems(
        policy,
        prefixes=[ip_network(p) for p in prefixes],
        order=order,
        agreements=agreements,
        field="offer.prefixes",
    )
    return [problem.code for problem in found]


def test_by_default_anything_but_the_default_route_may_be_announced() -> None:
    assert codes(MemberPolicy(), "10.0.0.0/8", "fd00::/8") == []
    assert codes(MemberPolicy(), "0.0.0.0/0") == ["policy_default_route"]
    assert codes(MemberPolicy(), "::/0") == ["policy_default_route"]


@pytest.mark.parametrize("order", [None, "order-1"])
def test_an_order_may_be_required(order: str | None) -> None:
    wanted = [] if order else ["policy_order"]
    assert codes(MemberPolicy(order_required=True), "10.0.0.0/24", order=order) == wanted


@pytest.mark.parametrize(("agreements", "wanted"), [(0, []), (1, []), (2, ["policy_max_agreements"])])
def test_the_number_of_agreements_may_be_limited(agreements: int, wanted: list[str]) -> None:
    assert codes(MemberPolicy(max_agreements=2), "10.0.0.0/24", agreements=agreements) == wanted


def test_every_rule_that_is_broken_is_named_at_once() -> None:
    policy = MemberPolicy((ip_network("10.0.0.0/8"),), order_required=True, max_agreements=0)
    found = codes(policy, "192.0.2.0/24", "10.1.0.0/16", "0.0.0.0/0")
    assert found == ["policy_prefix", "policy_default_route", "policy_order", "policy_max_agreements"]


def test_a_refusal_names_the_prefix_and_what_is_allowed() -> None:
    policy = MemberPolicy((ip_network("10.0.0.0/8"),))
    (problem,) = policy_problems(
        policy, prefixes=[ip_network("192.0.2.0/24")], order=None, agreements=0, field="offer.prefixes"
    )
    assert problem.field == "offer.prefixes"
    assert "offer.prefixes[0]" in problem.text
    assert "10.0.0.0/8" in problem.hint


@given(blocks(0, 5), st.lists(blocks(0, 5), max_size=4))
def test_a_prefix_must_lie_in_one_that_is_allowed(prefix: object, allowed: list[object]) -> None:
    policy = MemberPolicy(tuple(allowed))  # type: ignore[arg-type]
    inside = not allowed or any(addresses(prefix) <= addresses(a) for a in allowed)  # type: ignore[arg-type]
    found = list(policy_problems(policy, prefixes=[prefix], order=None, agreements=0, field="x"))  # type: ignore[list-item]
    assert (not found) == inside


def test_how_often_a_peer_may_begin() -> None:
    assert rate_problem(MemberPolicy(), 1_000_000, 1.0) is None
    policy = MemberPolicy(proposals_per_minute=2)
    assert rate_problem(policy, 1, 1.0) is None
    problem = rate_problem(policy, 2, 12.4)
    assert problem is not None
    assert (problem.code, problem.field) == ("policy_rate", "peer")
    assert problem.text == "peer: policy allows 2 proposals a minute from this peer (2 were made)"
    assert problem.hint == "try again in 12 s"


@given(st.lists(st.floats(0.0, 90.0), max_size=40), st.integers(0, 5))
def test_in_no_minute_are_there_more_than_allowed(gaps: list[float], most: int) -> None:
    clock = ManualClock()
    pace, policy = Pace(clock), MemberPolicy(proposals_per_minute=most)
    taken: list[float] = []
    for gap in gaps:
        clock.advance(gap)
        now = clock.monotonic()
        recent = [at for at in taken if at > now - WINDOW_SECONDS]
        refused = pace.take(MemberId("csp-b"), policy, uuid4())
        assert (refused is not None) == (len(recent) >= most)
        if refused is None:
            taken.append(now)
    assert pace.take(MemberId("csp-c"), MemberPolicy(proposals_per_minute=1), uuid4()) is None, "each peer has its own"


def test_a_limit_that_was_taken_away_is_forgotten() -> None:
    pace, one = Pace(ManualClock()), MemberPolicy(proposals_per_minute=1)
    peer = MemberId("csp-b")
    assert pace.take(peer, one, uuid4()) is None
    assert pace.take(peer, one, uuid4()) is not None
    assert pace.take(peer, MemberPolicy(), uuid4()) is None
    assert pace.take(peer, one, uuid4()) is None


def test_the_rounds_of_one_negotiation_count_once_and_are_bounded() -> None:
    pace, one, peer, id = Pace(ManualClock()), MemberPolicy(proposals_per_minute=1), MemberId("csp-b"), uuid4()
    assert [pace.take(peer, one, id) is None for _ in range(MAX_ROUNDS + 2)] == [True] * MAX_ROUNDS + [False] * 2
