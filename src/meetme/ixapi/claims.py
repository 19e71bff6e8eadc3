"""What a bundle needs for itself, and whether there is room for it. Pure.

A label is unique on its connection or trunk; the capacities ordered there never exceed what may be ordered. Services of
one bundle that share an access have its label and its capacity once: one of them carries frames at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from meetme.ixapi.bundle import Bundle, Claims, Room
from meetme.ixapi.objects import CHOSEN_LOWEST, VLAN_HIGHEST, WHOLE_PORT, Config, Hop, Service
from meetme.ixapi.plant import Connection, Kind, Plant, Trunk
from meetme.model.errors import Conflict, Exhausted, Refused


def place_of(thing: Connection | Trunk) -> str:
    """Under what name labels and capacity of a thing are claimed."""
    return f"connection/{thing.id}" if isinstance(thing, Connection) else f"trunk/{thing.name}"


def circuit_place(name: str) -> str:
    """Under what a name on the switches is claimed."""
    return f"circuit/{name}"


def bandwidth(service: Service) -> int | None:
    """The lowest of the capacities of a service and its ends; None: not limited."""
    known = [c for c in (service.capacity, *(config.capacity for config in service.live)) if c is not None]
    return min(known) if known else None


def amount(service: Service, config: Config, connection: Connection) -> int:
    """What a config takes of its connection: without a capacity, all that may be ordered there."""
    capacity = config.capacity if config.capacity is not None else service.capacity
    return connection.limit if capacity is None else capacity


def needed(bundle: Bundle, plant: Plant) -> Claims:
    """What a bundle needs with the services and ends that it has."""
    labels: dict[tuple[str, int], int] = {}
    for service in bundle.services:
        if service.ended is not None:
            continue
        for config in service.configs:
            connection = plant.connections.get(config.connection)
            if connection is not None and config.ended is None:
                label = (place_of(connection), config.vlan)
                labels[label] = max(labels.get(label, 0), amount(service, config, connection))
        trunk = plant.trunks.get(service.hop.trunk) if service.hop else None
        if trunk is not None and service.hop is not None:
            labels[place_of(trunk), service.hop.label] = _over(service, trunk, plant)
    amounts: dict[str, int] = {}
    for (place, _), taken in labels.items():
        amounts[place] = amounts.get(place, 0) + taken
    named = frozenset() if bundle.over else frozenset(((circuit_place(bundle.circuit), 0),))
    return Claims(frozenset(labels) | named, tuple(sorted(amounts.items())))


def claims(bundle: Bundle, plant: Plant) -> Claims:
    """What a bundle has for itself: what it needs, and what its switches may still carry."""
    return needed(bundle, plant).joined(bundle.held)


def admit(bundle: Bundle, plant: Plant, room: Room) -> None:
    """Check that there is room for all that a bundle needs. Raises Exhausted `capacity_exhausted`."""
    for place, amount in claims(bundle, plant).amounts:
        limit = _limit(place, plant)
        if limit is not None and room.used.get(place, 0) + amount > limit:
            free = max(0, limit - room.used.get(place, 0))
            raise Exhausted(
                "capacity_exhausted",
                f"capacity: must fit into what is left of '{place}' ({amount} Mbit/s, left {free} of {limit})",
                hint="order less, or at another connection",
                field="capacity",
            )


def choose_vlan(bundle: Bundle, config: Config, asked: int | None, plant: Plant, room: Room) -> int:
    """The label of a config on its connection; `asked` None: that of the service it protects, else the lowest free.

    Raises Conflict `vlan_taken`, Exhausted `vlans_exhausted`.
    """
    connection = plant.connection(config.connection)
    place = place_of(connection)
    own = {
        each.vlan
        for each in bundle.configs()
        if each.id != config.id and each.ended is None and each.connection == config.connection
    }
    shared = set(_shared(bundle, config, connection))
    taken = room.taken.get(place, frozenset()) | (own - shared)
    if asked is None:
        # Two services that protect each other land on one access, unless they say otherwise.
        if shared:
            return min(shared)
        return _lowest(taken, place)
    everybody = taken | own
    if asked in taken or (everybody - {WHOLE_PORT} if asked == WHOLE_PORT else WHOLE_PORT in everybody):
        seen = "the whole port" if asked == WHOLE_PORT else str(asked)
        raise Conflict(
            "vlan_taken",
            f"vlan_config: must not be taken at the connection ({seen} of '{config.connection}')",
            hint="choose another one, or say null and one is chosen",
            field="vlan_config",
        )
    return asked


def choose_hop(bundle: Bundle, service: Service, plant: Plant, room: Room) -> Hop | None:
    """The trunk between the switches of a service's two ends, and a label on it. None: both ends are on one switch.

    A trunk that no service of the bundle has comes first. Raises Refused `switches_apart`, Exhausted
    `capacity_exhausted`, `vlans_exhausted`.
    """
    one, other = (plant.connection(config.connection).switch for config in service.live)
    if one == other:
        return None
    trunks = list(plant.between(one, other))
    if not trunks:
        raise Refused(
            "switches_apart",
            f"connection: must be joined to that of the other end ('{one}' and '{other}' have no trunk)",
            hint="the exchange has to set up a trunk between them",
            field="connection",
        )
    used = {each.hop.trunk for each in bundle.services if each.hop and each.id != service.id and each.ended is None}
    last: Exhausted | None = None
    for trunk in sorted(trunks, key=lambda trunk: trunk.name in used):
        own = {label for place, label in claims(bundle, plant).labels if place == place_of(trunk)}
        taken = room.taken.get(place_of(trunk), frozenset()) | own
        try:
            hop = Hop(trunk.name, _lowest(taken, place_of(trunk)))
            admit(_with(bundle, replace(service, hop=hop)), plant, room)
        except Exhausted as error:
            last = error
        else:
            return hop
    assert last is not None
    raise last


def _with(bundle: Bundle, service: Service) -> Bundle:
    services = tuple(service if each.id == service.id else each for each in bundle.services)
    return replace(bundle, services=services)


def _over(service: Service, trunk: Trunk, plant: Plant) -> int:
    """What a service takes of a trunk, also while it is being taken down."""
    there = [config for config in service.configs if config.ended is None]
    known = [c for c in (service.capacity, *(config.capacity for config in there)) if c is not None]
    if known:
        return min(known)
    ends = [plant.connections[c.connection].limit for c in there if c.connection in plant.connections]
    return min([trunk.speed, *ends])


def _shared(bundle: Bundle, config: Config, connection: Connection) -> Iterator[int]:
    """Labels on an access that another service of the bundle has, so that it may be shared."""
    if connection.kind is not Kind.ACCESS:
        return
    for service in bundle.services:
        if service.id == config.service or service.ending:
            continue
        for each in service.live:
            if each.connection == config.connection:
                yield each.vlan


def _lowest(taken: frozenset[int] | set[int], place: str) -> int:
    if WHOLE_PORT not in taken:
        for label in range(CHOSEN_LOWEST, VLAN_HIGHEST + 1):
            if label not in taken:
                return label
    raise Exhausted(
        "vlans_exhausted",
        f"vlan_config: must find a VLAN that is free ('{place}' has none left)",
        hint="order at another connection",
        field="vlan_config",
    )


def _limit(place: str, plant: Plant) -> int | None:
    kind, _, name = place.partition("/")
    if kind == "connection" and name in plant.connections:
        return plant.connections[name].limit
    if kind == "trunk" and name in plant.trunks:
        return plant.trunks[name].speed
    return None
