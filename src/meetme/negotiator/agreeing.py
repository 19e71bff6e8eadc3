"""Two networks agree on addresses: the offer, the one agreement it leads to, and the check of the result.

Rules of this file:

1. `agree` is the only function that makes an agreement. It runs at the responder, on the initiator's offer and the
   responder's own usage. `objections` is its mirror: the initiator checks the result against its own usage.
2. An alias is free at its viewer and at its translator. The initiator proves that by leasing candidates before offering
   them, the responder by choosing inside the transaction that claims them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    Can,
    Counter,
    LinkWish,
    Offer,
    Own,
    Refusal,
    TranslationWish,
    free_links,
    intersection,
    lowest_free,
    own_problems,
)


def make_offer(own: Own, counter: Counter | None) -> Offer | Refusal:
    """The initiator's next offer, with candidates that are free in `own.usage` (the caller leases them)."""
    problems = tuple(own_problems(own))
    if problems:
        return Refusal(problems)
    peer = counter.prefixes if counter else None
    need = tuple(p for p in peer or () if own.usage.clashes(p))
    lengths = sorted({(p.version, p.prefixlen) for p in (*own.prefixes, *(peer or ()))})
    aliases: list[Prefix] = []
    if counter:
        keep_clear = (*own.prefixes, *counter.prefixes)
        shared = tuple(intersection(own.alias_pools, counter.alias_pools))
        for version, length in lengths:
            free_here = (p for p in counter.free_aliases if (p.version, p.prefixlen) == (version, length))
            proposed = [p for p in free_here if not own.usage.clashes(p) and any(within(p, s) for s in shared)]
            proposed += lowest_free(shared, version, length, own.usage, keep_clear)
            proposed += lowest_free(own.alias_pools, version, length, own.usage, keep_clear)
            aliases += dict.fromkeys(proposed)
    link_pools = tuple(intersection(own.link_pools, counter.link_pools)) if counter else own.link_pools
    hinted = [p for p in (counter.free_links if counter else ()) if not own.usage.clashes(p)]
    links = list(
        dict.fromkeys([p for p in hinted if any(within(p, s) for s in link_pools)] + free_links(link_pools, own.usage))
    )
    return Offer(
        prefixes=own.prefixes,
        peer_prefixes=peer,
        need_alias=need,
        aliases=tuple(aliases),
        links=tuple(links[: 2 * CANDIDATES]) if own.link is not LinkWish.UNNUMBERED else (),
        alias_pools=own.alias_pools,
        can=own.can,
        mtu=own.mtu,
        translation=own.translation,
        link=own.link,
        probe=own.probe,
    )


def agree(
    offer: Offer, own: Own, *, id: UUID, circuit: str, initiator: MemberId, order: str | None = None
) -> Agreement | Counter | Refusal:
    """The one agreement that offer and own usage allow, a counter where a fact is lacking, or all reasons why not."""
    problems = [*own_problems(own), *_offer_problems(offer, own)]
    if problems:
        return Refusal(tuple(problems))
    if offer.peer_prefixes != own.prefixes:
        return make_counter(own, offer)
    needs = {
        Role.RESPONDER: tuple(p for p in offer.prefixes if own.usage.clashes(p)),
        Role.INITIATOR: tuple(p for p in offer.need_alias if p in own.prefixes),
    }
    mode = _choose_translation(offer, own, needs)
    if isinstance(mode, Problem):
        return Refusal((mode,))
    translation, single_translator = mode
    link = _choose_link(offer, own)
    if isinstance(link, Problem):
        return Refusal((link,)) if link.code != "link_pool_exhausted" else _again(offer, own, link)
    chosen = _choose_aliases(offer, own, needs, translation, single_translator)
    if isinstance(chosen, Problem):
        return _again(offer, own, chosen)
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
    )


def make_counter(own: Own, offer: Offer) -> Counter:
    """What the responder tells so that the next offer can be agreed to."""
    pools = tuple(intersection(own.alias_pools, offer.alias_pools)) or own.alias_pools
    lengths = sorted({(p.version, p.prefixlen) for p in (*own.prefixes, *offer.prefixes)})
    clear = (*own.prefixes, *offer.prefixes)
    free = [p for version, length in lengths for p in lowest_free(pools, version, length, own.usage, clear)]
    return Counter(
        own.prefixes, own.alias_pools, own.link_pools, tuple(free), tuple(free_links(own.link_pools, own.usage))
    )


