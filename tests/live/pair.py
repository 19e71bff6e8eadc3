"""Two providers and a circuit between them: host - router - router - host, and the driver at work in both routers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar
from uuid import UUID

from meetme.drivers.linux.config import CircuitConfig
from meetme.drivers.linux.device import LinuxDriver
from meetme.drivers.linux.names import names
from meetme.model.agreement import Role
from meetme.model.intent import LinkAddresses, LinkIntent, Mapping, ProbeReport, ProbeRequest
from tests.live.world import Machine, World, eventually, world

T = TypeVar("T")
AGREEMENT = UUID(int=1)
CIRCUIT = "circuit-1"


@dataclass(frozen=True)
class Announced:
    """A prefix of one side as both sides agreed on it; `by` (`owner`, `viewer`, None) is who translates it."""

    real: str
    alias: str | None = None
    by: str | None = None

    def at_owner(self) -> Mapping:
        real, alias = ip_network(self.real), ip_network(self.alias or self.real)
        return Mapping(inside=real, wire=alias if self.by == "owner" else real)

    def at_viewer(self) -> Mapping:
        real, alias = ip_network(self.real), ip_network(self.alias or self.real)
        return Mapping(inside=alias, wire=alias if self.by == "owner" else real)


def intents(
    a: list[Announced],
    b: list[Announced],
    *,
    probe_a: str | None,
    probe_b: str | None,
    circuit: str = CIRCUIT,
    mtu: int = 1500,
    port_a: str = "x",
    port_b: str = "x",
    link: tuple[str, str] | None = None,
) -> tuple[LinkIntent, LinkIntent]:
    """Both sides' intents for one agreement; A is the initiator. Probe addresses are real ones."""
    made = []
    for role, own, other, port, probe, peer in (
        (Role.INITIATOR, a, b, port_a, probe_a, probe_b),
        (Role.RESPONDER, b, a, port_b, probe_b, probe_a),
    ):
        ends = None if link is None else [ip_interface(end) for end in (link if role is Role.INITIATOR else link[::-1])]
        made.append(
            LinkIntent(
                circuit=circuit,
                agreement=AGREEMENT,
                revision=1,
                generation=1,
                role=role,
                port=port,
                mtu=mtu,
                local=tuple(p.at_owner() for p in own),
                remote=tuple(p.at_viewer() for p in other),
                link=None if ends is None else LinkAddresses(local=ends[0], peer=ends[1]),
                probe=None if probe is None else ip_address(probe),
                probe_source=None if probe is None else ip_address(probe),
                peer_probe=None if peer is None else ip_address(seen(peer, other)),
            )
        )
    return made[0], made[1]


def seen(address: str, prefixes: list[Announced]) -> str:
    """How the other side addresses `address`."""
    for prefix in prefixes:
        real = ip_network(prefix.real)
        if ip_address(address) in real:
            offset = int(ip_address(address)) - int(real.network_address)
            return str(ip_network(prefix.alias or prefix.real)[offset])
    raise AssertionError(f"{address} is in none of {prefixes}")


def drive(router: Machine, f: Callable[[LinuxDriver], Coroutine[Any, Any, T]]) -> T:
    """Run `f` with an open driver inside the router, in a process that ends with it."""

    async def run() -> T:
        driver = LinuxDriver()
        await driver.open()
        try:
            return await f(driver)
        finally:
            await driver.close()

    return router.call(lambda: asyncio.run(run()))


def apply(router: Machine, intent: LinkIntent) -> tuple[str, ...]:
    """What the configurator does with an intent; the commands that it took."""

    async def run(driver: LinuxDriver) -> tuple[str, ...]:
        change = driver.plan(
            intent.circuit, await driver.read(intent.circuit), driver.render(intent, await driver.facts())
        )
        await driver.apply(change)
        return change.commands

    return drive(router, run)


