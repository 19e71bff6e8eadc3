"""Two networks agree on addresses: the offer, the one agreement it leads to, and the check of the result.

Rules of this file:

1. `agree` is the only function that makes an agreement. It runs at the responder, on the initiator's offer and the
   responder's own usage. Its mirror is in `objecting`: the initiator checks the result against its own usage.
2. An alias is free at its viewer and at its translator. The initiator proves that by leasing candidates before offering
   them, the responder by choosing inside the transaction that claims them.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterator
from ipaddress import ip_interface
from uuid import UUID

from meetme.model.addresses import InterfaceAddress, Prefix, overlaps, overlaps_any, within
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
    CANDIDATES,
    LINK_LENGTH,
    Counter,
    LinkWish,
    Offer,
    Own,
    Refusal,
    TranslationWish,
    free_blocks,
    intersection,
    lowest_free,
    own_problems,
)
from meetme.negotiator.staying import beside, change_problems, fresh, mode_that_stays, staying

LEAST_MTU = 576
"""Octets of IP packet: what every IPv4 host must be able to receive (RFC 1122, section 3.3.2)."""


def make_offer(own: Own, counter: Counter | None, current: Agreement | None = None) -> Offer | Refusal:
    """The initiator's next offer, with candidates that are free in `own.usage` (the caller leases them).

    `current`: the agreement in force that this would change (see `staying`).
    """
    problems = [
        *own_problems(own),
        *change_problems(own, current, Role.INITIATOR),
        *(_peer_problems(counter.prefixes, own, "counter.prefixes") if counter else ()),
    ]
    if problems:
        return Refusal(tuple(problems))
    own = beside(own, current, Role.INITIATOR)
    peer = counter.prefixes if counter else None
    wants_link = counter is not None and own.link is not LinkWish.UNNUMBERED and current is None
    return Offer(
        prefixes=own.prefixes,
        peer_prefixes=peer,
        need_alias=tuple(p for p in fresh(current, Role.RESPONDER, peer or ()) if own.usage.clashes(p)),
        aliases=_alias_candidates(own, counter, current) if counter else (),
        links=_link_candidates(own, counter) if counter and wants_link else (),
        alias_pools=own.alias_pools,
        can=own.can,
        mtu=own.mtu,
        translation=own.translation,
        link=own.link,
        probe=own.probe,
    )


def _alias_candidates(own: Own, counter: Counter, current: Agreement | None) -> tuple[Prefix, ...]:
    """Aliases free here, and for those that both sides must have free, at the peer too: enough of every length.

    Larger ones first: a smaller one gets a candidate beside them as well, since it is not known yet which are needed.
    """
    prefixes = (*own.prefixes, *counter.prefixes)
    busy = (*prefixes, *own.usage.taken((*own.alias_pools, *counter.alias_pools)))
    shared = tuple(intersection(own.alias_pools, counter.alias_pools))
    places = (
        shared,
        tuple(intersection(shared, counter.free_aliases)),
        own.alias_pools,
        tuple(intersection(own.alias_pools, counter.free_aliases)),
        tuple(intersection(counter.alias_pools, counter.free_aliases)),
    )
    new = (*fresh(current, Role.INITIATOR, own.prefixes), *fresh(current, Role.RESPONDER, counter.prefixes))
    found: dict[Prefix, None] = {}
    for (version, length), count in sorted(Counted((p.version, p.prefixlen) for p in new).items()):
        larger = tuple(found)
        for pools in places:
            for clear in (busy, (*busy, *larger)):
                found |= dict.fromkeys(lowest_free(pools, version, length, clear, count))
    return tuple(found)


def _link_candidates(own: Own, counter: Counter) -> tuple[Prefix, ...]:
    both = tuple(intersection(intersection(own.link_pools, counter.link_pools), counter.free_links))
    busy = (*own.prefixes, *counter.prefixes, *own.usage.taken(own.link_pools))
    return tuple(lowest_free(both, 4, LINK_LENGTH, busy, CANDIDATES))


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
        return make_counter(own, offer)
    needs = {
        Role.RESPONDER: tuple(p for p in fresh(current, Role.INITIATOR, offer.prefixes) if own.usage.clashes(p)),
        Role.INITIATOR: tuple(p for p in offer.need_alias if p in fresh(current, Role.RESPONDER, own.prefixes)),
    }
    kept = {
        Role.INITIATOR: staying(current, Role.INITIATOR, offer.prefixes),
        Role.RESPONDER: staying(current, Role.RESPONDER, own.prefixes),
    }
    stays = mode_that_stays(current, (*kept[Role.INITIATOR].values(), *kept[Role.RESPONDER].values()))
    mode = _keep_translation(offer, own, needs, stays) if stays else _choose_translation(offer, own, needs)
    if isinstance(mode, Problem):
        return Refusal((mode,))
    translation, single_translator = mode
    link = current.link if current else _choose_link(offer, own)
    if isinstance(link, Problem):
        return Refusal((link,)) if link.code != "link_pool_exhausted" else make_counter(own, offer, link)
    chosen = _choose_aliases(offer, own, needs, translation, single_translator, kept)
    if isinstance(chosen, Problem):
        return make_counter(own, offer, chosen)
    theirs, mine = chosen
    return Agreement(
        id=id,
        circuit=circuit,
        order=order,
        link=link,
        mtu=min(offer.mtu, own.mtu),
        translation=translation,
        initiator=AgreedSide(initiator, theirs, offer.probe),
        responder=AgreedSide(own.member, mine, own.probe),
        revision=current.revision + 1 if current else 1,
    )


def make_counter(own: Own, offer: Offer, lacking: Problem | None = None) -> Counter:
    """What the responder tells so that the next offer can be agreed to."""
    prefixes = (*own.prefixes, *offer.prefixes)
    lengths = {(p.version, p.prefixlen) for p in prefixes}
    alias_pools = tuple(dict.fromkeys((*own.alias_pools, *offer.alias_pools)))
    return Counter(
        own.prefixes,
        own.alias_pools,
        own.link_pools,
        free_aliases=free_blocks(alias_pools, lengths, (*prefixes, *own.usage.taken(alias_pools))),
        free_links=free_blocks(own.link_pools, {(4, LINK_LENGTH)}, (*prefixes, *own.usage.taken(own.link_pools))),
        lacking=lacking,
    )


def _offer_problems(offer: Offer, own: Own) -> Iterator[Problem]:
    yield from _peer_problems(offer.prefixes, own, "offer.prefixes")
    if offer.probe is not None and not any(offer.probe in prefix for prefix in offer.prefixes):
        yield _remote(
            "probe_outside_prefixes", f"offer.probe: must lie in one of the prefixes ({offer.probe})", "offer.probe"
        )
    if offer.mtu < LEAST_MTU:
        yield _remote("mtu_too_small", f"offer.mtu: must be at least {LEAST_MTU} ({offer.mtu})", "offer.mtu")


def _peer_problems(prefixes: tuple[Prefix, ...], own: Own, field: str) -> Iterator[Problem]:
    """Why the peer's prefixes cannot be negotiated, whatever the addresses in use."""
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


