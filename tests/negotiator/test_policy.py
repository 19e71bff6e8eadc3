from __future__ import annotations

from ipaddress import ip_network

import pytest

from meetme.model.members import MemberPolicy
from meetme.negotiator.policy import policy_problems

TEN = ip_network("10.0.0.0/8")


def codes(policy: MemberPolicy, *prefixes: str, order: str | None = None, agreements: int = 0) -> list[str]:
    networks = [ip_network(prefix) for prefix in prefixes]
    return [
        problem.code
        for problem in policy_problems(policy, prefixes=networks, order=order, agreements=agreements, field="prefixes")
    ]


@pytest.mark.parametrize(
    ("policy", "prefixes", "expected"),
    [
        (MemberPolicy(), ("10.0.0.0/24", "2001:db8::/48"), []),
        (MemberPolicy(), ("10.0.0.0/24", "0.0.0.0/0"), ["policy_default_route"]),
        (MemberPolicy(), ("::/0",), ["policy_default_route"]),
        (MemberPolicy(announce=(TEN,)), ("10.1.0.0/16",), []),
        (MemberPolicy(announce=(TEN,)), ("10.1.0.0/16", "192.0.2.0/24"), ["policy_prefix"]),
        (MemberPolicy(announce=(ip_network("10.0.0.0/16"),)), ("10.0.0.0/8",), ["policy_prefix"]),
        (MemberPolicy(announce=(TEN,)), ("0.0.0.0/0",), ["policy_default_route"]),
    ],
)
def test_what_a_peer_may_announce(policy: MemberPolicy, prefixes: tuple[str, ...], expected: list[str]) -> None:
    assert codes(policy, *prefixes) == expected


def test_orders_and_the_number_of_agreements() -> None:
    policy = MemberPolicy(order_required=True, max_agreements=2)
    assert codes(policy, "10.0.0.0/24", order="o1", agreements=1) == []
    assert codes(policy, "10.0.0.0/24", agreements=2) == ["policy_order", "policy_max_agreements"]
