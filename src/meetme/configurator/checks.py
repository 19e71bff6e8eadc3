"""What an intent must be, whatever the device: its parts, by themselves and beside each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from meetme.model.addresses import Address
from meetme.model.errors import InvalidInput
from meetme.model.intent import Intent, LinkIntent, Mapping
from meetme.model.segment import AccessEnd, SegmentEnd, SegmentIntent, describe

LEAST_MTU, MOST_MTU = 68, 65535
"""Octets (RFC 791: every module must forward 68)."""
MOST_GENERATION = 2**63 - 1
"""What the database's signed 64 bits hold."""
MOST_NAME = 200
"""Characters of a circuit or port name."""
MOST_VNI = 2**24 - 1
"""RFC 7348 section 5; 0 is given to nobody."""
MOST_ENDS = 2
"""Of one side: one that is preferred, and one for when it fails."""
MOST_BANDWIDTH = 2**32 - 1
"""Mbit/s; what the message holds."""


def check(intent: Intent) -> None:
    """Raise InvalidInput where the parts of an intent cannot be right, whatever the device."""
    if isinstance(intent, SegmentIntent):
        check_segment(intent)
    else:
        check_link(intent)


def check_link(intent: LinkIntent, *, field: str = "intent") -> None:
    """The same of a link."""
    check_reference(intent.circuit, intent.generation, prefix=f"{field}.")
    _check_name(intent.port, f"{field}.port")
    _check_counter(intent.revision, f"{field}.revision")
    _check_mtu(intent.mtu, field)
    _check_vlan(intent.vlan, field)
    for name, mappings in (("local", intent.local), ("remote", intent.remote)):
        if not mappings:
            raise _invalid("prefixes_missing", f"{field}.{name}", "must name at least one prefix", "none")
        for i, mapping in enumerate(mappings):
            if (mapping.inside.version, mapping.inside.prefixlen) != (mapping.wire.version, mapping.wire.prefixlen):
                raise InvalidInput(
                    "mapping_lengths_differ",
                    f"{field}.{name}[{i}]: inside and wire must be equally long ({mapping.inside} and {mapping.wire})",
                    field=f"{field}.{name}[{i}]",
                    hint="translation is one-to-one on whole prefixes",
                )
    if intent.link is not None:
        local, peer = intent.link.local, intent.link.peer
        if local.network != peer.network or local.ip == peer.ip:
            raise InvalidInput(
                "link_addresses_mismatch",
                f"{field}.link_peer: must be another address of the same link ({local} and {peer})",
                field=f"{field}.link_peer",
                hint="for example 192.168.255.0/31 and 192.168.255.1/31",
            )
    _check_inside(intent.probe, intent.local, f"{field}.probe", "local")
    _check_inside(intent.peer_probe, intent.remote, f"{field}.peer_probe", "remote")
    _check_inside(intent.second_probe, intent.local, f"{field}.second_probe", "local")
    _check_inside(intent.second_peer_probe, intent.remote, f"{field}.second_peer_probe", "remote")


def check_segment(intent: SegmentIntent, *, field: str = "segment") -> None:
    """The same of a segment."""
    check_reference(intent.circuit, intent.generation, prefix=f"{field}.")
    _check_counter(intent.revision, f"{field}.revision")
    _check_mtu(intent.mtu, field)
    if intent.bandwidth is not None and not 1 <= intent.bandwidth <= MOST_BANDWIDTH:
        rule = f"must be between 1 and {MOST_BANDWIDTH} Mbit/s, or left out"
        raise _invalid("bandwidth_invalid", f"{field}.bandwidth", rule, intent.bandwidth)
    for name, side in (("a", intent.a), ("b", intent.b)):
        if not 1 <= len(side) <= MOST_ENDS:
            rule = f"must have one end, or {MOST_ENDS} where it is protected"
            raise _invalid("ends_invalid", f"{field}.{name}", rule, len(side))
        for i, end in enumerate(side):
            _check_end(end, f"{field}.{name}[{i}]")
    if len(intent.a) > 1 and len(intent.b) > 1:
        raise InvalidInput(
            "both_sides_protected",
            f"{field}.b: must have one end where the other side is protected ({len(intent.b)})",
            field=f"{field}.b",
            hint="two paths part where the customer's port is, and there the other side is that port",
        )
    _check_apart(intent, field)


