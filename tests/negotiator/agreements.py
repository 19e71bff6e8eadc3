"""Two sides with the prefixes that a test names, and what they agree on."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import HealthCheck, settings

from meetme.model.addresses import Prefix
from meetme.model.agreement import Agreement, MemberId
from meetme.negotiator.addressing import Own, Refusal, Usage
from tests.negotiator.networks import (
    talk,
)

THOROUGH = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def net(text: str) -> Prefix:
    return ip_network(text)


def own(member: MemberId, *prefixes: str, pools: str = "100.64.0.0/16", links: str = "", **more: object) -> Own:
    mine = tuple(map(net, prefixes))
    facts = {
        "usage": Usage(held=mine),
        "alias_pools": tuple(map(net, pools.split())),
        "link_pools": tuple(map(net, links.split())),
        "mtu": 1500,
    }
    return Own(member=member, prefixes=mine, **{**facts, **more})  # type: ignore[arg-type]


def agreed(a: Own, b: Own) -> Agreement:
    result = talk(a, b).result
    assert isinstance(result, Agreement), result
    return result


def refused(a: Own, b: Own) -> str:
    result = talk(a, b).result
    assert isinstance(result, Refusal), result
    return result.problems[0].code
