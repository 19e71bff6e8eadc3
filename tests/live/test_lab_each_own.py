"""The lab `each-own`: each side translates its own prefix, over an unnumbered link and over a numbered one."""

from __future__ import annotations

import pytest

from tests.live.labs import GO_ON, LET_ALL_IN, PAUSE, Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

ACTS = (
    Sabotage(
        "unnumbered: ping from vm1 to vm2, at an alias and from one", "router1", "ip route add blackhole 100.64.0.0/25"
    ),
    Sabotage(
        "unnumbered: ping from vm2 to vm1, at an alias and from one", "router1", "ip route del blackhole 100.64.0.0/25"
    ),
    Sabotage("numbered: a spoofed source on the circuit does not reach vm2", "router2", PAUSE),
    Sabotage("numbered: a spoofed source on the circuit does not reach vm2", "router2", LET_ALL_IN),
    Sabotage("numbered: a scan of router2 from the circuit finds nothing but probes", "router2", GO_ON),
)
BROKEN = {
    "unnumbered: ping from vm1 to vm2, at an alias and from one": "it did not arrive",
    "numbered: a spoofed source on the circuit does not reach vm2": "it arrived",
    "numbered: a real source on the circuit does not reach vm2": "it arrived",
    "numbered: an own alias as source on the circuit does not reach vm2": "it arrived",
    "numbered: a real address on the circuit does not reach vm2": "it arrived",
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        every_check_holds(host, "each-own")


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "each-own", ACTS, BROKEN)
