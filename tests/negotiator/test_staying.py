"""A change of an agreement: what stays keeps its addresses, what is new is chosen beside it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from meetme.model.addresses import Prefix, overlaps
from meetme.model.agreement import AgreedPrefix, Agreement, LinkKind, Role, Translation
from meetme.negotiator.addressing import Can, Offer, Own, Refusal, Usage
from meetme.negotiator.objecting import objections
from tests.negotiator.networks import ALFA, BRAVO, LOCAL, Talk, addresses, clashes, disjoint, networks, talk

THOROUGH = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def net(text: str) -> Prefix:
    return ip_network(text)


def own(letter: str, *prefixes: str, pools: str = "100.64.0.0/16", links: str = "", **more: object) -> Own:
    mine = tuple(map(net, prefixes))
    facts = {
        "usage": Usage(held=mine),
        "alias_pools": tuple(map(net, pools.split())),
        "link_pools": tuple(map(net, links.split())),
        "mtu": 1500,
    }
    return Own(member=ALFA if letter == "a" else BRAVO, prefixes=mine, **{**facts, **more})  # type: ignore[arg-type]


def agreed(a: Own, b: Own, current: Agreement | None = None) -> Agreement:
    result = talk(a, b, current).result
    assert isinstance(result, Agreement), result
    return result


def refused(a: Own, b: Own, current: Agreement) -> str:
    result = talk(a, b, current).result
    assert isinstance(result, Refusal), result
    return result.problems[0].code


def aliases(agreement: Agreement, role: Role) -> dict[str, str]:
    return {str(entry.real): str(entry.alias) for entry in agreement.side(role).prefixes}


# --- any networks -----------------------------------------------------------------------------------------------------


def other_prefixes(draw: st.DrawFn, side: Own) -> Own:
    """Some of the side's prefixes withdrawn, some new ones announced."""
    kept = [p for p in side.prefixes if draw(st.booleans())]
    prefixes = disjoint([*kept, *draw(LOCAL)])
    usage = replace(side.usage, held=(*side.usage.held, *prefixes))
    return replace(side, prefixes=prefixes, usage=usage, probe=prefixes[0][0] if side.probe else None)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Own, Own, Agreement, Talk]:
    """Both sides before and after, the agreement in force and the talk about its change."""
    a, b = draw(networks(ALFA)), draw(networks(BRAVO))
    current = talk(a, b).result
    assume(isinstance(current, Agreement))
    assert isinstance(current, Agreement)
    a, b = other_prefixes(draw, a), other_prefixes(draw, b)
    return a, b, current, talk(a, b, current)


def routed(agreement: Agreement, role: Role) -> list[Prefix]:
    """What `role`'s router has of the agreement in its tables."""
    entries = [(owner, entry) for owner in Role for entry in agreement.side(owner).prefixes]
    return [entry.alias for owner, entry in entries if role in (owner.other, entry.translator)]


@THOROUGH
@given(changes())
def test_any_change(case: tuple[Own, Own, Agreement, Talk]) -> None:
    a, b, current, how = case
    assume(isinstance(how.result, Agreement))
    assert isinstance(how.result, Agreement)
    assert isinstance(how.offer, Offer)
    what_stays_stays_and_what_is_new_meets_nothing_that_is_there(a, b, current, how.result)
    no_table_has_two_prefixes_that_share_an_address(current, how.result)
    the_initiator_accepts_it_and_no_other(a, current, how.offer, how.result)


def what_stays_stays_and_what_is_new_meets_nothing_that_is_there(
    a: Own, b: Own, current: Agreement, result: Agreement
) -> None:
    sides = {Role.INITIATOR: a, Role.RESPONDER: b}
    for role in Role:
        before = {entry.real: entry for entry in current.side(role).prefixes}
        assert tuple(entry.real for entry in result.side(role).prefixes) == sides[role].prefixes
        for entry in result.side(role).prefixes:
            if entry.real in before:
                assert entry == before[entry.real]
                continue
            viewer = sides[role.other]
            there = addresses(*routed(current, role.other))
            needed = clashes(entry.real, viewer.usage) or bool(addresses(entry.real) & there)
            assert (entry.alias != entry.real) == needed == (entry.translator is not None)
            for side in Role:
                if needed and side in (role.other, entry.translator):
                    assert not addresses(entry.alias) & addresses(*routed(current, side), *sides[side].usage.held)
    assert (result.link, result.revision) == (current.link, current.revision + 1)
    translated = [e for role in Role for e in result.side(role).prefixes if e.translator]
    if any(e in current.side(role).prefixes for role in Role for e in translated):
        assert result.translation is current.translation
    assert (result.translation is Translation.NONE) == (not translated)
    assert result.translation is not Translation.SINGLE or len({e.translator for e in translated}) == 1


def no_table_has_two_prefixes_that_share_an_address(current: Agreement, result: Agreement) -> None:
    """Also while one router carries the old agreement and the other one the new."""
    for side in Role:
        for prefix in set(routed(result, side)) - set(routed(current, side)):
            assert not any(overlaps(prefix, other) for other in routed(current, side))
        seen = [entry.alias for entry in result.side(side.other).prefixes]
        assert not any(overlaps(one, other) for one, other in combinations(seen, 2))
        assert not any(overlaps(alias, e.real) for alias in seen for e in result.side(side).prefixes)


def the_initiator_accepts_it_and_no_other(a: Own, current: Agreement, offer: Offer, result: Agreement) -> None:
    assert objections(result, offer, a, current) == ()
    for wrong in mutations(result, current):
        assert objections(wrong, offer, a, current), wrong


