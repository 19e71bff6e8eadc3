"""Negotiations at every stage, made by the rules themselves from the first event on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from uuid import UUID, uuid4

from meetme.model.agreement import Agreement
from meetme.model.errors import Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Can, Counter, Own, Usage
from meetme.negotiator.events import Event
from meetme.negotiator.messages import CounterBody, HoldBody, MessageType, Verified
from meetme.negotiator.negotiation import Attachment, Negotiation
from meetme.negotiator.protocol import step
from tests.negotiator.networks import ALFA, BRAVO, CIRCUIT, ID

AT = 1000.0
PORT = Attachment("r1", "eth2")
NET = ip_network("10.0.0.0/24")
TROUBLE = Problem("trouble", "it did not work")


def message() -> UUID:
    return uuid4()


def own(member: str, can: Can | None = None) -> Own:
    """Both members use the very same network; the link is numbered."""
    return Own(
        member=ALFA if member == "alfa" else BRAVO,
        prefixes=(NET,),
        usage=Usage(held=(NET,)),
        alias_pools=(ip_network("172.16.0.0/16"),),
        link_pools=(ip_network("169.254.100.0/24"),),
        mtu=1500,
        can=can or Can(unnumbered=False),
    )


def after(now: Negotiation | None, *events: Event) -> Negotiation:
    """The state that `events` lead to."""
    for event in events:
        now = step(now, event).negotiation
    assert now is not None
    return now


def start(side: Own | None = None) -> ev.Start:
    return ev.Start(AT, ID, BRAVO, CIRCUIT, None, PORT, side or own("alfa"), 7)


def proposal(n: Negotiation, **changes: object) -> ev.ProposeReceived:
    """The initiator's present offer, as the responder receives it."""
    assert n.offer is not None
    event = ev.ProposeReceived(
        AT, n.message(MessageType.PROPOSE), n.id, ALFA, CIRCUIT, None, PORT, own("bravo"), 3, n.offer, MemberPolicy()
    )
    return replace(event, **changes)  # type: ignore[arg-type]


def _counter() -> Counter:
    body = after(None, proposal(proposed())).answers[0].body
    assert isinstance(body, CounterBody)
    return body.counter


def proposed() -> Negotiation:
    """The initiator, its first offer out."""
    return after(None, start())


def offered() -> Negotiation:
    """The initiator, once it knows what the responder has."""
    return after(proposed(), counter())


def counter() -> ev.CounterReceived:
    return ev.CounterReceived(AT, _counter(), own("alfa"))


def countered() -> Negotiation:
    """The responder, waiting for another offer."""
    return after(None, proposal(proposed()))


def held() -> Negotiation:
    return after(countered(), proposal(offered()))


def agreement() -> Agreement:
    body = held().answers[0].body
    assert isinstance(body, HoldBody)
    return body.agreement


def hold() -> ev.HoldReceived:
    return ev.HoldReceived(AT, agreement(), own("alfa"), MemberPolicy())


def commit() -> ev.CommitReceived:
    return ev.CommitReceived(AT, message(), agreement())


def confirm(verified: Verified | None = Verified.PATH) -> ev.ConfirmReceived:
    return ev.ConfirmReceived(AT, message(), verified)


PROBED = ev.Probed(AT, Verified.PATH, 1.5)


def committed() -> Negotiation:
    """The initiator, its device ordered."""
    return after(offered(), hold())


def confirming() -> Negotiation:
    return after(committed(), ev.Applied(AT), PROBED, ev.CommittedReceived(AT, Verified.PATH))


def active() -> Negotiation:
    """The initiator."""
    return after(confirming(), ev.DeviceConfirmed(AT), ev.ActiveReceived(AT))


def committed_there() -> Negotiation:
    """The responder, its device ordered."""
    return after(held(), commit())


def ready_there() -> Negotiation:
    """The responder, once its probe was answered."""
    return after(committed_there(), ev.Applied(AT), PROBED)


def active_there() -> Negotiation:
    return after(ready_there(), confirm(), ev.DeviceConfirmed(AT))


def terminating() -> Negotiation:
    """The initiator: neither its device nor its peer is done."""
    return after(active(), ev.TerminateAsked(AT))


def terminated() -> Negotiation:
    return after(terminating(), ev.Removed(AT), ev.TerminatedReceived(AT))


def failed() -> Negotiation:
    """The initiator: its device is not clean yet, and the peer does not know."""
    return after(committed(), ev.ProbeFailed(AT, TROUBLE))


def terminate(undone: bool = True) -> ev.TerminateReceived:
    return ev.TerminateReceived(AT, message(), undone=undone)


def query(state: object) -> ev.QueryReceived:
    return ev.QueryReceived(AT, message(), state, 3)  # type: ignore[arg-type]


def state(state: object) -> ev.StateReceived:
    return ev.StateReceived(AT, state, 3)  # type: ignore[arg-type]


def restored() -> ev.Restored:
    from meetme.model.agreement import Role

    return ev.Restored(AT, message(), agreement(), Role.INITIATOR, PORT, 99)


def waiting_for_the_peer() -> Negotiation:
    return after(terminating(), ev.Removed(AT))
