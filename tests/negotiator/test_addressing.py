"""Usage, and the agreement that comes of two usages: against an oracle that looks at single addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from uuid import uuid4

import pytest
from hypothesis import assume, given

from meetme.model.addresses import Prefix
from meetme.model.agreement import AgreedLink, AgreedPrefix, Agreement, LinkKind, Role, Translation
from meetme.negotiator.addressing import Can, LinkWish, Offer, Own, Refusal, TranslationWish, Usage, free_blocks
from meetme.negotiator.agreeing import agree, make_offer
from meetme.negotiator.reactions import MAX_ROUNDS
from tests.negotiator.agreements import THOROUGH, agreed, net, own, refused
from tests.negotiator.networks import (
    ALFA,
    BRAVO,
    CIRCUIT,
    ID,
    Addresses,
    addresses,
    blocks,
    clashes,
    in_use,
    networks,
    talk,
)

# --- usage ------------------------------------------------------------------------------------------------------------


@given(networks(ALFA), blocks(0, 8))
def test_a_prefix_clashes_when_it_shares_an_address_with_what_is_in_use(side: Own, prefix: Prefix) -> None:
    assert side.usage.clashes(prefix) == clashes(prefix, side.usage)


def test_a_default_or_less_specific_route_forbids_nothing_beneath_it() -> None:
    usage = Usage(routes=(net("0.0.0.0/0"), net("10.0.0.0/8"), net("10.1.2.0/25")))
    assert not usage.clashes(net("10.1.3.0/24"))
    assert usage.clashes(net("10.1.2.0/24"))
    assert usage.clashes(net("10.1.2.0/25"))
    assert not usage.clashes(net("10.1.2.0/26"))


@given(networks(ALFA))
def test_free_blocks_are_all_that_is_free_and_nothing_else(side: Own) -> None:
    busy = side.usage.held
    found = free_blocks(side.alias_pools, {(4, 32), (6, 128)}, busy)
    assert addresses(*found) == addresses(*side.alias_pools) - addresses(*busy)
    assert len(addresses(*found)) == sum(p.num_addresses for p in found)


# --- every agreement --------------------------------------------------------------------------------------------------


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_every_agreement_translates_what_clashes_and_nothing_else(a: Own, b: Own) -> None:
    result = talk(a, b).result
    assume(isinstance(result, Agreement))
    assert isinstance(result, Agreement)
    viewers = {Role.INITIATOR: b, Role.RESPONDER: a}
    for role in Role:
        for entry in result.side(role).prefixes:
            needed = clashes(entry.real, viewers[role].usage)
            assert (entry.alias != entry.real) == needed
            assert (entry.translator is not None) == needed
            assert entry.alias.prefixlen == entry.real.prefixlen
            assert entry.alias.version == entry.real.version
    entries = [e for role in Role for e in result.side(role).prefixes]
    assert (result.translation is Translation.NONE) == all(e.translator is None for e in entries)
    assert tuple(e.real for e in result.initiator.prefixes) == a.prefixes
    assert tuple(e.real for e in result.responder.prefixes) == b.prefixes
    assert result.mtu == min(a.mtu, b.mtu)


def concerned(owner: Role, translator: Role | None, sides: dict[Role, Own], *, shared: bool) -> list[Own]:
    """Where an alias has to be free: viewer and translator, or both where it serves both directions."""
    return [side for role, side in sides.items() if shared or role in (owner.other, translator)]


def candidates(pools: tuple[Prefix, ...], like: Prefix) -> list[Prefix]:
    found = [
        p
        for pool in pools
        if pool.version == like.version and pool.prefixlen <= like.prefixlen
        for p in pool.subnets(new_prefix=like.prefixlen)
    ]
    return sorted(set(found))


def common(a: tuple[Prefix, ...], b: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    return tuple(p if addresses(p) <= addresses(q) else q for p in a for q in b if addresses(p) & addresses(q))


def is_free(alias: Prefix, sides: list[Own], pools: tuple[Prefix, ...], keep_clear: Addresses) -> bool:
    busy = keep_clear.union(*(in_use(side.usage, pools) for side in sides))
    return not addresses(alias) & busy


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_every_alias_is_free_at_viewer_and_translator_and_out_of_the_right_pool(a: Own, b: Own) -> None:
    result = talk(a, b).result
    assume(isinstance(result, Agreement) and result.translation is not Translation.NONE)
    assert isinstance(result, Agreement)
    sides = {Role.INITIATOR: a, Role.RESPONDER: b}
    announced = addresses(*a.prefixes, *b.prefixes)
    translated = [(r, e) for r in Role for e in result.side(r).prefixes if e.translator is not None]
    shared = must_share(a, b, result)
    assert shared == (len(translated) == 2 and translated[0][1].alias == translated[1][1].alias)
    given_out = [e.alias for _, e in translated][: 1 if shared else None]
    assert len(addresses(*given_out)) == sum(p.num_addresses for p in given_out)
    both_pools = common(a.alias_pools, b.alias_pools)
    everywhere = (*a.alias_pools, *b.alias_pools, *a.link_pools, *b.link_pools)
    for owner, entry in translated:
        viewers = (a, b) if shared else (sides[owner.other],)
        where = concerned(owner, entry.translator, sides, shared=shared)
        possible = (both_pools, *(viewer.alias_pools for viewer in viewers))
        out_of = next(pools for pools in possible if entry.alias in candidates(pools, entry.real))
        assert is_free(entry.alias, where, everywhere, announced)
        if len(given_out) == 1:
            better = [p for pools in possible[: possible.index(out_of)] for p in candidates(pools, entry.real)]
            better += [p for p in candidates(out_of, entry.real) if p < entry.alias]
            assert not [p for p in better if is_free(p, where, everywhere, announced)]


def must_share(a: Own, b: Own, result: Agreement) -> bool:
    """One alias for both: one prefix a side, equally long, both need one, one side translates."""
    one_each = len(a.prefixes) == len(b.prefixes) == 1
    p, q = a.prefixes[0], b.prefixes[0]
    alike = one_each and (p.version, p.prefixlen) == (q.version, q.prefixlen)
    return alike and clashes(p, b.usage) and clashes(q, a.usage) and result.translation is Translation.SINGLE


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_a_link_is_unnumbered_where_both_can_and_else_a_free_31(a: Own, b: Own) -> None:
    result = talk(a, b).result
    assume(isinstance(result, Agreement))
    assert isinstance(result, Agreement)
    link = result.link
    assert (link.kind is LinkKind.UNNUMBERED) == (a.can.unnumbered and b.can.unnumbered)
    if link.initiator is None or link.responder is None:
        assert link == AgreedLink(LinkKind.UNNUMBERED)
        return
    both = link.initiator.network
    assert link.initiator.network == link.responder.network
    assert both.prefixlen == 31
    assert {link.initiator.ip, link.responder.ip} == set(both)
    for side in (a, b):
        assert addresses(both) <= addresses(*side.link_pools)
        assert not addresses(both) & in_use(side.usage, side.link_pools)
    assert not addresses(both) & addresses(*a.prefixes, *b.prefixes)


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_a_talk_ends_soon(a: Own, b: Own) -> None:
    # the first offer cannot know the peer's prefixes; the third only finds that there is nothing new to offer
    assert talk(a, b).rounds <= 3 < MAX_ROUNDS


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_it_is_refused_for_want_of_addresses_only_if_there_are_none(a: Own, b: Own) -> None:
    result = talk(a, b).result
    assume(isinstance(result, Refusal) and result.problems[0].code == "alias_pool_exhausted")
    sides = {Role.INITIATOR: a, Role.RESPONDER: b}
    needs = [(role, p) for role, side in sides.items() for p in side.prefixes if clashes(p, sides[role.other].usage)]
    one_each = len(a.prefixes) == len(b.prefixes) == 1
    alike = one_each and (a.prefixes[0].version, a.prefixes[0].prefixlen) == (
        b.prefixes[0].version,
        b.prefixes[0].prefixlen,
    )
    for single in (*(role for role, side in sides.items() if side.can.single), None):
        assert not room_for(sides, [(real, role.other, {role.other, single or role}) for role, real in needs])
        if single is not None and alike and len(needs) == 2:
            assert not any(room_for(sides, [(needs[0][1], viewer, set(Role))]) for viewer in Role)


def room_for(sides: dict[Role, Own], wanted: list[tuple[Prefix, Role, set[Role]]]) -> bool:
    """Whether there is an alias for each prefix, seen by that side and free at those: by trying all that there are."""
    announced = addresses(*(p for side in sides.values() for p in side.prefixes))
    pools = {role: side.alias_pools for role, side in sides.items()}
    everywhere = tuple(p for side in sides.values() for p in (*side.alias_pools, *side.link_pools))
    choices: list[list[Addresses]] = []
    for real, viewer, where in wanted:
        out_of = (*common(pools[Role.INITIATOR], pools[Role.RESPONDER]), *pools[viewer])
        busy = announced.union(*(in_use(sides[role].usage, everywhere) for role in where))
        choices.append([addresses(p) for p in candidates(out_of, real) if not addresses(p) & busy])
    left = 20_000

    def search(taken: Addresses, rest: list[list[Addresses]]) -> bool:
        nonlocal left
        left -= 1
        assume(left > 0)
        if not rest:
            return True
        possible = [[one for one in found if not one & taken] for found in rest]
        tightest = min(range(len(possible)), key=lambda i: len(possible[i]))
        others = possible[:tightest] + possible[tightest + 1 :]
        return any(search(taken | one, others) for one in possible[tightest])

    return search(frozenset(), choices)


# --- single cases, by name --------------------------------------------------------------------------------------------


def test_the_case_of_the_thesis() -> None:
    result = agreed(own(ALFA, "10.0.0.0/24"), own(BRAVO, "10.0.0.0/24"))
    alias = net("100.64.0.0/24")
    entry = AgreedPrefix(net("10.0.0.0/24"), alias, Role.INITIATOR)
    assert result.translation is Translation.SINGLE
    assert result.initiator.prefixes == (entry,)
    assert result.responder.prefixes == (entry,)
    assert result.link.kind is LinkKind.UNNUMBERED


def test_nothing_is_translated_where_nothing_overlaps() -> None:
    result = agreed(own(ALFA, "10.1.0.0/24"), own(BRAVO, "10.2.0.0/16", "fd00:2::/64"))
    assert result.translation is Translation.NONE


def test_only_the_viewer_that_clashes_gets_an_alias() -> None:
    busy = Usage(held=(net("10.2.0.0/24"), net("10.1.0.0/24")))  # the peer's other partner has 10.1.0.0/24
    result = agreed(own(ALFA, "10.1.0.0/24"), own(BRAVO, "10.2.0.0/24", usage=busy))
    assert result.initiator.prefixes[0].alias == net("100.64.0.0/24")
    assert result.responder.prefixes[0].alias == net("10.2.0.0/24")


def test_unequal_and_nested_prefixes_get_an_alias_each() -> None:
    result = agreed(own(ALFA, "10.0.0.0/16", pools="100.64.0.0/10"), own(BRAVO, "10.0.7.0/24", pools="100.64.0.0/10"))
    assert result.initiator.prefixes[0].alias.prefixlen == 16
    assert result.responder.prefixes[0].alias.prefixlen == 24


def test_nested_prefixes_that_both_fit_do_not_share_an_address() -> None:
    pools = "100.64.0.0/15"  # room for one /16 and one /24, not for the /24 in the way of the /16
    result = agreed(own(ALFA, "10.0.0.0/16", pools=pools), own(BRAVO, "10.0.7.0/24", pools=pools))
    one, two = result.initiator.prefixes[0].alias, result.responder.prefixes[0].alias
    assert not one.overlaps(two)


def test_the_lowest_alias_that_is_free_at_both_is_found_behind_many_that_are_not() -> None:
    pool = net("100.64.0.0/16")
    here = tuple(pool.subnets(new_prefix=24))[:100]
    there = tuple(pool.subnets(new_prefix=24))[100:200]
    a = own(ALFA, "10.0.0.0/24", usage=Usage(held=(net("10.0.0.0/24"), *here)))
    b = own(BRAVO, "10.0.0.0/24", usage=Usage(held=(net("10.0.0.0/24"), *there)))
    assert agreed(a, b).initiator.prefixes[0].alias == net("100.64.200.0/24")


def test_disjoint_pools_serve_their_own_viewers() -> None:
    a = own(ALFA, "10.0.0.0/24", "10.0.2.0/24", pools="100.64.0.0/16")
    b = own(BRAVO, "10.0.0.0/24", "10.0.2.0/24", pools="100.65.0.0/16")
    result = agreed(a, b)
    assert [str(p.alias) for p in result.initiator.prefixes] == ["100.65.0.0/24", "100.65.1.0/24"]
    assert [str(p.alias) for p in result.responder.prefixes] == ["100.64.0.0/24", "100.64.1.0/24"]


def test_each_side_translates_its_own_where_neither_can_do_all() -> None:
    one_way = Can(single=False, single_identical=False)
    result = agreed(own(ALFA, "10.0.0.0/24", can=one_way), own(BRAVO, "10.0.0.0/24", can=one_way))
    assert result.translation is Translation.EACH_OWN
    assert result.initiator.prefixes[0].translator is Role.INITIATOR
    assert result.responder.prefixes[0].translator is Role.RESPONDER
    assert result.initiator.prefixes[0].alias != result.responder.prefixes[0].alias


def test_the_responder_translates_where_the_initiator_cannot() -> None:
    result = agreed(own(ALFA, "10.0.0.0/24", can=Can(single=False, single_identical=False)), own(BRAVO, "10.0.0.0/24"))
    assert result.initiator.prefixes[0].translator is Role.RESPONDER


def test_three_actions_translate_identical_prefixes_alone() -> None:
    thesis = Can(unnumbered=False, single=False, single_identical=True, each_own=False, ipv6=False, max_prefixes=1)
    links = "192.168.255.0/29"
    identical = agreed(
        own(ALFA, "10.0.0.0/24", can=thesis, links=links), own(BRAVO, "10.0.0.0/24", can=thesis, links=links)
    )
    assert identical.translation is Translation.SINGLE
    assert str(identical.link.initiator) == "192.168.255.0/31"
    assert str(identical.link.responder) == "192.168.255.1/31"
    nested = refused(
        own(ALFA, "10.0.0.0/16", can=thesis, links=links), own(BRAVO, "10.0.0.0/24", can=thesis, links=links)
    )
    assert nested == "translation_impossible"


@pytest.mark.parametrize(
    ("a", "b", "code"),
    [
        ({}, {"pools": ""}, "alias_pool_exhausted"),
        ({"translation": TranslationWish.NONE}, {}, "prefixes_overlap"),
        ({"translation": TranslationWish.SINGLE}, {"translation": TranslationWish.EACH_OWN}, "translation_conflict"),
        ({"link": LinkWish.NUMBERED}, {"link": LinkWish.UNNUMBERED}, "link_conflict"),
        ({"link": LinkWish.UNNUMBERED}, {"can": Can(unnumbered=False)}, "unnumbered_unsupported"),
        ({"link": LinkWish.NUMBERED}, {"links": "192.168.1.0/30"}, "link_pool_exhausted"),
        ({"mtu": 500}, {}, "mtu_too_small"),
        ({"probe": ip_address("192.0.2.1")}, {}, "probe_outside_prefixes"),
        ({"pools": "10.0.0.0/8"}, {}, "pool_overlaps_subnet"),
        ({"links": "100.64.1.0/24"}, {}, "pools_overlap"),
        ({"can": Can(max_prefixes=0)}, {}, "too_many_prefixes"),
        ({}, {"can": Can(max_prefixes=0)}, "too_many_prefixes"),
    ],
)
def test_what_cannot_be_agreed_is_refused_by_name(a: dict[str, object], b: dict[str, object], code: str) -> None:
    one = own(ALFA, "10.0.0.0/24", **{"pools": "100.64.0.0/16" if b.get("pools") != "" else "", **a})  # type: ignore[arg-type]
    assert refused(one, own(BRAVO, "10.0.0.0/24", **b)) == code  # type: ignore[arg-type]


def test_the_peer_may_not_offer_what_cannot_be_negotiated() -> None:
    bravo = own(BRAVO, "10.2.0.0/24", can=Can(ipv6=False))
    offer = make_offer(own(ALFA, "10.1.0.0/24"), None)
    assert isinstance(offer, Offer)
    for prefixes, code in [
        ((), "local_subnet_missing"),
        ((net("0.0.0.0/0"),), "prefix_default_route"),
        ((net("fd00::/64"),), "ipv6_unsupported"),
        ((net("10.1.0.0/24"), net("10.1.0.0/25")), "prefixes_overlap"),
    ]:
        result = agree(replace(offer, prefixes=prefixes), bravo, id=uuid4(), circuit=CIRCUIT, initiator=ALFA)
        assert isinstance(result, Refusal)
        assert code in {p.code for p in result.problems}
        assert all(p.field for p in result.problems)


def test_all_reasons_are_given_at_once() -> None:
    offer = make_offer(own(ALFA, "10.1.0.0/24", mtu=100), None)
    assert isinstance(offer, Offer)
    result = agree(
        replace(offer, probe=ip_address("192.0.2.1")),
        own(BRAVO, "10.2.0.0/24"),
        id=ID,
        circuit=CIRCUIT,
        initiator=ALFA,
    )
    assert isinstance(result, Refusal)
    assert {p.code for p in result.problems} == {"mtu_too_small", "probe_outside_prefixes"}
