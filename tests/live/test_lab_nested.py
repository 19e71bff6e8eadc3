"""The lab `nested`: unequal lengths, partial overlap, with a route of the router and with another agreement."""

from __future__ import annotations

import pytest

from tests.live.labs import CUT, MEND, Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

MIRROR = """
nft -f - <<END
table ip mirror {
    chain copies {
        type filter hook prerouting priority raw
        ip protocol icmp ip saddr 172.20.0.2 dup to 10.9.1.3 device "eth1"
    }
}
END
"""
ACTS = (
    Sabotage("csp-b's 10.0.5.2 is reached from 172.20.0.2", "router1", MIRROR),
    Sabotage("csp-a's 10.0.5.2 is reached from 10.0.5.2", "router1", "nft delete table ip mirror"),
    Sabotage("192.168.50.2 is still csp-a's own", "router1", "ip route replace 192.168.50.0/24 via 172.20.0.99"),
    Sabotage("192.168.50.2 is still csp-a's own", "vm1", "ip route add 192.168.50.0/24 via 10.0.0.99"),
    Sabotage("10.0.5.2 is still csp-a's own for vm4", "router1", "ip route replace 192.168.50.0/24 via 10.0.0.4"),
    Sabotage("csp-c does not reach csp-a's 10.0.0.0/16", "router3", "ip route add 10.0.5.2 via 10.9.1.1"),
    Sabotage("after terminate csp-b's 10.0.5.2 is not reached", "router1", f"{CUT}; sleep 0.2; {MEND}"),
)
BROKEN = {
    "csp-b's 10.0.5.2 is reached from 172.20.0.2": "router3 saw",
    "csp-b's 172.21.0.2 is reached from 172.20.0.2": "router3 saw",
    "csp-b's 192.168.50.2 is reached from 172.20.0.2": "router3 saw",
    "192.168.50.2 is still csp-a's own": "nothing was sent",
    "csp-c does not reach csp-a's 10.0.0.0/16": "it arrived",
    "no packet from vm3 to vm1 was lost meanwhile": "packets were lost, from number",
    "after terminate router3 is as before": "failed (status 1) > 10.0.5.2 via 10.9.1.1",
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        every_check_holds(host, "nested")


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "nested", ACTS, BROKEN)
