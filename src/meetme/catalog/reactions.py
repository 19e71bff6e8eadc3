"""What each event does to an order, on the way to active and while it is. The table of what may happen: `lifecycle`."""

from __future__ import annotations

from dataclasses import replace

from meetme.catalog import events as ev
from meetme.catalog.effects import Cancel, Effect, Make, Send, Verify, Wake, Watch
from meetme.catalog.messages import ApprovedBody, AttachedBody, DeclinedBody, MessageType, PendingBody, StateBody
from meetme.catalog.order import Answer, Order, Reach, Thing
from meetme.catalog.undoing import Move, gave_up, mark, put, settle, undo
from meetme.catalog.words import ENDED, Connectivity, Party, Presence, State, What
from meetme.model.errors import Fault, Problem

REQUEST_SECONDS = 30.0
"""How long the seller may take to say anything."""
APPROVAL_SECONDS = 7 * 86_400.0
"""How long the buyer waits for a person at the seller, whose own deadline comes first."""
ASK_AGAIN_SECONDS = 10.0
"""How often the buyer asks whether that person has decided, if it is not told."""
COMPOSE_SECONDS = 60.0
LINK_SECONDS = 300.0
"""An exchange may have people in its way: what it builds is waited for longer than what machines agree on."""
ATTACH_SECONDS = COMPOSE_SECONDS + LINK_SECONDS
"""How long the seller waits for the buyer to name the circuit."""
READY_SECONDS = 30.0
NEGOTIATE_SECONDS = 120.0
VERIFY_SECONDS = 30.0
COMPARE_SECONDS = 60.0

S = State
_LATE = {
    S.PLACED: ("request_timeout", "request: the seller did not answer in time"),
    S.APPROVING: ("approval_timeout", "request: nobody at the seller decided in time"),
    S.COMPOSING: ("compose_timeout", "circuit: must be reserved in time"),
    S.LINKING: ("link_timeout", "circuit: must be built, and both ends ready, in time"),
    S.NEGOTIATING: ("order_negotiation_timeout", "negotiation: must be active in time"),
    S.VERIFYING: ("verify_timeout", "service: must answer in time"),
}


# --- the request ------------------------------------------------------------------------------------------------------


def place(event: ev.Placed) -> Move:
    """Buyer: ask the seller."""
    n = Order(event.id, Party.BUYER, event.me, event.seller, event.wanted, event.at, event.offered)
    n, timer = _wait(n, REQUEST_SECONDS, event.at)
    return n, (Send(MessageType.REQUEST, n.message(MessageType.REQUEST)), timer)


def on_request(n: Order | None, event: ev.RequestReceived) -> Move:
    """Seller: decide by policy, or leave it to a person."""
    if n is not None:
        return replace(n, answers=(Answer(event.message, PendingBody(ASK_AGAIN_SECONDS)),)), ()
    n = Order(event.id, Party.SELLER, event.me, event.buyer, event.wanted, event.at, event.offered, S.APPROVING)
    if event.refusal is not None:
        answer = Answer(event.message, DeclinedBody(replace(event.refusal, fault=Fault.REMOTE)))
        declined = replace(n, state=S.DECLINED, problem=event.refusal, decided_by="policy", partner_knows=True)
        return replace(declined, answers=(answer,)), ()
    if event.wanted.approval:
        n, timer = _wait(n, event.seconds, event.at)
        return replace(n, answers=(Answer(event.message, PendingBody(ASK_AGAIN_SECONDS)),)), (timer,)
    n, effects = _approve(n, "policy", event.at)
    return replace(n, answers=(Answer(event.message, ApprovedBody()),)), effects


def on_decided(n: Order, event: ev.Decided) -> Move:
    """Seller: a person has decided. The buyer is told where that leaves the order, and asks for the answer at once."""
    if event.problem is not None:
        return _declined(replace(n, decided_by=event.by), event.problem, event.at)
    n, effects = _approve(n, event.by, event.at)
    n = replace(n, asked=n.asked + 1)
    return n, (*effects, Send(MessageType.QUERY, n.message(MessageType.QUERY)))


def _approve(n: Order, by: str, at: float) -> Move:
    n = mark(replace(n, decided_by=by, deadline=None), "approve", at)
    if n.wanted.connectivity is Connectivity.NONE:
        return _activate(n, at)
    n, timer = _wait(replace(n, state=S.COMPOSING), ATTACH_SECONDS, at)
    return n, (timer,)


