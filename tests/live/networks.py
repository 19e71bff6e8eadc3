"""Random networks built from namespaces: a router for each site, a machine for each of its networks, real cables.

Packets are sent and received by this process, over sockets that live in the machines: thousands of them take a second.
Every datagram has a number of its own, so it is known who got which, and who should not have.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar

from meetme.drivers.base import RouterFacts
from meetme.drivers.linux.device import LinuxDriver
from meetme.model.addresses import Address
from meetme.model.intent import LinkIntent, Observation
from tests.live.pair import drive
from tests.live.world import Machine, World
from tests.networks.oracle import Point, point
from tests.networks.plan import Lan, Network, Site

T = TypeVar("T")
PORT = 7000
"""Of every datagram, at both ends: flows to several partners differ by nothing but their addresses."""
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ECHO = {4: (8, 0, socket.IPPROTO_ICMP), 6: (128, 129, socket.IPPROTO_ICMPV6)}


@dataclass(frozen=True)
class Host:
    """One host: an address in a machine."""

    site: str
    address: Address
    machine: Machine

    @property
    def at(self) -> tuple[str, Point]:
        return self.site, point(self.address)


@dataclass
class Built:
    """A network that is there."""

    network: Network
    world: World
    routers: dict[str, Machine] = field(default_factory=dict)
    hosts: list[Host] = field(default_factory=list)
    gateways: list[Host] = field(default_factory=list)
    """The routers' own addresses."""

    def facts(self, site: str) -> RouterFacts:
        """What the driver sees."""
        return drive(self.routers[site], lambda driver: driver.facts())

    def observation(self, site: str) -> Observation:
        """The same, as a configurator tells it."""
        seen = self.facts(site)
        return Observation(seen.ports, seen.routes, ())

    def apply(self, site: str, intents: Iterable[LinkIntent]) -> None:
        """Bring intents into force; applying them again must change nothing."""
        wanted = list(intents)

        async def run(driver: LinuxDriver) -> None:
            for intent in wanted:
                have = await driver.read(intent.circuit)
                await driver.apply(driver.plan(intent.circuit, have, driver.render(intent, await driver.facts())))
            for intent in wanted:
                have = await driver.read(intent.circuit)
                again = driver.plan(intent.circuit, have, driver.render(intent, await driver.facts()))
                assert again.empty, again.commands

        self._drive(site, run)

    def remove(self, site: str, circuits: Iterable[str]) -> None:
        """Take circuits back."""
        gone = list(circuits)

        async def run(driver: LinuxDriver) -> None:
            for circuit in gone:
                await driver.apply(driver.plan(circuit, await driver.read(circuit), None))
                assert await driver.read(circuit) is None

        self._drive(site, run)

    def _drive(self, site: str, run: Callable[[LinuxDriver], Coroutine[Any, Any, None]]) -> None:
        drive(self.routers[site], run)


def build(w: World, network: Network) -> Built:
    """Build it: hosts and routers know their own networks and routes, and nothing of each other."""
    built = Built(network, w)
    for site in network.sites:
        router = built.routers[site.name] = w.machine(site.name, forwards=True)
        lines: list[str] = []
        for index, lan in enumerate((*site.lans, *site.more)):
            machine = w.machine(f"{site.name}-{index}")
            w.cable(machine, "eth0", router, f"lan{index}", mtu=9000)
            lines.append(f"addr add {lan.port} dev lan{index}{_nodad(lan)}")
            ends = [f"addr add {host}/{lan.prefix.prefixlen} dev eth0{_nodad(lan)}" for host in lan.hosts]
            _batch(machine, [*ends, f"route add default via {lan.router}"])
            built.hosts += [Host(site.name, host, machine) for host in lan.hosts]
            built.gateways.append(Host(site.name, lan.router, router))
        _batch(router, [*lines, *_routes(site)])
    for circuit in network.circuits:
        a, b = network.site(circuit.starter), network.site(circuit.other)
        port, mtu = f"x-{circuit.name}", min(a.mtu, b.mtu)
        w.cable(built.routers[a.name], port, built.routers[b.name], port, mtu=mtu)
    return built


def _nodad(lan: Lan) -> str:
    return " nodad" if lan.prefix.version == 6 else ""


def _routes(site: Site) -> Iterator[str]:
    """The routes that the router has already lead to a host in its first network of that family."""
    for prefix in site.routes:
        via = next((lan.hosts[0] for lan in site.lans if lan.prefix.version == prefix.version), None)
        if via is not None:
            yield f"route add {prefix} via {via}"


def _batch(machine: Machine, lines: list[str]) -> None:
    machine.sh("ip -batch -", given="\n".join(lines) + "\n")


# --- packets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One datagram: from a host to an address as that host writes it."""

    source: Host
    target: Point


def written(at: Point) -> str:
    """An address as text."""
    return str(ip_address(at[1].to_bytes(4 if at[0] == 4 else 16, "big")))


@dataclass
class Heard:
    """Who got a datagram, as coming from where; and what address answered."""

    by: list[tuple[tuple[str, Point], Point]] = field(default_factory=list)
    answered_by: list[Point] = field(default_factory=list)


