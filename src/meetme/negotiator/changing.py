"""How an active agreement is changed: by a negotiation inside the negotiation, which the same table moves.

Rules of this file:

1. A change is a `Negotiation` inside the one whose agreement it changes. Its events come as `OfChange`, its effects
   leave as `ForChange`; state, claims, timers and answers are part of the one row and the one transaction.
2. The initiator of the negotiation drives every change: roles, circuit and link never turn round. The other side says
   `change`, keeps what it wants, and shows it when the initiator proposes.
3. The device carries a change under a confirm timer above the agreement in force, which therefore has to be confirmed
   there first. It is made final by the same order without the timer, which is right wherever the device stands.
4. A change that becomes active is the agreement in force, in that transaction. One that ends in any other way leaves
   the agreement as it is; a device that was touched is told to carry it again.
5. What either agreement has on the device stays claimed until the one in force is confirmed there.
6. Of one agreement in two revisions that both sides have signed, the higher one is in force: a side that has lost it
   takes it up from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from meetme.model.agreement import Agreement, Role
from meetme.model.errors import Fault, Problem
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Own
from meetme.negotiator.comparing import standing
from meetme.negotiator.effects import Cancel, Effect, ForChange, Outcome, Program, Send, Verb, Wake
from meetme.negotiator.endings import Move, S, all_cancelled, fail, order_device
from meetme.negotiator.events import Event
from meetme.negotiator.messages import (
    ActiveBody,
    FailedBody,
    MessageType,
    RefuseBody,
    StateBody,
    TerminatedBody,
)
from meetme.negotiator.negotiation import Answer, Negotiation, StepTime, Wish
from meetme.negotiator.policy import announce_problems
from meetme.negotiator.reactions import DEVICE_CONFIRM_SECONDS, open_talk
from meetme.negotiator.states import ENDED, Device, State

Step = Callable[[Negotiation, Event], Outcome]
"""`protocol.step`, for the change inside."""
ENDED_AROUND = Problem("negotiation_ended", "change: the negotiation around it is being taken back")
OVERTAKEN = Problem("change_overtaken", "change: the initiator has given it up", "try again", fault=Fault.REMOTE)
_BEHIND = {
    "change_stale": "change: its number was used before",
    "revision_differs": "change: must start from the agreement in force here",
}
_DUE = Wake(ev.ChangeDue, 0.0)


def under_way(n: Negotiation) -> bool:
    """Whether a change may still become active."""
    return n.change is not None and n.change.state not in ENDED and n.change.state is not S.TERMINATING


# --- beginning one ----------------------------------------------------------------------------------------------------


def ask(n: Negotiation, event: ev.ChangeAsked) -> Move:
    """The own side wants a change: begin it, or ask the initiator to. One at a time."""
    if under_way(n) or n.wanted is not None:
        return n, ()
    if n.role is Role.RESPONDER:
        return _want(replace(n, wanted=event.wish))
    return _begin(n, event.wish, event.own, event.at)


def _want(n: Negotiation) -> Move:
    n = replace(n, wishes=n.wishes + 1)
    return n, (Send(MessageType.CHANGE, n.message(MessageType.CHANGE), "send:change"),)


def remind(n: Negotiation) -> Move:
    """Now and then: ask again for what is wanted and does not happen."""
    return (n, ()) if n.wanted is None or under_way(n) else _want(n)


def on_wanted(n: Negotiation, event: ev.ChangeWanted) -> Move:
    """The responder's side wants a change: begin it, now or when the present one is over."""
    if under_way(n):
        return replace(n, peer_wants=True, answers=(Answer(event.message, standing(n)),)), ()
    n, effects = _begin(n, n.wish, event.own, event.at)
    c = n.change
    unable = c is not None and c.state is S.FAILED and c.problem is not None
    body = RefuseBody((_remote(c.problem),)) if unable and c and c.problem else standing(n)
    return replace(n, answers=(*n.answers, Answer(event.message, body))), effects


def on_due(n: Negotiation, event: ev.ChangeDue) -> Move:
    """The present change is over; the peer had asked for another."""
    return (n, ()) if under_way(n) or not n.peer_wants else _begin(n, n.wish, event.own, event.at)


