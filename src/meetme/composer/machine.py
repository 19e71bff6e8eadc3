"""The ledger's machine around the rules: loads, steps, and saves everything that belongs to a circuit at once.

One transaction writes the state, the claims on capacity and labels, the answers to other composers, the log of events
and the audit entry; the ledger adds the effects owed. So nothing is answered, told or done that is not on disk with the
state it follows from, and nothing is given out twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from uuid import UUID, uuid5

import structlog
from sqlalchemy import Connection

from meetme.composer import events as ev
from meetme.composer import logbook, store, wire
from meetme.composer.capacity import claims
from meetme.composer.circuit import Answer, Circuit
from meetme.composer.domain import Domain
from meetme.composer.effects import Build, Cancel, Compose, Effect, Look, Remove, Send, Timer, Wake
from meetme.composer.events import Event
from meetme.composer.messages import MessageType
from meetme.composer.signalling import step
from meetme.composer.turns import Turns
from meetme.composer.views import Due, view
from meetme.model.agreement import MemberId
from meetme.runtime.database import afterwards
from meetme.runtime.ledger import Cancelled, Debt, Owed, Step

KINDS = ("send", "compose", "build", "remove", "look", "negotiate", "wake")
"""Of effects."""
NEGOTIATION = "negotiate"
"""The key of the effect that starts the L3 negotiation: it is the shell's, the rules know nothing of it."""
ANSWER_SECONDS = 60.0
"""How long an answer says that it is good."""
WAKES: dict[str, Timer] = {kind.__name__: kind for kind in (ev.Deadline, ev.Unanswered, ev.CompareDue, ev.SearchDue)}

Entered = Callable[[Circuit | None, Circuit, float], None]


class CircuitMachine:
    """What the ledger and the loop run."""

    name = "circuit"

    def __init__(self, domain: Domain, turns: Turns, entered: Iterable[Entered] = ()) -> None:
        """`entered` are told of every change: how it was (None: it begins), how it is, and when that was."""
        self._domain = domain
        self._turns = turns
        self._entered = tuple(entered)
        self.changed = False
        """Whether claims have changed since somebody has set it back: what is told of the exchange may be old."""

    def load(self, tx: Connection, instance: str) -> Circuit | None:
        """The circuit as it is stored."""
        return store.load(tx, instance)

    def step(self, state: Circuit | None, event: Event) -> Step[Circuit]:
        """Ask the rules."""
        outcome = step(state, event)
        effects = tuple(write_effect(effect) for effect in outcome.effects)
        return Step(outcome.circuit, (*effects, *_then(state, outcome.circuit)))

    def save(self, tx: Connection, before: Circuit | None, after: Circuit, event: Event, now: float) -> None:
        """Write the state and everything that goes with it. Raises Conflict `claim_conflict`."""
        c = standing(after)
        if c != before:
            store.save(tx, c, new=before is None)
            wanted = claims(c)
            had = claims(before) if before is not None else frozenset()
            if wanted != had:
                # Only what is new has to fit: settings may have become narrower since.
                grown = not {(each.resource, each.label, each.bandwidth) for each in wanted} <= {
                    (each.resource, each.label, each.bandwidth) for each in had
                }
                checked = grown and not isinstance(event, ev.Restored | ev.Built)
                store.claim(tx, c.id, wanted, self._domain.limit, checked=checked)
                afterwards(tx, self._note_change)
            _tell(tx, before, c)
            _audit(tx, before, c, event, now)
            afterwards(tx, lambda: self._report(before, c, event, now))
            if before is not None and before.searching and not c.searching:
                self._turns.leave(tx, self.name, c.id, now)
        for answer in after.answers:
            store.MAILBOX.answer(tx, answer.peer, answer.to, wire.write_message(envelope(c, answer, now)))

    def _note_change(self) -> None:
        self.changed = True

    def _report(self, before: Circuit | None, after: Circuit, event: Event, now: float) -> None:
        """Log and count what has become of it. Only what is on disk is reported."""
        for entered in self._entered:
            entered(before, after, now)
        if before is not None and before.state is after.state:
            return
        log = structlog.get_logger().bind(circuit=str(after.id))
        problem = after.problem
        why = {"problem": problem.code, "text": problem.text} if problem is not None else {}
        was = before.state.value if before else None
        log.info("state", before=was, after=after.state.value, event_kind=type(event).__name__, **why)


