"""The three actions against a kernel: the Node.js example and our own service, each in a namespace of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path

import grpc.aio
import pytest

from meetme.configurator.three_actions import ThreeActionClient
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.v1 import configurator_pb2_grpc as rpc
from meetme.model.agreement import Role
from meetme.model.intent import LinkAddresses, Mapping
from tests.configurator.device import AGREEMENT, intent

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/three-actions-node"
NAMESPACE = f"meetme-test-{os.getpid()}"

REAL, ALIAS = ip_network("10.0.0.0/24"), ip_network("100.64.0.0/24")

pytestmark = pytest.mark.live


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


def inside(*command: str) -> str:
    return run("ip", "netns", "exec", NAMESPACE, *command)


def need_tools() -> None:
    for tool in ("ip", "iptables", "ping"):
        if shutil.which(tool) is None:
            pytest.skip(f"the command {tool} is not installed")
    made = subprocess.run(["ip", "netns", "add", f"{NAMESPACE}-try"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no namespace can be made here, run as root: {made.stderr.strip()}")
    run("ip", "netns", "del", f"{NAMESPACE}-try")


@pytest.fixture
def namespace() -> Iterator[str]:
    """A router with a LAN port and the circuit's port."""
    need_tools()
    run("ip", "netns", "add", NAMESPACE)
    try:
        inside("ip", "link", "set", "lo", "up")
        for port in ("eth0", "eth1"):
            inside("ip", "link", "add", port, "type", "veth", "peer", "name", f"{port}-far")
            inside("ip", "link", "set", port, "up")
            inside("ip", "link", "set", f"{port}-far", "up")
        inside("ip", "addr", "add", "10.0.0.1/24", "dev", "eth0")
        yield NAMESPACE
    finally:
        run("ip", "netns", "del", NAMESPACE)


@pytest.fixture(scope="session")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed outside of the source tree."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "server.js", "three_actions.proto"):
        shutil.copy(EXAMPLE / name, folder)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return folder


