"""A control plane inside what the peer announces: an alias keeps it out of the circuit; cut, all goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.host import USER, Host, why_not_as_user
from tests.live.labs import Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

LAB = "private-control-plane"


@pytest.fixture(params=["root", "user"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    reason = why_not_as_user()
    if request.param == "user" and reason is not None:
        pytest.skip(reason)
    with lab_host(USER if request.param == "user" else 0) as made:
        yield made


def test_every_check_of_the_lab_holds(host: Host) -> None:
    checks = every_check_holds(host, LAB, seconds=400)
    assert checks["ping from vm1 to vm2"]["address"] == "100.64.0.2"
    assert checks["ping from vm1 to vm2"]["seen_as"] == "10.1.0.2"


OPEN = "nft list table ip control > /run/control; nft delete table ip control"
ACTS = (
    Sabotage("vm1 does not get to the control plane", "router1", OPEN),
    Sabotage("vm1 does not get to csp-b's control plane through the circuit", "router1", "nft -f /run/control"),
    Sabotage("vm1 does not get to csp-b's control plane through the circuit", "router2", OPEN),
    Sabotage("csp-a takes it back at once, and says that csp-b has not heard of it", "router2", "nft -f /run/control"),
    Sabotage("after terminate router2 is as before", "router2", "ip route add 192.0.2.0/24 dev eth0"),
)
BROKEN = {
    "vm1 does not get to the control plane": "it arrived",
    "vm1 does not get to csp-b's control plane through the circuit": "it arrived",
    "the control plane does not get to vm1 through router2 and the circuit": "it arrived",
    "after terminate router2 is as before": "failed (status 1) > 192.0.2.0/24",
    "after terminate the control plane is as it was": "not made",
}


@pytest.mark.parametrize("host", ["root"], indirect=True)
def test_checks_tell_what_is_broken(host: Host) -> None:
    sabotaged(host, LAB, ACTS, BROKEN, seconds=400)