def on_refused(n: Negotiation, event: ev.ChangeRefused) -> Move:
    """The initiator will not begin what the own side wants."""
    if n.wanted is None or under_way(n):
        return n, ()
    unnamed = Problem("refused", "the peer refused without a reason", fault=Fault.REMOTE)
    c = _inside(n, n.changes, n.wanted, event.at)
    c = replace(c, state=S.REFUSED, problem=event.problems[0] if event.problems else unnamed)
    return replace(n, wanted=None, change=c), ()


def _begin(n: Negotiation, wish: Wish, own: Own, at: float) -> Move:
    c, effects = open_talk(_inside(n, n.changes + 1, wish, at), own, at)
    before = replace(n, changes=c.number, peer_wants=False, change=None)
    after, more = _settle(before, c, effects, at)
    return after, (*_cancelled(), *more)


def _inside(n: Negotiation, number: int, wish: Wish, at: float) -> Negotiation:
    return Negotiation(
        id=n.id,
        role=n.role,
        me=n.me,
        peer=n.peer,
        circuit=n.circuit,
        order=n.order,
        attachment=n.attachment,
        generation=n.generation,
        started=at,
        probe_target=n.probe_target,
        number=number,
        base=n.agreement,
        wish=wish,
    )


# --- moving it --------------------------------------------------------------------------------------------------------


def relay(n: Negotiation, event: ev.OfChange, step: Step) -> Move:
    """An event of a change: to the one that is under way, if it is that."""
    inner, c = event.event, n.change
    if isinstance(inner, ev.ProposeReceived):
        return _on_propose(n, event.number, inner, step)
    if isinstance(inner, ev.QueryReceived):
        told = StateBody(_state_of(n, event.number), n.revision, None, 0, n.changes)
        return replace(n, answers=(Answer(inner.message, told, event.number),)), ()
    if c is None or c.number != event.number:
        return replace(n, answers=tuple(stale_answer(n, event))), ()
    outcome = step(replace(c, generation=n.generation), inner)
    return _settle(n, outcome.negotiation, outcome.effects, event.at)


def _state_of(n: Negotiation, number: int) -> State | None:
    """Where a change stands at the side that decides on it. None: it was never heard of."""
    if n.change is not None and n.change.number == number:
        return S.FAILED if n.change.state in (S.TERMINATING, S.TERMINATED) else n.change.state
    if number == n.adopted:
        return S.ACTIVE
    return S.FAILED if number <= n.changes else None


def stale_answer(n: Negotiation, event: ev.OfChange) -> Iterator[Answer]:
    """The answer to a message about a change that is not the present one."""
    gone = Problem("change_ended", f"change: {event.number} is not under way", "ask for a new one", None, Fault.REMOTE)
    match event.event:
        case ev.ConfirmReceived(message=message) if event.number == n.adopted and n.state is S.ACTIVE:
            yield Answer(message, ActiveBody(n.verified), event.number)
        case ev.CommitReceived(message=message) | ev.ConfirmReceived(message=message):
            yield Answer(message, FailedBody(gone), event.number)
        case ev.ProposeReceived(message=message):
            yield Answer(message, RefuseBody((gone,)), event.number)
        case ev.TerminateReceived(message=message):
            yield Answer(message, TerminatedBody(), event.number)
        case ev.QueryReceived(message=message):
            yield Answer(message, StateBody(S.FAILED, n.revision), event.number)


def _on_propose(n: Negotiation, number: int, inner: ev.ProposeReceived, step: Step) -> Move:
    """The initiator's offer for a change. A new number means that it has given up every one before."""
    known = n.change is not None and n.change.number == number
    in_force = n.agreement.revision if n.agreement else 0
    code = "change_stale" if not known and number <= n.changes else "revision_differs"
    if code == "change_stale" or inner.base != in_force:
        seen = number if code == "change_stale" else inner.base
        problem = Problem(code, f"{_BEHIND[code]} ({seen})", "the two sides compare; try again", None, Fault.REMOTE)
        return replace(n, answers=(Answer(inner.message, RefuseBody((_remote(problem),)), number),)), ()
    given_up: tuple[Effect, ...] = ()
    if not known:
        n, given_up = _drop(n, OVERTAKEN, inner.at)
        n = replace(n, changes=number, change=_inside(n, number, n.wanted or n.wish, inner.at))
    c = n.change
    if c is None:
        raise AssertionError("there is a change by now")
    outcome = step(replace(c, generation=n.generation), inner)
    n, effects = _settle(n, outcome.negotiation, outcome.effects, inner.at)
    return n, (*given_up, *effects)


