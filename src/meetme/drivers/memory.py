"""A device that is none: for dry runs, demonstrations and tests. It keeps the rules of `drivers.base` to the letter.

A `MemoryDevice` is the hardware and outlives the driver, as a router outlives the process that configures it. Tests
make it fail, hang, die half-way or drift.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_interface, ip_network

from meetme.drivers.base import Change, Disturbance, RouterFacts
from meetme.model.errors import Conflict, DeviceFailed, InvalidInput, NotFound
from meetme.model.intent import Capabilities, Intent, LinkIntent, Port, ProbeReport, ProbeRequest, RouteFact
from meetme.model.segment import AccessEnd, SegmentIntent, describe


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """One circuit: statements in no order, and the ports that they are about."""

    ports: tuple[str, ...]
    statements: frozenset[str]


class Trouble(Enum):
    """What the next change meets, after as many statements as `MemoryDevice.trouble_after` says."""

    FAIL = "fail"
    """The device refuses; what was done is put back."""
    HANG = "hang"
    """The device does not answer until `MemoryDevice.resume` is set."""
    DIE = "die"
    """The driver's process ends there: nothing is put back, and nothing is said."""


class Died(BaseException):
    """The driver's process is no more. Not an Exception: nobody who handles errors can have survived it."""


@dataclass
class MemoryDevice:
    """The hardware. `statements` is what it has, by circuit."""

    ports: tuple[Port, ...] = (
        Port("eth0", True, 1500, "02:00:00:00:00:01", (ip_interface("10.0.0.1/24"),)),
        Port("eth1", True, 9000, "02:00:00:00:00:02"),
        Port("eth2", True, 1500, "02:00:00:00:00:03"),
    )
    routes: tuple[RouteFact, ...] = (RouteFact(ip_network("10.0.0.0/24"), "eth0", connected=True),)
    circuits: dict[str, MemoryConfig] = field(default_factory=dict)
    trouble: Trouble | None = None
    trouble_after: int = 0
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    silent: bool = False
    """Nothing answers probes."""
    applied: int = 0
    """Changes that were carried out in full."""
    listeners: list[asyncio.Queue[Disturbance]] = field(default_factory=list)

    def drift(self, circuit: str, *, gone: str | None = None, extra: str | None = None) -> None:
        """Somebody at the device takes a statement away, or adds one; without either, the whole circuit is gone."""
        config = self.circuits[circuit]
        if gone is None and extra is None:
            del self.circuits[circuit]
        else:
            statements = (config.statements - {gone}) | ({extra} if extra is not None else set())
            self.circuits[circuit] = MemoryConfig(config.ports, frozenset(s for s in statements if s is not None))
        for queue in self.listeners:
            queue.put_nowait(Disturbance(circuit, "by hand"))