def _declined(n: Order, problem: Problem, at: float) -> Move:
    """Who has declined owes nothing: a buyer that is not there to be told hears of it when it asks again."""
    ended = mark(replace(n, state=S.DECLINED, problem=problem, partner_knows=True, deadline=None), "decline", at)
    ended = replace(ended, asked=ended.asked + 1)
    told = Send(MessageType.QUERY, ended.message(MessageType.QUERY), once=True)
    return ended, (Cancel(Wake(ev.Deadline, 0).key), told)


def on_pending(n: Order, event: ev.PendingReceived) -> Move:
    """Buyer: a person decides; ask again."""
    timers: tuple[Effect, ...] = ()
    if n.state is S.PLACED:
        n, timer = _wait(replace(n, state=S.APPROVING), APPROVAL_SECONDS, event.at)
        timers = (timer,)
    n = replace(n, asked=n.asked + 1)
    return n, (Send(MessageType.REQUEST, n.message(MessageType.REQUEST), max(event.seconds, 0.2)), *timers)


def on_approved(n: Order, at: float) -> Move:
    """Buyer: the seller wants it. Build what it needs."""
    n = mark(replace(n, deadline=None), "approve", at)
    if n.wanted.connectivity is Connectivity.NONE:
        return _activate(replace(n, reach=Reach(words=n.wanted.words)), at)
    n, timer = _wait(replace(n, state=S.COMPOSING, circuit=Thing(Presence.MAKING)), COMPOSE_SECONDS, at)
    return n, (Make(What.CIRCUIT), timer)


# --- layer 2 ----------------------------------------------------------------------------------------------------------


def on_circuit(n: Order, event: ev.CircuitSeen) -> Move:
    """Buyer: how the circuit stands, from the first word of it to the last."""
    if event.problem is not None:
        ended = S.TERMINATED if n.state is S.ACTIVE else S.FAILED
        return undo(_known(n, What.CIRCUIT, event), ended, event.at, event.problem)
    n = _known(n, What.CIRCUIT, event)
    watch = (Watch(What.CIRCUIT),)
    effects: tuple[Effect, ...] = ()
    if n.state is S.COMPOSING and (event.committed or event.built):
        n, timer = _wait(mark(replace(n, state=S.LINKING), "compose", event.at), LINK_SECONDS, event.at)
        effects = (timer,)
    if n.state is S.LINKING and event.built and n.circuit.presence is Presence.MAKING:
        n = mark(replace(n, attachment=Thing(Presence.MAKING)), "link", event.at)
        n, timer = _wait(n, READY_SECONDS, event.at)
        effects = (Make(What.ATTACHMENT), Send(MessageType.ATTACH, n.message(MessageType.ATTACH)), timer)
        if n.wanted.connectivity is Connectivity.L3:
            n = replace(n, state=S.NEGOTIATING)
    if event.built:
        n = put(n, What.CIRCUIT, replace(n.circuit, presence=Presence.THERE))
    return n, (*effects, *watch)


def on_attach(n: Order, event: ev.AttachReceived) -> Move:
    """Seller: the circuit has a name; what there is at the own end, the own composer says."""
    circuit = Thing(id=event.circuit)
    n = replace(n, state=S.LINKING, circuit=circuit, attachment=Thing(Presence.MAKING))
    n, timer = _wait(replace(n, pending=(*n.pending, event.message)), READY_SECONDS, event.at)
    return n, (Make(What.ATTACHMENT), timer)


def on_attached(n: Order, event: ev.Attached) -> Move:
    """The own end is ready."""
    n = replace(n, end=event.end, attachment=Thing(Presence.THERE, known=event.sure))
    if n.party is Party.BUYER:
        return go_on(n, event.at)
    n = mark(n, "attach", event.at)
    n = replace(n, answers=tuple(Answer(message, AttachedBody()) for message in n.pending), pending=())
    if n.wanted.connectivity is not Connectivity.L3:
        return _activate(n, event.at)
    n = replace(n, state=S.NEGOTIATING, negotiation=Thing(Presence.MAKING))
    n, timer = _wait(n, NEGOTIATE_SECONDS, event.at)
    return n, (Watch(What.NEGOTIATION), timer)


def go_on(n: Order, at: float) -> Move:
    """Buyer: once both ends are ready, the negotiation may begin; without layer 3 that was all."""
    if not n.partner_ready or n.attachment.presence is not Presence.THERE:
        return n, ()
    n = mark(n, "attach", at)
    if n.wanted.connectivity is not Connectivity.L3:
        return _activate(n, at)
    n, timer = _wait(replace(n, negotiation=Thing(Presence.MAKING)), NEGOTIATE_SECONDS, at)
    return n, (Make(What.NEGOTIATION), timer)


