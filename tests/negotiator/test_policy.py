"""What a member lets a peer do: every rule, and every refusal with its name."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.model.members import MemberPolicy
from meetme.negotiator.policy import policy_problems
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
