"""A configurator that knows the thesis's three actions alone, as the negotiator's client meets it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from meetme.configurator.client import open_configurator
from meetme.configurator.figures import DeviceFigures
from meetme.configurator.service import ActionServicer
from meetme.configurator.three_actions import ThreeActionClient, actions_for
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.v1 import configurator_pb2_grpc as rpc
from meetme.drivers.actions import Nat
from meetme.model.errors import DeviceFailed, Unreachable, Unsupported
from meetme.model.intent import LinkAddresses, Mapping, ProbeRequest
from tests.configurator.device import AGREEMENT, OTHER, intent

ROOT = Path(__file__).resolve().parents[2]
REAL, ALIAS, FAR = ip_network("10.0.0.0/24"), ip_network("100.64.0.0/24"), ip_network("10.9.0.0/24")

UNTRANSLATED = {"local": (Mapping(REAL, REAL),), "remote": (Mapping(FAR, FAR),)}


@dataclass
class Scripted(rpc.ConfiguratorServicer):
    """Notes every call; answers what it was told to."""

    calls: list[Any] = field(default_factory=list)
    answers: dict[str, pb.Result] = field(default_factory=dict)

    async def AddIPToInterface(self, request: pb.IPAssignment, context: Any) -> pb.Result:
        return self._answer("AddIPToInterface", request)

    async def AddRoute(self, request: pb.Route, context: Any) -> pb.Result:
        return self._answer("AddRoute", request)

    async def ConfigureNat(self, request: pb.NatConfiguration, context: Any) -> pb.Result:
        return self._answer("ConfigureNat", request)

    def _answer(self, name: str, request: Any) -> pb.Result:
        self.calls.append(request)
        return self.answers.get(name, pb.Result(success=True))


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[tuple[Scripted, ThreeActionClient]]:
    scripted, server = Scripted(), grpc.aio.server()
    rpc.add_ConfiguratorServicer_to_server(scripted, server)
    server.add_insecure_port(f"unix:{tmp_path / 'three.sock'}")
    await server.start()
    client = await open_configurator(f"unix:{tmp_path / 'three.sock'}", seconds=2)
    assert isinstance(client, ThreeActionClient)
    yield scripted, client
    await client.close()
    await server.stop(0)


async def test_identical_prefixes_become_the_thesis_nat(router: tuple[Scripted, ThreeActionClient]) -> None:
    scripted, client = router
    commands = await client.apply(intent(), confirm_seconds=30)
    assert scripted.calls == [
        pb.IPAssignment(ip="192.168.255.0/31", interface="eth1"),
        pb.NatConfiguration(
            localNetwork="100.64.0.0/24",
            remoteNetwork="10.0.0.0/24",
            localInterface="eth1",
            tableNumber="100",
            packetMark="100",
            nextHop="192.168.255.1",
        ),
    ]
    assert commands == (
        "ip addr add 192.168.255.0/31 dev eth1",
        "iptables -t nat -A PREROUTING -d 100.64.0.0/24 -j NETMAP --to 10.0.0.0/24",
        "iptables -t nat -A POSTROUTING -d 10.0.0.0/24 -j NETMAP --to 100.64.0.0/24",
        "iptables -t mangle -A PREROUTING ! -i eth1 -j MARK --set-mark 100",
        "ip route add default via 192.168.255.1 table 100",
        "ip rule add fwmark 100 lookup 100",
    )
    await client.confirm("c1", AGREEMENT, 1)
    assert (await client.remove("c1", AGREEMENT, 1)).left_on_device == (
        "ip rule del fwmark 100 lookup 100",
        "ip route del default via 192.168.255.1 table 100",
        "iptables -t mangle -D PREROUTING ! -i eth1 -j MARK --set-mark 100",
        "iptables -t nat -D POSTROUTING -d 10.0.0.0/24 -j NETMAP --to 100.64.0.0/24",
        "iptables -t nat -D PREROUTING -d 100.64.0.0/24 -j NETMAP --to 10.0.0.0/24",
        "ip addr del 192.168.255.0/31 dev eth1",
    )


async def test_the_side_that_does_not_translate_needs_a_route(router: tuple[Scripted, ThreeActionClient]) -> None:
    scripted, client = router
    await client.apply(intent(local=(Mapping(REAL, REAL),), remote=(Mapping(ALIAS, ALIAS),)))
    assert scripted.calls[1:] == [pb.Route(destinationNetwork="100.64.0.0/24", nextHop="192.168.255.1")]
    assert (await client.remove("c1", AGREEMENT, 1)).left_on_device == (
        "ip route del 100.64.0.0/24 via 192.168.255.1",
        "ip addr del 192.168.255.0/31 dev eth1",
    )


async def test_again_calls_nothing_and_dry_run_neither(router: tuple[Scripted, ThreeActionClient]) -> None:
    scripted, client = router
    assert len(await client.apply(intent(), dry_run=True)) == 6
    assert scripted.calls == []
    await client.apply(intent())
    assert await client.apply(intent()) == ()
    assert len(scripted.calls) == 2


@pytest.mark.parametrize("message", ["RTNETLINK answers: File exists", "the address already exists"])
async def test_what_is_there_already_is_as_good_as_done(
    router: tuple[Scripted, ThreeActionClient], message: str
) -> None:
    scripted, client = router
    scripted.answers["AddIPToInterface"] = pb.Result(success=False, message=message)
    await client.apply(intent())
    assert len(scripted.calls) == 2


@pytest.mark.parametrize("message", ['Device "eth1" does not exist', "no such table", ""])
async def test_a_failure_half_way_is_said_with_what_is_left(
    router: tuple[Scripted, ThreeActionClient], message: str
) -> None:
    scripted, client = router
    scripted.answers["ConfigureNat"] = pb.Result(success=False, message=message)
    with pytest.raises(DeviceFailed) as caught:
        await client.apply(intent())
    assert caught.value.code == "action_failed"
    assert (message or "no message") in caught.value.text
    left = (await client.remove("c1", AGREEMENT, 1)).left_on_device
    assert left[-1] == "ip addr del 192.168.255.0/31 dev eth1"
    assert len(left) == 6
    scripted.answers.clear()
    await client.apply(intent())
    assert [type(call) for call in scripted.calls] == [pb.IPAssignment, pb.NatConfiguration, pb.NatConfiguration]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"link": None}, "link_unnumbered_unsupported"),
        ({"vlan": 7}, "vlan_unsupported"),
        ({"local": (Mapping(REAL, REAL),) * 2}, "prefixes_unsupported"),
        ({"remote": ()}, "prefixes_unsupported"),
        ({"local": (Mapping(REAL, ALIAS),), "remote": (Mapping(FAR, FAR),)}, "translation_unsupported"),
        ({"local": (Mapping(REAL, REAL),), "remote": (Mapping(ALIAS, FAR),)}, "translation_unsupported"),
        (
            {"link": LinkAddresses(ip_interface("fd00::1/127"), ip_interface("fd00::/127"))},
            "ipv6_unsupported",
        ),
    ],
)
def test_what_three_actions_cannot_express(changes: dict, code: str) -> None:
    with pytest.raises(Unsupported) as caught:
        actions_for(intent(**changes))
    assert caught.value.code == code
    assert caught.value.field is not None


async def test_a_translated_link_is_alone(router: tuple[Scripted, ThreeActionClient]) -> None:
    scripted, client = router
    await client.apply(intent())
    plain = intent(circuit="c2", agreement=OTHER, port="eth2", **UNTRANSLATED)
    for other in (plain, intent(circuit="c2", agreement=OTHER, port="eth2")):
        with pytest.raises(Unsupported) as caught:
            await client.apply(other)
        assert caught.value.code == "one_translated_link"
    assert len(scripted.calls) == 2
    await client.remove("c1", AGREEMENT, 1)
    await client.apply(plain)


async def test_a_link_cannot_be_changed(router: tuple[Scripted, ThreeActionClient]) -> None:
    _, client = router
    await client.apply(intent())
    with pytest.raises(Unsupported) as caught:
        await client.apply(intent(revision=2, **UNTRANSLATED))
    assert caught.value.code == "change_unsupported"


async def test_after_a_restart_the_intent_says_what_may_be_left(router: tuple[Scripted, ThreeActionClient]) -> None:
    _, client = router
    assert len((await client.remove("c1", AGREEMENT, 1, intent=intent())).left_on_device) == 6


async def test_there_is_no_eye_and_no_probe(router: tuple[Scripted, ThreeActionClient]) -> None:
    _, client = router
    capabilities = await client.capabilities()
    assert not any((capabilities.probe, capabilities.removes, capabilities.confirm_timer, capabilities.unnumbered))
    assert capabilities.max_prefixes == 1
    with pytest.raises(Unsupported) as caught:
        await client.observe()
    assert caught.value.code == "observe_unsupported"
    with pytest.raises(Unsupported) as caught:
        await client.probe(ProbeRequest("c1", ip_address("10.0.0.1"), ip_address("100.64.0.1")))
    assert caught.value.code == "probe_unsupported"
    with pytest.raises(Unsupported):
        await anext(client.watch())


async def test_one_that_is_gone(tmp_path: Path) -> None:
    channel = grpc.aio.insecure_channel(f"unix:{tmp_path / 'gone.sock'}")
    client = ThreeActionClient(channel, "gone", seconds=1)
    with pytest.raises(Unreachable):
        await client.apply(intent())
    await client.close()


class Refusing:
    """A device that fails in ways nobody foresaw."""

    async def add_address(self, address, port) -> None:
        raise DeviceFailed("command_failed", 'device: "ip addr add" failed', hint="look")

    async def add_route(self, prefix, next_hop) -> None:
        raise ZeroDivisionError

    async def configure_nat(self, nat: Nat) -> None:
        raise AssertionError("never reached by a bad argument")


async def test_our_own_service_never_raises_on_an_action() -> None:
    servicer = ActionServicer(Refusing(), "fake", DeviceFigures())
    address = await servicer.AddIPToInterface(pb.IPAssignment(ip="10.0.0.1/24", interface="eth0"), None)
    assert (address.success, address.message) == (False, 'device: "ip addr add" failed; look')
    route = await servicer.AddRoute(pb.Route(destinationNetwork="10.0.0.0/24", nextHop="10.0.1.1"), None)
    assert not route.success
    for bad in (pb.NatConfiguration(), pb.NatConfiguration(localNetwork="10.0.0.1/24")):
        nat = await servicer.ConfigureNat(bad, None)
        assert not nat.success
        assert nat.message.startswith("localNetwork: must be")
    none = await ActionServicer(None, "memory", DeviceFigures()).AddRoute(pb.Route(), None)
    assert (none.success, "LinkConfigurator" in none.message) == (False, True)


def test_the_example_shares_the_contract_and_no_more() -> None:
    def definitions(path: Path) -> dict[str, str]:
        text = re.sub(r"//.*", "", path.read_text())
        blocks = re.findall(r"(?:message|service) (\w+) \{([^}]*)\}", text)
        return {name: " ".join(body.split()) for name, body in blocks}

    ours = definitions(ROOT / "src/meetme/configurator/v1/configurator.proto")
    example = definitions(ROOT / "examples/three-actions-node/three_actions.proto")
    assert set(example) == {"Configurator", "Result", "IPAssignment", "Route", "NatConfiguration"}
    assert example == {name: ours[name] for name in example}