def _choose_translation(
    offer: Offer, own: Own, needs: dict[Role, tuple[Prefix, ...]]
) -> tuple[Translation, Role | None] | Problem:
    """The mode, and who translates in `single`. The stricter of two wishes wins; two different ones cannot."""
    wishes = {offer.translation, own.translation} - {TranslationWish.AUTO}
    if not needs[Role.RESPONDER] and not needs[Role.INITIATOR]:
        return Translation.NONE, None
    if len(wishes) > 1:
        asked = " and ".join(sorted(wishes))
        return Problem(
            "translation_conflict",
            f"translation: the two sides insist on different modes ({asked})",
            "leave one at auto",
            "translation",
        )
    wish = wishes.pop() if wishes else TranslationWish.AUTO
    if wish is TranslationWish.NONE:
        clash = (*needs[Role.RESPONDER], *needs[Role.INITIATOR])
        shown = ", ".join(str(p) for p in dict.fromkeys(clash))
        return Problem(
            "prefixes_overlap",
            f"translation: none was asked for, but prefixes overlap ({shown})",
            "ask for auto, or announce other prefixes",
            "translation",
        )
    shared = _shared_alias(offer.prefixes, own.prefixes, needs)
    identical = shared and offer.prefixes == own.prefixes and offer.prefixes[0].version == 4
    if wish is not TranslationWish.EACH_OWN:
        sides = ((Role.INITIATOR, offer.can), (Role.RESPONDER, own.can))
        able_to = [role for role, can in sides if can.single]
        # The recipe of the three actions cannot reach a host with its own router's address: only if nobody else can.
        able_to += [role for role, can in sides if can.single_identical and identical]
        if able_to:
            return Translation.SINGLE, able_to[0]
    if wish is not TranslationWish.SINGLE:
        able = all(
            can.each_own or not needs[role.other]
            for role, can in ((Role.INITIATOR, offer.can), (Role.RESPONDER, own.can))
        )
        if able:
            return Translation.EACH_OWN, None
    return Problem(
        "translation_impossible",
        "translation: neither side's router can translate these prefixes",
        "use a configurator that can, or other prefixes",
        "translation",
    )


def _keep_translation(
    offer: Offer, own: Own, needs: dict[Role, tuple[Prefix, ...]], stays: tuple[Translation, Role | None]
) -> tuple[Translation, Role | None] | Problem:
    """The mode of what is translated already, if the routers can do more of it."""
    can = {Role.INITIATOR: offer.can, Role.RESPONDER: own.can}
    translation, single = stays
    if single is not None:
        able = can[single].single  # the recipe of the three actions carries one pair of prefixes, and only as it began
    else:
        able = all(can[role].each_own or not needs[role.other] for role in Role)
    if able:
        return stays
    return Problem(
        "translation_impossible",
        f"translation: is {translation} for what stays, and a router cannot translate more prefixes like that",
        "terminate the agreement and start another one, or use other prefixes",
        "translation",
    )


