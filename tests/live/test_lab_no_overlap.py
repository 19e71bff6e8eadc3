"""The lab `no-overlap`: nothing is translated, the addresses that are seen are the real ones."""

from __future__ import annotations

import pytest

from tests.live.labs import Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

INSIDE = "ip netns exec $(ip netns list | cut -d' ' -f1)"
HIDE = "nft 'add table ip hide; add chain ip hide out { type nat hook postrouting priority srcnat; }'"
ACTS = (
    Sabotage("before the agreement nothing of vm1 reaches vm2", "router1", "ip route add 10.2.0.0/24 via 10.0.1.2"),
    Sabotage("before the agreement nothing of vm2 reaches vm1", "router1", "ip route del 10.2.0.0/24 via 10.0.1.2"),
    Sabotage("ping from vm1 to vm2, at its real address and from one", "router2", HIDE),
    Sabotage(
        "ping from vm1 to vm2, at its real address and from one",
        "router2",
        "nft add rule ip hide out oifname eth0 masquerade",
    ),
    Sabotage("ping from vm2 to vm1, at its real address and from one", "router2", "nft delete table ip hide"),
    Sabotage("what csp-b may write on the circuit reaches vm1", "router1", "kill -STOP $(cat /run/negotiator.pid)"),
    Sabotage(
        "a spoofed source on the circuit does not reach vm1",
        "router1",
        f"{INSIDE} nft insert rule inet meetme prerouting iifname eth2 meta mark set 1; "
        f"{INSIDE} nft flush chain inet meetme postrouting",
    ),
    Sabotage("what csp-a may write on the circuit reaches vm2", "router1", "kill -CONT $(cat /run/negotiator.pid)"),
    Sabotage("after terminate router1 is as before", "router1", "ip route add 192.0.2.0/24 dev eth0"),
)
BROKEN = {
    "before the agreement nothing of vm1 reaches vm2": "it arrived",
    "ping from vm1 to vm2, at its real address and from one": "it was seen as 10.2.0.1, not as 10.1.0.2",
    "a spoofed source on the circuit does not reach vm1": "it arrived",
    "a source of vm1's own network on the circuit does not reach it": "it arrived",
    "after terminate router1 is as before": "failed (status 1) > 192.0.2.0/24",
    "after terminate router2 is as before": "not made",
}


@pytest.mark.slow
def test_every_check_holds() -> None:
    with lab_host() as host:
        every_check_holds(host, "no-overlap")


@pytest.mark.slow
def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "no-overlap", ACTS, BROKEN)
