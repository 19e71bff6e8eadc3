"""Two networks agree on addresses: the offer, the one agreement it leads to, and the check of the result.

Rules of this file:

1. `agree` is the only function that makes an agreement. It runs at the responder, on the initiator's offer and the
   responder's own usage. Its mirror is in `objecting`: the initiator checks the result against its own usage.
2. An alias is free at its viewer and at its translator. The initiator proves that by leasing candidates before offering
   them, the responder by choosing inside the transaction that claims them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from meetme.model.addresses import Address, Prefix, overlaps
from meetme.model.agreement import (
    AgreedLink,
    AgreedPrefix,
    AgreedSide,
    Agreement,
    LinkKind,
    MemberId,
    Role,
    Translation,
)
from meetme.model.errors import Fault, Problem
from meetme.negotiator.addressing import (
    Can,
    Counter,
    Offer,
    Own,
    Refusal,
    TranslationWish,
    free_blocks,
    own_problems,
    strange_prefixes,
)
from meetme.negotiator.aliases import Needs, Room, Way, choose, spare, wanted, ways
from meetme.negotiator.linking import (
    LEAST_MTU,
    LEAST_MTU_IPV6,
    LINK_LENGTHS,
    choose_link,
    free_links,
    link_families,
    link_kind,
)
from meetme.negotiator.staying import beside, change_problems, fresh, mode_that_stays, staying

SPARE = (0, 8, 64)
"""How many candidates more than needed are leased for an offer: none, until others were quicker at the peer."""


def make_offer(
    own: Own, counter: Counter | None, current: Agreement | None = None, *, again: int = 0, even: bool = True
) -> Offer | Refusal:
    """The initiator's next offer, with candidates that are free in `own.usage` (the caller leases them).

    `current`: the agreement in force that this would change (see `staying`). `again`: how often the candidates were
    gone already when the peer looked; each time there are more. `even`: of two that outbid each other, one is, one not.
    """
    problems = [
        *own_problems(own),
        *change_problems(own, current, Role.INITIATOR),
        *(_peer_problems(counter.prefixes, own, "counter.prefixes") if counter else ()),
    ]
    if problems:
        return Refusal(tuple(problems))
    own = beside(own, current, Role.INITIATOR)
    peer = counter.prefixes if counter else ()
    need = tuple(p for p in fresh(current, Role.RESPONDER, peer) if own.usage.clashes(p))
    families = {p.version for p in peer}
    probe = own.speaker(counter.probes, families) if counter else own.probe
    more = SPARE[min(again, len(SPARE) - 1)]
    return Offer(
        prefixes=own.prefixes,
        peer_prefixes=counter.prefixes if counter else None,
        need_alias=need,
        aliases=_alias_candidates(own, counter, need, current, more, even=even) if counter else (),
        links=_link_candidates(own, counter, more) if counter and current is None else (),
        alias_pools=own.alias_pools,
        can=own.can,
        mtu=own.mtu,
        translation=own.translation,
        link=own.link,
        probe=probe,
        second_probe=own.second_speaker(probe, families),
    )


def _alias_candidates(
    own: Own, counter: Counter, need: tuple[Prefix, ...], current: Agreement | None, more: int, *, even: bool
) -> tuple[Prefix, ...]:
    """What the responder will choose, if nothing happens in between: the aliases that have to be free here."""
    theirs = counter.need_alias if counter.need_alias is not None else own.prefixes
    needs = {
        Role.RESPONDER: tuple(p for p in fresh(current, Role.INITIATOR, own.prefixes) if p in theirs),
        Role.INITIATOR: need,
    }
    prefixes = {Role.INITIATOR: own.prefixes, Role.RESPONDER: counter.prefixes}
    can = {Role.INITIATOR: own.can, Role.RESPONDER: counter.can}
    stays = _stays(current, prefixes)
    possible = (Way(*stays),) if stays else ways((own.translation, counter.translation), can, prefixes, needs)
    if isinstance(possible, Problem):
        return ()  # it is the responder's to refuse
    room = Room(
        pools={Role.INITIATOR: own.alias_pools, Role.RESPONDER: counter.alias_pools},
        announced=(*own.prefixes, *counter.prefixes),
        busy={Role.INITIATOR: own.busy(counter.alias_pools)},
        only={Role.RESPONDER: counter.free_aliases},
    )
    chosen = choose(possible, needs, room)
    if isinstance(chosen, Problem):
        return ()
    way, entries = chosen
    here = [one for one in wanted(way, needs) if Role.INITIATOR in one.at]
    found = dict.fromkeys(entries[real].alias for one in here for real in one.reals)
    return tuple(found | dict.fromkeys(spare(here, room, found, count=more, even=even) if more else ()))


def _stays(
    current: Agreement | None, prefixes: Mapping[Role, tuple[Prefix, ...]]
) -> tuple[Translation, Role | None] | None:
    return mode_that_stays(current, [e for role in Role for e in staying(current, role, prefixes[role]).values()])


def _link_candidates(own: Own, counter: Counter, more: int) -> tuple[Prefix, ...]:
    can, mtu = {Role.INITIATOR: own.can, Role.RESPONDER: counter.can}, min(own.mtu, counter.mtu)
    if link_kind((own.link, counter.link), can, mtu) is not LinkKind.NUMBERED:
        return ()
    prefixes = (*own.prefixes, *counter.prefixes)
    families = link_families(can, prefixes, mtu)
    pools = (own.link_pools, counter.link_pools)
    return tuple(free_links(pools, families, (*prefixes, *own.busy(())), 1 + more, counter.free_links))


def agree(
    offer: Offer,
    own: Own,
    *,
    id: UUID,
    circuit: str,
    initiator: MemberId,
    order: str | None = None,
    current: Agreement | None = None,
) -> Agreement | Counter | Refusal:
    """The one agreement that offer and own usage allow; a counter if something is lacking, or every reason why not.

    `current`: the agreement in force that this would change (see `staying`).
    """
    problems = [*own_problems(own), *change_problems(own, current, Role.RESPONDER), *_offer_problems(offer, own)]
    if problems:
        return Refusal(tuple(problems))
    own = beside(own, current, Role.RESPONDER)
    if offer.peer_prefixes != own.prefixes:
        return make_counter(own, offer, current)
    prefixes = {Role.INITIATOR: offer.prefixes, Role.RESPONDER: own.prefixes}
    needs = {
        Role.RESPONDER: _needed(own, offer, current),
        Role.INITIATOR: tuple(p for p in offer.need_alias if p in fresh(current, Role.RESPONDER, own.prefixes)),
    }
    can = {Role.INITIATOR: offer.can, Role.RESPONDER: own.can}
    stays = _stays(current, prefixes)
    possible = _keep(stays, can, needs) if stays else ways((offer.translation, own.translation), can, prefixes, needs)
    if isinstance(possible, Problem):
        return Refusal((possible,))
    link = current.link if current else _choose_link(offer, own, can)
    if isinstance(link, Problem):
        return Refusal((link,)) if link.code != "link_pool_exhausted" else make_counter(own, offer, current, link)
    room = Room(
        pools={Role.INITIATOR: offer.alias_pools, Role.RESPONDER: own.alias_pools},
        announced=(*offer.prefixes, *own.prefixes),
        busy={Role.RESPONDER: own.busy(offer.alias_pools)},
        exactly={Role.INITIATOR: offer.aliases},
    )
    chosen = choose(possible, needs, room)
    if isinstance(chosen, Problem):
        return make_counter(own, offer, current, chosen)
    way, entries = chosen
    for role in Role:
        entries |= {(role, real): entry for real, entry in staying(current, role, prefixes[role]).items()}
    theirs, mine = (
        tuple(entries.get((role, real), AgreedPrefix(real, real)) for real in prefixes[role]) for role in Role
    )
    return Agreement(
        id=id,
        circuit=circuit,
        order=order,
        link=link,
        mtu=min(offer.mtu, own.mtu),
        translation=way.translation,
        initiator=AgreedSide(initiator, theirs, *offer.speakers),
        responder=AgreedSide(own.member, mine, *_speakers(own, offer)),
        revision=current.revision + 1 if current else 1,
    )


def _needed(own: Own, offer: Offer, current: Agreement | None) -> tuple[Prefix, ...]:
    return tuple(p for p in fresh(current, Role.INITIATOR, offer.prefixes) if own.usage.clashes(p))


def _speakers(own: Own, offer: Offer) -> tuple[Address | None, ...]:
    """What answers probes here. A second one only to whoever has one: an older negotiator would not know it."""
    first = own.speaker(offer.speakers[:1], {p.version for p in offer.prefixes})
    return first, own.second_speaker(first, {a.version for a in offer.speakers[1:]})


def make_counter(own: Own, offer: Offer, current: Agreement | None = None, lacking: Problem | None = None) -> Counter:
    """What the responder tells so that the next offer can be agreed to: all of its half that the offer depends on."""
    prefixes = (*own.prefixes, *offer.prefixes)
    alias_pools = tuple(dict.fromkeys((*own.alias_pools, *offer.alias_pools)))
    in_pools = own.usage.taken((*alias_pools, *own.link_pools))
    return Counter(
        own.prefixes,
        own.alias_pools,
        own.link_pools,
        free_aliases=free_blocks(alias_pools, {(p.version, p.prefixlen) for p in prefixes}, (*prefixes, *in_pools)),
        free_links=free_blocks(own.link_pools, LINK_LENGTHS.items(), (*prefixes, *in_pools)),
        lacking=lacking,
        need_alias=_needed(own, offer, current),
        can=own.can,
        mtu=own.mtu,
        translation=own.translation,
        link=own.link,
        probes=tuple(dict.fromkeys(a for a in (own.probe, *own.probes) if a is not None)),
    )


def _offer_problems(offer: Offer, own: Own) -> Iterator[Problem]:
    yield from _peer_problems(offer.prefixes, own, "offer.prefixes")
    both = {p.version for p in offer.prefixes} & {p.version for p in own.prefixes}
    if not both:
        shown = f"{', '.join(map(str, offer.prefixes))} and {', '.join(map(str, own.prefixes))}"
        yield _remote(
            "families_differ",
            f"offer.prefixes: no host of one side could address the other ({shown})",
            "offer.prefixes",
        )
    if 6 in both and LEAST_MTU <= min(offer.mtu, own.mtu) < LEAST_MTU_IPV6:
        whose, mtu = ("offer.mtu", offer.mtu) if offer.mtu <= own.mtu else ("mtu", own.mtu)
        yield Problem(
            "mtu_too_small",
            f"{whose}: IPv6 needs {LEAST_MTU_IPV6} octets ({mtu})",
            "raise the MTU of the circuit and its ports, or announce IPv4 alone",
            whose,
            Fault.REMOTE if whose == "offer.mtu" else Fault.LOCAL,
        )
    for name, probe in (("probe", offer.probe), ("second_probe", offer.second_probe)):
        if probe is not None and not any(probe in prefix for prefix in offer.prefixes):
            text = f"offer.{name}: must lie in one of the prefixes ({probe})"
            yield _remote("probe_outside_prefixes", text, f"offer.{name}")
    if offer.second_probe is not None and (offer.probe is None or offer.probe.version == offer.second_probe.version):
        text = f"offer.second_probe: must be of the other family than offer.probe ({offer.second_probe})"
        yield _remote("probe_families_same", text, "offer.second_probe")
    if offer.mtu < LEAST_MTU:
        yield _remote("mtu_too_small", f"offer.mtu: must be at least {LEAST_MTU} ({offer.mtu})", "offer.mtu")


def _peer_problems(prefixes: tuple[Prefix, ...], own: Own, field: str) -> Iterator[Problem]:
    """Why the peer's prefixes cannot be negotiated, whatever the addresses in use."""
    yield from strange_prefixes(prefixes, field, Fault.REMOTE)
    for index, prefix in enumerate(prefixes):
        if prefix.prefixlen == 0:
            yield _remote("prefix_default_route", f"{field}[{index}]: a default route cannot be negotiated", field)
        if prefix.version == 6 and not own.can.ipv6:
            yield _remote("ipv6_unsupported", f"{field}[{index}]: this side carries IPv4 only ({prefix})", field)
        if any(overlaps(prefix, other) for other in prefixes[index + 1 :]):
            yield _remote("prefixes_overlap", f"{field}[{index}]: overlaps another of the same offer ({prefix})", field)
        if own.translation is TranslationWish.NONE and any(
            a.version == prefix.version and a in prefix for a in own.usage.control
        ):
            yield _remote(
                "prefix_contains_control_plane", f"{field}[{index}]: contains a control-plane address ({prefix})", field
            )
    if not prefixes:
        yield _remote("local_subnet_missing", f"{field}: at least one prefix is needed", field)
    if own.can.max_prefixes is not None and len(prefixes) > own.can.max_prefixes:
        yield _remote(
            "too_many_prefixes", f"{field}: this side carries {own.can.max_prefixes} ({len(prefixes)})", field
        )


