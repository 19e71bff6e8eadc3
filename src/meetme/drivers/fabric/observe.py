"""Reading: what of a circuit is on the switch, in the very words of `config`, found by our tags alone. Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from socket import if_indextoname

from meetme.drivers.base import RouterFacts
from meetme.drivers.fabric import attributes
from meetme.drivers.fabric.attributes import Interface
from meetme.drivers.fabric.config import (
    Apart,
    Bridge,
    Member,
    OneCarries,
    Part,
    PortBefore,
    SegmentConfig,
    Tunnel,
    Vlan,
    bridge_name,
)
from meetme.drivers.fabric.difference import APART
from meetme.drivers.fabric.notes import Note, Notes
from meetme.drivers.kernel import tables
from meetme.drivers.kernel.netlink import Netlink
from meetme.drivers.kernel.tags import circuit_of
from meetme.model.errors import Conflict, NotFound
from meetme.model.intent import Port, RouteFact

MAIN = 254
NOWHERE = IPv4Address(0)
"""Stands for the ends of a tunnel that is not as we make one."""


@dataclass(frozen=True, slots=True)
class SwitchFacts(RouterFacts):
    """What a switch knows of itself, and whether its packet filter can be kept out of our bridges."""

    apart: bool = True
    """No bridge is on it but ours: the setting for all bridges is then about ours alone."""


def tagged(interface: Interface) -> str | None:
    """The circuit that an interface was made for; None where it was not made by us."""
    return circuit_of(interface.link.alias) if _made_by_us(interface) else None


def _made_by_us(interface: Interface) -> bool:
    """Whether it is of a kind that we make."""
    return interface.name.startswith("mm") or interface.kind == "vlan"


def absent(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these interfaces that are not there. Raises OSError."""
    with Netlink() as netlink:
        return tuple(name for name in names if attributes.interface_named(netlink, name) is None)


def read(circuit: str, notes: Notes) -> SegmentConfig | None:
    """The circuit as it is; None where there is nothing at all. Raises OSError."""
    note = notes.read(circuit)
    with Netlink() as netlink:
        found = _interfaces_of(netlink, circuit, note)
        if not found and note is None:
            return None
        parts: set[Part] = set()
        bridge = next((each for each in found if each.name == bridge_name(circuit)), None)
        for each in found:
            parts |= set(_parts(netlink, each, bridge, note))
    carrying = _carrying(found, bridge) if bridge is not None else None
    if bridge is not None and carrying is not None:
        parts.add(OneCarries(bridge.name))
    if all(tables.setting(key) in ("0", None) for key in APART):
        parts.add(Apart())
    before = tuple((name, b) for name, b in note.before if any(i.name == name for i in found)) if note else ()
    return SegmentConfig(circuit, frozenset(parts), before, carrying)


def _interfaces_of(netlink: Netlink, circuit: str, note: Note | None) -> list[Interface]:
    """Those with its tag, those in its bridge, and the ports that it has noted."""
    if note is None:
        every = attributes.interfaces(netlink)
        mine = [each for each in every if tagged(each) == circuit]
        members = {each.link.index for each in mine if each.kind == "bridge"}
        return [*mine, *(each for each in every if each.link.master in members and each not in mine)]
    named = {bridge_name(circuit), *note.devices}
    mine = [each for name in sorted(named) if (each := attributes.interface_named(netlink, name)) is not None]
    noted = {name for name, _ in note.before}
    mine = [each for each in mine if tagged(each) == circuit or each.name in noted or _half_made(each, note)]
    bridge = next((each for each in mine if each.name == bridge_name(circuit)), None)
    inside = attributes.interfaces(netlink, master=bridge.link.index) if bridge is not None else []
    return [*mine, *(each for each in inside if each.name not in {m.name for m in mine})]


def _half_made(each: Interface, note: Note | None) -> bool:
    """Whether we had made it and were killed before it had its tag."""
    return note is not None and each.name in note.fresh and _made_by_us(each) and not each.link.alias