def objections(agreement: Agreement, offer: Offer, own: Own) -> tuple[Problem, ...]:
    """Why the initiator cannot sign `agreement`, which claims to answer its `offer`. Empty: it can."""
    found: list[Problem] = []

    def object_to(code: str, text: str) -> None:
        found.append(
            Problem(
                code, text, "the other negotiator broke the protocol; report it to its operator", None, Fault.REMOTE
            )
        )

    mine, theirs = agreement.initiator, agreement.responder
    if mine.member != own.member or tuple(p.real for p in mine.prefixes) != offer.prefixes or mine.probe != offer.probe:
        object_to("agreement_not_offered", "agreement.initiator: differs from what was offered")
    if tuple(p.real for p in theirs.prefixes) != offer.peer_prefixes:
        object_to("agreement_not_offered", "agreement.responder.prefixes: differ from those the offer was made for")
    if not 576 <= agreement.mtu <= offer.mtu:
        object_to("agreement_mtu", f"agreement.mtu: must be between 576 and {offer.mtu} ({agreement.mtu})")
    if theirs.probe is not None and not any(theirs.probe in p.real for p in theirs.prefixes):
        object_to("agreement_probe", f"agreement.responder.probe: must lie in one of its prefixes ({theirs.probe})")
    for role, side in ((Role.INITIATOR, mine), (Role.RESPONDER, theirs)):
        for index, entry in enumerate(side.prefixes):
            path = f"agreement.{role}.prefixes[{index}]"
            translated = entry.real != entry.alias
            if translated != (entry.translator is not None):
                object_to("agreement_translator", f"{path}: an alias and a translator come together")
            if (entry.alias.version, entry.alias.prefixlen) != (entry.real.version, entry.real.prefixlen):
                object_to("agreement_alias_length", f"{path}.alias: must be as long as {entry.real} ({entry.alias})")
            if role is Role.RESPONDER and not translated and own.usage.clashes(entry.real):
                object_to("agreement_overlap", f"{path}: {entry.real} overlaps what this network uses and has no alias")
            if translated and _concerns(Role.INITIATOR, role, entry.translator) and entry.alias not in offer.aliases:
                object_to("agreement_alias", f"{path}.alias: was not among the aliases offered ({entry.alias})")
    entries = [*mine.prefixes, *theirs.prefixes]
    by_us = any(entry.translator is Role.INITIATOR for entry in entries)
    if by_us and not _able(own.can, agreement.translation, entries):
        object_to("agreement_capability", "agreement.translation: this router cannot do what it asks for")
    if agreement.link.kind is LinkKind.UNNUMBERED:
        if not own.can.unnumbered or own.link is LinkWish.NUMBERED:
            object_to("agreement_link", "agreement.link: this side needs a numbered link")
    elif agreement.link not in [_numbered(p) for p in offer.links]:
        object_to("agreement_link", "agreement.link: was not among the link prefixes offered")
    return tuple(found)


def _offer_problems(offer: Offer, own: Own) -> Iterator[Problem]:
    field = "offer.prefixes"
    for index, prefix in enumerate(offer.prefixes):
        if prefix.prefixlen == 0:
            yield _remote("prefix_default_route", f"{field}[{index}]: a default route cannot be negotiated", field)
        if prefix.version == 6 and not own.can.ipv6:
            yield _remote("ipv6_unsupported", f"{field}[{index}]: this side carries IPv4 only ({prefix})", field)
        if any(overlaps(prefix, other) for other in offer.prefixes[index + 1 :]):
            yield _remote("prefixes_overlap", f"{field}[{index}]: overlaps another of the same offer ({prefix})", field)
        if own.translation is TranslationWish.NONE and any(
            a.version == prefix.version and a in prefix for a in own.usage.control
        ):
            yield _remote(
                "prefix_contains_control_plane", f"{field}[{index}]: contains a control-plane address ({prefix})", field
            )
    if not offer.prefixes:
        yield _remote("local_subnet_missing", f"{field}: at least one prefix is needed", field)
    if offer.probe is not None and not any(offer.probe in prefix for prefix in offer.prefixes):
        yield _remote(
            "probe_outside_prefixes", f"offer.probe: must lie in one of the prefixes ({offer.probe})", "offer.probe"
        )
    if offer.mtu < 576:
        yield _remote("mtu_too_small", f"offer.mtu: must be at least 576 ({offer.mtu})", "offer.mtu")
    if own.can.max_prefixes is not None and len(offer.prefixes) > own.can.max_prefixes:
        yield _remote(
            "too_many_prefixes", f"{field}: this side carries {own.can.max_prefixes} ({len(offer.prefixes)})", field
        )


def _remote(code: str, text: str, field: str) -> Problem:
    return Problem(code, text, "", field, Fault.REMOTE)


