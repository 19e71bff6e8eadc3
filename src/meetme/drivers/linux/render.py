"""From one side's intent to everything that the router needs for it. Pure: no device is asked, nothing is remembered.

Every check that can be made without touching the device is made here, so that a dry run finds what an apply would.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_network

from meetme.drivers.base import RouterFacts
from meetme.drivers.linux.config import (
    MAIN,
    MAIN_RULE,
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
from meetme.drivers.linux.names import (
    FROM_CIRCUIT,
    FROM_INSIDE,
    METRIC,
    TABLE_CIRCUIT,
    TABLE_INSIDE,
    Names,
    link_local,
    names,
    own_address,
)
from meetme.drivers.linux.ruleset import ruleset
from meetme.model.addresses import Address, Prefix, overlaps
from meetme.model.errors import Conflict, InvalidInput, NotFound
from meetme.model.intent import LinkIntent, Mapping, Port

MINIMUM_MTU = 1280
"""Octets; below it IPv6, and with it every link-local next hop, does not exist (RFC 8200 section 5)."""


def render(intent: LinkIntent, facts: RouterFacts) -> CircuitConfig:
    """The wished state. Raises InvalidInput, NotFound or Conflict with the offending field."""
    port = _port(intent, facts)
    _check_mappings(intent)
    if intent.mtu < MINIMUM_MTU:
        raise InvalidInput(
            "mtu_too_small",
            f"mtu: must be at least {MINIMUM_MTU} ({intent.mtu})",
            field="mtu",
            hint="next hops are IPv6 link-local addresses, which need that much",
        )
    if intent.mtu > port.mtu:
        raise InvalidInput(
            "mtu_too_large",
            f'mtu: port "{port.name}" carries {port.mtu} octets at most ({intent.mtu})',
            field="mtu",
            hint=f"agree on {port.mtu}, or raise the port first: ip link set dev {port.name} mtu {intent.mtu}",
        )
    own = names(intent.circuit)
    device = port_device(port.name, intent.vlan)
    parts: set[Part] = {
        *_devices(intent, own, device),
        *_router_routes(intent, own, facts),
        *_inner_routes(intent, own, device),
        *_rules(intent, own, device),
        *_sysctls(own),
    }
    return CircuitConfig(
        circuit=intent.circuit,
        port=port.name,
        vlan=intent.vlan,
        named=True,
        parts=frozenset(parts),
        ruleset=ruleset(intent, circuit=device, inside=own.inner, own=_answered(facts)),
        tracked=tuple(m.inside for m in intent.remote),
    )


def _port(intent: LinkIntent, facts: RouterFacts) -> Port:
    """The port, if it is there and free."""
    found = next((p for p in facts.ports if p.name == intent.port and p.name != "lo"), None)
    if found is None:
        there = ", ".join(sorted(p.name for p in facts.ports if p.name != "lo")) or "none"
        raise NotFound(
            "port_unknown",
            f'port: the router has no port "{intent.port}"',
            field="port",
            hint=f"its ports are: {there}",
        )
    device = port_device(intent.port, intent.vlan)
    for name, circuit in facts.taken:
        clash = name in (device, intent.port) or (intent.vlan is None and name.startswith(f"{intent.port}."))
        if clash and circuit != intent.circuit:
            raise Conflict(
                "port_in_use",
                f'port: "{name}" belongs to circuit "{circuit}"',
                field="port",
                hint="choose another port or VLAN, or terminate that circuit first",
            )
    if intent.vlan is not None or any(circuit == intent.circuit for _, circuit in facts.taken):
        return found
    held = [a for a in found.addresses if not a.ip.is_link_local]
    if held:
        raise Conflict(
            "port_has_addresses",
            f'port: "{found.name}" has addresses of its own ({", ".join(map(str, held))})',
            field="port",
            hint=f"a circuit takes the whole port; if it is the right one: ip addr del {held[0]} dev {found.name}",
        )
    led = [r for r in facts.routes if r.port == found.name and not r.ours and not r.prefix.is_link_local]
    if led:
        raise Conflict(
            "port_has_routes",
            f'port: routes lead through "{found.name}" ({", ".join(str(r.prefix) for r in led)})',
            field="port",
            hint=f"a circuit takes the whole port; if it is meant: ip route del {led[0].prefix} dev {found.name}",
        )
    return found


def _check_mappings(intent: LinkIntent) -> None:
    """Equal lengths and families, and nothing twice on one side of the translation."""
    for side, mappings in (("local", intent.local), ("remote", intent.remote)):
        if not mappings:
            raise InvalidInput("prefix_missing", f"{side}: must have at least one prefix (none)", field=side)
        for index, mapping in enumerate(mappings):
            if (mapping.inside.version, mapping.inside.prefixlen) != (mapping.wire.version, mapping.wire.prefixlen):
                raise InvalidInput(
                    "prefix_lengths_differ",
                    f"{side}[{index}]: inside and wire must be equally long ({mapping.inside}, {mapping.wire})",
                    field=f"{side}[{index}]",
                    hint="translation is one to one",
                )
            for other in mappings[:index]:
                if overlaps(mapping.inside, other.inside) or overlaps(mapping.wire, other.wire):
                    raise InvalidInput(
                        "prefix_overlaps",
                        f"{side}[{index}]: must not overlap another of its side ({mapping.inside}, {other.inside})",
                        field=f"{side}[{index}]",
                    )
    for index, remote in enumerate(intent.remote):
        for local in intent.local:
            if overlaps(remote.inside, local.inside):
                raise InvalidInput(
                    "prefix_overlaps",
                    f"remote[{index}]: must not overlap what it is reached from ({remote.inside}, {local.inside})",
                    field=f"remote[{index}]",
                    hint="give it an alias",
                )
            if overlaps(remote.wire, local.wire) and not (remote.translated or local.translated):
                raise InvalidInput(
                    "prefix_overlaps",
                    f"remote[{index}]: one of the two must be translated ({remote.wire}, {local.wire})",
                    field=f"remote[{index}]",
                )


def _devices(intent: LinkIntent, own: Names, device: str) -> Iterator[Part]:
    """The veth pair, the port, and what they are called."""
    yield Device(Where.ROUTER, own.outer, intent.mtu)
    yield Device(Where.CIRCUIT, own.inner, intent.mtu)
    yield Device(Where.CIRCUIT, device, intent.mtu)
    yield DeviceAddress(Where.ROUTER, own.outer, IPv6Interface((own.outer_address, 64)))
    yield DeviceAddress(Where.CIRCUIT, own.inner, IPv6Interface((own.inner_address, 64)))
    yield Neighbour(Where.ROUTER, own.outer, own.inner_address, own.inner_mac)
    yield Neighbour(Where.CIRCUIT, own.inner, own.outer_address, own.outer_mac)
    yield DeviceAddress(Where.CIRCUIT, device, link_local(intent.circuit, intent.role))
    if intent.link is not None:
        yield DeviceAddress(Where.CIRCUIT, device, intent.link.local)
    if intent.link is None or intent.link.local.version == 6:
        yield DeviceAddress(Where.CIRCUIT, device, own_address(intent.circuit, intent.role))


def _router_routes(intent: LinkIntent, own: Names, facts: RouterFacts) -> Iterator[Route]:
    """All that the router's main table learns of the peer: its prefixes as seen inside, failing closed beneath."""
    for mapping in intent.remote:
        source = _source(intent, facts, mapping.inside.version)
        yield Route(Where.ROUTER, mapping.inside, MAIN, METRIC, own.outer, own.inner_address, source)
        yield Route(Where.ROUTER, mapping.inside, MAIN, own.closed_metric)


