"""Whole members change an active agreement while packets flow; either is killed in the middle of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.host import a_host
from tests.live.members import ROUTERS, Members

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
STAYS, COMES = "10.0.0.0/24", "10.5.0.0/24"


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    folder = Path(tempfile.mkdtemp(prefix="members-"))
    try:
        with a_host(0, folder) as host:
            made = Members(host)
            made.up()
            for number in ("1", "2"):  # a second network on either side; which of them is announced is to change
                made.run(f"router{number}", f"ip address add 10.{number}5.0.1/24 dev eth0")
                made.run(f"vm{number}", f"ip address add 10.{number}5.0.2/24 dev eth0")
            yield made
            host.lab("down", "thesis")
    finally:
        shutil.rmtree(folder)


def stream(members: Members, source: str, address: str, packets: int) -> None:
    """One echo request every 5 ms in the background."""
    members.run(source, f"ping -q -i 0.005 -c {packets} {address} > /tmp/stream 2>&1 & exit 0")


def lost(members: Members, source: str, packets: int) -> str:
    """What became of the stream, once it is over: empty where every packet was answered."""
    members.await_(lambda: "packets transmitted" in members.said(source, "cat /tmp/stream"), 60)
    said = members.said(source, "grep transmitted /tmp/stream")
    return "" if said.startswith(f"{packets} packets transmitted, {packets} received, 0%") else said


def view(members: Members, router: str, id: str) -> dict[str, Any]:
    found: dict[str, Any] = members.api(router, f"/negotiations/{id}")
    return found


def in_step(members: Members, id: str, least: int) -> bool:
    """Both have the same agreement in force, and nothing is under way."""
    views = [members.api(router, f"/negotiations/{id}") for router in ROUTERS]
    if not all(views):
        return False
    done = all(
        v["change"] is None or v["change"]["state"] in ("failed", "refused", "terminated") for v in views
    ) and not any(due["what"].startswith(("router", "change")) for v in views for due in v["owed"])
    return done and views[0]["agreement"] == views[1]["agreement"] and views[0]["agreement"]["revision"] >= least


@pytest.mark.slow
def test_prefixes_come_and_go_and_what_stays_loses_no_packet(members: Members) -> None:
    before = {router: members.look(router) for router in ROUTERS}
    id, address = members.agreed()
    back = view(members, "router2", id)["agreement"]["initiator"]["prefixes"][0]["alias"].replace(".0/24", ".2")
    assert members.pings("vm1", address)
    assert members.pings("vm2", back)
    assert not members.pings("vm2", "10.15.0.2")
    packets = 4000
    stream(members, "vm1", address, packets)
    stream(members, "vm2", back, packets)
    said = json.loads(members.said("router1", "meetme change csp-b --add 10.15.0.0/24 --format json"))
    assert said["agreement"]["revision"] == 2
    members.await_(lambda: in_step(members, id, 2))
    assert members.pings("vm2", "10.15.0.2")
    assert members.said("vm1", f"ping -c 1 -W 1 -I 10.15.0.2 {address} | grep received").startswith("1 packets")
    members.run("router2", f"meetme change {id} --add 10.25.0.0/24 --mtu 1400")
    members.await_(lambda: in_step(members, id, 3))
    assert members.pings("vm1", "10.25.0.2")
    members.run("router1", f"meetme change {id[:8]} --withdraw 10.15.0.0/24")
    members.await_(lambda: in_step(members, id, 4))
    assert not members.pings("vm2", "10.15.0.2")
    assert members.pings("vm1", "10.25.0.2")
    assert [lost(members, vm, packets) for vm in ("vm1", "vm2")] == ["", ""]
    assert view(members, "router1", id)["agreement"]["mtu"] == 1400
    members.run("router2", f"meetme terminate {id}")
    members.await_look(before)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("router", ROUTERS)
def test_killed_in_the_middle_of_a_change_both_end_on_the_same_revision(
    members: Members, router: str, moment: float
) -> None:
    before = {each: members.look(each) for each in ROUTERS}
    id, address = members.agreed()
    packets = 3000
    stream(members, "vm1", address, packets)
    victim = members.process(router, "negotiator")
    members.run(
        "router1",
        f"meetme change {id} --add 10.15.0.0/24 --no-wait; exit 0"
        if router == "router2"
        else f"(sleep {moment}; kill -9 {victim}) & meetme change {id} --add 10.15.0.0/24 --timeout 3; wait; exit 0",
        check=False,
    )
    if router == "router2":
        members.run("router2", f"sleep {moment}; kill -9 {victim}")
    members.restart(router, "negotiator")
    members.await_(lambda: in_step(members, id, 1), 120)
    agreed = view(members, "router1", id)["agreement"]
    reached = members.pings("vm2", "10.15.0.2")
    assert reached == (agreed["revision"] == 2)
    assert lost(members, "vm1", packets) == ""
    members.run("router1", f"meetme terminate {id}")
    members.await_look(before)
