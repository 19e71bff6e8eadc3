"""The ledger's machine around the rules: loads, steps, and saves everything that belongs to a negotiation at once.

One transaction writes the state, the claims, the answers to the peer, the log of events and the audit entry; the ledger
adds the effects owed. So nothing is ever answered, told or done that is not on disk with the state it follows from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol
from uuid import UUID, uuid5

import structlog
from sqlalchemy import Connection

from meetme.negotiator import events as ev
from meetme.negotiator import logbook, store, wire
from meetme.negotiator.effects import CHANGE_KEY, Cancel, Effect, ForChange, Probe, Program, Send, Verb, Wake
from meetme.negotiator.events import Event
from meetme.negotiator.health import turned
from meetme.negotiator.messages import MessageType
from meetme.negotiator.negotiation import Answer, Negotiation, StepTime
from meetme.negotiator.protocol import claims, step
from meetme.negotiator.states import State
from meetme.negotiator.views import Due, change_view, view
from meetme.runtime.database import afterwards
from meetme.runtime.ledger import Cancelled, Debt, Owed, Step

ANSWER_SECONDS = 60.0
"""How long an answer says that it is good."""
WAKES: dict[str, type[ev.Deadline] | type[ev.CompareDue] | type[ev.ChangeDue] | type[ev.QuarantineOver]] = {
    kind.__name__: kind for kind in (ev.Deadline, ev.CompareDue, ev.ChangeDue, ev.QuarantineOver)
}


Entered = Callable[[Negotiation | None, Negotiation, float], None]


class Signer(Protocol):
    """This member's signature on agreements. Documents are JSON text."""

    def sign(self, payload: bytes) -> str:
        """A new document with the own signature."""

    def countersign(self, document: str) -> str:
        """The same document with the own signature added."""