@asynccontextmanager
async def running(kind: str, namespace: str, address: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A configurator of this kind inside the namespace."""
    if kind == "node":
        folder = request.getfixturevalue("node_example")
        command, cwd = ["node", "server.js", address], folder
    else:
        command, cwd = [sys.executable, "-m", "tests.contract.serve_actions", address], ROOT
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, *command, cwd=cwd, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert b"listening" in await process.stdout.readline()
        yield address
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(params=["node", "own"])
async def target(request: pytest.FixtureRequest, namespace: str, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a configurator that runs inside the namespace."""
    async with running(request.param, namespace, f"unix:{tmp_path / 'actions.sock'}", request) as address:
        yield address


def state() -> tuple[str, ...]:
    """Everything that the actions could have changed. IPv6 aside: the kernel still settles its link-local routes."""
    return (
        inside("ip", "-o", "-4", "addr"),
        inside("ip", "-4", "route", "show", "table", "all"),
        inside("ip", "rule"),
        inside("iptables", "-t", "nat", "-S"),
        inside("iptables", "-t", "mangle", "-S"),
    )


async def test_a_translated_link_and_back(target: str) -> None:
    inside("iptables", "-t", "nat", "-S")  # loads the tables, so that "before" and "after" can be equal
    inside("iptables", "-t", "mangle", "-S")
    before = state()
    client = ThreeActionClient(grpc.aio.insecure_channel(target), target)
    await client.apply(intent())
    assert "192.168.255.0/31" in inside("ip", "-o", "addr", "show", "dev", "eth1")
    assert "default via 192.168.255.1 dev eth1" in inside("ip", "route", "show", "table", "100")
    assert "fwmark 0x64 lookup 100" in inside("ip", "rule")
    nat = inside("iptables", "-t", "nat", "-S")
    assert "-A PREROUTING -d 100.64.0.0/24 -j NETMAP --to 10.0.0.0/24" in nat
    assert "-A POSTROUTING -d 10.0.0.0/24 -j NETMAP --to 100.64.0.0/24" in nat
    assert "-A PREROUTING ! -i eth1 -j MARK --set-xmark 0x64/0xffffffff" in inside("iptables", "-t", "mangle", "-S")
    applied = state()
    forgetful = ThreeActionClient(grpc.aio.insecure_channel(target), target)
    await forgetful.apply(intent())
    assert state() == applied
    for command in (await client.remove("c1", AGREEMENT, 1)).left_on_device:
        inside(*command.split())
    assert state() == before
    await client.close()
    await forgetful.close()


@pytest.fixture
def providers() -> Iterator[tuple[str, str, str, str]]:
    """vm1 - r1 = r2 - vm2: both providers use 10.0.0.0/24, the routers are joined by nothing but a wire."""
    need_tools()
    vm1, r1, r2, vm2 = names = tuple(f"{NAMESPACE}-{name}" for name in ("vm1", "r1", "r2", "vm2"))
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for (a, port_a), (b, port_b) in (
            ((vm1, "eth0"), (r1, "eth0")),
            ((r1, "eth1"), (r2, "eth1")),
            ((vm2, "eth0"), (r2, "eth0")),
        ):
            run("ip", "-n", a, "link", "add", port_a, "type", "veth", "peer", "name", port_b, "netns", b)
            run("ip", "-n", a, "link", "set", port_a, "up")
            run("ip", "-n", b, "link", "set", port_b, "up")
        for vm, router in ((vm1, r1), (vm2, r2)):
            run("ip", "-n", router, "addr", "add", "10.0.0.1/24", "dev", "eth0")
            run("ip", "-n", vm, "addr", "add", "10.0.0.2/24", "dev", "eth0")
            run("ip", "-n", vm, "route", "add", "default", "via", "10.0.0.1")
            for setting in ("ip_forward=1", "conf.all.rp_filter=0", "conf.eth1.rp_filter=0"):
                run("ip", "netns", "exec", router, "sysctl", "-qw", f"net.ipv4.{setting}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def pings(namespace: str, address: str) -> bool:
    command = ["ip", "netns", "exec", namespace, "ping", "-c", "2", "-i", "0.1", "-W", "1", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kinds", [("node", "node"), ("own", "node")])
async def test_equal_networks_reach_each_other(
    providers: tuple[str, str, str, str], kinds: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    vm1, r1, r2, vm2 = providers
    here, there = ip_interface("192.168.255.0/31"), ip_interface("192.168.255.1/31")
    translates = intent(link=LinkAddresses(here, there))
    routes = intent(
        role=Role.RESPONDER,
        link=LinkAddresses(there, here),
        local=(Mapping(REAL, REAL),),
        remote=(Mapping(ALIAS, ALIAS),),
    )
    alias_of_the_other = "100.64.0.2"
    assert not pings(vm1, alias_of_the_other)
    async with AsyncExitStack() as stack:
        for kind, router, wish in zip(kinds, (r1, r2), (translates, routes), strict=True):
            target = await stack.enter_async_context(running(kind, router, f"unix:{tmp_path / router}", request))
            client = ThreeActionClient(grpc.aio.insecure_channel(target), target)
            stack.push_async_callback(client.close)
            await client.apply(wish)
        assert pings(vm1, alias_of_the_other)
        assert pings(vm2, alias_of_the_other)


async def test_a_route(target: str) -> None:
    stub = rpc.ConfiguratorStub(grpc.aio.insecure_channel(target))
    assert (await stub.AddIPToInterface(pb.IPAssignment(ip="192.168.255.0/31", interface="eth1"))).success
    route = pb.Route(destinationNetwork="10.9.0.0/24", nextHop="192.168.255.1")
    assert (await stub.AddRoute(route)).success
    assert (await stub.AddRoute(route)).success
    assert inside("ip", "route", "show", "10.9.0.0/24") == "10.9.0.0/24 via 192.168.255.1 dev eth1 \n"


async def test_bad_arguments_change_nothing(target: str) -> None:
    before = state()
    stub = rpc.ConfiguratorStub(grpc.aio.insecure_channel(target))
    for request in (
        pb.IPAssignment(),
        pb.IPAssignment(ip="10.0.0.0", interface="eth1"),
        pb.IPAssignment(ip="10.0.0.9/24", interface="-batch"),
        pb.IPAssignment(ip="10.0.0.9/24", interface="eth1; ip link del eth0"),
        pb.IPAssignment(ip="10.0.0.9/24", interface="eth77"),
    ):
        result = await stub.AddIPToInterface(request)
        assert not result.success
        assert result.message
    result = await stub.AddRoute(pb.Route(destinationNetwork="10.9.0.0/24", nextHop="203.0.113.1"))
    assert not result.success
    nat = pb.NatConfiguration(
        localNetwork="100.64.0.0/24",
        remoteNetwork="10.0.0.0/24",
        localInterface="eth1",
        tableNumber="one",
        packetMark="100",
        nextHop="192.168.255.1",
    )
    result = await stub.ConfigureNat(nat)
    assert not result.success
    assert "tableNumber" in result.message
    assert state() == before


def test_our_own_nat_is_all_or_nothing(namespace: str) -> None:
    before = state()
    script = (
        "import asyncio, ipaddress\n"
        "from meetme.drivers.actions import Nat\n"
        "from meetme.drivers.linux.actions import LinuxActions\n"
        "nat = Nat(ipaddress.ip_network('100.64.0.0/24'), ipaddress.ip_network('10.0.0.0/24'), 'eth1', 100, 100,"
        " ipaddress.ip_address('203.0.113.1'))\n"
        "asyncio.run(LinuxActions().configure_nat(nat))\n"
    )
    failed = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert 'ip route add default via 203.0.113.1 table 100" failed' in failed.stderr
    assert state() == before
