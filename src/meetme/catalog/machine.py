"""The ledger's machine around the rules: loads, steps, and saves everything that belongs to an order at once.

One transaction writes the state, the answers to the other side, the log of events and the audit entry; the ledger adds
the effects owed. So nothing is answered, told or done that is not on disk with the state it follows from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from uuid import UUID, uuid5

import structlog
from sqlalchemy import Connection

from meetme.catalog import events as ev
from meetme.catalog import logbook, store, wire
from meetme.catalog.effects import Cancel, Effect, Make, Send, TakeBack, Verify, Wake, Watch
from meetme.catalog.events import Event
from meetme.catalog.lifecycle import step
from meetme.catalog.messages import MessageType
from meetme.catalog.order import Answer, Order
from meetme.catalog.views import Due, view
from meetme.catalog.words import What
from meetme.runtime.database import afterwards
from meetme.runtime.ledger import Cancelled, Debt, Owed, Step

STILL_AT_IT = "under_way"
"""The note while the other side has been told and is not done yet: it is not why anything fails."""
ANSWER_SECONDS = 60.0
"""How long an answer says that it is good."""
WAKES: dict[str, type[ev.Deadline] | type[ev.PatienceOver] | type[ev.CompareDue]] = {
    kind.__name__: kind for kind in (ev.Deadline, ev.PatienceOver, ev.CompareDue)
}
_ABOUT: dict[str, type[Make] | type[Watch] | type[TakeBack]] = {"make": Make, "watch": Watch, "take back": TakeBack}
Entered = Callable[[Order | None, Order, float], None]


class OrderMachine:
    """What the ledger and the loop run."""

    name = "order"

    def __init__(self, entered: Entered = lambda _before, _after, _now: None) -> None:
        """`entered` is told of every change: how it was (None: it begins), how it is, and when that was."""
        self._entered = entered

    def load(self, tx: Connection, instance: str) -> Order | None:
        """The order as it is stored."""
        return store.load(tx, instance)

    def step(self, state: Order | None, event: Event) -> Step[Order]:
        """Ask the rules."""
        outcome = step(state, event)
        return Step(outcome.order, tuple(write_effect(effect) for effect in outcome.effects))

    def save(self, tx: Connection, before: Order | None, after: Order, event: Event, now: float) -> None:
        """Write the state and everything that goes with it."""
        n = replace(after, answers=())
        if n != before:
            store.save(tx, n, new=before is None)
            _tell(tx, before, n)
            _audit(tx, before, n, event, now)
            afterwards(tx, lambda: self._report(before, n, event, now))
        for answer in after.answers:
            store.MAILBOX.answer(tx, n.partner, answer.to, wire.write_message(envelope(n, answer, now)))

    def _report(self, before: Order | None, after: Order, event: Event, now: float) -> None:
        """Log and count what has become of it. Only what is on disk is reported."""
        self._entered(before, after, now)
        if before is not None and before.state is after.state:
            return
        log = structlog.get_logger().bind(order=str(after.id), partner=after.partner)
        problem = after.problem
        why = {"problem": problem.code, "text": problem.text} if problem is not None else {}
        was = before.state.value if before else None
        log.info("state", before=was, after=after.state.value, event_kind=type(event).__name__, **why)


def envelope(n: Order, answer: Answer, now: float) -> wire.Message:
    """The answer to one of the other side's messages, as it is kept and sent."""
    return wire.Message(n.id, uuid5(answer.to, "answer"), n.me, n.partner, now + ANSWER_SECONDS, answer.body)


def _tell(tx: Connection, before: Order | None, after: Order) -> None:
    for done in after.steps[len(before.steps) if before else 0 :]:
        logbook.tell(tx, after.id, "step", {"name": done.name, "seconds": done.seconds, "ok": done.ok})
    if before is None or view(before) != view(after):
        logbook.tell(tx, after.id, "state", wire.view_json(view(after)))


def _audit(tx: Connection, before: Order | None, after: Order, event: Event, now: float) -> None:
    if before is not None and before.state is after.state:
        return
    logbook.audit(
        tx,
        now,
        type(event).__name__,
        order=str(after.id),
        party=after.party.value,
        partner=after.partner,
        offer=after.wanted.offer,
        before=before.state.value if before else None,
        after=after.state.value,
        revision=after.revision,
        decided_by=after.decided_by,
        problem=after.problem.code if after.problem else None,
    )


# --- effects as the ledger keeps them ---------------------------------------------------------------------------------


def write_effect(effect: Effect) -> Owed | Cancelled:
    """An effect of the rules as the ledger keeps it."""
    match effect:
        case Cancel(key=key):
            return Cancelled(key)
        case Send(type=kind, message=message, after=after, once=once):
            body = {"type": kind.value, "message": str(message), **({"once": True} if once else {})}
            return Owed(effect.key, "send", json.dumps(body), after)
        case Make(what=what):
            return Owed(effect.key, "make", json.dumps({"what": what.value}))
        case Watch(what=what):
            return Owed(effect.key, "watch", json.dumps({"what": what.value}))
        case TakeBack(what=what, after=after):
            return Owed(effect.key, "take back", json.dumps({"what": what.value}), after)
        case Verify():
            return Owed(effect.key, "verify", "{}")
        case Wake(event=event, after=after):
            return Owed(effect.key, "wake", json.dumps({"event": event.__name__}), after)


def read_effect(kind: str, body: str) -> Effect:
    """What `write_effect` wrote."""
    raw = json.loads(body)
    match kind:
        case "send":
            return Send(MessageType(raw["type"]), UUID(raw["message"]), once=raw.get("once", False))
        case "make" | "watch" | "take back":
            return _ABOUT[kind](What(raw["what"]))
        case "verify":
            return Verify()
        case "wake":
            return Wake(WAKES[raw["event"]], 0.0)
        case _:
            raise AssertionError(kind)


def still_due(debts: Iterable[Debt], now: float) -> tuple[Due, ...]:
    """What of an order's debts a person wants to know: timers are none of it, nor what is only looked after."""
    return tuple(
        Due(_named(debt), debt.attempts, debt.note, 0.0 if debt.owner else max(0.0, debt.due - now))
        for debt in debts
        if debt.kind != "wake" and not (debt.kind == "watch" and debt.note.startswith(STILL_AT_IT))
    )


def _named(debt: Debt) -> str:
    match read_effect(debt.kind, debt.body):
        case Send(type=kind):
            return f"send {kind}"
        case Make(what=what) | Watch(what=what) | TakeBack(what=what):
            return f"{debt.kind} {what}"
        case _:
            return debt.kind