class NegotiationMachine:
    """What the ledger and the loop run."""

    name = "negotiation"

    def __init__(self, signer: Signer, entered: Entered = lambda _before, _after, _now: None) -> None:
        """`entered` is told of every change of state: how it was (None: it begins), how it is, and when that was."""
        self._signer = signer
        self._entered = entered

    def load(self, tx: Connection, instance: str) -> Negotiation | None:
        """The negotiation as it is stored."""
        return store.load(tx, instance)

    def step(self, state: Negotiation | None, event: Event) -> Step[Negotiation]:
        """Ask the rules."""
        outcome = step(state, event)
        return Step(outcome.negotiation, tuple(write_effect(effect) for effect in outcome.effects))

    def save(self, tx: Connection, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
        """Write the state and everything that goes with it. Raises Conflict `claim_conflict`."""
        n = replace(self._signed(before, after, event), answers=())
        if n != before:
            store.save(tx, n, new=before is None)
            held = claims(n)
            if held != (claims(before) if before else frozenset()):
                store.claim(tx, n.id, held)
            if before is None or before.generation != n.generation:
                store.keep_generation(tx, n.circuit, n.generation)
            _tell(tx, before, n)
            _audit(tx, before, n, event, now)
            afterwards(tx, lambda: self._report(before, n, event, now))
        for answer in after.answers:
            store.MAILBOX.answer(tx, n.peer, answer.to, wire.write_message(envelope(n, answer, now)))

    def _signed(self, before: Negotiation | None, after: Negotiation, event: Event) -> Negotiation:
        """The same with its documents: that of the negotiation, and that of a change that is under way."""
        change = after.change
        if change is not None:
            same = before is not None and before.change is not None and before.change.number == change.number
            inside = event.event if isinstance(event, ev.OfChange) else event
            document = self._document(before.change if same and before else None, change, inside)
            change = replace(change, document=document)
        return replace(after, document=self._document(before, after, event), change=change)

    def _report(self, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
        """Log and count what has become of it. Only what is on disk is reported."""
        log = structlog.get_logger().bind(negotiation=str(after.id), peer=after.peer, circuit=after.circuit)
        for done in _new_steps(before, after):
            log.info("step", step=done.name, seconds=round(done.seconds, 4), ok=done.ok)
        if before is None or before.state is not after.state:
            problem = after.problem
            why = {"problem": problem.code, "text": problem.text} if problem is not None else {}
            was = before.state.value if before else None
            log.info("state", before=was, after=after.state.value, event_kind=type(event).__name__, **why)
            self._entered(before, after, now)
        elif _of_change(before) != _of_change(after):
            log.info("change", event_kind=_kind(event), **_of_change(after))

    def _document(self, before: Negotiation | None, after: Negotiation, event: Event) -> str | None:
        """The agreement with every signature there is by now: the own one is made when the state that needs it is."""
        if after.agreement is None:
            return None
        match event:
            case ev.Restored(document=str(document)) if before is None:
                return document
            case ev.CommitReceived(document=str(document)) if before and before.state is not after.state:
                return document
            case ev.HoldReceived(document=str(document)) if before and before.agreement is None:
                return self._signer.countersign(document)
        if after.document is None:
            return self._signer.sign(wire.agreement_payload(after.agreement))
        return after.document


def envelope(n: Negotiation, answer: Answer, now: float) -> wire.Message:
    """The answer to one of the peer's messages, as it is kept and sent."""
    return wire.Message(
        negotiation=n.id,
        message=uuid5(answer.to, "answer"),
        circuit=n.circuit,
        sender=n.me,
        to=n.peer,
        expires=now + ANSWER_SECONDS,
        body=answer.body,
        document=n.change.document if n.change is not None and n.change.number == answer.change else n.document,
        change=answer.change,
    )


def _new_steps(before: Negotiation | None, after: Negotiation) -> tuple[StepTime, ...]:
    """What was finished since: of the negotiation, and of a change, which counts from its own beginning."""
    found = after.steps[len(before.steps) if before else 0 :]
    c = after.change
    if c is None:
        return found
    old = before.change if before is not None and before.change is not None else None
    known = len(old.steps) if old is not None and old.number == c.number else 0
    return (*found, *(replace(done, name=f"change {c.number}: {done.name}") for done in c.steps[known:]))


def _of_change(n: Negotiation) -> dict[str, object]:
    """What people are to know of changes."""
    c = change_view(n)
    problem = c.problem if c else None
    return {
        "change": c.number if c else n.adopted,
        "stands": c.state.value if c else None,
        "agreed": n.agreement.revision if n.agreement else None,
        "refused": problem.code if problem else None,
    }


def _kind(event: Event) -> str:
    return type(event.event if isinstance(event, ev.OfChange) else event).__name__


def _tell(tx: Connection, before: Negotiation | None, after: Negotiation) -> None:
    for done in _new_steps(before, after):
        logbook.tell(tx, after.id, "step", {"name": done.name, "seconds": done.seconds, "ok": done.ok})
    if before is None or before.state is not after.state or _of_change(before) != _of_change(after):
        logbook.tell(tx, after.id, "state", wire.view_json(view(after)))
    elif after.state is State.ACTIVE and after.health is not None and turned(before.health, after.health):
        logbook.tell(tx, after.id, "health", wire.view_json(view(after))["health"])


def _for_audit(n: Negotiation) -> tuple[object, ...]:
    """What is not changed without an entry."""
    return (n.state, n.released, _of_change(n))


def _audit(tx: Connection, before: Negotiation | None, after: Negotiation, event: Event, now: float) -> None:
    if before is not None and _for_audit(before) == _for_audit(after):
        return
    logbook.audit(
        tx,
        now,
        _kind(event),
        negotiation=str(after.id),
        peer=after.peer,
        circuit=after.circuit,
        before=before.state.value if before else None,
        after=after.state.value,
        revision=after.revision,
        problem=after.problem.code if after.problem else None,
        **(_of_change(after) if after.changes or after.wanted else {}),
    )


# --- effects as the ledger keeps them ---------------------------------------------------------------------------------


def write_effect(effect: Effect) -> Owed | Cancelled:
    """An effect of the rules as the ledger keeps it."""
    match effect:
        case ForChange(effect=inner):
            return replace(write_effect(inner), key=effect.key)
        case Cancel(key=key):
            return Cancelled(key)
        case Send(type=kind, message=message, key=key, after=after):
            return Owed(key, "send", json.dumps({"type": kind.value, "message": str(message)}), after)
        case Program(verb=verb, generation=generation, confirm_seconds=seconds, after=after, key=key):
            body = {"verb": verb.value, "generation": generation, "confirm_seconds": seconds}
            return Owed(key, "program", json.dumps(body), after)
        case Probe(within=within, key=key):
            return Owed(key, "probe", json.dumps({"within": within}))
        case Wake(event=kind, after=after):
            return Owed(effect.key, "wake", json.dumps({"event": kind.__name__}), after)


def read_effect(kind: str, key: str, body: str) -> Effect:
    """The effect that `write_effect` wrote, from a lease or a debt."""
    if key.startswith(CHANGE_KEY):
        inner = read_effect(kind, key.removeprefix(CHANGE_KEY), body)
        if isinstance(inner, ForChange):
            raise LookupError(key)
        return ForChange(inner)
    facts = json.loads(body)
    match kind:
        case "send":
            return Send(MessageType(facts["type"]), UUID(facts["message"]), key)
        case "program":
            return Program(Verb(facts["verb"]), facts["generation"], facts["confirm_seconds"])
        case "probe":
            return Probe(facts["within"])
        case "wake":
            return Wake(WAKES[facts["event"]], 0.0)
    raise LookupError(kind)


def still_due(debts: Iterable[Debt], now: float) -> tuple[Due, ...]:
    """What of a negotiation's debts a person wants to know: timers are none of it."""
    return tuple(
        Due(_named(debt), debt.attempts, debt.note, 0.0 if debt.owner else max(0.0, debt.due - now))
        for debt in debts
        if debt.kind != "wake"
    )


def _named(debt: Debt) -> str:
    effect = read_effect(debt.kind, debt.key, debt.body)
    match effect.effect if isinstance(effect, ForChange) else effect:
        case Send(type=kind):
            what = f"send {kind}"
        case Program(verb=verb):
            what = f"router {verb}"
        case _:
            what = debt.kind
    return f"change: {what}" if isinstance(effect, ForChange) else what
