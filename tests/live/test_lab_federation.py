"""The lab `federation`: circuits over two and three exchanges, two paths, and an agreement on top."""

from __future__ import annotations

import pytest

from tests.live.labs import Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1200)]

SHARED = ". /hostlab/shared.startup; "
ACTS = (
    Sabotage("a frame from csp-a to csp-b", "sb1", SHARED + "cut eth2"),
    Sabotage("what csp-a sends to csp-c does not reach csp-b", "sb1", SHARED + "mend eth2"),
    Sabotage("sd1 is as before", "sd1", "ip link add name strange type bridge"),
)
BROKEN = {
    "a frame from csp-a to csp-b": "it did not arrive",
    "a frame from csp-b to csp-a": "it did not arrive",
    "sd1 is as before": "strange",
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        every_check_holds(host, "federation", seconds=560)


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "federation", ACTS, BROKEN, seconds=560, others_not_made=True)
