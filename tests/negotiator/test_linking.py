"""Links, families and sizes: what carries what, and what is refused by name."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from meetme.model.addresses import Prefix
from meetme.model.agreement import AgreedLink, Agreement, LinkKind, MemberId, Role, Translation
from meetme.model.errors import Fault, Problem
from meetme.negotiator.addressing import Can, LinkWish, Own, Refusal, TranslationWish, Usage, own_problems
from tests.negotiator.networks import ALFA, BRAVO, talk

LINK_LOCAL_ONLY = Can(unnumbered=False)
POOLS = "100.64.0.0/16 fd64::/48"


def net(text: str) -> Prefix:
    return ip_network(text)


def own(member: MemberId, *prefixes: str, links: str = "", pools: str = POOLS, mtu: int = 1500, **more: object) -> Own:
    mine = tuple(map(net, prefixes))
    facts = {"usage": Usage(held=mine), **more}
    aliases, numbered = tuple(map(net, pools.split())), tuple(map(net, links.split()))
    return Own(member, mine, alias_pools=aliases, link_pools=numbered, mtu=mtu, **facts)  # type: ignore[arg-type]


def agreed(a: Own, b: Own) -> Agreement:
    result = talk(a, b).result
    assert isinstance(result, Agreement), result
    return result


def problem(a: Own, b: Own) -> Problem:
    result = talk(a, b).result
    assert isinstance(result, Refusal), result
    return result.problems[0]


def ends(link: AgreedLink) -> tuple[str, str]:
    return str(link.initiator), str(link.responder)


FOUR, SIX = "169.254.100.0/24", "fd00:ffff::/64"


@pytest.mark.parametrize("prefixes", [("10.0.0.0/24",), ("fd00:1::/64",), ("10.0.0.0/24", "fd00:1::/64")])
def test_a_link_numbered_in_ipv4_carries_both_families(prefixes: tuple[str, ...]) -> None:
    """IPv6 uses the link-locals that every port has: nothing has to be agreed for it."""
    a, b = (own(m, *prefixes, links=f"{FOUR} {SIX}", can=LINK_LOCAL_ONLY) for m in (ALFA, BRAVO))
    assert ends(agreed(a, b).link) == ("169.254.100.0/31", "169.254.100.1/31")


def test_a_link_is_numbered_in_ipv6_where_there_is_no_ipv4_for_it() -> None:
    a, b = (own(m, "fd00:1::/64", links=SIX, can=LINK_LOCAL_ONLY) for m in (ALFA, BRAVO))
    assert ends(agreed(a, b).link) == ("fd00:ffff::/127", "fd00:ffff::1/127")


def test_ipv4_over_a_link_numbered_in_ipv6_takes_routers_that_can_do_that() -> None:
    a = own(ALFA, "10.0.0.0/24", links=SIX, link=LinkWish.NUMBERED)
    assert ends(agreed(a, own(BRAVO, "10.0.0.0/24", links=SIX)).link) == ("fd00:ffff::/127", "fd00:ffff::1/127")
    found = problem(a, own(BRAVO, "10.0.0.0/24", links=SIX, can=LINK_LOCAL_ONLY))
    assert found.code == "link_pool_exhausted"
    assert "fd00:ffff::/64" in found.text


def test_hosts_of_different_families_cannot_be_joined() -> None:
    found = problem(own(ALFA, "10.0.0.0/24"), own(BRAVO, "fd00:1::/64"))
    assert (found.code, found.fault) == ("families_differ", Fault.REMOTE)
    assert "10.0.0.0/24 and fd00:1::/64" in found.text


@pytest.mark.parametrize("small", ["a", "b"])
def test_below_1280_octets_there_is_no_ipv6(small: str) -> None:
    mtu = {"a": 1500, "b": 1500, small: 1279}
    both = "10.0.0.0/24", "fd00:1::/64"
    found = problem(own(ALFA, *both, mtu=mtu["a"]), own(BRAVO, *both, mtu=mtu["b"]))
    assert (found.code, found.text.partition(": ")[2]) == ("mtu_too_small", "IPv6 needs 1280 octets (1279)")
    assert found.fault is (Fault.REMOTE if small == "a" else Fault.LOCAL)


def test_below_1280_octets_a_link_is_numbered() -> None:
    a, b = (own(m, f"10.{i}.0.0/24", links=FOUR, mtu=1200) for i, m in enumerate((ALFA, BRAVO)))
    assert agreed(a, b).link.kind is LinkKind.NUMBERED
    wishing = own(ALFA, "10.0.0.0/24", links=FOUR, mtu=1200, link=LinkWish.UNNUMBERED)
    assert problem(wishing, b).code == "mtu_too_small"


def test_the_probes_of_both_sides_are_of_one_family() -> None:
    four, six = ip_address("10.0.0.1"), ip_address("fd00:1::1")
    other = ip_address("fd00:2::1")
    a = own(ALFA, "10.0.0.0/24", "fd00:1::/64", probe=four, probes=(six,))
    b = own(BRAVO, "10.9.0.0/24", "fd00:2::/64", probe=other)
    for one, two in ((a, b), (b, a)):
        result = agreed(one, two)
        assert {result.initiator.probe, result.responder.probe} == {six, other}


@pytest.mark.parametrize(
    "text",
    ["127.0.0.0/24", "169.254.3.0/24", "224.1.0.0/16", "0.0.0.0/7", "fe80::/64", "ff02::/64", "255.255.255.255/32"],
)
def test_what_is_nobody_s_network_is_neither_announced_nor_an_alias(text: str) -> None:
    assert [p.code for p in own_problems(own(ALFA, text))] == ["prefix_not_routable"]
    assert [p.code for p in own_problems(own(ALFA, "10.0.0.0/24", pools=text))] == ["prefix_not_routable"]
    assert not list(own_problems(own(ALFA, "10.0.0.0/24", links="169.254.100.0/24")))


# --- each its own -----------------------------------------------------------------------------------------------------

OWN = {"translation": TranslationWish.EACH_OWN}


def test_each_own_with_only_one_side_needing_it() -> None:
    """B's other partner has what A announces; nothing of B's is anywhere else."""
    busy = Usage(held=(net("10.2.0.0/24"), net("10.1.0.0/24")))
    for a, b in (
        (own(ALFA, "10.1.0.0/24", **OWN), own(BRAVO, "10.2.0.0/24", usage=busy)),
        (own(BRAVO, "10.2.0.0/24", usage=busy, **OWN), own(ALFA, "10.1.0.0/24")),
    ):
        result = agreed(a, b)
        of_a = Role.INITIATOR if a.member == ALFA else Role.RESPONDER
        (entry,) = result.side(of_a).prefixes
        assert (str(entry.alias), entry.translator) == ("100.64.0.0/24", of_a), "its owner translates it"
        assert result.side(of_a.other).prefixes[0].translator is None
        assert result.translation is Translation.EACH_OWN


def test_each_own_needs_no_translation_where_nobody_needs_one() -> None:
    assert agreed(own(ALFA, "10.1.0.0/24", **OWN), own(BRAVO, "10.2.0.0/24")).translation is Translation.NONE


def test_each_own_in_both_families_with_different_lengths() -> None:
    a = own(ALFA, "10.0.0.0/16", "fd00:1::/48", pools="100.0.0.0/8 fd64::/32", **OWN)
    b = own(BRAVO, "10.0.7.0/24", "fd00:1:0:5::/64", pools="100.0.0.0/8 fd64::/32")
    result = agreed(a, b)
    for role in Role:
        for entry in result.side(role).prefixes:
            assert entry.translator is role
            assert (entry.alias.version, entry.alias.prefixlen) == (entry.real.version, entry.real.prefixlen)
    aliases = [e.alias for role in Role for e in result.side(role).prefixes]
    assert not any(p.version == q.version and p.overlaps(q) for p in aliases for q in aliases if p is not q)


def test_a_side_that_cannot_translate_its_own_need_not_where_only_the_other_has_to() -> None:
    busy = Usage(held=(net("10.2.0.0/24"), net("10.1.0.0/24")))
    helpless = Can(single=False, single_identical=False, each_own=False)
    only_own = Can(single=False, single_identical=False)
    result = agreed(own(ALFA, "10.1.0.0/24", can=only_own), own(BRAVO, "10.2.0.0/24", can=helpless, usage=busy))
    assert result.translation is Translation.EACH_OWN
    found = problem(own(ALFA, "10.1.0.0/24", can=helpless), own(BRAVO, "10.2.0.0/24", can=only_own, usage=busy))
    assert found.code == "translation_impossible"


# --- single at either side --------------------------------------------------------------------------------------------


def test_single_falls_to_the_responder_where_the_initiators_pool_has_no_room() -> None:
    """Translated at the initiator, its own prefix would need an alias that is free there too; at the responder not."""
    pool = net("100.64.0.0/24")
    a = own(
        ALFA, "10.0.0.0/24", "10.1.0.0/25", pools="", usage=Usage(held=(net("10.1.0.0/25"), net("10.0.0.0/24"), pool))
    )
    b = own(BRAVO, "10.2.0.0/24", pools=str(pool), usage=Usage(held=(net("10.2.0.0/24"), net("10.0.0.0/24"))))
    result = agreed(a, b)
    assert (result.translation, result.initiator.prefixes[0].translator) == (Translation.SINGLE, Role.RESPONDER)
    assert result.initiator.prefixes[0].alias == pool


def test_no_room_for_an_alias_of_a_family_without_a_pool_says_so() -> None:
    found = problem(*(own(m, "fd00:1::/64", pools="100.64.0.0/16") for m in (ALFA, BRAVO)))
    assert found.code == "alias_pool_exhausted"
    assert found.text == (
        "private_networks: an IPv6 /64 must be free at both sides as alias of fd00:1::/64 (no pool is IPv6)"
    )
