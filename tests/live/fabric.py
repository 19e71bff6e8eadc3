"""Switches of an exchange with customers at their ports, and frames sent from one customer to another."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeVar
from uuid import UUID

from meetme.drivers.fabric.device import FabricDriver
from meetme.model.intent import Intent
from meetme.model.segment import AccessEnd, SegmentEnd, SegmentIntent, TunnelEnd
from tests.live.world import Machine, World, world

T = TypeVar("T")
ARP, LLDP, EXPERIMENT, IPV4, IPV6, QTAG = 0x0806, 0x88CC, 0x88B6, 0x0800, 0x86DD, 0x8100
BROADCAST = "ff:ff:ff:ff:ff:ff"


def segment(
    circuit: str,
    a: SegmentEnd | tuple[SegmentEnd, ...],
    b: SegmentEnd | tuple[SegmentEnd, ...],
    *,
    mtu: int = 1500,
    bandwidth: int | None = None,
    number: int = 1,
) -> SegmentIntent:
    """A segment; one end alone may be given as it is."""
    sides = [side if isinstance(side, tuple) else (side,) for side in (a, b)]
    return SegmentIntent(circuit, UUID(int=number), number, number, sides[0], sides[1], mtu, bandwidth)


def tunnel(local: str, remote: str, vni: int) -> TunnelEnd:
    return TunnelEnd(ip_address(local), ip_address(remote), vni)


def drive(machine: Machine, work: Callable[[FabricDriver], Awaitable[T]]) -> T:
    """Do `work` with a driver of its own in the switch, in a process of its own."""

    async def run() -> T:
        driver = FabricDriver()
        await driver.open()
        try:
            return await work(driver)
        finally:
            await driver.close()

    return machine.call(lambda: asyncio.run(run()))


async def wish(driver: FabricDriver, circuit: str, intent: Intent | None) -> tuple[str, ...]:
    want = None if intent is None else driver.render(intent, await driver.facts())
    change = driver.plan(circuit, await driver.read(circuit), want)
    await driver.apply(change)
    return change.commands


def apply(machine: Machine, intent: SegmentIntent) -> tuple[str, ...]:
    return drive(machine, lambda driver: wish(driver, intent.circuit, intent))


def remove(machine: Machine, circuit: str) -> tuple[str, ...]:
    return drive(machine, lambda driver: wish(driver, circuit, None))


def snapshot(machine: Machine) -> str:
    """All that a circuit may change of a switch, without counters and numbers."""
    return machine.sh(
        "ip -d -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/link-netnsid [0-9]+//; s/qlen [0-9]+//'"
        " | sed -E 's/(_timer) +[0-9.]+/\\1/g' | sort;"
        " ip -o addr | grep -v 'fe80' | sed -E 's/^[0-9]+: //; s/valid_lft.*//' | sort; ip route show table all | sort;"
        " ip -6 route show table main | sort;"
        " tc qdisc show | sed -E 's/refcnt [0-9]+//' | sort; bridge fdb show | grep -v ^33:33 | sort;"
        " find /run/meetme -type f 2>/dev/null || true; sysctl -a 2>/dev/null | grep -E 'disable_ipv6|bridge-nf' | sort"
    )


@dataclass
class Customer:
    """A machine with one port in the exchange; its MTU is far above any circuit's, so that it can send too much."""

    machine: Machine
    port: str = "eth0"
    sends: socket.socket = field(init=False)
    hears: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.sends = self.machine.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sends.bind((self.port, 0))
        self.hears = self.machine.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.hears.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        self.hears.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the tag, which the kernel takes off
        self.hears.bind((self.port, 3))

    @property
    def mac(self) -> bytes:
        return bytes(self.sends.getsockname()[4])

    def send(
        self, payload: bytes, *, ethertype: int = EXPERIMENT, to: str = BROADCAST, tag: int | None = None
    ) -> bytes:
        """One frame; `payload` is as given, the frame comes back."""
        tagged = b"" if tag is None else struct.pack("!HH", QTAG, tag)
        frame = bytes.fromhex(to.replace(":", "")) + self.mac + tagged + struct.pack("!H", ethertype) + payload
        try:
            self.sends.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # the other end of the cable did not take it
                raise
        return frame

    def heard(self, within: float = 0.0) -> list[bytes]:
        """Frames of others that came in since the last call; waits for the first one."""
        found: list[bytes] = []
        deadline = time.monotonic() + within
        while True:
            self.hears.settimeout(max(0.0, deadline - time.monotonic()) or 0.0001)
            try:
                data, ancillary, _, address = self.hears.recvmsg(70000, 256)
            except (TimeoutError, BlockingIOError):
                return found
            if address[2] != 4:
                found.append(_with_tag(data, ancillary))
                deadline = 0.0

    def waits_for(self, frame: bytes, within: float = 3.0) -> bool:
        """Whether this very frame comes in."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if frame in self.heard(0.2):
                return True
        return False


def _with_tag(frame: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    for _, _, data in ancillary:
        status, _, _, _, _, tag, kind = struct.unpack("=IIIHHHH", data)
        if status & 0x10:
            return frame[:12] + struct.pack("!HH", kind or QTAG, tag) + frame[12:]
    return frame


def crosses(a: Customer, b: Customer, size: int = 100, *, within: float = 3.0, **how: object) -> bool:
    """Whether a frame with a payload of `size` octets gets from `a` to `b` as it is. What is late has not crossed."""
    b.heard()
    frame = a.send(secrets.token_bytes(size), **how)  # type: ignore[arg-type]
    return b.waits_for(frame, within)


def blocked(a: Customer, b: Customer, size: int = 100, **how: object) -> bool:
    """Whether it does not, while a small one that is sent after it does."""
    b.heard()
    frame = a.send(secrets.token_bytes(size), **how)  # type: ignore[arg-type]
    control = a.send(secrets.token_bytes(64))
    seen: list[bytes] = []
    deadline = time.monotonic() + 3
    while control not in seen and time.monotonic() < deadline:
        seen += b.heard(0.2)
    assert control in seen, "the control frame did not cross either"
    return frame not in seen


@dataclass
class Exchange:
    """Switches by name, with customers by name."""

    world: World
    switches: dict[str, Machine] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)

    def switch(self, name: str) -> Machine:
        self.switches[name] = self.world.machine(name)
        return self.switches[name]

    def customer(self, name: str, switch: str, port: str, *, mtu: int = 9600) -> Customer:
        machine = self.world.machine(name)
        machine.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        self.world.cable(machine, "eth0", self.switches[switch], port, mtu=mtu)
        self.customers[name] = Customer(machine)
        return self.customers[name]

    def trunk(self, a: str, b: str, number: int, *, mtu: int = 9700) -> None:
        """A cable between two switches: 10.9.NUMBER.1 and .2 and fd09:NUMBER::1 and ::2, on port uNUMBER of each."""
        port = f"u{number}"
        self.world.cable(self.switches[a], port, self.switches[b], port, mtu=mtu)
        for name, host in ((a, 1), (b, 2)):
            self.switches[name].sh(
                f"ip addr add 10.9.{number}.{host}/24 dev {port}; ip addr add fd09:{number}::{host}/64 dev {port} nodad"
            )


@contextlib.contextmanager
def exchange() -> Iterator[Exchange]:
    with world() as w:
        yield Exchange(w)


@contextlib.contextmanager
def two_switches() -> Iterator[Exchange]:
    """Two switches, a trunk between them, two customers at each: a1, a2 at s1 and b1, b2 at s2, on eth1 and eth2."""
    with exchange() as ix:
        for name in ("s1", "s2"):
            ix.switch(name)
        ix.trunk("s1", "s2", 1)
        for name, switch, port in (
            ("a1", "s1", "eth1"),
            ("a2", "s1", "eth2"),
            ("b1", "s2", "eth1"),
            ("b2", "s2", "eth2"),
        ):
            ix.customer(name, switch, port)
        yield ix


def running(machine: Machine, work: Callable[[], object]) -> int:
    """`work` in a process of its own inside the machine, with its process group's number; the caller ends it."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        with contextlib.suppress(BaseException):
            machine.call(work)
        os._exit(0)
    os.setpgid(child, child)
    return child


def access(port: str, vlan: int | None = None) -> AccessEnd:
    return AccessEnd(port, vlan)