def _choose_link(offer: Offer, own: Own) -> AgreedLink | Problem:
    wishes = {offer.link, own.link} - {LinkWish.AUTO}
    if len(wishes) > 1:
        return Problem(
            "link_conflict", "link: one side insists on numbered, the other on unnumbered", "leave one at auto", "link"
        )
    both_can = offer.can.unnumbered and own.can.unnumbered
    if LinkWish.UNNUMBERED in wishes and not both_can:
        return Problem(
            "unnumbered_unsupported",
            "link: unnumbered was asked for, but a router cannot do it",
            "leave link at auto",
            "link",
        )
    if both_can and LinkWish.NUMBERED not in wishes:
        return AgreedLink(LinkKind.UNNUMBERED)
    busy = (*own.prefixes, *offer.prefixes, *own.usage.taken(own.link_pools))
    for prefix in offer.links:
        in_pool = any(within(prefix, pool) for pool in own.link_pools)
        if in_pool and prefix.prefixlen in (30, 31) and not overlaps_any(prefix, busy):
            return numbered_link(prefix)
    return Problem(
        "link_pool_exhausted",
        "negotiated_networks: no link prefix is free at both sides",
        "widen --negotiated-networks",
        "negotiated_networks",
    )


def numbered_link(prefix: Prefix) -> AgreedLink:
    """The link in `prefix`: the initiator has the lower address."""
    first = prefix.network_address + (0 if prefix.prefixlen in (31, 127) else 1)
    low: InterfaceAddress = ip_interface((first, prefix.prefixlen))
    return AgreedLink(LinkKind.NUMBERED, low, ip_interface((first + 1, prefix.prefixlen)))


def _shared_alias(a: tuple[Prefix, ...], b: tuple[Prefix, ...], needs: dict[Role, tuple[Prefix, ...]]) -> bool:
    """One alias serves both directions: one prefix a side, equally long, and both sides need one."""
    one_each = len(a) == len(b) == 1 and (a[0].version, a[0].prefixlen) == (b[0].version, b[0].prefixlen)
    return one_each and bool(needs[Role.RESPONDER]) and bool(needs[Role.INITIATOR])


def concerns(side: Role, owner: Role, translator: Role | None) -> bool:
    """Whether the alias of a prefix of `owner` has to be free at `side`: at its viewer and its translator."""
    return side in (owner.other, translator)


def _choose_aliases(
    offer: Offer,
    own: Own,
    needs: dict[Role, tuple[Prefix, ...]],
    translation: Translation,
    single: Role | None,
    kept: dict[Role, dict[Prefix, AgreedPrefix]],
) -> tuple[tuple[AgreedPrefix, ...], tuple[AgreedPrefix, ...]] | Problem:
    busy = [*own.prefixes, *offer.prefixes]
    share = translation is Translation.SINGLE and _shared_alias(offer.prefixes, own.prefixes, needs)
    found: dict[tuple[Role, Prefix], AgreedPrefix] = {}
    wanted = [(owner, real) for owner in (Role.RESPONDER, Role.INITIATOR) for real in needs[owner.other]]
    for owner, real in sorted(wanted, key=lambda item: item[1].prefixlen):
        translator = single if translation is Translation.SINGLE else owner
        first = next(iter(found.values()), None)
        alias = first.alias if share and first else _lowest_alias(real, owner, translator, offer, own, busy, both=share)
        if alias is None:
            return Problem(
                "alias_pool_exhausted",
                f"private_networks: no /{real.prefixlen} is free at both sides for {real}",
                "widen --private-networks at both sides",
                "private_networks",
            )
        busy.append(alias)
        found[owner, real] = AgreedPrefix(real, alias, translator)
    found |= {(owner, real): entry for owner, entries in kept.items() for real, entry in entries.items()}
    theirs = tuple(found.get((Role.INITIATOR, real), AgreedPrefix(real, real)) for real in offer.prefixes)
    return theirs, tuple(found.get((Role.RESPONDER, real), AgreedPrefix(real, real)) for real in own.prefixes)


def _lowest_alias(
    real: Prefix, owner: Role, translator: Role | None, offer: Offer, own: Own, busy: list[Prefix], *, both: bool
) -> Prefix | None:
    """The lowest in the intersection of the pools, else in the viewer's, free at viewer and translator."""
    viewer_pools = offer.alias_pools if owner.other is Role.INITIATOR else own.alias_pools
    offered = [p for p in offer.aliases if p.prefixlen == real.prefixlen]
    for pools in (tuple(intersection(own.alias_pools, offer.alias_pools)), viewer_pools):
        at_initiator = both or concerns(Role.INITIATOR, owner, translator)
        places = tuple(intersection(pools, offered)) if at_initiator else pools
        at_responder = both or concerns(Role.RESPONDER, owner, translator)
        clear = (*busy, *(own.usage.taken(pools) if at_responder else ()))
        if found := lowest_free(places, real.version, real.prefixlen, clear, 1):
            return found[0]
    return None
