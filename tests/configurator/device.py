"""A device for tests: what it has survives the process that drives it, and it fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from uuid import UUID

from meetme.drivers.base import Change, Disturbance, RouterFacts
from meetme.model.agreement import Role
from meetme.model.errors import DeviceFailed, Unsupported
from meetme.model.intent import (
    Capabilities,
    LinkAddresses,
    LinkIntent,
    Mapping,
    Port,
    ProbeReport,
    ProbeRequest,
    RouteFact,
)

AGREEMENT = UUID("00000000-0000-4000-8000-000000000001")
OTHER = UUID("00000000-0000-4000-8000-000000000002")

Lines = tuple[str, ...]


def intent(**changes: object) -> LinkIntent:
    """A translated, numbered link: both sides use 10.0.0.0/24."""
    values: dict[str, object] = {
        "circuit": "c1",
        "agreement": AGREEMENT,
        "revision": 1,
        "generation": 1,
        "role": Role.INITIATOR,
        "port": "eth1",
        "mtu": 1500,
        "local": (Mapping(ip_network("10.0.0.0/24"), ip_network("100.64.0.0/24")),),
        "remote": (Mapping(ip_network("100.64.0.0/24"), ip_network("10.0.0.0/24")),),
        "link": LinkAddresses(ip_interface("192.168.255.0/31"), ip_interface("192.168.255.1/31")),
    }
    return LinkIntent(**(values | changes))  # type: ignore[arg-type]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that nobody signals."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Killed(BaseException):
    """The process is gone at this very point: nothing after it runs, no handler either."""


@dataclass
class Device:
    """The hardware: configuration lines by circuit."""

    lines: dict[str, Lines] = field(default_factory=dict)
    applied: int = 0
    """How many changes were asked of it."""
    writes: int = 0
    reads: int = 0
    events: asyncio.Queue[Disturbance] = field(default_factory=asyncio.Queue)

    def disturb(self, circuit: str, lines: Lines | None) -> None:
        """Somebody changes it by hand."""
        if lines is None:
            self.lines.pop(circuit, None)
        else:
            self.lines[circuit] = lines
        self.events.put_nowait(Disturbance(circuit, "by hand"))


Fault = Callable[[int], None]


def die(_: int) -> None:
    raise Killed


def refuse(_: int) -> None:
    raise DeviceFailed("device_refused", "device: refused")


class FakeDriver:
    """Writes line by line. `before` and `after` may raise around line number n; `gate` holds every change back."""

    name = "fake"

    def __init__(self, device: Device) -> None:
        self.device = device
        self.before: Fault = lambda n: None
        self.after: Fault = lambda n: None
        self.all_or_nothing = True
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    async def capabilities(self) -> Capabilities:
        return Capabilities("fake", True, True, False, True, True, True, True, True)

    async def facts(self) -> RouterFacts:
        return RouterFacts(
            (Port("eth1", True, 1500, "02:00:00:00:00:01", (ip_interface("10.0.0.1/24"),)),),
            (RouteFact(ip_network("0.0.0.0/0"), "eth0"), RouteFact(ip_network("10.0.0.0/24"), "eth1", connected=True)),
        )

    def render(self, intent: LinkIntent, facts: RouterFacts) -> Lines:
        if intent.mtu == 9999:
            raise Unsupported("mtu_unsupported", "intent.mtu: is too large for the port", field="intent.mtu")
        prefixes = tuple(f"{m.inside} as {m.wire}" for m in (*intent.local, *intent.remote))
        return (f"port {intent.port}", f"mtu {intent.mtu}", *prefixes)

    async def read(self, circuit: str) -> Lines | None:
        self.device.reads += 1
        await asyncio.sleep(0)
        return self.device.lines.get(circuit)

    def plan(self, circuit: str, have: Lines | None, want: Lines | None) -> Change[Lines]:
        gone = [f"del {line}" for line in have or () if line not in (want or ())]
        new = [f"add {line}" for line in want or () if line not in (have or ())]
        return Change(circuit, have, want, (*gone, *new))

    async def apply(self, change: Change[Lines]) -> None:
        self.device.applied += 1
        if self.gate is not None:
            await self.gate.wait()
        try:
            for n, command in enumerate(change.commands):
                self.before(n)
                verb, _, line = command.partition(" ")
                now = self.device.lines.get(change.circuit, ())
                now = (*now, line) if verb == "add" else tuple(each for each in now if each != line)
                self.settle(change.circuit, now or None)
                self.device.writes += 1
                self.after(n)
                await asyncio.sleep(0)
        except DeviceFailed:
            if self.all_or_nothing:
                self.settle(change.circuit, change.have)
            raise
        self.settle(change.circuit, change.want)

    def settle(self, circuit: str, lines: Lines | None) -> None:
        if lines is None:
            self.device.lines.pop(circuit, None)
        else:
            self.device.lines[circuit] = lines

    async def circuits(self) -> frozenset[str]:
        return frozenset(self.device.lines)

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        if request.target == ip_address("100.64.0.99"):
            return ProbeReport((), len(request.sizes), len(request.sizes), None)
        return ProbeReport(request.sizes, 0, len(request.sizes), 0.25)

    async def watch(self) -> AsyncIterator[Disturbance]:
        while True:
            yield await self.device.events.get()
