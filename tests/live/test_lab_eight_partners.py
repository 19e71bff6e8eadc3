"""The lab `eight-partners`: all with the same prefix, at once; nobody sees another's packets."""

from __future__ import annotations

import pytest

from tests.live.labs import CUT, MEND, Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1200)]

PARTNERS = range(2, 10)
MIRROR = """
nft -f - <<END
table ip mirror {
    chain copies {
        type filter hook prerouting priority raw
        iifname eth0 ip protocol icmp dup to 10.0.1.9 device "eth1"
    }
}
END
"""
ACTS = (
    Sabotage("ping from vm1 to vm2, seen by nobody else", "router1", MIRROR),
    Sabotage("ping from vm1 to vm3, seen by nobody else", "router1", "nft delete table ip mirror"),
    Sabotage("tcp from vm1 to vm4, port 40000 to 5000, goes on", "router4", CUT),
    Sabotage("tcp from vm1 to vm5, port 40000 to 5000, goes on", "router4", MEND),
    Sabotage("after terminate of csp-e nothing of vm1 reaches vm5", "router1", f"{CUT}; sleep 0.2; {MEND}"),
)
BROKEN = {
    "ping from vm1 to vm2, seen by nobody else": "router9 saw",
    "ping from vm2 to vm1, seen by nobody else": "router9 saw",
    "tcp from vm1 to vm4, port 40000 to 5000, goes on": "it did not arrive",
    "tcp from vm4 to vm1, port 40000 to 5000, goes on": "it did not arrive",
    **{
        f"no packet from {one} to {other} was lost": "packets were lost, from number"
        for partner in PARTNERS
        if partner not in (5, 7)
        for one, other in (("vm1", f"vm{partner}"), (f"vm{partner}", "vm1"))
    },
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        seen = every_check_holds(host, "eight-partners", seconds=500)
        aliases = {seen[f"ping from vm1 to vm{n}, seen by nobody else"]["address"] for n in PARTNERS}
        assert len(aliases) == len(PARTNERS)
        assert aliases == {seen[f"ping from vm{n} to vm1, seen by nobody else"]["seen_as"] for n in PARTNERS}


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "eight-partners", ACTS, BROKEN, seconds=500)
