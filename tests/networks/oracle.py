"""Where a packet goes, address by address, and what an agreement has to be: a model of its own, in plain integers.

It knows nothing of how the rules choose. A *span* is a family and the first and last address of a range; a packet is
followed from the host that sends it through both routers, with every rewriting that the intents ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meetme.model.addresses import Address, Prefix
from meetme.model.agreement import AgreedPrefix, Agreement, Role
from meetme.model.intent import LinkIntent, Mapping
from tests.networks.plan import Lan, Network, Site

Point = tuple[int, int]
"""Family and address."""
Span = tuple[int, int, int]


def point(address: Address) -> Point:
    return address.version, int(address)


def span(prefix: Prefix) -> Span:
    first = int(prefix.network_address)
    return prefix.version, first, first + (1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1


def holds(outer: Span, at: Point) -> bool:
    return outer[0] == at[0] and outer[1] <= at[1] <= outer[2]


def share(a: Span, b: Span) -> bool:
    return a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2]


def inside(a: Span, b: Span) -> bool:
    return a[0] == b[0] and b[1] <= a[1] and a[2] <= b[2]


def moved(at: Point, frm: Prefix, to: Prefix) -> Point:
    """The address with the same place in `to` as `at` has in `frm`."""
    return at[0], at[1] - span(frm)[1] + span(to)[1]


# --- packets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    """A packet at the one who has the address it was sent to."""

    site: str
    at: Point
    seen_from: Point


@dataclass(frozen=True)
class Roads:
    """Every router as its configurators left it: by site and circuit, what was applied."""

    network: Network
    intents: dict[tuple[str, str], LinkIntent]

    def send(self, site: str, source: Point, target: Point) -> Arrival | None:
        """Where a packet of a host (or of the router itself) ends. None: nowhere."""
        here = self.network.site(site)
        roads = [(lan.prefix, "") for lan in (*here.lans, *here.more)]
        roads += [(prefix, "away") for prefix in here.routes]
        for (owner, circuit), intent in self.intents.items():
            roads += [(mapping.inside, circuit) for mapping in intent.remote if owner == site]
        choices = [(prefix.prefixlen, where) for prefix, where in roads if holds(span(prefix), target)]
        longest = max((length for length, _ in choices), default=-1)
        best = {where for length, where in choices if length == longest}
        assert len(best) <= 1, f"at {site} both {best} have {target}"
        where = best.pop() if best else "away"
        if where == "":
            return Arrival(site, target, source)
        if where == "away":
            return None
        return self._over(site, where, source, target)

    def _over(self, site: str, circuit: str, source: Point, target: Point) -> Arrival | None:
        near = self.intents[site, circuit]
        wire_source = _rewritten(source, near.local, outwards=True)
        wire_target = _rewritten(target, near.remote, outwards=True)
        other = next((o for o, c in self.intents if c == circuit and o != site), None)
        if wire_source is None or wire_target is None or other is None:
            return None
        far = self.intents[other, circuit]
        seen_from = _rewritten(wire_source, far.remote, outwards=False)
        reached = _rewritten(wire_target, far.local, outwards=False)
        if seen_from is None or reached is None:
            return None
        there = self.network.site(other)
        if any(holds(span(lan.prefix), reached) for lan in (*there.lans, *there.more)):
            return Arrival(other, reached, seen_from)
        return None


def _rewritten(at: Point, mappings: tuple[Mapping, ...], *, outwards: bool) -> Point | None:
    for mapping in mappings:
        frm, to = (mapping.inside, mapping.wire) if outwards else (mapping.wire, mapping.inside)
        if holds(span(frm), at):
            return moved(at, frm, to)
    return None


def points(site: Site) -> Iterator[Point]:
    """Addresses to send from: every host, and the router itself."""
    yield from map(point, (*site.hosts(), *site.routers()))


def reachable(agreements: Iterable[Agreement], site: str, source: Point, target: Point) -> set[tuple[str, Point]]:
    """Who may get a packet that `source` at `site` sends to `target`, by the agreements and nothing else."""
    found: set[tuple[str, Point]] = set()
    for agreement in agreements:
        for role in Role:
            mine, theirs = agreement.side(role), agreement.side(role.other)
            if mine.member != site or not any(holds(span(p.real), source) for p in mine.prefixes):
                continue
            for entry in theirs.prefixes:
                if holds(span(entry.alias), target):
                    found.add((theirs.member, moved(target, entry.alias, entry.real)))
    return found


# --- what an agreement has to be --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Uses:
    """What one side uses at one moment: `fixed` clashes wherever it is touched, `routes` where they lie within."""

    fixed: tuple[Span, ...]
    routes: tuple[Span, ...]

    def forbid(self, wanted: Span) -> bool:
        """Whether the side cannot have `wanted` in its routing as it is."""
        return any(share(wanted, s) for s in self.fixed) or any(inside(r, wanted) for r in self.routes)

    def busy(self, wanted: Span, pools: Iterable[Span]) -> bool:
        """Whether something new out of `pools` cannot be given `wanted`: a route in a pool is a use of it."""
        pooled = [r for r in self.routes if any(inside(r, pool) for pool in pools)]
        return any(share(wanted, s) for s in (*self.fixed, *pooled)) or any(inside(r, wanted) for r in self.routes)


def uses(site: Site, announced: tuple[Prefix, ...], agreements: Iterable[Agreement]) -> Uses:
    """What `site` uses with these agreements in force, for a negotiation in which it announces `announced`."""
    fixed = {span(p) for p in (*announced, *site.prefixes, *site.in_use)}
    fixed |= {span(lan.prefix) for lan in (*site.lans, *site.more)}
    fixed |= {(a.version, int(a), int(a)) for a in site.control}
    for agreement in agreements:
        for role in Role:
            if agreement.side(role).member == site.name:
                fixed |= set(_given_out(agreement, role))
                fixed |= {span(entry.real) for entry in agreement.side(role).prefixes}
    return Uses(tuple(fixed), tuple(span(p) for p in site.routes if p.prefixlen))


def _given_out(agreement: Agreement, role: Role) -> Iterator[Span]:
    for owner in Role:
        for entry in agreement.side(owner).prefixes:
            if role is owner.other or entry.translator is role:
                yield span(entry.alias)
    if agreement.link.initiator is not None:
        yield span(agreement.link.initiator.network)


def entries(agreement: Agreement) -> Iterator[tuple[Role, AgreedPrefix]]:
    """Every prefix of it, with whose it is."""
    for role in Role:
        for entry in agreement.side(role).prefixes:
            yield role, entry


def shared(agreement: Agreement) -> bool:
    """One alias for both directions."""
    found = [entry for _, entry in entries(agreement) if entry.translator]
    return len(found) == 2 and found[0].alias == found[1].alias


def slots(pools: Iterable[Prefix], like: Prefix, most: int = 5000) -> Iterator[Span]:
    """Every prefix as long as `like` in the pools; the first ones of a large pool."""
    size = 1 << (like.max_prefixlen - like.prefixlen)
    for pool in pools:
        version, first, last = span(pool)
        if version == like.version and pool.prefixlen <= like.prefixlen:
            for number in range(min(most, (last - first + 1) // size)):
                at = first + number * size
                yield version, at, at + size - 1


def lan_of(site: Site, at: Point) -> Lan | None:
    """The network at the site's router that has the address."""
    return next((lan for lan in (*site.lans, *site.more) if holds(span(lan.prefix), at)), None)
