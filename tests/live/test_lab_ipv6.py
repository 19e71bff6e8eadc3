"""The lab `ipv6`: unique local prefixes that collide, both families in one agreement."""

from __future__ import annotations

import pytest

from tests.live.labs import GO_ON, INSIDE, LET_ALL_IN, PAUSE, Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

DROP_ERRORS = "icmpv6 type '{ destination-unreachable, time-exceeded, packet-too-big }' drop"
ACTS = (
    Sabotage(
        "ping from vm1 to vm2 by IPv6, at an alias and from one", "vm1", "ip -6 route add fd00:64::/48 via fd00:10::9"
    ),
    Sabotage(
        "ping from vm2 to vm1 by IPv6, at an alias and from one", "vm1", "ip -6 route del fd00:64::/48 via fd00:10::9"
    ),
    Sabotage("port unreachable, from vm2 to vm1", "router1", PAUSE),
    Sabotage(
        "port unreachable, from vm2 to vm1",
        "router1",
        f"{INSIDE} nft insert rule inet meetme forward {DROP_ERRORS}; {INSIDE} nft flush chain inet meetme output",
    ),
    Sabotage("time exceeded at hop 1, told to vm2", "router1", GO_ON),
    Sabotage("a spoofed source on the circuit does not reach vm1", "router1", PAUSE),
    Sabotage("a spoofed source on the circuit does not reach vm1", "router1", LET_ALL_IN),
    Sabotage("what csp-a may write on the circuit reaches vm2", "router1", GO_ON),
    Sabotage("a scan of router2 from vm1 finds nothing but probes", "router2", PAUSE),
    Sabotage(
        "a scan of router2 from vm1 finds nothing but probes",
        "router2",
        f"{INSIDE} nft insert rule inet meetme router ip6 daddr fd00:10::1 accept",
    ),
    Sabotage("vm1's own network is still its own", "router2", GO_ON),
)
BROKEN = {
    "ping from vm1 to vm2 by IPv6, at an alias and from one": "nothing was sent",
    "port unreachable, from vm2 to vm1": "the sender was not told",
    "port unreachable, from vm1 to vm2": "the sender was not told",
    "time exceeded at hop 2, told to vm1": "the sender was not told",
    "time exceeded at hop 3, told to vm1": "the sender was not told",
    "time exceeded at hop 4, told to vm1": "the sender was not told",
    "a spoofed source on the circuit does not reach vm1": "it arrived",
    "a network that nobody negotiated on the circuit does not reach vm1": "it arrived",
    "an alias as source on the circuit does not reach vm1": "it arrived",
    "a real address on the circuit does not reach vm1": "it arrived",
    "a scan of router2 from vm1 finds nothing but probes": "tcp fd00:64::1 port 22: tcp from fd00:64::1",
    "a scan of router2 from the circuit finds nothing but probes": "tcp fd00:10::1 port 22: tcp from",
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        seen = every_check_holds(host, "ipv6")
        assert seen["a packet of full size from vm1 to vm2 by IPv6"]["address"] == "fd00:64::2"


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "ipv6", ACTS, BROKEN)
