"""A link that changes under an active agreement: what is said of it, what is left alone, and what heals by itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.host import a_host
from tests.live.members import ROUTERS, Members

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

NAMESPACE = "$(ip netns list | cut -d' ' -f1)"
CUT = (
    "nft add table inet cut; nft 'add chain inet cut in { type filter hook input priority 0; }';"
    " nft 'add chain inet cut out { type filter hook output priority 0; }';"
    " for chain in in out; do for way in sport dport; do nft add rule inet cut $chain tcp $way 8470 drop; done; done"
)
"""Nothing of the negotiators gets through, and nobody is told."""


def narrow(octets: int) -> str:
    """From now on the cable loses every frame that is larger."""
    return f"tc -n {NAMESPACE} qdisc add dev eth2 root tbf rate 1gbit burst {octets} latency 10ms"


MEND = f"tc -n {NAMESPACE} qdisc del dev eth2 root"


@dataclass
class Joined:
    """Two members with an agreement in force."""

    members: Members
    id: str
    address: str

    def health(self, router: str) -> dict[str, Any]:
        """What its negotiator says of the data plane."""
        view = self.members.api(router, f"/negotiations/{self.id}")
        return (view or {}).get("health") or {"state": None, "reason": None}

    def await_health(self, router: str, state: str, reason: str | None = None) -> dict[str, Any]:
        """Wait until it says so."""
        seen: list[dict[str, Any]] = []

        def said() -> bool:
            seen.append(self.health(router))
            code = (seen[-1]["reason"] or {}).get("code")
            return seen[-1]["state"] == state and (reason is None or code == reason)

        try:
            self.members.await_(said, 60)
        except AssertionError:
            raise AssertionError(f"{router}: never {state} {reason}, last {seen[-1]}") from None
        return seen[-1]

    def up(self) -> None:
        """Everything is as it should be, at both sides."""
        for router in ROUTERS:
            self.await_health(router, "up")
        self.members.await_(lambda: self.members.pings("vm1", self.address))
        assert [self.members.state(router, self.id) for router in ROUTERS] == ["active", "active"]


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    folder = Path(tempfile.mkdtemp(prefix="members-"))
    try:
        with a_host(0, folder) as host:
            made = Members(host)
            lab = made.copy_lab()
            for router in ROUTERS:
                settings = lab / router / "etc/meetme/meetme.toml"
                settings.write_text(settings.read_text().replace("[negotiator]", "[negotiator]\nprobe_interval = 1.0"))
            host.lab("up", str(lab), "--timeout", "200", seconds=220)
            yield made
            host.lab("down", str(lab))
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def joined(members: Members) -> Joined:
    made = Joined(members, *members.agreed())
    made.up()
    return made


@pytest.mark.slow
def test_a_port_that_goes_down_and_comes_up(members: Members, joined: Joined) -> None:
    configurator = members.process("router2", "configurator")
    members.run("router2", f"kill -STOP {configurator}; ip -n {NAMESPACE} link set eth2 down")
    down = joined.await_health("router1", "down", "probe_unanswered")
    assert (down["rtt_ms"], down["loss"]) == (None, 1.0)
    assert "down, loss 100%, probe_unanswered" in members.said("router1", "meetme status")
    shown = members.said("router1", f"meetme show {joined.id}")
    assert "probe_unanswered" in shown
    assert "see whether the circuit carries frames" in shown
    joined.await_health("router2", "degraded", "configurator_timeout")
    members.run("router2", f"kill -CONT {configurator}")
    joined.up()
    back = joined.health("router1")
    assert back["since"] > down["since"]
    assert back["rtt_ms"] is not None


def test_a_cable_that_carries_nothing(members: Members, joined: Joined) -> None:
    members.run("router2", narrow(40))
    for router in ROUTERS:
        joined.await_health(router, "down", "probe_unanswered")
    members.run("router2", MEND)
    joined.up()


def test_a_circuit_that_carries_less_than_was_agreed(members: Members, joined: Joined) -> None:
    members.run("router2", narrow(1200))
    for router in ROUTERS:
        degraded = joined.await_health(router, "degraded", "mtu_not_carried")
        assert "1500" in degraded["reason"]["text"]
        assert degraded["rtt_ms"] is not None
    assert members.pings("vm1", joined.address), "small packets pass, and that is not enough to be up"
    assert "mtu_not_carried" in members.said("router1", "meetme status")
    members.run("router2", MEND)
    joined.up()


def lose_the_data_plane(members: Members, router: str, *services: str) -> None:
    """What a reboot leaves of the router: its port, its addresses, and its disk."""
    for service in services:
        members.run(router, f"kill -9 {members.process(router, service)}")
    members.run(
        router,
        f"ns={NAMESPACE}; ip -n $ns link set eth2 netns $$; ip netns del $ns; umount /run/meetme/netns/* ;"
        " rm -rf /run/meetme; ip link del $ns 2>/dev/null; ip route flush proto 201;"
        " ip route flush type unreachable proto 201; true",
    )
    assert members.said(router, "ip netns list; ip route show proto 201") == ""
    assert "eth2" in members.said(router, "ip -o link show eth2")


@pytest.mark.parametrize("router", ["router1", pytest.param("router2", marks=pytest.mark.slow)])
def test_a_router_that_boots_anew_has_its_links_again(members: Members, joined: Joined, router: str) -> None:
    other = ROUTERS[1 - ROUTERS.index(router)]
    services = ("negotiator", "configurator") if router == "router2" else ("configurator",)
    before = [line for line in members.look(router) if "100.64" in line]
    lose_the_data_plane(members, router, *services)
    joined.await_health(other, "down", "probe_unanswered")
    assert members.state(other, joined.id) == "active"
    if router == "router1":  # its negotiator runs elsewhere, so to say
        joined.await_health(router, "degraded", "configurator_unreachable")
    for service in reversed(services):
        members.restart(router, service)
    members.await_(lambda: members.negotiations(router) is not None, 60)
    joined.up()
    assert [line for line in members.look(router) if "100.64" in line] == before


@pytest.mark.slow
def test_a_cut_control_plane_leaves_the_traffic_alone_and_what_differs_heals(members: Members, joined: Joined) -> None:
    members.run("router1", CUT)
    pinging = members.host.start(
        "exec", members.name, "vm1", "--", "ping", "-q", "-i", "0.2", "-w", "40", joined.address
    )
    members.await_(lambda: "compare" in members.said("router1", "meetme status"), 60)
    shown = members.said("router1", f"meetme show {joined.id}")
    assert "compare" in shown
    assert "peer_timeout" in shown, "and why it does not get through"
    said, _ = pinging.communicate(timeout=90)
    assert " 0% packet loss" in said, said
    for router in ROUTERS:
        assert members.state(router, joined.id) == "active"
        assert joined.health(router)["state"] == "up"
    # Ended on one side meanwhile: the other one keeps it, and sees that nothing crosses.
    done = members.run("router2", f"meetme terminate {joined.id} --timeout 2", check=False)
    assert done.returncode == 4
    joined.await_health("router1", "down", "probe_unanswered")
    assert members.state("router1", joined.id) == "active"
    assert members.said("router1", "ip netns list") != ""
    members.run("router1", "nft delete table inet cut")
    members.await_(lambda: all(members.state(each, joined.id) == "terminated" for each in ROUTERS), 90)
    for router in ROUTERS:
        members.await_(lambda router=router: members.said(router, "ip netns list") == "")
