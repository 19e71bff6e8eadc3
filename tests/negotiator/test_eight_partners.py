"""Eight partners and more at one border router, all with the very same prefix, all at once, from both sides."""

from __future__ import annotations

from random import Random

import pytest

from meetme.model.agreement import LinkKind, MemberId, Role, Translation
from meetme.negotiator.addressing import LinkWish, TranslationWish
from meetme.negotiator.states import State
from tests.negotiator.test_random_networks import agreements, check_packets
from tests.networks.generator import nets, star
from tests.networks.members import Talks, at_once

EXACT = nets("100.64.0.0/21")


def all_agreed(talks: Talks, count: int) -> None:
    found = agreements(talks)
    assert len(found) == count, {problem.code for problem in talks.refused.values()}
    hub = [(agreement, talks.members[MemberId("hub")].known[id].role) for id, agreement in found.items()]
    aliases = {agreement.side(role.other).prefixes[0].alias for agreement, role in hub}
    assert len(aliases) == count, "to the hub each partner is another prefix"
    check_packets(talks)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("hub_starts", [True, False])
@pytest.mark.parametrize("both", [True, False])
def test_all_of_them_at_once(seed: int, hub_starts: bool, both: bool) -> None:
    talks = at_once(star(9, hub_starts=hub_starts, both=both), Random(seed))
    all_agreed(talks, 9)
    superseded = [n for m in talks.members.values() for n in m.known.values() if n.state is State.SUPERSEDED]
    for n in superseded:
        assert n.superseded_by is not None
        survivor = talks.members[n.me].known[n.superseded_by]
        assert (survivor.state, survivor.peer) == (State.ACTIVE, n.peer)
        assert n.peer < n.me, "the negotiation of the lower member survives"


@pytest.mark.parametrize("hub_starts", [True, False])
def test_a_pool_with_just_enough_for_all_is_enough(hub_starts: bool) -> None:
    all_agreed(at_once(star(8, hub_starts=hub_starts, pool=EXACT), Random(3)), 8)


@pytest.mark.parametrize("hub_starts", [True, False])
def test_one_more_than_the_pool_has_is_told_which_pool_and_which_length(hub_starts: bool) -> None:
    talks = at_once(star(9, hub_starts=hub_starts, pool=EXACT), Random(3))
    assert len(agreements(talks)) == 8
    (problem,) = {p.text for p in talks.refused.values()}
    assert problem == (
        "private_networks: an IPv4 /24 must be free at both sides as alias of 10.0.0.0/24"
        " (none in 100.64.0.0/21 of both sides; 100.64.0.0/21 of the initiator; 100.64.0.0/21 of the responder)"
    )


@pytest.mark.parametrize("translation", [TranslationWish.SINGLE, TranslationWish.EACH_OWN])
@pytest.mark.parametrize("link", [LinkWish.NUMBERED, LinkWish.UNNUMBERED])
def test_in_every_mode_and_over_every_kind_of_link(translation: TranslationWish, link: LinkWish) -> None:
    talks = at_once(star(8, hub_starts=True, translation=translation, link=link), Random(5))
    all_agreed(talks, 8)
    for agreement in agreements(talks).values():
        assert agreement.translation is Translation(translation.value)
        assert agreement.link.kind is LinkKind(link.value)
        translators = {agreement.side(role).prefixes[0].translator for role in Role}
        assert translators == ({Role.INITIATOR} if translation is TranslationWish.SINGLE else set(Role))