def _then(before: Circuit | None, after: Circuit) -> tuple[Owed | Cancelled, ...]:
    """What is owed at either end when a circuit that says so is active for the first time, and when it goes."""
    at_end = after.is_head or any(leg.beyond is None for leg in after.legs)
    if after.request.then is None or not at_end:
        return ()
    was, ended = before is not None and before.established, before is not None and before.ending
    if after.ending:
        # Whatever was started is ended, and what was registered for it goes with it.
        return (Owed(NEGOTIATION, "negotiate", "{}"),) if after.established and not ended else ()
    return (Owed(NEGOTIATION, "negotiate", "{}"),) if after.established and not was else ()


def standing(c: Circuit) -> Circuit:
    """The same without what the last event made it answer."""
    return replace(c, answers=())


def envelope(c: Circuit, answer: Answer, now: float) -> wire.Message:
    """The answer to another composer's message, as it is kept and sent."""
    return wire.Message(
        circuit=c.id,
        message=uuid5(answer.to, "answer"),
        path=answer.path,
        attempt=answer.attempt,
        sender=c.me,
        to=answer.peer,
        expires=now + ANSWER_SECONDS,
        body=answer.body,
    )


def _tell(tx: Connection, before: Circuit | None, after: Circuit) -> None:
    if before is None or view(before) != view(after):
        logbook.tell(tx, after.id, "state", wire.view_json(view(after)))


def _audit(tx: Connection, before: Circuit | None, after: Circuit, event: Event, now: float) -> None:
    if before is not None and before.state is after.state:
        return
    request = after.request
    logbook.audit(
        tx,
        now,
        type(event).__name__,
        circuit=str(after.id),
        ordered_by=after.ordered_by,
        a=f"{request.a.member} {request.a.port}",
        b=f"{request.b.member} {request.b.port}",
        bandwidth=request.bandwidth,
        before=before.state.value if before else None,
        after=after.state.value,
        revision=after.revision,
        problem=after.problem.code if after.problem else None,
    )


# --- effects as the ledger keeps them ---------------------------------------------------------------------------------


def write_effect(effect: Effect) -> Owed | Cancelled:
    """An effect of the rules as the ledger keeps it."""
    match effect:
        case Cancel(key=key):
            return Cancelled(key)
        case Send():
            body = {**_leg(effect), "type": effect.type.value, "to": effect.to, "message": str(effect.message)}
            return Owed(effect.key, "send", json.dumps(body), effect.after)
        case Compose(paths=paths, after=after):
            return Owed(effect.key, "compose", json.dumps({"paths": list(paths)}), after)
        case Build(reference=reference):
            return Owed(effect.key, "build", json.dumps({**_leg(effect), "reference": reference}))
        case Remove(reference=reference, after=after):
            return Owed(effect.key, "remove", json.dumps({**_leg(effect), "reference": reference}), after)
        case Look(reference=reference):
            return Owed(effect.key, "look", json.dumps({**_leg(effect), "reference": reference}))
        case Wake(event=kind, after=after):
            return Owed(effect.key, "wake", json.dumps({**_leg(effect), "event": kind.__name__}), after)


def _leg(effect: Send | Build | Remove | Look | Wake) -> dict[str, int]:
    return {"path": effect.path, "attempt": effect.attempt}


def read_effect(kind: str, body: str) -> Effect:
    """The effect that `write_effect` wrote, from a lease or a debt."""
    facts = json.loads(body)
    leg = (facts.get("path", 0), facts.get("attempt", 0))
    match kind:
        case "send":
            return Send(MessageType(facts["type"]), MemberId(facts["to"]), UUID(facts["message"]), *leg)
        case "compose":
            return Compose(tuple(facts["paths"]))
        case "build":
            return Build(*leg, facts["reference"])
        case "remove":
            return Remove(*leg, facts["reference"])
        case "look":
            return Look(*leg, facts["reference"])
        case "wake":
            return Wake(WAKES[facts["event"]], 0.0, *leg)
    raise LookupError(kind)


def still_due(debts: Iterable[Debt], now: float) -> tuple[Due, ...]:
    """What of a circuit's debts a person wants to know: timers are none of it."""
    return tuple(
        Due(_named(debt), debt.attempts, debt.note, 0.0 if debt.owner else max(0.0, debt.due - now))
        for debt in debts
        if debt.kind != "wake"
    )


def _named(debt: Debt) -> str:
    if debt.kind == NEGOTIATION:
        return "see to the negotiation"
    match read_effect(debt.kind, debt.body):
        case Send(type=kind, to=to):
            return f"send {kind} to {to}"
        case Compose():
            return "find a route"
        case _:
            return debt.kind