def _source(intent: LinkIntent, facts: RouterFacts, version: int) -> Address | None:
    """The router's own address to speak from; in another family than `probe_source`, the lowest that was agreed on."""
    mine = [a.ip for port in facts.ports for a in port.addresses]
    wished = intent.probe_source
    if wished is not None and wished.version == version:
        if wished not in mine:
            raise InvalidInput(
                "probe_source_unknown",
                f"probe_source: must be an address of this router ({wished})",
                field="probe_source",
                hint=f"ip addr add {wished} dev lo",
            )
        return wished
    agreed = [a for a in mine if a.version == version and any(a in m.inside for m in intent.local)]
    return min(agreed, key=int, default=None)


def _inner_routes(intent: LinkIntent, own: Names, device: str) -> Iterator[Route]:
    """Inside, two tables: the peer's prefixes as on the wire, ours as inside."""
    for mapping in intent.remote:
        via = _next_hop(intent, mapping)
        yield Route(Where.CIRCUIT, mapping.wire, TABLE_CIRCUIT, METRIC, device, via)
    for mapping in intent.local:
        yield Route(Where.CIRCUIT, mapping.inside, TABLE_INSIDE, METRIC, own.inner, own.outer_address)


def _next_hop(intent: LinkIntent, mapping: Mapping) -> Address:
    """The peer: its address on a numbered link where that can carry the family, else its link-local (RFC 8950)."""
    if intent.link is not None and intent.link.peer.version in (6, mapping.wire.version):
        return intent.link.peer.ip
    return link_local(intent.circuit, intent.role.other).ip


