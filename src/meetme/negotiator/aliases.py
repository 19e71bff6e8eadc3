"""Which alias each prefix gets, out of what is free at both sides. Pure.

Rules of this file:

1. Both sides work it out alike: the initiator to lease what it is going to offer and no more, the responder to decide.
2. An alias is free at its viewer and at its translator; it comes out of the pools that both sides have in common, else
   out of its viewer's.
3. Large prefixes first, then those that have to be free at both sides; the lowest that will do. Where that leads
   nowhere the next one is tried, and then the next way to translate: it is refused only where no way has room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from meetme.model.addresses import Prefix, Spans, free_prefixes, within
from meetme.model.agreement import AgreedPrefix, Role, Translation
from meetme.model.errors import Problem
from meetme.negotiator.addressing import Can, TranslationWish, intersection

TRIES = 150
"""How many aliases are tried for one way to translate before it counts as having no room."""
Needs = Mapping[Role, Sequence[Prefix]]
"""By viewer: those of the other side's prefixes that it cannot have as they are."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to keep both sides apart. `share`: one alias serves both directions."""

    translation: Translation
    single: Role | None = None
    share: bool = False

    def translator(self, owner: Role) -> Role:
        """Who translates a prefix of `owner`."""
        return self.single or owner


@dataclass(frozen=True, slots=True)
class Wanted:
    """An alias that is needed: for which prefixes, at which sides it has to be free, and who will see it."""

    reals: tuple[tuple[Role, Prefix], ...]
    at: frozenset[Role]
    viewers: tuple[Role, ...]

    @property
    def like(self) -> Prefix:
        """A prefix of the length and family that the alias has."""
        return self.reals[0][1]


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of free addresses. `only`: nothing but these ranges; `exactly`: nothing but these very prefixes."""

    pools: Mapping[Role, tuple[Prefix, ...]]
    announced: tuple[Prefix, ...]
    busy: Mapping[Role, tuple[Prefix, ...]]
    only: Mapping[Role, tuple[Prefix, ...]] = field(default_factory=dict)
    exactly: Mapping[Role, tuple[Prefix, ...]] = field(default_factory=dict)

    def free(self, wanted: Wanted, chosen: Iterable[Prefix] = ()) -> Iterator[Prefix]:
        """Every alias that will do beside those that are chosen: of the common pools first, lowest first."""
        real = wanted.like
        clear = Spans((*self.announced, *chosen, *(p for role in wanted.at for p in self.busy.get(role, ()))))
        seen: set[Prefix] = set()
        for pools in (self.common, *(self.pools[viewer] for viewer in wanted.viewers)):
            places = {p for p in pools if p.version == real.version}
            for role in sorted(wanted.at):
                if role in self.only:
                    places = set(intersection(places, self.only[role]))
                if role in self.exactly:
                    places = set(intersection(places, (p for p in self.exactly[role] if p.prefixlen == real.prefixlen)))
            for place in sorted(places, key=lambda p: (int(p.network_address), p.prefixlen)):
                for found in free_prefixes(place, real.prefixlen, clear):
                    if found not in seen:
                        seen.add(found)
                        yield found

    @property
    def common(self) -> tuple[Prefix, ...]:
        """The pools that both sides have in common."""
        return tuple(intersection(self.pools[Role.INITIATOR], self.pools[Role.RESPONDER]))


def shareable(prefixes: Mapping[Role, Sequence[Prefix]], needs: Needs) -> bool:
    """One alias can serve both directions: one prefix a side, equally long, and both sides need one."""
    a, b = prefixes[Role.INITIATOR], prefixes[Role.RESPONDER]
    one_each = len(a) == len(b) == 1 and (a[0].version, a[0].prefixlen) == (b[0].version, b[0].prefixlen)
    return one_each and all(needs.values())


def ways(
    wishes: Iterable[TranslationWish],
    can: Mapping[Role, Can],
    prefixes: Mapping[Role, Sequence[Prefix]],
    needs: Needs,
) -> tuple[Way, ...] | Problem:
    """Every way to translate that both sides can do and wish for, the best first. Two different wishes cannot be."""
    asked = set(wishes) - {TranslationWish.AUTO}
    if not any(needs.values()):
        return (Way(Translation.NONE),)
    if len(asked) > 1:
        text = f"translation: the two sides insist on different modes ({' and '.join(sorted(asked))})"
        return Problem("translation_conflict", text, "leave one at auto", "translation")
    wish = asked.pop() if asked else TranslationWish.AUTO
    if wish is TranslationWish.NONE:
        shown = ", ".join(
            str(p) for p in dict.fromkeys(p for role in (Role.RESPONDER, Role.INITIATOR) for p in needs[role])
        )
        return Problem(
            "prefixes_overlap",
            f"translation: none was asked for, but prefixes overlap ({shown})",
            "ask for auto, or announce other prefixes",
            "translation",
        )
    found: list[Way] = []
    shared = shareable(prefixes, needs)
    if wish is not TranslationWish.EACH_OWN:
        able = [role for role in Role if can[role].single]
        found += [Way(Translation.SINGLE, role, share=True) for role in able if shared]
        found += [Way(Translation.SINGLE, role) for role in able]
        # The recipe of the three actions cannot reach a host with its own router's address: only if nobody else can.
        same = shared and tuple(prefixes[Role.INITIATOR]) == tuple(prefixes[Role.RESPONDER])
        if same and prefixes[Role.INITIATOR][0].version == 4:
            recipe = [role for role in Role if can[role].single_identical and not can[role].single]
            found += [Way(Translation.SINGLE, role, share=True) for role in recipe]
    if wish is not TranslationWish.SINGLE and all(can[role].each_own or not needs[role.other] for role in Role):
        found.append(Way(Translation.EACH_OWN))
    return tuple(found) or Problem(
        "translation_impossible",
        "translation: neither side's router can translate these prefixes",
        "use a configurator that can, or other prefixes",
        "translation",
    )


def wanted(way: Way, needs: Needs) -> tuple[Wanted, ...]:
    """The aliases that this way takes."""
    reals = [(owner, real) for owner in (Role.RESPONDER, Role.INITIATOR) for real in needs[owner.other]]
    if way.share:
        return (Wanted(tuple(reals), frozenset(Role), (Role.INITIATOR, Role.RESPONDER)),)
    found = [Wanted((one,), frozenset((one[0].other, way.translator(one[0]))), (one[0].other,)) for one in reals]
    return tuple(sorted(found, key=lambda w: (w.like.prefixlen, -len(w.at))))


Choice = tuple[Way, dict[tuple[Role, Prefix], AgreedPrefix]]


def choose(ways: Sequence[Way], needs: Needs, room: Room) -> Choice | Problem:
    """The first way that has room, and each alias in it; or why the best one has none."""
    short: Wanted | None = None
    for way in ways:
        aliases = wanted(way, needs)
        found = _assign(aliases, room)
        if isinstance(found, tuple):
            entries = {
                (owner, real): AgreedPrefix(real, alias, way.translator(owner))
                for one, alias in zip(aliases, found, strict=True)
                for owner, real in one.reals
            }
            return way, entries
        short = short or found
    if short is None:
        raise AssertionError("there is always a way")
    return _exhausted(short, room)


def _assign(aliases: Sequence[Wanted], room: Room) -> tuple[Prefix, ...] | Wanted:
    """An alias for each, or the one for which there is none beside the others."""
    chosen: list[Prefix] = []
    tries, deepest = TRIES, 0

    def search(index: int) -> bool:
        nonlocal tries, deepest
        if index == len(aliases):
            return True
        deepest = max(deepest, index)
        for alias in room.free(aliases[index], chosen):
            tries -= 1
            chosen.append(alias)
            if search(index + 1):
                return True
            chosen.pop()
            if tries <= 0:
                break
        return False

    return tuple(chosen) if search(0) else aliases[deepest]


def spare(
    aliases: Sequence[Wanted], room: Room, chosen: Iterable[Prefix], *, count: int, even: bool
) -> Iterator[Prefix]:
    """More of the same, for a peer at which others were quicker. Two that outbid each other begin at different ones."""
    for one in aliases:
        size = one.like.max_prefixlen - one.like.prefixlen
        more = islice(room.free(one, chosen), 4 * count)
        yield from sorted(more, key=lambda p: (int(p.network_address) >> size & 1) == even)[:count]


def _exhausted(one: Wanted, room: Room) -> Problem:
    real = one.like
    kind = f"IPv{real.version} /{real.prefixlen}"
    told = []
    for whose, pools in (("of both sides", room.common), *((f"of the {v}", room.pools[v]) for v in one.viewers)):
        mine = sorted({str(p) for p in pools if p.version == real.version})
        told += [f"{', '.join(mine)} {whose}"] if mine else []
    where = f"none in {'; '.join(told)}" if told else f"no pool is IPv{real.version}"
    return Problem(
        "alias_pool_exhausted",
        f"private_networks: an {kind} must be free at both sides as alias of {real} ({where})",
        "widen --private-networks at both sides, or terminate an agreement that is not needed any more",
        "private_networks",
    )


def within_any(prefix: Prefix, pools: Iterable[Prefix]) -> bool:
    """Whether one of the pools has all of `prefix`."""
    return any(within(prefix, pool) for pool in pools)