def _check_end(end: SegmentEnd, field: str) -> None:
    if isinstance(end, AccessEnd):
        _check_name(end.port, f"{field}.port")
        _check_vlan(end.vlan, field)
        return
    if end.local.version != end.remote.version or end.local == end.remote:
        raise InvalidInput(
            "tunnel_addresses_mismatch",
            f"{field}.remote: must be another address of the same family ({end.local} and {end.remote})",
            field=f"{field}.remote",
        )
    for name, address in (("local", end.local), ("remote", end.remote)):
        if address.is_multicast or address.is_unspecified or address.is_loopback:
            raise _invalid("tunnel_address_invalid", f"{field}.{name}", "must be a switch's own address", address)
    if not 1 <= end.vni <= MOST_VNI:
        raise _invalid("vni_invalid", f"{field}.vni", f"must be between 1 and {MOST_VNI}", end.vni)


def _check_apart(intent: SegmentIntent, field: str) -> None:
    """No end twice; a port tagged and whole is twice too."""
    sides = [(f"{field}.{name}[{i}]", end) for name in "ab" for i, end in enumerate(getattr(intent, name))]
    for at, (where, end) in enumerate(sides):
        for other, before in sides[:at]:
            if clash(end, before):
                raise InvalidInput(
                    "end_twice",
                    f"{where}: must be another one than {other.rpartition('.')[2]} ({describe(end)})",
                    field=where,
                )


def root_of(intent: Intent) -> str:
    """The field of an order that an intent stands in."""
    return "segment" if isinstance(intent, SegmentIntent) else "intent"


def claims(intent: Intent) -> Iterable[tuple[str, SegmentEnd]]:
    """What of the device an intent takes for itself, each with the field that says so."""
    if isinstance(intent, LinkIntent):
        return [("intent.port", AccessEnd(intent.port, intent.vlan))]
    named = [(f"segment.a[{i}]", end) for i, end in enumerate(intent.a)]
    return [*named, *((f"segment.b[{i}]", end) for i, end in enumerate(intent.b))]


def clash(a: SegmentEnd, b: SegmentEnd) -> bool:
    """Whether two claims are for the same thing. A VNI is one tunnel's alone: by it the switch tells what arrives."""
    if isinstance(a, AccessEnd) and isinstance(b, AccessEnd):
        return a.port == b.port and (a.vlan is None or b.vlan is None or a.vlan == b.vlan)
    return not isinstance(a, AccessEnd) and not isinstance(b, AccessEnd) and a.vni == b.vni


def check_reference(circuit: str, generation: int, *, prefix: str = "") -> None:
    """Raise InvalidInput where an order names a circuit or a generation that cannot be."""
    _check_name(circuit, f"{prefix}circuit")
    _check_counter(generation, f"{prefix}generation")


def _check_mtu(mtu: int, field: str) -> None:
    if not LEAST_MTU <= mtu <= MOST_MTU:
        raise _invalid("mtu_invalid", f"{field}.mtu", f"must be between {LEAST_MTU} and {MOST_MTU} octets", mtu)


def _check_vlan(vlan: int | None, field: str) -> None:
    if vlan is not None and not 1 <= vlan <= 4094:
        raise _invalid("vlan_invalid", f"{field}.vlan", "must be between 1 and 4094", vlan)


def _check_counter(value: int, field: str) -> None:
    if not 0 <= value <= MOST_GENERATION:
        code = f"{field.rpartition('.')[2]}_invalid"
        raise _invalid(code, field, f"must be between 0 and {MOST_GENERATION}", value)


def _check_name(text: str, field: str) -> None:
    if not text or len(text) > MOST_NAME or not text.isprintable() or any(c.isspace() for c in text):
        raise InvalidInput(
            "name_invalid",
            f'{field}: must be 1 to {MOST_NAME} printable characters without blanks ("{text[:40]}")',
            field=field,
        )


def _check_inside(address: Address | None, mappings: Iterable[Mapping], field: str, side: str) -> None:
    if address is None:
        return
    if not any(address in mapping.inside for mapping in mappings):
        raise _invalid("probe_outside", field, f"must lie in a prefix of {side}, as the own network writes it", address)


def _invalid(code: str, field: str, rule: str, seen: object) -> InvalidInput:
    return InvalidInput(code, f"{field}: {rule} ({seen})", field=field)