# --- layer 3 ----------------------------------------------------------------------------------------------------------


def on_negotiation(n: Order, event: ev.NegotiationSeen) -> Move:
    """How the negotiation stands at the own negotiator."""
    n = _known(n, What.NEGOTIATION, event)
    if event.problem is not None:
        ended = S.TERMINATED if n.state is S.ACTIVE else S.FAILED
        return undo(n, ended, event.at, event.problem)
    watch = (Watch(What.NEGOTIATION),)
    if not event.active:
        return n, watch
    first = n.negotiation.presence is Presence.MAKING
    n = replace(put(n, What.NEGOTIATION, replace(n.negotiation, presence=Presence.THERE)), reach=event.reach or n.reach)
    if n.state is not S.NEGOTIATING or not first:
        return n, watch
    n = mark(n, "negotiate", event.at)
    if n.party is Party.SELLER:
        active, effects = _activate(n, event.at)
        return active, (*effects, *watch)
    n, timer = _wait(replace(n, state=S.VERIFYING), VERIFY_SECONDS, event.at)
    return n, (Verify(), timer, *watch)


def on_verified(n: Order, event: ev.Verified) -> Move:
    """Buyer: packets reach the service."""
    return _activate(replace(mark(n, "verify", event.at), reach=event.reach or n.reach), event.at)


def _activate(n: Order, at: float) -> Move:
    n = mark(replace(n, state=S.ACTIVE, deadline=None, problem=None), "active", at)
    return n, (Cancel(Wake(ev.Deadline, 0).key), Wake(ev.CompareDue, COMPARE_SECONDS))


def on_making_failed(n: Order, event: ev.MakingFailed) -> Move:
    """Whoever was to make it has refused for good. What an earlier attempt may have made is taken back."""
    n = put(n, event.what, Thing()) if event.sure else n
    return undo(n, S.FAILED, event.at, event.problem)


# --- time, and the other side -----------------------------------------------------------------------------------------


def on_deadline(n: Order, event: ev.Deadline) -> Move:
    """The time for the present state is over."""
    if n.state is S.TERMINATING:
        return settle(replace(n, partner_knows=True), event.at)
    code, text = _LATE[n.state]
    late = event.cause or Problem(code, text, "order it again", fault=Fault.REMOTE)
    if (n.party, n.state) == (Party.SELLER, S.APPROVING):
        return _declined(n, late, event.at)
    return undo(n, S.FAILED, event.at, late)


def compare(n: Order) -> Move:
    """Ask the other side where it stands."""
    n = replace(n, asked=n.asked + 1)
    return n, (Send(MessageType.QUERY, n.message(MessageType.QUERY)), Wake(ev.CompareDue, COMPARE_SECONDS))


def on_partner_state(n: Order, event: ev.QueryReceived | ev.StateReceived) -> Move:
    """What the other side says of itself, asked or not. Ended there is ended here."""
    over = event.state is None or event.state in ENDED
    if n.state is S.TERMINATING:
        moved, effects = settle(replace(n, partner_knows=n.partner_knows or over), event.at)
    elif n.party is Party.BUYER and n.state in (S.PLACED, S.APPROVING):
        # The answer to the request says what the seller has decided, and why.
        moved, effects = n, ()
        if event.state not in (None, S.APPROVING):
            moved = replace(n, asked=n.asked + 1)
            effects = (Send(MessageType.REQUEST, moved.message(MessageType.REQUEST)),)
    elif over and (n.state is S.ACTIVE or event.state is not None):
        ended = S.TERMINATED if n.state is S.ACTIVE else S.FAILED
        moved, effects = undo(replace(n, partner_knows=True), ended, event.at, gave_up(n.party))
    else:
        moved, effects = n, ()
    if isinstance(event, ev.QueryReceived):
        moved = replace(moved, answers=(*moved.answers, Answer(event.message, StateBody(moved.state))))
    return moved, effects


def _known(n: Order, what: What, event: ev.CircuitSeen | ev.NegotiationSeen) -> Order:
    return put(n, what, replace(n.thing(what), id=event.id, standing=event.standing, known=True))


def _wait(n: Order, seconds: float, at: float) -> tuple[Order, Wake]:
    """Give the present state so many seconds."""
    return replace(n, deadline=at + seconds), Wake(ev.Deadline, seconds)