def _again(offer: Offer, own: Own, problem: Problem) -> Counter | Refusal:
    """A counter while it can still change the next offer, else the refusal that `problem` is."""
    counter = make_counter(own, offer)
    if problem.code == "alias_pool_exhausted" and not set(counter.free_aliases) - set(offer.aliases):
        return Refusal((problem,))
    if problem.code == "link_pool_exhausted" and not set(counter.free_links) - set(offer.links):
        return Refusal((problem,))
    return counter


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
        for role, can in ((Role.INITIATOR, offer.can), (Role.RESPONDER, own.can)):
            if can.single or (can.single_identical and identical):
                return Translation.SINGLE, role
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
    clear = (*own.prefixes, *offer.prefixes)
    for prefix in offer.links:
        in_pool = any(within(prefix, pool) for pool in own.link_pools)
        if (
            in_pool
            and prefix.prefixlen in (30, 31)
            and not own.usage.clashes(prefix)
            and not overlaps_any(prefix, clear)
        ):
            return _numbered(prefix)
    return Problem(
        "link_pool_exhausted",
        "negotiated_networks: no link prefix is free at both sides",
        "widen --negotiated-networks",
        "negotiated_networks",
    )


def _numbered(prefix: Prefix) -> AgreedLink:
    first = prefix.network_address + (0 if prefix.prefixlen in (31, 127) else 1)
    low: InterfaceAddress = ip_interface((first, prefix.prefixlen))
    return AgreedLink(LinkKind.NUMBERED, low, ip_interface((first + 1, prefix.prefixlen)))


def _shared_alias(a: tuple[Prefix, ...], b: tuple[Prefix, ...], needs: dict[Role, tuple[Prefix, ...]]) -> bool:
    """One alias serves both directions: one prefix a side, equally long, and both sides need one."""
    one_each = len(a) == len(b) == 1 and (a[0].version, a[0].prefixlen) == (b[0].version, b[0].prefixlen)
    return one_each and bool(needs[Role.RESPONDER]) and bool(needs[Role.INITIATOR])


def _concerns(side: Role, owner: Role, translator: Role | None) -> bool:
    """Whether the alias of a prefix of `owner` has to be free at `side`: at its viewer and its translator."""
    return side in (owner.other, translator)


def _choose_aliases(
    offer: Offer, own: Own, needs: dict[Role, tuple[Prefix, ...]], translation: Translation, single: Role | None
) -> tuple[tuple[AgreedPrefix, ...], tuple[AgreedPrefix, ...]] | Problem:
    clear: list[Prefix] = [*own.prefixes, *offer.prefixes]
    share = translation is Translation.SINGLE and _shared_alias(offer.prefixes, own.prefixes, needs)
    sides: dict[Role, list[AgreedPrefix]] = {Role.INITIATOR: [], Role.RESPONDER: []}
    shared: Prefix | None = None
    for owner, prefixes in ((Role.RESPONDER, own.prefixes), (Role.INITIATOR, offer.prefixes)):
        for real in prefixes:
            if real not in needs[owner.other]:
                sides[owner].append(AgreedPrefix(real, real, None))
                continue
            translator = single if translation is Translation.SINGLE else owner
            alias = shared or _lowest_alias(real, owner, translator, offer, own, clear, both=share)
            if alias is None:
                return Problem(
                    "alias_pool_exhausted",
                    f"private_networks: no /{real.prefixlen} is free at both sides for {real}",
                    "widen --private-networks at both sides",
                    "private_networks",
                )
            if share:
                shared = alias
            elif alias not in clear:
                clear.append(alias)
            sides[owner].append(AgreedPrefix(real, alias, translator))
    return tuple(sides[Role.INITIATOR]), tuple(sides[Role.RESPONDER])


def _lowest_alias(
    real: Prefix, owner: Role, translator: Role | None, offer: Offer, own: Own, clear: list[Prefix], *, both: bool
) -> Prefix | None:
    """Rule 4: lowest in the intersection of the pools, else in the viewer's, free at viewer and translator."""
    shared = tuple(intersection(own.alias_pools, offer.alias_pools))
    viewer_pool = offer.alias_pools if owner.other is Role.INITIATOR else own.alias_pools
    at_initiator = both or _concerns(Role.INITIATOR, owner, translator)
    at_responder = both or _concerns(Role.RESPONDER, owner, translator)
    for pools in (shared, viewer_pool):
        if at_initiator:
            found = [p for p in offer.aliases if (p.version, p.prefixlen) == (real.version, real.prefixlen)]
            found = sorted(p for p in found if any(within(p, pool) for pool in pools))
        else:
            found = lowest_free(pools, real.version, real.prefixlen, own.usage, clear)
        for alias in found:
            if not overlaps_any(alias, clear) and not (at_responder and own.usage.clashes(alias)):
                return alias
    return None


def _able(can: Can, translation: Translation, entries: Iterable[AgreedPrefix]) -> bool:
    if translation is Translation.EACH_OWN:
        return can.each_own
    pairs = {(entry.real, entry.alias) for entry in entries}
    return can.single or (can.single_identical and len(pairs) == 1)
