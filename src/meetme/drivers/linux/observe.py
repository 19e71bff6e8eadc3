"""Reading: what of a circuit is on the device, in the very words of `config`, found by our tags alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from meetme.drivers.base import RouterFacts
from meetme.drivers.kernel import netns, tables
from meetme.drivers.kernel.netlink import Netlink
from meetme.drivers.kernel.tags import circuit_of
from meetme.drivers.linux.config import (
    MAIN,
    CircuitConfig,
    Device,
    DeviceAddress,
    Neighbour,
    Part,
    Route,
    Rule,
    Sysctl,
    Where,
    port_device,
)
from meetme.drivers.linux.names import PREFIX, PROTOCOL, Names, names
from meetme.drivers.linux.notes import Note, Notes
from meetme.drivers.linux.render import NAMESPACE_SYSCTLS
from meetme.model.intent import Port, RouteFact

LOCAL = 255
CHANGED = "# not as it was loaded\n"
"""Stands for a ruleset that somebody else has touched."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the names of namespaces and our notes are."""

    directory: Path

    @property
    def notes(self) -> Notes:
        """The notes of every circuit."""
        return Notes(self.directory)

    def kept(self, own: Names) -> Path:
        """The second, private name of a circuit's namespace."""
        return self.directory / "netns" / own.namespace

    def public(self, own: Names) -> Path:
        """The name that people see."""
        return netns.PUBLIC / own.namespace

    def namespace(self, own: Names) -> Path | None:
        """A name under which the namespace can be entered."""
        return next((path for path in (self.kept(own), self.public(own)) if netns.alive(path)), None)

    def named(self, own: Names) -> bool:
        """Whether both names are there, for the same namespace."""
        kept, public = self.kept(own), self.public(own)
        return netns.alive(kept) and netns.alive(public) and netns.identity(kept) == netns.identity(public)


def read(circuit: str, places: Places) -> CircuitConfig | None:
    """The circuit as it is; None where there is nothing at all. Blocking. Raises OSError."""
    own = names(circuit)
    note = places.notes.read(own.namespace)
    path = places.namespace(own)
    with Netlink() as netlink:
        parts = set(_router_parts(netlink, circuit, own))
        port_back = note is not None and tables.link_named(netlink, note.port) is not None
    if note is None and path is None and not parts and not places.public(own).exists():
        return None
    devices: list[tables.Link] = []
    ruleset = ""
    if path is not None:
        inner, devices, generation = netns.inside(path, lambda: _inside(own))
        parts |= inner
        intact = note is not None and note.generation == generation != 0 and note.namespace == netns.identity(path)
        ruleset = note.ruleset if note is not None and intact else CHANGED if generation > 1 else ""
    found = _foreign(devices, own)
    port, vlan = (note.port, note.vlan) if note is not None else (found.name if found is not None else "", None)
    device = port_device(port, vlan)
    returns = port_back or any(link.name == device for link in devices)
    return CircuitConfig(
        circuit=circuit,
        port=port,
        vlan=vlan,
        named=places.named(own),
        parts=frozenset(parts),
        ruleset=ruleset,
        before=note.before if note is not None and returns else None,
        tracked=note.tracked if note is not None else (),
    )


def circuits(places: Places) -> frozenset[str]:
    """Every circuit of which this router carries anything."""
    with Netlink() as netlink:
        return frozenset(_holders(tables.links(netlink), places))


def _holders(links: Iterable[tables.Link], places: Places) -> dict[str, Note | None]:
    """Circuits by our notes and, where a note is lost, by the tag of our interfaces."""
    here = netns.identity()
    found: dict[str, Note | None] = {note.circuit: note for note in places.notes.all() if note.router == here}
    for link in links:
        circuit = tagged_circuit(link)
        if circuit is not None:
            found.setdefault(circuit, None)
    return found


def _held(circuit: str, note: Note | None, places: Places, in_router: set[str]) -> Port | None:
    """The port that a circuit holds, under the router's name for it; from the note alone where there is one.

    None where it holds none. To look into every namespace would take a second at a thousand circuits.
    """
    if note is not None and note.vlan is not None:
        return Port(note.port, True, 0, None) if port_device(note.port, note.vlan) not in in_router else None
    if note is not None and note.before is not None:
        before = note.before
        return Port(note.port, True, before.mtu, before.mac, before.addresses) if note.port not in in_router else None
    own = names(circuit)
    path = places.namespace(own)
    link = netns.inside(path, partial(_port, own)) if path is not None else None
    return None if link is None else Port(link.name, link.up, link.mtu, link.mac)


def tagged_circuit(link: tables.Link) -> str | None:
    """Whose veth an interface of the router is."""
    return circuit_of(link.alias) if link.name.startswith(PREFIX) else None


