"""Both sides compare now and then: what has ended there ends here, what one has lost the other one hands over."""

from __future__ import annotations

from dataclasses import replace

from meetme.model.errors import Fault, Problem
from meetme.negotiator import events as ev
from meetme.negotiator.effects import Cancel, Send, Wake
from meetme.negotiator.endings import COMPARE_SECONDS, Move, S, fail, settle_end, terminate
from meetme.negotiator.messages import MessageType, StateBody
from meetme.negotiator.negotiation import Answer, Negotiation
from meetme.negotiator.reactions import activate
from meetme.negotiator.states import ENDED


def compare(n: Negotiation) -> Move:
    """Ask the peer where it stands. What is active is compared by the roll, and needs no timer of its own."""
    n = replace(n, queries=n.queries + 1)
    ask = Send(MessageType.QUERY, n.message(MessageType.QUERY), "send:query")
    return n, (ask,) if n.state is S.ACTIVE else (ask, Wake(ev.CompareDue, COMPARE_SECONDS))


def on_peer_state(n: Negotiation, event: ev.StateReceived | ev.QueryReceived) -> Move:
    """What the peer says of itself, asked or not. Ended there is ended here."""
    if isinstance(event, ev.QueryReceived):
        moved, effects = _follow(n, event)
        told = standing(replace(moved, revision=moved.revision + (moved.state is not n.state)), event.agreed)
        return replace(moved, answers=(*moved.answers, Answer(event.message, told))), effects
    return _follow(n, event)


def standing(n: Negotiation, theirs: int = 0) -> StateBody:
    """Where this side stands; with its agreement for a peer that has an older one, of revision `theirs`, in force."""
    agreed = n.agreement.revision if n.agreement else 0
    handed = n.agreement if n.state is S.ACTIVE and 0 < theirs < agreed else None
    return StateBody(n.state, n.revision, handed, agreed, n.changes)


def _follow(n: Negotiation, event: ev.StateReceived | ev.QueryReceived) -> Move:
    theirs, at = event.state, event.at
    ended = theirs in ENDED or theirs is S.TERMINATING
    if n.state is S.CONFIRMING:
        if theirs is S.ACTIVE:
            return activate(n, at)
        if theirs is None or theirs in (S.FAILED, S.REFUSED, S.SUPERSEDED):
            problem = Problem("peer_rolled_back", "confirm: the peer had already given up", fault=Fault.REMOTE)
            return fail(n, problem, at, tell_peer=False)
    if n.state is S.TERMINATING:
        if theirs is None or theirs in ENDED:
            return settle_end(replace(n, peer_ended=True), at, (Cancel("send:terminate"),))
        return n, ()
    if ended:
        # Still at it, the peer waits for our word. Where it cannot reach us (we are behind NAT), this is how it comes.
        return terminate(replace(n, peer_ended=theirs is not S.TERMINATING), at)
    lost = theirs is None or (n.agreement is not None and 0 < event.agreed < n.agreement.revision)
    # A peer that has an older revision and asks gets the newer one with the answer.
    told = isinstance(event, ev.StateReceived) or theirs is None
    if lost and told and n.state is S.ACTIVE and not n.peer_lost:
        n = replace(n, queries=n.queries + 1, peer_lost=True)
        return n, (Send(MessageType.QUERY, n.message(MessageType.QUERY), "send:query"),)
    return replace(n, peer_lost=lost), ()