def pending(router: Machine, intent: LinkIntent) -> tuple[str, ...]:
    """What `apply` would do: nothing where the router is as wished."""

    async def run(driver: LinuxDriver) -> tuple[str, ...]:
        have = await driver.read(intent.circuit)
        return driver.plan(intent.circuit, have, driver.render(intent, await driver.facts())).commands

    return drive(router, run)


def remove(router: Machine, circuit: str = CIRCUIT) -> tuple[str, ...]:
    """Take everything back, by what the device alone tells."""

    async def run(driver: LinuxDriver) -> tuple[str, ...]:
        change = driver.plan(circuit, await driver.read(circuit), None)
        await driver.apply(change)
        assert await driver.read(circuit) is None
        return change.commands

    return drive(router, run)


def read(router: Machine, circuit: str = CIRCUIT) -> CircuitConfig | None:
    return drive(router, lambda driver: driver.read(circuit))


def probe(
    router: Machine, source: str, target: str, *sizes: int, within: float = 1.0, circuit: str = CIRCUIT
) -> ProbeReport:
    request = ProbeRequest(circuit, ip_address(source), ip_address(target), sizes or (84,), within)
    return drive(router, lambda driver: driver.probe(request))


def inside(router: Machine, command: str, circuit: str = CIRCUIT) -> str:
    """A command line in the circuit's namespace."""
    return router.sh(f"ip netns exec {names(circuit).namespace} {command}")


@dataclass
class Pair:
    """Hosts and routers of A and B. `inner_*` is a machine between host and router, where one was asked for."""

    world: World
    host_a: Machine
    router_a: Machine
    router_b: Machine
    host_b: Machine

    def join(self, both: tuple[LinkIntent, LinkIntent]) -> None:
        apply(self.router_a, both[0])
        apply(self.router_b, both[1])


def lan(w: World, name: str, *addresses: str, host: str | None = None, mtu: int = 1500) -> tuple[Machine, Machine]:
    """A router `rNAME` and a host `hNAME`; the router has `addresses` on port `lan`, the host the next one of each."""
    router, end = w.machine(f"r{name}", forwards=True), w.machine(host or f"h{name}")
    w.cable(end, "eth0", router, "lan", mtu=mtu)
    for text in addresses:
        address = ip_interface(text)
        nodad = "nodad" if address.version == 6 else ""
        router.sh(f"ip addr add {address} dev lan {nodad}")
        end.sh(f"ip addr add {address.ip + 1}/{address.network.prefixlen} dev eth0 {nodad}")
        end.sh(f"ip route add default via {address.ip}", check=False)
    return router, end


@contextlib.contextmanager
def pair(
    *, a: tuple[str, ...] = ("10.0.0.1/24",), b: tuple[str, ...] = ("10.0.0.1/24",), mtu: int = 1500
) -> Iterator[Pair]:
    """Router addresses on the two LANs; each host has the next address. The circuit's port is `x` on both routers."""
    with world() as w:
        router_a, host_a = lan(w, "a", *a)
        router_b, host_b = lan(w, "b", *b)
        w.cable(router_a, "x", router_b, "x", mtu=mtu)
        yield Pair(w, host_a, router_a, router_b, host_b)


def snapshot(router: Machine) -> str:
    """All that a circuit could leave behind: links, addresses, routes, rules, rulesets, settings, namespaces."""
    eventually(lambda: "NO-CARRIER" not in router.sh("ip link show up") and "tentative" not in router.sh("ip addr"))
    return router.sh(
        "(ip -o link; ip -o addr) | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/ link-netnsid [0-9]*//; s/ qdisc [a-z]+//';"
        " ip rule; ip -6 rule;"
        " ip -4 route show table all; ip -6 route show table all;"
        " nft list ruleset; ls -d /run/netns/* /run/meetme/netns/* /run/meetme/*.json 2>/dev/null || true;"
        " sysctl -a 2>/dev/null | grep -E '^net.ipv[46].(conf|ip_forward|fwmark)' | grep -v -e stable_secret"
    )
