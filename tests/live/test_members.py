"""Whole members, killed and disturbed: both sides end equal, and the routers agree with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.live.host import a_host
from tests.live.members import LIVE, ROUTERS, Members

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    folder = Path(tempfile.mkdtemp(prefix="members-"))
    try:
        with a_host(0, folder) as host:
            made = Members(host)
            made.up()
            yield made
            host.lab("down", "thesis")
    finally:
        shutil.rmtree(folder)


START_AND_KILL = """
import json, os, signal, sys, threading, time, urllib.request
victim, delay, key = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
token = open("/etc/meetme/token").read().strip()
request = urllib.request.Request("http://127.0.0.1:8471/api/v1/start_negotiation", data=b'{"peer": "csp-b"}')
headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Idempotency-Key": key}
for name, value in headers.items():
    request.add_header(name, value)
killer = threading.Timer(delay, os.kill, (victim, signal.SIGKILL))
killer.start()
try:
    urllib.request.urlopen(request, timeout=10).read()
except OSError:
    pass
killer.join()
"""

MOMENTS = (0.02, 0.08, 0.16, 0.4)
"""Seconds after the request: in the offer, while both configure, while both probe, about when it is active."""

VICTIMS = [(router, service) for router in ROUTERS for service in ("negotiator", "configurator")]


def kills() -> Iterator[pytest.param]:  # type: ignore[valid-type]
    for number, (router, service) in enumerate(VICTIMS):
        for moment in MOMENTS:
            ordinary = number in (0, 3) and moment == MOMENTS[number]
            name = f"{router}-{service}-after-{moment}"
            yield pytest.param(router, service, moment, id=name, marks=() if ordinary else (pytest.mark.slow,))


@pytest.mark.parametrize(("router", "service", "moment"), list(kills()))
def test_a_kill_at_any_moment_ends_equal_on_both_sides(
    members: Members, router: str, service: str, moment: float
) -> None:
    before = {each: members.look(each) for each in ROUTERS}
    victim, key = members.process(router, service), str(uuid4())
    members.python("router1", START_AND_KILL, str(victim), str(moment), key)
    members.restart(router, service)
    members.await_(lambda: all(members.negotiations(each) is not None for each in ROUTERS))
    # The same request with the same key is the same negotiation, or the first of it: nothing is begun twice.
    members.await_(lambda: "id" in (members.api("router1", "/start_negotiation", "POST", {"peer": "csp-b"}, key) or {}))
    id = members.api("router1", "/start_negotiation", "POST", {"peer": "csp-b"}, key)["id"]

    def settled() -> bool:
        states = [members.state(each, id) for each in ROUTERS]
        if None in states or any(state in LIVE for state in states):
            return False
        return ("active" in states) == (states[0] == states[1] == "active")

    members.await_(settled, 100)
    if members.state("router1", id) == "active":
        agreement = members.api("router1", f"/negotiations/{id}")["agreement"]
        address = agreement["responder"]["prefixes"][0]["alias"].replace(".0/24", ".2")
        members.await_(lambda: members.pings("vm1", address) and members.pings("vm2", address))
        members.run("router2", f"meetme terminate {id}")
    members.await_look(before)


def test_a_stopped_control_plane_leaves_the_traffic_alone(members: Members) -> None:
    id, address = members.agreed()
    for router in ROUTERS:
        for service in ("negotiator", "configurator"):
            members.run(router, f"kill -9 {members.process(router, service)}")
    assert members.pings("vm1", address)
    assert members.pings("vm2", address)
    for router in ROUTERS:
        for service in ("configurator", "negotiator"):
            members.restart(router, service)
    members.await_(lambda: all(members.state(each, id) == "active" for each in ROUTERS), 60)
    assert members.pings("vm1", address)
    members.run("router1", f"meetme terminate {id}")
    members.await_(lambda: not members.said("router2", "ip netns list"))


def test_terminate_while_the_peer_is_away_is_owed_until_it_is_back(members: Members) -> None:
    id, address = members.agreed()
    members.run("router2", f"kill -9 {members.process('router2', 'negotiator')}")
    done = members.run("router1", f"meetme terminate {id} --timeout 2", check=False)
    assert done.returncode == 4
    assert members.state("router1", id) == "terminating"
    assert members.said("router1", "ip netns list") == ""
    assert not members.pings("vm1", address)
    busy = members.run("router1", "meetme negotiate csp-b", check=False)
    assert busy.returncode == 1, "alias, circuit and port stay reserved"
    members.restart("router2", "negotiator")
    members.await_(lambda: all(members.state(each, id) == "terminated" for each in ROUTERS), 60)
    assert members.said("router2", "ip netns list") == ""


DAMAGE = {
    "route": "ip route del 100.64.0.0/24 proto 201 metric 64",
    "barrier": "ip route del unreachable 100.64.0.0/24",
    "name": "ip netns del {namespace}",
    "ruleset": "ip netns exec {namespace} nft flush ruleset",
    # The repair may be quicker than the second command, and then has put the rule back itself.
    "rules": "ip -n {namespace} rule flush; ip -n {namespace} rule add table main pref 32766 || true",
    "routes": "ip -n {namespace} route flush table 1; ip -n {namespace} route flush table 2",
    "addresses": "ip -n {namespace} address flush dev eth2",
    "port": "ip -n {namespace} link set eth2 down",
    "veth": "ip link del {namespace}",
}


@pytest.fixture(scope="module")
def joined(members: Members) -> Iterator[tuple[str, str]]:
    members.run(
        "router1",
        "nft add table ip foreign; ip rule add from 192.0.2.1 table 77 pref 77; ip route add 192.0.2.0/24 dev eth1",
    )
    id, address = members.agreed()
    yield id, address
    members.run("router1", f"meetme terminate {id}")
    kept = members.look("router1")
    assert "table ip foreign {" in kept
    assert any("from 192.0.2.1 lookup 77" in line for line in kept)
    members.run("router1", "nft delete table ip foreign; ip rule del pref 77; ip route del 192.0.2.0/24 dev eth1")


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_removed_by_hand_is_back_within_five_seconds(
    members: Members, joined: tuple[str, str], damage: str
) -> None:
    _, address = joined
    assert members.pings("vm1", address)
    before = members.look("router1")
    namespace = members.said("router1", "ip netns list | cut -d' ' -f1")
    members.run("router1", DAMAGE[damage].format(namespace=namespace))
    members.await_(lambda: members.pings("vm1", address) and members.pings("vm2", address), 5)

    def steady(lines: list[str]) -> list[str]:
        # In order anew: an interface that is made again has another number, and its line another place.
        return sorted(_steady(line) for line in lines)

    with suppress(AssertionError):
        members.await_(lambda: steady(members.look("router1")) == steady(before), 5)
    assert steady(members.look("router1")) == steady(before)


def _steady(line: str) -> str:
    """Without what a repaired interface may have got anew: its number and its MAC address."""
    import re

    return re.sub(r"(link/ether \S+)|(^\d+: )|(@if\d+)|(if\d+)|(\(id: \d+\))", "", line)
