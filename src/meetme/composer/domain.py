"""The own exchange, as the settings have it: what the federation is told of it, and how much of everything there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from meetme.composer.advertisement import ANY, AdvertisedPoint, PointKind, Transit, VlanRange, told
from meetme.composer.capacity import Claim, Kind, Limit, Resource, access, link
from meetme.composer.settings import ComposerSettings, PortSettings, TransitSettings, vlan_range
from meetme.composer.words import End, Hop
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Problem


class Domain:
    """One exchange and its borders."""

    def __init__(self, me: MemberId, settings: ComposerSettings) -> None:
        self.me = me
        self._ports = {port.id: port for port in settings.port}
        self._transits = settings.transit
        self._mandates = frozenset(settings.mandates)

    # --- what others are told -----------------------------------------------------------------------------------------

    def points(self, held: Iterable[Claim]) -> tuple[AdvertisedPoint, ...]:
        """Every port with what is free of it, as it is told."""
        used = _used(held)
        return tuple(self._point(port, used.get(_resource(port), 0)) for port in self._ports.values())

    def transits(self, held: Iterable[Claim]) -> tuple[Transit, ...]:
        """What crossing the exchange takes, with what is free. What several pairs share a line for is told for each
        pair that circuits use by itself.
        """
        used = {resource: most for resource, most in _used(held).items() if resource.kind is Kind.TRANSIT}
        told_so = [self._transit(each, each.a, each.b, 0) for each in self._transits]
        named = {frozenset((each.a, each.b)): index for index, each in enumerate(self._transits)}
        for resource, most in sorted(used.items(), key=lambda item: item[0].ports):
            each = self._transit_of(resource.ports[0], resource.ports[-1])
            if each is None:
                continue
            index = named.get(frozenset(resource.ports))
            one = self._transit(each, resource.ports[0], resource.ports[-1], most)
            if index is None:
                told_so.append(one)
            else:
                told_so[index] = one
        return tuple(told_so)

    @staticmethod
    def _point(port: PortSettings, used: int) -> AdvertisedPoint:
        vlans = vlan_range(port.vlans)
        free = port.bandwidth - used if vlans is not None or not used else 0
        return AdvertisedPoint(
            port=port.id,
            kind=PointKind.ACCESS if port.member is not None else PointKind.NNI,
            member=None if port.member is None else MemberId(port.member),
            neighbour=None if port.neighbour is None else MemberId(port.neighbour),
            neighbour_port=port.neighbour_port,
            bandwidth=told(free, port.bandwidth),
            vlans=None if vlans is None else VlanRange(*vlans),
            mtu=port.mtu,
            facility=port.facility,
            risks=frozenset(port.risks),
            latency_ms=port.latency_ms,
            price=port.price,
            availability=port.availability,
        )

    @staticmethod
    def _transit(each: TransitSettings, a: str, b: str, used: int) -> Transit:
        return Transit(
            a=a,
            b=b,
            latency_ms=each.latency_ms,
            bandwidth=told(each.bandwidth - used, each.bandwidth),
            price=each.price,
            availability=each.availability,
        )

    # --- how much there is --------------------------------------------------------------------------------------------

    def limit(self, resource: Resource) -> Limit | None:
        """How much there is of a resource; None: there is no such thing here."""
        if resource.kind is Kind.TRANSIT:
            transit = (
                self._transit_of(resource.ports[0], resource.ports[-1])
                if set(resource.ports) <= self._ports.keys()
                else None
            )
            return None if transit is None else Limit(transit.bandwidth)
        port = self._ports.get(resource.ports[0])
        if port is None or _resource(port) != resource:
            return None
        vlans = vlan_range(port.vlans)
        return Limit(port.bandwidth, () if vlans is None else (vlans,))

    def limits(self, resources: Iterable[Resource]) -> Mapping[Resource, Limit]:
        """The same of several, without those that are not here."""
        return {resource: limit for resource in resources if (limit := self.limit(resource)) is not None}

    def mtu(self, hop: Hop) -> int:
        """What passes on a way through the exchange, octets of Ethernet payload. Raises KeyError."""
        return min(self._ports[hop.in_port].mtu, self._ports[hop.out_port].mtu)

    def account(self, port: str) -> str | None:
        """For which account at the exchange the end of a segment at a port is ordered."""
        known = self._ports.get(port)
        return None if known is None else known.account

    def whole(self, port: str) -> bool:
        """Whether a circuit takes the whole port."""
        known = self._ports.get(port)
        return known is not None and vlan_range(known.vlans) is None

    def _transit_of(self, a: str, b: str) -> TransitSettings | None:
        """The one that names most of the two ports."""
        best: tuple[int, TransitSettings] | None = None
        for each in self._transits:
            for x, y in ((each.a, each.b), (each.b, each.a)):
                if x in (a, ANY) and y in (b, ANY):
                    rank = (x == a) + (y == b)
                    if best is None or rank > best[0]:
                        best = rank, each
        return None if best is None else best[1]

    # --- who may join what --------------------------------------------------------------------------------------------

    def end_problem(self, end: End, ordered_by: MemberId, name: str) -> Problem | None:
        """What is against a circuit that ends at a port of this exchange. `name`: `a` or `b`."""
        port = self._ports.get(end.port)
        if port is None or port.member is None:
            text = f"{name}.port: must be an access port of {self.me} ('{end.port}')"
            return Problem("port_unknown", text, "meetme topology lists them", f"{name}.port", Fault.REMOTE)
        if port.member != end.member:
            # Whose it is instead is nobody else's business.
            text = f"{name}.port: must be one of {end.member}'s ('{end.port}')"
            return Problem("port_of_another", text, "meetme topology lists them", f"{name}.port", Fault.REMOTE)
        if end.member != ordered_by and end.member not in self._mandates:
            return Problem(
                "mandate_missing",
                f"{name}.member: must have agreed that its ports are joined ('{end.member}' at {self.me})",
                f"ask {end.member} to order it, or to give {self.me} a mandate",
                f"{name}.member",
                Fault.REMOTE,
            )
        return None

    def way_problem(self, hops: tuple[Hop, ...], position: int, mtu: int) -> Problem | None:
        """What is against the own hop of a route: a port that does not lead to the neighbour it is asked for."""
        hop = hops[position]
        sides = (
            (hop.in_port, None if position == 0 else hops[position - 1]),
            (hop.out_port, None if position == len(hops) - 1 else hops[position + 1]),
        )
        for index, (name, neighbour) in enumerate(sides):
            if neighbour is None:
                continue
            port = self._ports.get(name)
            theirs = neighbour.out_port if index == 0 else neighbour.in_port
            if port is None or (port.neighbour, port.neighbour_port) != (neighbour.exchange, theirs):
                text = f"route: '{name}' of {self.me} must lead to '{theirs}' of {neighbour.exchange}"
                hint = "the advertisements of the two exchanges differ from their settings"
                return Problem("link_unknown", text, hint, "hops", Fault.REMOTE)
        if hop.in_port in self._ports and hop.out_port in self._ports and self.mtu(hop) < mtu:
            text = f"mtu: must pass {self.me} ({mtu} octets, {self.mtu(hop)} do)"
            return Problem("mtu_too_large", text, "its advertisement said more; try again", "mtu", Fault.REMOTE)
        return None

    def access_ports(self) -> Iterator[tuple[str, MemberId]]:
        """Every access port with whose it is."""
        for port in self._ports.values():
            if port.member is not None:
                yield port.id, MemberId(port.member)


def _resource(port: PortSettings) -> Resource:
    return access(port.id) if port.member is not None else link(port.id)


def _used(held: Iterable[Claim]) -> dict[Resource, int]:
    """What is gone for good: who asks for what is only held meanwhile is told so when it asks, and may wait."""
    used: dict[Resource, int] = {}
    for claim in held:
        if not claim.firm:
            continue
        used[claim.resource] = used.get(claim.resource, 0) + claim.bandwidth
    return used
