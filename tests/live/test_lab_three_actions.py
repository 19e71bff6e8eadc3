"""The lab `three-actions`: one side's configurator knows nothing but the thesis's three actions."""

from __future__ import annotations

import pytest

from tests.live.labs import GO_ON, LET_ALL_IN, PAUSE, Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

ACTS = (
    Sabotage("a spoofed source on the circuit does not reach vm1", "router1", PAUSE),
    Sabotage("a spoofed source on the circuit does not reach vm1", "router1", LET_ALL_IN),
    Sabotage("a scan of router1 from the circuit finds nothing but probes", "router1", GO_ON),
    Sabotage("the commands that were shown can be run", "router2", "sed -i '$d' /run/left"),
)
BROKEN = {
    "a spoofed source on the circuit does not reach vm1": "it arrived",
    "a real address on the circuit does not reach vm1": "it arrived",
    "router2 is as before": "failed (status 1) >",
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        every_check_holds(host, "three-actions")


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        told = sabotaged(host, "three-actions", ACTS, BROKEN, others_not_made=True)
        assert "FAILED once it was released they agree anew: not made" in told