def _parts(netlink: Netlink, each: Interface, bridge: Interface | None, note: Note | None) -> Iterator[Part]:
    link = each.link
    half = _half_made(each, note)
    mine = half or tagged(each) is not None
    quiet = tables.setting(f"net/ipv6/conf/{each.name}/disable_ipv6") in ("1", None)
    if bridge is not None and link.index == bridge.link.index:
        keeps = attributes.keeps_probes(netlink, link.index)
        yield Bridge(each.name, link.mtu, keeps, link.up, each.plain_bridge and quiet)
        return
    if mine and each.kind == "vxlan":
        ends = each.ends
        leads = attributes.destinations(netlink, link.index)
        right = ends is not None and leads == {(bytes(6), ends[2])} and not half
        yield Tunnel(each.name, *ends) if ends is not None and right else Tunnel(each.name, 0, NOWHERE, NOWHERE)
    elif mine and each.kind == "vlan":
        yield Vlan(each.name, _name_of(each.lower), 0 if half else each.vlan)
    if bridge is None or link.master != bridge.link.index:
        return
    preference = each.preference
    floods = None if preference else each.floods is True
    yield Member(each.name, bridge.name, link.mtu, preference, floods, link.up, each.plain_member and quiet)
    shaped = attributes.shape(netlink, link.index, each.name)
    if shaped is not None:
        yield shaped


def _carrying(found: Iterable[Interface], bridge: Interface) -> str | None:
    """The one uplink that floods while the others do not; None where it is not one."""
    uplinks = [each for each in found if each.link.master == bridge.link.index and each.preference]
    flooding = [each.name for each in uplinks if each.floods is True]
    silent = [each.name for each in uplinks if each.floods is False]
    return flooding[0] if len(flooding) == 1 and len(silent) == len(uplinks) - 1 else None


def circuits(notes: Notes) -> frozenset[str]:
    """Every circuit of which this switch carries anything."""
    with Netlink() as netlink:
        made = {circuit for each in attributes.interfaces(netlink) if (circuit := tagged(each)) is not None}
    return frozenset(made | {note.circuit for note in notes.all()})


def facts(notes: Notes) -> SwitchFacts:
    """Ports, addresses, main tables, and which ports circuits hold. Raises OSError."""
    with Netlink() as netlink:
        every = {each.link.index: each for each in attributes.interfaces(netlink)}
        held: dict[int, list[tables.KernelAddress]] = {}
        for address in tables.addresses(netlink):
            held.setdefault(address.device, []).append(address)
        routes = [r for version in (4, 6) for r in tables.routes(netlink, version, table=MAIN)]
    noted = notes.all()
    before = {name: port for note in noted for name, port in note.before}
    making = {name: note for note in noted for name in note.fresh}
    half = {i: making[each.name].circuit for i, each in every.items() if _half_made(each, making.get(each.name))}
    bridges = {index: circuit for index, each in every.items() if (circuit := tagged(each)) is not None}
    bridges |= half
    taken: list[tuple[str, str]] = []
    ports: list[Port] = []
    for index, each in every.items():
        if each.link.master in bridges and each.kind != "vxlan":
            taken.append((each.name, bridges[each.link.master]))
        if index in bridges:
            continue
        addresses = tuple(a.address for a in held.get(index, ()))
        mtu = before[each.name].mtu if each.name in before else each.link.mtu
        ports.append(Port(each.name, each.link.up, mtu, each.link.mac, addresses))
    told = {
        (r.prefix, every[r.device].name if r.device in every and r.kind == 1 else None, False, _connected(r)): None
        for r in routes
        if r.kind in (1, tables.UNREACHABLE) and not r.prefix.is_multicast
    }
    foreign = any(each.kind == "bridge" and index not in bridges for index, each in every.items())
    return SwitchFacts(tuple(ports), tuple(RouteFact(*fact) for fact in told), tuple(sorted(taken)), not foreign)


def port_before(name: str) -> PortBefore:
    """How a port is now, to be noted. Raises NotFound, Conflict where somebody else has use for it."""
    with Netlink() as netlink:
        found = attributes.interface_named(netlink, name)
        if found is None:
            raise NotFound("port_unknown", f'port: the switch has no port "{name}"', field="port")
        if found.link.master:
            raise Conflict(
                "port_in_use",
                f'port: "{name}" is a member of a bridge or bond',
                field="port",
                hint=f"ip link set dev {name} nomaster",
            )
        queue = attributes.foreign_queue(netlink, found.link)
        if queue is not None:
            raise Conflict(
                "port_has_queue",
                f'port: "{name}" has a queue that somebody has set up ({queue})',
                field="port",
                hint=f"if it is not needed: tc qdisc del dev {name} root",
            )
        addresses = tuple(tables.addresses(netlink, found.link.index))
    own = tuple(a.address for a in addresses if not a.automatic)
    off = tables.setting(f"net/ipv6/conf/{name}/disable_ipv6") or "0"
    return PortBefore(found.link.mtu, found.link.up, off, own)


def _connected(route: tables.KernelRoute) -> bool:
    return route.protocol == tables.KERNEL and route.via is None


def _name_of(index: int) -> str:
    try:
        return if_indextoname(index)
    except OSError:
        return ""