def _rules(intent: LinkIntent, own: Names, device: str) -> Iterator[Rule]:
    """Marked packets go across; errors that this namespace makes carry the mark of their cause, and go back."""
    for version in sorted({m.inside.version for m in intent.local} & {m.inside.version for m in intent.remote}):
        yield Rule(version, 10, own.inner, FROM_INSIDE, TABLE_CIRCUIT)
        yield Rule(version, 11, device, FROM_CIRCUIT, TABLE_INSIDE)
        yield Rule(version, 12, "lo", FROM_INSIDE, TABLE_INSIDE)
        yield Rule(version, 13, "lo", FROM_CIRCUIT, TABLE_CIRCUIT)
    for version in (4, 6):
        yield Rule(version, MAIN_RULE, "", 0, MAIN)  # neighbour discovery needs it


def _sysctls(own: Names) -> Iterator[Sysctl]:
    """The veth's own settings in the router; the namespace's are its defaults, set before any device is in it."""
    for key, value in (
        (f"net/ipv6/conf/{own.outer}/disable_ipv6", "0"),  # hosts may have IPv6 off by default
        (f"net/ipv6/conf/{own.outer}/accept_ra", "0"),
        (f"net/ipv6/conf/{own.outer}/forwarding", "1"),
        (f"net/ipv4/conf/{own.outer}/forwarding", "1"),
    ):
        yield Sysctl(Where.ROUTER, key, value)
    for key, value in NAMESPACE_SYSCTLS:
        yield Sysctl(Where.CIRCUIT, key, value)


NAMESPACE_SYSCTLS = (
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),  # no link-locals but those derived from the circuit
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),  # the ruleset's allow-list is stricter, and knows both tables
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/fwmark_reflect", "1"),  # an error carries the mark of the packet that caused it
    ("net/ipv6/fwmark_reflect", "1"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),  # flows from before the agreement are taken up mid-way
    ("net/netfilter/nf_conntrack_tcp_loose", "1"),
)


def _answered(facts: RouterFacts) -> Iterator[Prefix]:
    """Every address that the router itself answers: its own, its links' broadcasts, and IPv6 subnet-router anycast."""
    for port in facts.ports:
        for address in port.addresses:
            if address.ip.is_link_local:
                continue  # never in an agreed prefix, and every port has one
            yield ip_network(address.ip)
            network = address.network
            if isinstance(address, IPv4Interface):
                if network.prefixlen < 31:
                    yield ip_network(network.network_address)
                    yield ip_network(network.broadcast_address)
            elif network.prefixlen < 127:
                yield ip_network(network.network_address)
