"""From one circuit's segment to everything that the switch needs for it. Pure.

Every check that can be made without touching the device is made here, so that a dry run finds what an apply would.
"""

from __future__ import annotations

from collections.abc import Iterator

from meetme.drivers.base import RouterFacts
from meetme.drivers.fabric.config import (
    OVERHEAD,
    Apart,
    Bridge,
    Member,
    OneCarries,
    Part,
    SegmentConfig,
    Shape,
    Tunnel,
    Vlan,
    bridge_name,
    device_name,
)
from meetme.model.errors import Conflict, InvalidInput, NotFound
from meetme.model.intent import Port
from meetme.model.segment import AccessEnd, SegmentEnd, SegmentIntent, TunnelEnd

UNLIMITED = 1_000_000_000_000
"""Bits a second: more than a switch of this kind forwards."""


def render(intent: SegmentIntent, facts: RouterFacts, *, apart: bool = True, shapes: bool = True) -> SegmentConfig:
    """The wished state. Raises InvalidInput, NotFound or Conflict with the offending field.

    `apart`: the switch's packet filter can be kept out of it, since no bridge is on it but ours. `shapes`:
    its kernel has a token bucket.
    """
    bridge = bridge_name(intent.circuit)
    ends = intent.ends
    customer = any(isinstance(end, AccessEnd) for end in ends)
    parts: set[Part] = {Bridge(bridge, intent.mtu, keeps_probes=customer)}
    if apart:
        parts.add(Apart())
    bits = intent.bandwidth * 1_000_000 if intent.bandwidth else UNLIMITED
    for name, side in (("a", intent.a), ("b", intent.b)):
        protected = len(side) > 1
        for i, end in enumerate(side):
            parts |= set(_end(end, f"{name}[{i}]", intent, facts))
            device = device_name(end)
            preference = i + 1 if protected else 0
            parts.add(Member(device, bridge, intent.mtu, preference, None if protected else True))
            if shapes:
                parts.add(Shape(device, bits, intent.mtu))
        if protected:
            parts.add(OneCarries(bridge))
    return SegmentConfig(intent.circuit, frozenset(parts))


def _end(end: SegmentEnd, field: str, intent: SegmentIntent, facts: RouterFacts) -> Iterator[Part]:
    if isinstance(end, TunnelEnd):
        _check_underlay(end, field, intent.mtu, facts)
        yield Tunnel(device_name(end), end.vni, end.local, end.remote)
        return
    _check_port(end, field, intent, facts)
    if end.vlan is not None:
        yield Vlan(device_name(end), end.port, end.vlan)


def _check_port(end: AccessEnd, field: str, intent: SegmentIntent, facts: RouterFacts) -> None:
    """The port is there, free, and wide enough."""
    found = next((p for p in facts.ports if p.name == end.port and p.name != "lo"), None)
    if found is None:
        there = ", ".join(sorted(p.name for p in facts.ports if p.name != "lo")) or "none"
        raise NotFound(
            "port_unknown",
            f'{field}.port: the switch has no port "{end.port}"',
            field=f"{field}.port",
            hint=f"its ports are: {there}",
        )
    device = device_name(end)
    for name, circuit in facts.taken:
        clash = name in (device, end.port) or (end.vlan is None and name.startswith(f"{end.port}."))
        if clash and circuit != intent.circuit:
            raise Conflict(
                "port_in_use",
                f'{field}.port: "{name}" belongs to circuit "{circuit}"',
                field=f"{field}.port",
                hint="choose another port or VLAN, or remove that circuit first",
            )
    if intent.mtu > found.mtu:
        raise InvalidInput(
            "mtu_too_large",
            f'mtu: port "{found.name}" carries {found.mtu} octets at most ({intent.mtu})',
            field="mtu",
            hint=f"order {found.mtu}, or raise the port first: ip link set dev {found.name} mtu {intent.mtu}",
        )
    if end.vlan is None and (device, intent.circuit) not in facts.taken:
        _check_unused(found, field, facts)


def _check_unused(port: Port, field: str, facts: RouterFacts) -> None:
    """A whole port is the customer's alone: the switch may have no business of its own there."""
    held = [a for a in port.addresses if not a.ip.is_link_local]
    if held:
        raise Conflict(
            "port_has_addresses",
            f'{field}.port: "{port.name}" has addresses of its own ({", ".join(map(str, held))})',
            field=f"{field}.port",
            hint=f"a circuit takes the whole port; if it is the right one: ip addr del {held[0]} dev {port.name}",
        )
    led = [r for r in facts.routes if r.port == port.name and not r.prefix.is_link_local]
    if led:
        raise Conflict(
            "port_has_routes",
            f'{field}.port: routes lead through "{port.name}" ({", ".join(str(r.prefix) for r in led)})',
            field=f"{field}.port",
            hint=f"a circuit takes the whole port; if it is meant: ip route del {led[0].prefix} dev {port.name}",
        )


def _check_underlay(end: TunnelEnd, field: str, mtu: int, facts: RouterFacts) -> None:
    """The address is the switch's own, and what leads to the other one carries the frames whole."""
    own = next((p for p in facts.ports if any(a.ip == end.local for a in p.addresses)), None)
    if own is None:
        raise NotFound(
            "underlay_address_unknown",
            f"{field}.local: must be an address of this switch ({end.local})",
            field=f"{field}.local",
            hint="the address of its port towards the other switches; ip addr shows them",
        )
    way = _way(end, facts)
    port = next((p for p in facts.ports if way is not None and p.name == way), own)
    needed = mtu + OVERHEAD[end.local.version]
    if port.mtu < needed:
        raise InvalidInput(
            "underlay_mtu_too_small",
            f'mtu: "{port.name}", which leads to {end.remote}, carries {port.mtu} octets, not {needed} ({mtu} and'
            f" {OVERHEAD[end.local.version]} of the tunnel)",
            field="mtu",
            hint=f"ip link set dev {port.name} mtu {needed}, there and wherever the tunnel passes",
        )


def _way(end: TunnelEnd, facts: RouterFacts) -> str | None:
    """By which port the switch reaches the other end; None where it has no route."""
    leading = [r for r in facts.routes if r.port is not None and end.remote in r.prefix]
    return max(leading, key=lambda r: r.prefix.prefixlen).port if leading else None
