"""The lab `trap`: two paths that share no link, where whoever takes the shortest one first finds no second one."""

from __future__ import annotations

import pytest

from tests.live.labs import Sabotage, every_check_holds, lab_host, sabotaged

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

CUT = ". /hostlab/shared.startup; cut {}"
MEND = ". /hostlab/shared.startup; mend {}"
ACTS = (
    Sabotage("ping from vm1 to vm2", "ixb", CUT.format("eth2")),
    Sabotage("it is taken back", "ixb", MEND.format("eth2")),
    Sabotage("ixa is as before", "ixa", "ip link add name strange type bridge"),
)
BROKEN = {
    "ping from vm1 to vm2": "nothing was sent",
    "ixa is as before": "strange",
}


def test_every_check_holds() -> None:
    with lab_host() as host:
        every_check_holds(host, "trap")


def test_each_check_fails_where_what_it_promises_is_broken() -> None:
    with lab_host() as host:
        sabotaged(host, "trap", ACTS, BROKEN, others_not_made=True)