class Post:
    """A socket at every host, bound to its address; each answers what it gets."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._sockets: dict[int, tuple[Host, socket.socket]] = {}
        self._by_host: dict[tuple[str, Point], socket.socket] = {}
        self.log: dict[int, Heard] = {}
        self._number = 0
        self._poll = select.epoll()
        for host in hosts:
            made = host.machine.socket(FAMILIES[host.address.version], socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            made.bind((str(host.address), PORT))
            made.setblocking(False)
            self._sockets[made.fileno()] = host, made
            self._by_host[host.at] = made
            self._poll.register(made.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Everything goes."""
        for _, made in self._sockets.values():
            made.close()
        self._poll.close()

    def send(self, packets: Iterable[Sent]) -> list[int]:
        """Send them all, answering what arrives in between; their numbers."""
        numbers = []
        for packet in packets:
            self._number += 1
            numbers.append(self._number)
            self.log[self._number] = Heard()
            with contextlib.suppress(OSError):  # no route: then nobody is reached, and that is looked at
                question = struct.pack("!cQ", b"?", self._number)
                self._by_host[packet.source.at].sendto(question, (written(packet.target), PORT))
            if self._number % 32 == 0:
                self.listen(0)
        return numbers

    def listen(self, seconds: float) -> bool:
        """Take what is there, waiting that long for the first; whether there was anything."""
        ready = self._poll.poll(seconds)
        for descriptor, _ in ready:
            host, made = self._sockets[descriptor]
            with contextlib.suppress(BlockingIOError):
                while True:
                    try:
                        data, sender = made.recvfrom(100)
                    except ConnectionError:
                        continue
                    self._take(host, made, data, sender)
        return bool(ready)

    def _take(self, host: Host, made: socket.socket, data: bytes, sender: Any) -> None:
        kind, number = struct.unpack("!cQ", data)
        from_ = point(ip_address(sender[0]))
        heard = self.log[number]
        if kind == b"?":
            heard.by.append((host.at, from_))
            with contextlib.suppress(OSError):
                made.sendto(struct.pack("!cQ", b"!", number), sender[:2])
        else:
            heard.answered_by.append(from_)

    def until(self, done: Callable[[], bool], within: float = 5.0) -> bool:
        """Listen until it is so."""
        end = time.monotonic() + within
        while not done():
            if time.monotonic() > end:
                return False
            self.listen(0.05)
        return True

    def quiet(self, seconds: float = 0.15) -> None:
        """Listen until nothing has come for so long."""
        while self.listen(seconds):
            pass


class Stream:
    """Numbered datagrams that keep flowing from a thread of its own, until asked to stop."""

    def __init__(self, hosts: Iterable[Host], flows: list[Sent]) -> None:
        self._post = Post(hosts)
        self._flows = flows
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._post.send(self._flows)
            self._post.listen(0.002)

    def stop(self) -> list[tuple[Sent, Heard]]:
        """End it; what became of every datagram."""
        self._stop.set()
        self._thread.join()
        self._post.until(lambda: all(heard.answered_by for heard in self._post.log.values()), 2.0)
        self._post.quiet()
        self._post.close()
        return [(self._flows[index % len(self._flows)], heard) for index, heard in enumerate(self._post.log.values())]


def pings(packets: list[Sent], within: float = 2.0) -> list[bool]:
    """Whether each target answers an echo request; all at once."""
    sockets: dict[tuple[int, int, str], socket.socket] = {}
    answered = [False] * len(packets)
    poll = select.poll()
    by_number: dict[int, tuple[socket.socket, int]] = {}

    def speaker(packet: Sent) -> socket.socket:
        version = packet.target[0]
        key = (version, packet.source.machine.pid, str(packet.source.address))
        if key not in sockets:
            made = packet.source.machine.socket(FAMILIES[version], socket.SOCK_RAW, ECHO[version][2])
            made.bind((str(packet.source.address), 0))
            made.setblocking(False)
            sockets[key] = made
            poll.register(made.fileno(), select.POLLIN)
            by_number[made.fileno()] = made, version
        return sockets[key]

    def drain(milliseconds: int) -> None:
        for descriptor, _ in poll.poll(milliseconds):
            made, version = by_number[descriptor]
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, sender = made.recvfrom(2048)
                    message = data if version == 6 else data[(data[0] & 15) * 4 :]
                    if message[0] != ECHO[version][1] or message[8:12] != mark:
                        continue
                    index = int.from_bytes(message[12:16], "big")
                    answered[index] |= point(ip_address(sender[0])) == packets[index].target

    mark = os.urandom(4)
    end = time.monotonic() + within
    for index, packet in enumerate(packets):
        request = _echo(packet.target[0], mark + index.to_bytes(4, "big"))
        with contextlib.suppress(OSError):
            speaker(packet).sendto(request, (written(packet.target), 0))
        if index % 32 == 31:
            drain(0)
    while not all(answered) and time.monotonic() < end:
        drain(50)
    for made in sockets.values():
        made.close()
    return answered


def _echo(version: int, payload: bytes) -> bytes:
    body = struct.pack("!HH", os.getpid() & 0xFFFF, 1) + payload + bytes(24)
    if version == 6:
        return struct.pack("!BBH", 128, 0, 0) + body  # the kernel makes the checksum
    raw = struct.pack("!BBH", 8, 0, 0) + body
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return struct.pack("!BBH", 8, 0, ~total & 0xFFFF) + body


def connect(packet: Sent, server: Host, seen_from: Point, octets: int = 20_000) -> None:
    """One TCP connection from the same port as every other one, with octets both ways."""
    family = FAMILIES[packet.source.address.version]
    with server.machine.socket(family) as listener, packet.source.machine.socket(family) as calling:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(server.address), PORT))
        listener.listen()
        calling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        calling.bind((str(packet.source.address), PORT + 1))
        calling.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no port waits after it
        calling.connect((written(packet.target), PORT))
        accepted, peer = listener.accept()
        with accepted:
            accepted.settimeout(5)
            assert point(ip_address(peer[0])) == seen_from
            for one, other in ((calling, accepted), (accepted, calling)):
                sender = threading.Thread(target=one.sendall, args=(bytes(octets),))
                sender.start()
                got = 0
                while got < octets:
                    data = other.recv(1 << 16)
                    assert data, "connection ended early"
                    got += len(data)
                sender.join()