def facts(places: Places) -> RouterFacts:
    """Ports, addresses and main tables. Blocking. Raises OSError."""
    with Netlink() as netlink:
        links = {link.index: link for link in tables.links(netlink)}
        held: dict[int, list[tables.KernelAddress]] = {}
        for address in tables.addresses(netlink):
            held.setdefault(address.device, []).append(address)
        found = [r for version in (4, 6) for r in tables.routes(netlink, version, table=MAIN)]
    ports = [
        Port(link.name, link.up, link.mtu, link.mac, tuple(a.address for a in held.get(link.index, ())))
        for link in links.values()
        if tagged_circuit(link) is None
    ]
    taken: list[tuple[str, str]] = []
    by_name = {link.name for link in links.values()}
    for circuit, note in sorted(_holders(links.values(), places).items()):
        port = _held(circuit, note, places, by_name)
        if port is not None:
            taken.append((port.name if note is None else port_device(port.name, note.vlan), circuit))
            if port.name not in by_name:
                ports.append(port)
    facts_of = {
        (
            r.prefix,
            links[r.device].name if r.device in links and r.kind == 1 else None,
            r.protocol == PROTOCOL,
            _connected(r),
        ): None
        for r in found
        if r.kind in (1, tables.UNREACHABLE) and not r.prefix.is_multicast
    }
    return RouterFacts(tuple(ports), tuple(RouteFact(*fact) for fact in facts_of), tuple(taken))


def _connected(route: tables.KernelRoute) -> bool:
    return route.protocol == tables.KERNEL and route.via is None


def _port(own: Names) -> tables.Link | None:
    """The port: whatever is in the namespace beside the veth's end."""
    with Netlink() as netlink:
        return _foreign(tables.links(netlink), own)


def _foreign(devices: list[tables.Link], own: Names) -> tables.Link | None:
    return next((link for link in devices if link.name not in ("lo", own.inner)), None)


def _router_parts(netlink: Netlink, circuit: str, own: Names) -> Iterator[Part]:
    for version in (4, 6):
        for found in tables.routes(netlink, version, table=MAIN, protocol=PROTOCOL, kind=tables.UNREACHABLE):
            if found.metric == own.closed_metric:
                yield Route(Where.ROUTER, found.prefix, MAIN, found.metric)
    link = tables.link_named(netlink, own.outer)
    if link is None or tagged_circuit(link) != circuit:
        return
    yield from _device_parts(netlink, Where.ROUTER, link)
    for version in (4, 6):
        for found in tables.routes(netlink, version, table=MAIN, protocol=PROTOCOL, device=link.index):
            yield Route(Where.ROUTER, found.prefix, MAIN, found.metric, link.name, found.via, found.source)
    for key in (
        "ipv6/conf/{}/disable_ipv6",
        "ipv6/conf/{}/accept_ra",
        "ipv6/conf/{}/forwarding",
        "ipv4/conf/{}/forwarding",
    ):
        yield from _setting(Where.ROUTER, "net/" + key.format(own.outer))


def _inside(own: Names) -> tuple[set[Part], list[tables.Link], int]:
    """Everything in the namespace, which is all ours."""
    parts: set[Part] = set()
    with Netlink() as netlink:
        links = tables.links(netlink)
        by_index = {link.index: link.name for link in links}
        for link in links:
            if link.name != "lo":
                parts.update(_device_parts(netlink, Where.CIRCUIT, link))
        for version in (4, 6):
            for found in tables.routes(netlink, version):
                if found.protocol == tables.KERNEL or found.table == LOCAL or found.kind not in (1, tables.UNREACHABLE):
                    continue
                device = by_index.get(found.device) if found.kind == 1 else None
                parts.add(
                    Route(Where.CIRCUIT, found.prefix, found.table, found.metric, device, found.via, found.source)
                )
            for rule in tables.rules(netlink, version):
                parts.add(Rule(rule.version, rule.priority, rule.device, rule.mark, rule.table))
    for key, _ in NAMESPACE_SYSCTLS:
        parts.update(_setting(Where.CIRCUIT, key))
    return parts, links, tables.ruleset_generation()


def _device_parts(netlink: Netlink, where: Where, link: tables.Link) -> Iterator[Part]:
    yield Device(where, link.name, link.mtu, link.up)
    for found in tables.addresses(netlink, link.index):
        yield DeviceAddress(where, link.name, found.address)
    for address, mac in tables.neighbours(netlink, link.index):
        yield Neighbour(where, link.name, address, mac)


def _setting(where: Where, key: str) -> Iterator[Sysctl]:
    value = tables.setting(key)
    if value is not None:
        yield Sysctl(where, key, value)
