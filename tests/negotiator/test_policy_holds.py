"""No sequence of messages makes a router carry a prefix that policy does not allow its peer.

The peer says whatever it likes, in any order, repeated, altered: whole agreements of its own making too. The rules are
asked as they are in service, and every intent that they would have programmed is looked at, address by address.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from meetme.model.agreement import AgreedLink, AgreedPrefix, AgreedSide, Agreement, LinkKind, Role, Translation
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Offer, Own
from meetme.negotiator.agreeing import make_offer
from meetme.negotiator.events import Event
from meetme.negotiator.intents import link_intent
from meetme.negotiator.messages import HoldBody, MessageType, Verified
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.protocol import step
from meetme.negotiator.states import Device, State
from tests.negotiator.networks import ALFA, ANYWHERE, BRAVO, CIRCUIT, ID, addresses, blocks, networks, talk
from tests.negotiator.stages import AT, PORT

ALLOWED = st.lists(blocks(0, 6), min_size=1, max_size=3).map(tuple)
PROGRAMMED = {Device.APPLYING, Device.APPLIED, Device.CONFIRMED}


def carried_is_allowed(n: Negotiation, policy: MemberPolicy) -> bool:
    """Whether what the router is told of the peer's network lies within what policy allows."""
    if n.device not in PROGRAMMED or n.agreement is None:
        return True
    intent = link_intent(n.agreement, n.role, n.attachment, generation=n.generation)
    theirs = [p.real for p in n.agreement.side(n.role.other).prefixes]
    assert {m.inside for m in intent.remote} == {p.alias for p in n.agreement.side(n.role.other).prefixes}
    return all(any(addresses(real) <= addresses(allowed) for allowed in policy.announce) for real in theirs)


@st.composite
def agreements(draw: st.DrawFn, own: Own, me: Role, about: Agreement | None, sent: Offer | None) -> Agreement:
    """What a peer may claim to be agreed: the present one, that with another network in it, or something made up."""
    seen_as = [*(sent.aliases if sent else ())]
    theirs = tuple(
        AgreedPrefix(real, draw(st.sampled_from([real, *seen_as])), draw(st.sampled_from([None, *Role])))
        for real in draw(st.lists(ANYWHERE, min_size=1, max_size=2))
    )
    if about is not None and draw(st.booleans()):
        side = replace(about.side(me.other), prefixes=theirs)
        altered = replace(about, initiator=side) if me is Role.RESPONDER else replace(about, responder=side)
        return draw(st.sampled_from([about, altered]))
    mine = AgreedSide(own.member, tuple(AgreedPrefix(p, p) for p in own.prefixes), own.probe)
    other = AgreedSide(BRAVO if own.member == ALFA else ALFA, theirs)
    return Agreement(
        id=ID,
        circuit=CIRCUIT,
        order=None,
        link=AgreedLink(LinkKind.UNNUMBERED),
        mtu=1500,
        translation=draw(st.sampled_from(Translation)),
        initiator=mine if me is Role.INITIATOR else other,
        responder=other if me is Role.INITIATOR else mine,
    )


@settings(max_examples=300, deadline=None)
@given(st.data(), networks(BRAVO), networks(ALFA), ALLOWED)
def test_as_responder(data: st.DataObject, own: Own, peer: Own, allowed) -> None:
    policy = MemberPolicy(announce=allowed)
    n: Negotiation | None = None
    offer, good = make_offer(peer, None), talk(peer, own).offer
    for _ in range(data.draw(st.integers(1, 8), label="messages")):
        event: Event
        match data.draw(st.sampled_from(["propose", "honest", "honest", "commit", "commit", "confirm", "device"])):
            case "propose" if isinstance(offer, Offer):
                others = tuple(data.draw(st.lists(ANYWHERE, min_size=1, max_size=2)))
                said = data.draw(st.sampled_from([own.prefixes, None, others]))
                changed = replace(offer, prefixes=others, peer_prefixes=said, need_alias=own.prefixes)
                event = _proposal(own, policy, data.draw(st.sampled_from([offer, changed])))
            case "honest" if good is not None:
                event = _proposal(own, policy, good)
            case "commit" if n is not None:
                wild = data.draw(agreements(own, Role.RESPONDER, n.agreement, n.offer))
                agreement = data.draw(st.sampled_from([n.agreement or wild, wild]))
                event = ev.CommitReceived(AT, uuid4(), agreement)
            case "confirm" if n is not None:
                event = ev.ConfirmReceived(AT, uuid4(), Verified.PATH)
            case _ if n is not None and n.state is State.COMMITTED:
                event = data.draw(st.sampled_from([ev.Applied(AT), ev.Probed(AT, Verified.PATH)]))
            case _:
                continue
        n = step(n, event).negotiation
        assert carried_is_allowed(n, policy)


def _proposal(own: Own, policy: MemberPolicy, offer: Offer) -> ev.ProposeReceived:
    return ev.ProposeReceived(AT, uuid4(), ID, ALFA, CIRCUIT, None, PORT, own, 3, offer, policy)


@settings(max_examples=300, deadline=None)
@given(st.data(), networks(ALFA), networks(BRAVO), ALLOWED)
def test_as_initiator(data: st.DataObject, own: Own, peer: Own, allowed) -> None:
    policy = MemberPolicy(announce=allowed)
    n = step(None, ev.Start(AT, ID, BRAVO, CIRCUIT, None, PORT, own, 7)).negotiation
    for _ in range(data.draw(st.integers(1, 6), label="answers")):
        if n.offer is None:
            return
        answer = step(None, _proposal(peer, MemberPolicy(), n.offer)).negotiation.answers[0].body
        match data.draw(st.sampled_from(["honest", "honest", "wild", "device"])):
            case "honest" if isinstance(answer, HoldBody):
                event: Event = ev.HoldReceived(AT, answer.agreement, own, policy)
            case "honest" if answer is not None and hasattr(answer, "counter"):
                event = ev.CounterReceived(AT, answer.counter, own)
            case "wild":
                about = answer.agreement if isinstance(answer, HoldBody) else None
                event = ev.HoldReceived(AT, data.draw(agreements(own, Role.INITIATOR, about, n.offer)), own, policy)
            case _ if n.state is State.COMMITTED:
                events = [ev.Applied(AT), ev.Probed(AT, Verified.PATH), ev.CommittedReceived(AT, Verified.PATH)]
                event = data.draw(st.sampled_from(events))
            case _:
                continue
        n = step(n, event).negotiation
        assert carried_is_allowed(n, policy)


def test_the_oracle_sees_what_is_not_allowed() -> None:
    """The property could not fail if nothing were ever programmed, or if everything were allowed."""
    from tests.negotiator import stages

    committed = stages.committed()
    assert committed.message(MessageType.COMMIT)
    assert not carried_is_allowed(committed, MemberPolicy(announce=(stages.ip_network("192.0.2.0/24"),)))
    assert carried_is_allowed(committed, MemberPolicy(announce=(stages.NET,)))