def _remote(code: str, text: str, field: str) -> Problem:
    return Problem(code, text, "", field, Fault.REMOTE)


def _keep(stays: tuple[Translation, Role | None], can: Mapping[Role, Can], needs: Needs) -> tuple[Way, ...] | Problem:
    """The mode of what is translated already, if the routers can do more of it."""
    translation, single = stays
    if single is not None:
        able = can[single].single  # the recipe of the three actions carries one pair of prefixes, and only as it began
    else:
        able = all(can[role].each_own or not needs[role.other] for role in Role)
    if able:
        return (Way(translation, single),)
    return Problem(
        "translation_impossible",
        f"translation: is {translation} for what stays, and a router cannot translate more prefixes like that",
        "terminate the agreement and start another one, or use other prefixes",
        "translation",
    )


def _choose_link(offer: Offer, own: Own, can: Mapping[Role, Can]) -> AgreedLink | Problem:
    mtu = min(offer.mtu, own.mtu)
    kind = link_kind((offer.link, own.link), can, mtu)
    if isinstance(kind, Problem):
        return kind
    if kind is LinkKind.UNNUMBERED:
        return AgreedLink(LinkKind.UNNUMBERED)
    prefixes = (*own.prefixes, *offer.prefixes)
    return choose_link(offer.links, link_families(can, prefixes, mtu), own.link_pools, (*prefixes, *own.busy(())))


def concerns(side: Role, owner: Role, translator: Role | None) -> bool:
    """Whether the alias of a prefix of `owner` has to be free at `side`: at its viewer and its translator."""
    return side in (owner.other, translator)