def _settle(n: Negotiation, c: Negotiation, effects: tuple[Effect, ...], at: float) -> Move:
    """Take in what a step of the change has led to."""
    was = under_way(n) or n.change is None
    answers = (*n.answers, *(replace(answer, change=c.number) for answer in c.answers))
    c = replace(c, answers=())
    n = replace(n, change=c, generation=max(n.generation, c.generation), answers=answers)
    if c.state is S.ACTIVE:
        return _adopt(n, c, at)
    n, todo = _translated(n, c, effects)
    if under_way(n) or not was:
        return n, todo
    n, more = _over(n, c)
    return n, (*todo, *more)


def _translated(n: Negotiation, c: Negotiation, effects: tuple[Effect, ...]) -> Move:
    """The effects of a change as those of the negotiation. Taking back is to carry the agreement in force again."""
    todo: list[Effect] = []
    for effect in effects:
        match effect:
            case Program(verb=Verb.REMOVE):
                n, again = _carry_again(n, c)
                todo += again
            case Program(confirm_seconds=float()) if n.device is not Device.CONFIRMED:
                pass  # `after_device` orders it
            case Program():
                todo.append(ForChange(replace(effect, verb=Verb.APPLY)))
            case ForChange():
                raise AssertionError("a change has none of its own")
            case _:
                todo.append(ForChange(effect))
    return n, tuple(todo)


def _carry_again(n: Negotiation, c: Negotiation) -> Move:
    leaving = n.leaving if c.agreement is None else (*n.leaving, c.agreement)
    n, order = order_device(replace(n, leaving=leaving), Verb.APPLY)
    return n, (ForChange(Cancel(order.key)), order)


def _adopt(n: Negotiation, c: Negotiation, at: float) -> Move:
    """It is active: the agreement in force (rule 4)."""
    before = () if n.agreement is None else (n.agreement,)
    n = replace(
        n,
        agreement=c.agreement,
        document=c.document,
        adopted=c.number,
        wish=replace(c.wish, local_subnets=None),
        verified=c.verified,
        peer_verified=c.peer_verified,
        change=None,
        leaving=(*n.leaving, *before),
        steps=(*n.steps, StepTime(f"change {c.number}", max(0.0, at - c.started))),
    )
    n, more = _over(n, c)
    if c.device is Device.CONFIRMED:
        return replace(n, leaving=()), (*_cancelled(), *more)
    n, order = order_device(n, Verb.APPLY)
    return n, (*_cancelled(), order, *more)


def _over(n: Negotiation, c: Negotiation) -> Move:
    """Nothing is under way any more: what was put off comes next."""
    todo: tuple[Effect, ...] = ()
    if n.wanted is not None and n.wanted == c.wish:
        n = replace(n, wanted=None)
        todo += (Cancel("send:change"),)
    elif n.wanted is not None:
        n, todo = _want(n)
    if n.peer_wants:
        todo += (_DUE,)
    if c.role is Role.INITIATOR and c.state is S.REFUSED and c.problem is not None and c.problem.code in _BEHIND:
        n = replace(n, queries=n.queries + 1)
        todo += (Send(MessageType.QUERY, n.message(MessageType.QUERY), "send:query"),)
    return n, todo


def _drop(n: Negotiation, problem: Problem, at: float) -> Move:
    """End the present change, if there is one; whoever waits for its answer gets it."""
    c = n.change
    if c is None or (c.state in ENDED and not c.pending):
        return replace(n, change=None), _cancelled()
    if under_way(n):
        c, effects = fail(replace(c, generation=n.generation), problem, at, tell_peer=False)
    else:
        gone = tuple(Answer(message, TerminatedBody()) for message in c.pending)
        c, effects = replace(c, pending=(), answers=gone), ()
    answers = (*n.answers, *(replace(answer, change=c.number) for answer in c.answers))
    n = replace(n, change=None, answers=answers, generation=max(n.generation, c.generation))
    n, orders = _translated(n, c, tuple(effect for effect in effects if isinstance(effect, Program)))
    return n, (*_cancelled(), *orders)


# --- what is around it ------------------------------------------------------------------------------------------------


