"""Two negotiators over a network that nobody trusts: one open port, one side behind NAT, an attacker on the path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.host import USER, Host, why_not_as_user
from tests.live.labs import Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 500


@pytest.fixture(params=["root", "user"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    reason = why_not_as_user()
    if request.param == "user" and reason is not None:
        pytest.skip(reason)
    with lab_host(USER if request.param == "user" else 0) as made:
        yield made


def test_every_check_of_the_lab_holds(host: Host) -> None:
    checks = every_check_holds(host, "internet", seconds=SECONDS)
    assert checks["ping from vm1 to vm2"]["address"] == "100.64.0.2"


OPEN = "nft list table ip uplink > /run/uplink; nft delete table ip uplink"
IN_THE_CLEAR = "exec 3<> /dev/tcp/198.51.100.2/8470; echo csp-a has 10.0.0.0/24 >&3"
ACTS = (
    Sabotage("nobody of the Internet gets to vm2 through csp-a", "router1", OPEN),
    Sabotage("nobody of csp-b gets to the Internet through csp-a", "router1", "nft -f /run/uplink"),
    Sabotage("the attacker has heard nothing but TLS", "router2", IN_THE_CLEAR),
)
BROKEN = {
    "nobody of the Internet gets to vm2 through csp-a, with the address of a host of csp-a either": "it arrived",
    "nobody of the Internet gets to vm1": "it arrived",
    "the attacker has heard nothing but TLS": "no TLS",
}


@pytest.mark.parametrize("host", ["root"], indirect=True)
def test_checks_tell_what_is_broken(host: Host) -> None:
    sabotaged(host, "internet", ACTS, BROKEN, seconds=SECONDS)
