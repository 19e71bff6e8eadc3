"""Which pieces of a bundle lie on which switches. Pure.

Two ends on one switch: one piece that joins them. On two switches: a piece on each, joined by a tunnel over their
trunk. Where services of a bundle share an access, their pieces on its switch are one, with an uplink for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meetme.ixapi.bundle import Bundle
from meetme.ixapi.claims import bandwidth
from meetme.ixapi.objects import WHOLE_PORT, Config, Service
from meetme.ixapi.plant import VNI_BLOCK, Connection, Kind, Plant, Trunk
from meetme.model.segment import AccessEnd, SegmentEnd, TunnelEnd


@dataclass(frozen=True, slots=True)
class Piece:
    """What a switch shall have under a name."""

    switch: str
    name: str
    a: tuple[SegmentEnd, ...]
    b: tuple[SegmentEnd, ...]
    bandwidth: int | None
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    """What one service joins on one switch."""

    switch: str
    a: SegmentEnd
    b: SegmentEnd
    service: Service
    index: int
    access: bool
    """One of the two is a member's access."""


def pieces(bundle: Bundle, plant: Plant) -> tuple[Piece, ...]:
    """All pieces that are wanted, by switch and name."""
    merged: dict[tuple[str, str], list[_Pair]] = {}
    for index, service in enumerate(bundle.services):
        if not service.complete:
            continue
        for pair in _pairs(service, index, plant):
            own = f"{bundle.circuit}#{index + 1}"
            name = bundle.circuit if index == 0 or pair.access else own
            there = merged.get((pair.switch, name), [])
            if there and not _common([*there, pair]):
                name, there = own, []
            merged[pair.switch, name] = [*there, pair]
    return tuple(_piece(switch, name, pairs) for (switch, name), pairs in sorted(merged.items()))


def sides(service: Service) -> tuple[Config, Config]:
    """The configs of a complete service, that of its A side first."""
    one, other = sorted(service.live, key=lambda config: (config.created, config.id))
    if one.owners.consuming != service.owners.consuming and other.owners.consuming == service.owners.consuming:
        return other, one
    return one, other


def _pairs(service: Service, index: int, plant: Plant) -> Iterator[_Pair]:
    first, second = sides(service)
    one, other = plant.connections.get(first.connection), plant.connections.get(second.connection)
    if one is None or other is None:
        return  # the settings do not have it any more
    here, there = _end(one, first, plant), _end(other, second, plant)
    if one.switch == other.switch:
        yield _Pair(one.switch, here, there, service, index, Kind.ACCESS in (one.kind, other.kind))
        return
    trunk = plant.trunks.get(service.hop.trunk) if service.hop else None
    if trunk is None or service.hop is None:
        return
    label = service.hop.label
    yield _Pair(one.switch, here, _tunnel(trunk, one.switch, label), service, index, one.kind is Kind.ACCESS)
    yield _Pair(other.switch, _tunnel(trunk, other.switch, label), there, service, index, other.kind is Kind.ACCESS)


def _end(connection: Connection, config: Config, plant: Plant) -> SegmentEnd:
    if connection.remote is not None and connection.vni_base is not None:
        local = plant.switches[connection.switch].underlay
        assert local is not None  # checked with the settings
        return TunnelEnd(local, connection.remote, connection.vni_base * VNI_BLOCK + config.vlan)
    return AccessEnd(connection.port, None if config.vlan == WHOLE_PORT else config.vlan)


def _tunnel(trunk: Trunk, switch: str, label: int) -> TunnelEnd:
    near = trunk.switches.index(switch)
    return TunnelEnd(trunk.underlays[near], trunk.underlays[1 - near], trunk.vni_base * VNI_BLOCK + label)


def _common(pairs: list[_Pair]) -> list[SegmentEnd]:
    """The ends that all of them have."""
    return [end for end in (pairs[0].a, pairs[0].b) if all(end in (pair.a, pair.b) for pair in pairs)]


def _piece(switch: str, name: str, pairs: list[_Pair]) -> Piece:
    limits = [limit for limit in (bandwidth(pair.service) for pair in pairs) if limit is not None]
    users = tuple(pair.service.id for pair in pairs)
    first = pairs[0]
    if len(pairs) == 1:
        return Piece(switch, name, (first.a,), (first.b,), min(limits, default=None), users)
    # Both ends of a circuit prefer the same one, whichever was ordered first here.
    pairs = sorted(pairs, key=lambda pair: pair.service.papers.external_ref or "")
    shared = _common(pairs)[0]
    others = tuple(dict.fromkeys(pair.b if pair.a == shared else pair.a for pair in pairs))
    a, b = ((shared,), others) if pairs[0].a == shared else (others, (shared,))
    return Piece(switch, name, a, b, min(limits, default=None), users)