def on_device_already(n: Negotiation, event: Event) -> bool:
    """Whether what a router says by itself is about the change: then that is what it carries."""
    c = n.change
    return (
        isinstance(event, ev.DeviceLost)
        and c is not None
        and under_way(n)
        and n.device is Device.CONFIRMED
        and c.device is not Device.ABSENT
    )


def after_device(before: Negotiation, n: Negotiation, at: float, step: Step) -> Move:
    """The agreement in force is confirmed on the device: nothing else is there, and a change may be (rules 3 and 5)."""
    if before.device is Device.CONFIRMED or n.device is not Device.CONFIRMED:
        return n, ()
    n, c = replace(n, leaving=()), n.change
    if c is None:
        return n, ()
    c = replace(c, generation=n.generation)
    if c.device is Device.REMOVING:
        outcome = step(c, ev.Removed(at))
        return _settle(n, outcome.negotiation, outcome.effects, at)
    if c.state is S.COMMITTED and c.device is Device.APPLYING:
        c, order = order_device(c, Verb.APPLY, confirm=DEVICE_CONFIRM_SECONDS)
        return _settle(n, c, (order,), at)
    return n, ()


def ended_around(n: Negotiation, at: float) -> Move:
    """The negotiation is being taken back: with it goes the change, and what was wanted."""
    c = n.change
    todo: tuple[Effect, ...] = (*_cancelled(), Cancel("send:change"), Cancel(_DUE.key))
    n = replace(n, wanted=None, peer_wants=False)
    if c is None:
        return n, todo
    if under_way(n):
        ended, _ = fail(c, ENDED_AROUND, at, tell_peer=False)
    else:
        ended = replace(c, pending=(), answers=tuple(Answer(message, TerminatedBody()) for message in c.pending))
    touched = c.device is not Device.ABSENT and c.agreement is not None
    return replace(
        n,
        change=replace(ended, answers=(), device=Device.ABSENT),
        leaving=(*n.leaving, c.agreement) if touched and c.agreement else n.leaving,
        answers=(*n.answers, *(replace(answer, change=c.number) for answer in ended.answers)),
    ), todo


def compare(n: Negotiation, event: ev.QueryReceived | ev.StateReceived, step: Step) -> Move:
    """What the peer has in force. It decides on a change that waits for the decision, and heals a restored store."""
    if n.role is Role.INITIATOR:
        n = replace(n, changes=max(n.changes, event.changes))
    handed, c = event.handed, n.change
    if handed is None or n.agreement is None or handed.agreement.revision <= n.agreement.revision:
        return n, ()
    if c is not None and c.state is S.CONFIRMING and c.agreement == handed.agreement:
        outcome = step(replace(c, generation=n.generation), ev.ActiveReceived(event.at))
        return _settle(n, outcome.negotiation, outcome.effects, event.at)
    return _take_up(n, handed, event.at)


def _take_up(n: Negotiation, handed: ev.Handed, at: float) -> Move:
    """Rule 6. What this side's policy forbids by now is not taken up, and people are told."""
    new, current = handed.agreement, n.agreement
    if current is None or _frame(new) != _frame(current):
        return n, ()
    theirs = tuple(entry.real for entry in new.side(n.role.other).prefixes)
    for problem in announce_problems(handed.policy, theirs, "agreement.prefixes"):
        return replace(n, problem=problem), ()
    n, dropped = _drop(n, OVERTAKEN, at)
    n = replace(
        n,
        agreement=new,
        document=handed.document,
        wish=replace(n.wish, local_subnets=None),
        leaving=(*n.leaving, current),
        steps=(*n.steps, StepTime(f"revision {new.revision} taken up", max(0.0, at - n.started))),
    )
    n, order = order_device(n, Verb.APPLY)
    return n, (*dropped, order)


def _frame(agreement: Agreement) -> tuple[object, ...]:
    """What no change may touch."""
    sides = (agreement.initiator.member, agreement.responder.member)
    return (agreement.version, agreement.id, agreement.circuit, agreement.order, agreement.link, sides)


def _remote(problem: Problem) -> Problem:
    return replace(problem, fault=Fault.LOCAL if problem.fault is Fault.REMOTE else Fault.REMOTE)


def _cancelled() -> tuple[Effect, ...]:
    """Nothing is owed any more for a change."""
    owed = (*all_cancelled(), Cancel("send:terminate"))
    return tuple(ForChange(effect) for effect in owed if isinstance(effect, Cancel))
