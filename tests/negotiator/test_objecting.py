"""What an initiator signs, and what it does not: every honest agreement, and no altered one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import assume, given

from meetme.model.agreement import AgreedLink, AgreedPrefix, Agreement, LinkKind, MemberId, Role, Translation
from meetme.negotiator.addressing import Offer, Own, TranslationWish, Usage
from meetme.negotiator.objecting import objections
from tests.negotiator.agreements import THOROUGH, net, own
from tests.negotiator.networks import (
    ALFA,
    BRAVO,
    block,
    networks,
    talk,
)


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_the_initiator_accepts_every_honest_agreement(a: Own, b: Own) -> None:
    ended = talk(a, b)
    assume(isinstance(ended.result, Agreement))
    assert isinstance(ended.result, Agreement)
    assert ended.offer is not None
    assert objections(ended.result, ended.offer, a) == ()


STRANGE = block(248, 0)


def mutations(agreement: Agreement, offer: Offer, a: Own) -> dict[str, Agreement]:
    """Every way to change one thing of an agreement so that the initiator must notice."""
    mine, theirs = agreement.initiator, agreement.responder
    found = {
        "version": replace(agreement, version=2),
        "mtu above the offer": replace(agreement, mtu=offer.mtu + 1),
        "mtu too small": replace(agreement, mtu=575),
        "other initiator": replace(agreement, initiator=replace(mine, member=MemberId("mallory"))),
        "own probe": replace(agreement, initiator=replace(mine, probe=ip_address("192.0.2.1"))),
        "peer's probe": replace(agreement, responder=replace(theirs, probe=ip_address("192.0.2.1"))),
        "own prefix gone": replace(agreement, initiator=replace(mine, prefixes=mine.prefixes[1:])),
        "peer's prefix gone": replace(agreement, responder=replace(theirs, prefixes=theirs.prefixes[1:])),
        "own prefix more": replace(
            agreement, initiator=replace(mine, prefixes=(*mine.prefixes, AgreedPrefix(STRANGE, STRANGE)))
        ),
        "peer's prefix more": replace(
            agreement, responder=replace(theirs, prefixes=(*theirs.prefixes, AgreedPrefix(STRANGE, STRANGE)))
        ),
        "strange link": replace(
            agreement,
            link=AgreedLink(LinkKind.NUMBERED, ip_interface("192.0.2.0/31"), ip_interface("192.0.2.1/31")),
        ),
    }
    if agreement.link.initiator is not None:
        swapped = AgreedLink(LinkKind.NUMBERED, agreement.link.responder, agreement.link.initiator)
        found["link the other way round"] = replace(agreement, link=swapped)
        if not a.can.unnumbered:
            found["unnumbered"] = replace(agreement, link=AgreedLink(LinkKind.UNNUMBERED))
    for mode in Translation:
        if mode is not agreement.translation and not fits(mode, agreement):
            found[f"mode {mode}"] = replace(agreement, translation=mode)
    for role in Role:
        side = agreement.side(role)
        for index, entry in enumerate(side.prefixes):
            for what, other in entry_mutations(role, entry, agreement):
                prefixes = (*side.prefixes[:index], other, *side.prefixes[index + 1 :])
                changed = replace(side, prefixes=prefixes)
                whole = (
                    replace(agreement, initiator=changed)
                    if role is Role.INITIATOR
                    else replace(agreement, responder=changed)
                )
                found[f"{role} {entry.real}: {what}"] = whole
    return found


def fits(mode: Translation, agreement: Agreement) -> bool:
    """Whether the very same entries are what another mode would look like too."""
    entries = [(r, e) for r in Role for e in agreement.side(r).prefixes if e.translator]
    if mode is Translation.SINGLE:
        return len({e.translator for _, e in entries}) == 1
    return bool(entries) and mode is Translation.EACH_OWN and all(e.translator is r for r, e in entries)


def entry_mutations(role: Role, entry: AgreedPrefix, agreement: Agreement) -> list[tuple[str, AgreedPrefix]]:
    longer = next(entry.alias.subnets()) if entry.alias.prefixlen < entry.alias.max_prefixlen else None
    found = [("other prefix", replace(entry, real=ip_network((STRANGE.network_address, 32))))]
    if longer is not None:
        found.append(("alias of another length", replace(entry, alias=longer)))
    if entry.translator is None:
        found.append(("translator without alias", replace(entry, translator=Role.INITIATOR)))
        elsewhere = type(entry.real)((int(entry.real.network_address) + (1 << 20), entry.real.prefixlen))
        found.append(("alias without translator", replace(entry, alias=elsewhere)))
        if role is Role.RESPONDER:
            found.append(("alias nobody asked for", replace(entry, alias=elsewhere, translator=Role.RESPONDER)))
    else:
        found.append(("no translator", replace(entry, translator=None)))
        if role is Role.RESPONDER:
            found.append(("no alias", AgreedPrefix(entry.real, entry.real)))
        if role is Role.RESPONDER or entry.translator is Role.INITIATOR:
            alias = type(entry.real)((int(entry.alias.network_address) + (1 << 20), entry.alias.prefixlen))
            found.append(("alias that was not offered", replace(entry, alias=alias)))
        if agreement.translation is Translation.EACH_OWN:
            found.append(("other translator", replace(entry, translator=role.other)))
    return found


@THOROUGH
@given(networks(ALFA), networks(BRAVO))
def test_the_initiator_refuses_every_single_mutation(a: Own, b: Own) -> None:
    ended = talk(a, b)
    assume(isinstance(ended.result, Agreement))
    assert isinstance(ended.result, Agreement)
    assert ended.offer is not None
    for what, wrong in mutations(ended.result, ended.offer, a).items():
        assert wrong != ended.result, what
        assert objections(wrong, ended.offer, a), what


def test_the_initiator_refuses_two_prefixes_under_one_alias() -> None:
    a = own(ALFA, "10.0.0.0/24", "10.0.1.0/24")
    b = own(BRAVO, "10.0.0.0/24", "10.0.1.0/24")
    ended = talk(a, b)
    assert isinstance(ended.result, Agreement)
    assert ended.offer is not None
    first, second = ended.result.responder.prefixes
    twice = replace(ended.result.responder, prefixes=(first, replace(second, alias=first.alias)))
    assert {p.code for p in objections(replace(ended.result, responder=twice), ended.offer, a)} == {"agreement_alias"}


def test_the_initiator_refuses_a_mode_that_it_did_not_ask_for() -> None:
    a, b = own(ALFA, "10.0.0.0/24"), own(BRAVO, "10.0.0.0/24")
    ended = talk(a, b)
    assert isinstance(ended.result, Agreement)
    assert ended.offer is not None
    wanting = replace(a, translation=TranslationWish.EACH_OWN)
    assert [p.code for p in objections(ended.result, ended.offer, wanting)] == ["agreement_translation"]


def test_the_initiator_refuses_an_overlap_that_came_up_meanwhile() -> None:
    a, b = own(ALFA, "10.1.0.0/24"), own(BRAVO, "10.2.0.0/24")
    ended = talk(a, b)
    assert isinstance(ended.result, Agreement)
    assert ended.offer is not None
    busy = replace(a, usage=Usage(held=(*a.usage.held, net("10.2.0.128/25"))))
    assert [p.code for p in objections(ended.result, ended.offer, busy)] == ["agreement_overlap"]
