"""Aliases behind two border routers: the router inside learns them from FRR, and forgets them again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.host import USER, Host, why_not_as_user
from tests.live.labs import Sabotage, checks_of, every_check_holds, lab_host, sabotaged

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/usr/lib/frr/zebra").exists(), reason="needs FRR: apt-get install frr"),
]

LAB = "beyond-the-router"
PASSES_ALL = "border1 passes on nothing but what leads to partners"


@pytest.fixture(params=["root", "user"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    reason = why_not_as_user()
    if request.param == "user" and reason is not None:
        pytest.skip(reason)
    with lab_host(USER if request.param == "user" else 0) as made:
        yield made


def test_every_check_of_the_lab_holds(host: Host) -> None:
    checks = every_check_holds(host, LAB)
    assert checks["ping from vm1 to vm2"]["address"] == "100.64.0.2"
    assert checks["ping from vm1 to vm3"]["address"] == "100.64.1.2"


@pytest.mark.parametrize("host", ["root"], indirect=True)
def test_checks_tell_what_is_broken(host: Host) -> None:
    # FRR waits 5 s before it obeys a route map that was changed.
    everything = "vtysh -c 'configure terminal' -c 'route-map meetme permit 30'; sleep 6"
    names = [line.split('"')[1] for line in checks_of(LAB).splitlines() if line.startswith("name = ")]
    after = names[names.index(PASSES_ALL) + 1 :]
    broken = {PASSES_ALL: "203.0.113.0/24", **dict.fromkeys(after, "not made")}
    sabotaged(host, LAB, [Sabotage(PASSES_ALL, "border1", everything)], broken)


@pytest.mark.parametrize("host", ["root"], indirect=True)
def test_without_frr_it_says_what_is_needed(host: Host) -> None:
    host.run("mount -t tmpfs tmpfs /usr/lib/frr")
    told = host.lab("up", LAB, "--timeout", "200", status=1, seconds=220)
    assert "this lab needs FRR on the host: apt-get install frr" in told