def mutations(good: Agreement, current: Agreement) -> list[Agreement]:
    found = [replace(good, revision=good.revision + 1), replace(good, revision=current.revision)]
    if good.link.kind is LinkKind.NUMBERED:
        found.append(replace(good, link=replace(good.link, initiator=good.link.responder)))
    for role in Role:
        side = good.side(role)
        for index, entry in enumerate(side.prefixes):
            if entry not in current.side(role).prefixes:
                continue
            if entry.translator is None:
                other = AgreedPrefix(entry.real, net("198.51.100.0/24"), Role.INITIATOR)
            else:
                other = replace(entry, translator=entry.translator.other)
            prefixes = (*side.prefixes[:index], other, *side.prefixes[index + 1 :])
            found.append(replace(good, **{role.value: replace(side, prefixes=prefixes)}))  # type: ignore[arg-type]
    return found


# --- single cases -----------------------------------------------------------------------------------------------------


def test_the_shared_alias_stays_when_a_prefix_is_added() -> None:
    a, b = own("a", "10.0.0.0/24"), own("b", "10.0.0.0/24")
    current = agreed(a, b)
    assert aliases(current, Role.INITIATOR) == aliases(current, Role.RESPONDER) == {"10.0.0.0/24": "100.64.0.0/24"}
    changed = agreed(own("a", "10.0.0.0/24", "10.0.1.0/24"), own("b", "10.0.0.0/24", "10.0.1.0/24"), current)
    assert aliases(changed, Role.INITIATOR) == {"10.0.0.0/24": "100.64.0.0/24", "10.0.1.0/24": "100.64.1.0/24"}
    assert aliases(changed, Role.RESPONDER) == {"10.0.0.0/24": "100.64.0.0/24", "10.0.1.0/24": "100.64.2.0/24"}
    assert changed.translation is Translation.SINGLE


def test_an_alias_that_is_withdrawn_is_not_given_out_in_the_same_change() -> None:
    a, b = own("a", "192.0.2.0/24"), own("b", "10.0.0.0/24", "10.0.1.0/24")
    a = replace(a, usage=Usage(held=(net("10.0.0.0/16"), net("192.0.2.0/24"))))
    current = agreed(a, b)
    assert aliases(current, Role.RESPONDER)["10.0.0.0/24"] == "100.64.0.0/24"
    changed = agreed(a, own("b", "10.0.1.0/24", "10.0.2.0/24"), current)
    assert aliases(changed, Role.RESPONDER) == {"10.0.1.0/24": "100.64.1.0/24", "10.0.2.0/24": "100.64.2.0/24"}


def test_the_mode_is_chosen_anew_where_nothing_that_stays_is_translated() -> None:
    current = agreed(own("a", "192.0.2.0/24"), own("b", "198.51.100.0/24"))
    assert current.translation is Translation.NONE
    a = own("a", "192.0.2.0/24", "10.0.0.0/24")
    changed = agreed(a, own("b", "198.51.100.0/24", "10.0.0.0/24"), current)
    assert changed.translation is Translation.SINGLE
    back = agreed(own("a", "192.0.2.0/24"), own("b", "198.51.100.0/24"), changed)
    assert back.translation is Translation.NONE


def test_the_translator_stays_even_where_the_other_side_would_be_chosen_now() -> None:
    unable = Can(single=False, single_identical=False)
    a, b = own("a", "10.0.0.0/24", can=unable), own("b", "10.0.0.0/24")
    current = agreed(a, b)
    assert current.initiator.prefixes[0].translator is Role.RESPONDER
    changed = agreed(own("a", "10.0.0.0/24", "10.0.1.0/24"), own("b", "10.0.0.0/24", "10.0.1.0/24"), current)
    assert {e.translator for r in Role for e in changed.side(r).prefixes} == {Role.RESPONDER}


def test_the_numbered_link_stays() -> None:
    numbered = {"links": "169.254.1.0/24", "can": Can(unnumbered=False)}
    current = agreed(own("a", "10.0.0.0/24", **numbered), own("b", "10.0.1.0/24", **numbered))  # type: ignore[arg-type]
    more = {"links": "169.254.2.0/24", "can": Can()}
    changed = agreed(own("a", "10.0.0.0/24", "10.0.2.0/24", **more), own("b", "10.0.1.0/24", **more), current)  # type: ignore[arg-type]
    assert changed.link == current.link


@pytest.mark.parametrize("mtu", [1400, 9000])
def test_the_mtu_is_what_both_can(mtu: int) -> None:
    a, b = own("a", "10.0.0.0/24"), own("b", "10.0.1.0/24")
    changed = agreed(replace(a, mtu=mtu), b, agreed(a, b))
    assert changed.mtu == min(mtu, 1500)


def test_what_cannot_be_changed_is_refused_by_name() -> None:
    a, b = own("a", "10.0.0.0/24"), own("b", "10.2.0.0/16")
    current = agreed(a, b)
    assert refused(own("a", "10.0.0.0/24", "10.2.3.0/24"), b, current) == "change_overlaps"
    assert refused(a, own("b", "10.2.0.0/16", "10.0.0.0/25"), current) == "change_overlaps"
    assert refused(replace(a, can=Can(change=False)), b, current) == "change_unsupported"
    assert refused(a, replace(b, can=Can(change=False)), current) == "change_unsupported"
    assert refused(own("a"), b, current) == "local_subnet_missing"
    both = own("a", "10.0.0.0/24"), own("b", "10.0.0.0/24")
    recipe = Can(single=False, each_own=False)
    current = agreed(replace(both[0], can=recipe), replace(both[1], can=recipe))
    more = own("a", "10.0.0.0/24", "10.0.1.0/24", can=recipe), own("b", "10.0.0.0/24", "10.0.1.0/24", can=recipe)
    assert refused(*more, current) == "translation_impossible"