class MemoryDriver:
    """Drives a `MemoryDevice`, its own where none is given."""

    name = "memory"

    def __init__(self, device: MemoryDevice | None = None) -> None:
        self.device = device if device is not None else MemoryDevice()

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Nothing to let go."""

    async def capabilities(self) -> Capabilities:
        """Everything, since nothing is done."""
        return Capabilities(
            driver=self.name,
            unnumbered=True,
            translate=True,
            translate_identical_only=False,
            ipv6=True,
            vlan=True,
            confirm_timer=True,
            probe=True,
            removes=True,
            segments=True,
        )

    async def facts(self) -> RouterFacts:
        """The device's ports and routes, those of circuits among them."""
        taken = tuple(
            sorted((port, circuit) for circuit, config in self.device.circuits.items() for port in config.ports)
        )
        return RouterFacts(self.device.ports, self.device.routes, taken)

    def render(self, intent: Intent, facts: RouterFacts) -> MemoryConfig:
        """One statement for each thing that a device would be told. Raises NotFound, Conflict or InvalidInput."""
        if isinstance(intent, SegmentIntent):
            return _segment(intent, facts)
        return _link(intent, facts)

    async def read(self, circuit: str) -> MemoryConfig | None:
        """As it is now."""
        await asyncio.sleep(0)
        return self.device.circuits.get(circuit)

    def plan(self, circuit: str, have: MemoryConfig | None, want: MemoryConfig | None) -> Change[MemoryConfig]:
        """Statements to take back, then statements to make."""
        old = have.statements if have is not None else frozenset()
        new = want.statements if want is not None else frozenset()
        commands = [*(f"no {s}" for s in sorted(old - new)), *sorted(new - old)]
        return Change(circuit, have, want, tuple(commands))

    async def apply(self, change: Change[MemoryConfig]) -> None:
        """Statement by statement; back to what was there when the device refuses one."""
        if change.empty:
            return
        device = self.device
        before = device.circuits.get(change.circuit)
        ports = (change.want or change.have or MemoryConfig((), frozenset())).ports
        try:
            for done, command in enumerate(change.commands):
                await self._meet(done)
                statements = device.circuits.get(change.circuit, MemoryConfig(ports, frozenset())).statements
                if command.startswith("no "):
                    statements -= {command.removeprefix("no ")}
                else:
                    statements |= {command}
                self._put(change.circuit, MemoryConfig(ports, statements) if statements else None)
            await self._meet(len(change.commands))
        except (DeviceFailed, asyncio.CancelledError):
            self._put(change.circuit, before)
            raise
        if change.want is None:
            self._put(change.circuit, None)
        device.applied += 1

    async def circuits(self) -> frozenset[str]:
        """Every circuit that the device has anything of."""
        return frozenset(self.device.circuits)

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Answered at once, where the circuit is there; else not within the time given."""
        if request.circuit in self.device.circuits and not self.device.silent:
            return ProbeReport(answered=request.sizes, lost=0, sent=len(request.sizes), rtt_ms=0.1)
        await asyncio.sleep(request.within)
        return ProbeReport(answered=(), lost=len(request.sizes), sent=len(request.sizes), rtt_ms=None)

    async def watch(self) -> AsyncIterator[Disturbance]:
        """What `MemoryDevice.drift` does."""
        queue: asyncio.Queue[Disturbance] = asyncio.Queue()
        self.device.listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.device.listeners.remove(queue)

    def _put(self, circuit: str, config: MemoryConfig | None) -> None:
        if config is None:
            self.device.circuits.pop(circuit, None)
        else:
            self.device.circuits[circuit] = config

    async def _meet(self, done: int) -> None:
        """Trouble, if it was ordered for this very moment; it comes once."""
        device = self.device
        if device.trouble is None or done < device.trouble_after:
            return
        trouble, device.trouble = device.trouble, None
        if trouble is Trouble.FAIL:
            raise DeviceFailed("device_refused", "device: refused (as ordered)", hint="it was told to")
        if trouble is Trouble.HANG:
            await device.resume.wait()
        else:
            raise Died


def _link(intent: LinkIntent, facts: RouterFacts) -> MemoryConfig:
    interface = _interface(AccessEnd(intent.port, intent.vlan), "port", intent, facts)
    link = "unnumbered" if intent.link is None else f"{intent.link.local} to {intent.link.peer}"
    statements = {f"interface {interface} mtu {intent.mtu}", f"link {link} as {intent.role}"}
    statements |= {f"route {m.inside} to the peer" for m in intent.remote}
    for m in (*intent.local, *intent.remote):
        if m.translated:
            statements.add(f"translate {m.inside} to {m.wire}")
    for probe in (intent.probe, intent.second_probe):
        if probe is not None:
            statements.add(f"answer echo on {probe}")
    return MemoryConfig((interface,), frozenset(statements))


def _segment(intent: SegmentIntent, facts: RouterFacts) -> MemoryConfig:
    statements = {f"carry frames of {intent.mtu} octets at {intent.bandwidth or 'any'} Mbit/s"}
    interfaces: list[str] = []
    for side, ends in (("a", intent.a), ("b", intent.b)):
        for i, end in enumerate(ends):
            if isinstance(end, AccessEnd):
                interfaces.append(_interface(end, f"{side}[{i}].port", intent, facts))
            statements.add(f"side {side} by {describe(end)}" + (" when the other fails" if i else ""))
    return MemoryConfig(tuple(interfaces), frozenset(statements))


def _interface(end: AccessEnd, field: str, intent: Intent, facts: RouterFacts) -> str:
    port = next((p for p in facts.ports if p.name == end.port), None)
    if port is None:
        there = ", ".join(p.name for p in facts.ports)
        raise NotFound(
            "port_unknown",
            f'{field}: the device has no port "{end.port}"',
            field=field,
            hint=f"its ports are: {there}",
        )
    interface = describe(end)
    for name, circuit in facts.taken:
        if name == interface and circuit != intent.circuit:
            raise Conflict("port_in_use", f'{field}: "{name}" belongs to circuit "{circuit}"', field=field)
    if intent.mtu > port.mtu:
        raise InvalidInput(
            "mtu_too_large",
            f'mtu: port "{port.name}" carries {port.mtu} octets at most ({intent.mtu})',
            field="mtu",
        )
    return interface
