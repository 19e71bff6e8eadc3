"""What a peer is told of a problem on this side."""

from __future__ import annotations

import pytest

from meetme.model.errors import Fault, Problem
from meetme.negotiator.side import refused


@pytest.mark.parametrize("code", ["port_unknown", "port_in_use", "router_unseen"])
def test_no_peer_reads_the_names_of_our_routers_and_ports(code: str) -> None:
    told = refused(Problem(code, 'port: must be one of eth0 (203.0.113.1), eth1 ("eth9")', "on border-7", "port"))
    assert told.code == code
    assert told.fault is Fault.REMOTE
    said = f"{told.text} {told.hint} {told.field}"
    assert not any(secret in said for secret in ("eth", "203.0.113.1", "border-7"))


def test_whose_fault_it_is_turns_round() -> None:
    assert refused(Problem("a", "b", fault=Fault.LOCAL)).fault is Fault.REMOTE
    assert refused(Problem("a", "b", fault=Fault.REMOTE)).fault is Fault.LOCAL
