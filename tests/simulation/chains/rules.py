"""The rules as the composers run them, and how messages become events. Mutants take the place of this class."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from meetme.composer import answering, bodies, capacity, releasing, signalling
from meetme.composer import events as ev
from meetme.composer.capacity import Claim
from meetme.composer.circuit import Circuit, MemberId, reference
from meetme.composer.effects import Outcome, Send
from meetme.composer.events import Event
from meetme.composer.messages import (
    ANSWERS,
    ActivateBody,
    ActivatedBody,
    Body,
    CommitBody,
    CommittedBody,
    HeldBody,
    HoldBody,
    MessageType,
    QueryBody,
    RefusedBody,
    ReleaseBody,
    ReleasedBody,
    StateBody,
    type_of,
)
from meetme.model.errors import Problem

if TYPE_CHECKING:
    from tests.simulation.chains.member import Composer, Letter


class Rules:
    """What a composer decides by."""

    setups = 2
    """How many circuits are set up at a time."""
    no_route = Problem("no_route", "path: there must be one")

    def step(self, now: Circuit | None, event: Event) -> Outcome:
        """One step of the table."""
        return signalling.step(now, event)

    def claims(self, circuit: Circuit) -> frozenset[Claim]:
        """What a circuit keeps from the others."""
        return capacity.claims(circuit)

    def has_turn(self, here: Composer, id: UUID) -> bool:
        """Whether it may be set up now. Else it waits, and is called."""
        here.disk.turns.setdefault(id, False)
        here.call_next()
        return here.disk.turns[id]

    def leave(self, here: Composer, id: UUID) -> None:
        """It is not being set up any more: it is another one's turn."""
        here.disk.turns.pop(id, None)
        here.call_next()

    def given_up(self, here: Composer, id: UUID, path: int) -> int:
        """What was released before it was held."""
        return here.disk.given_up.get((id, path), 0)

    def body(
        self, circuit: Circuit, kind: MessageType, to: MemberId, path: int, attempt: int, at: float
    ) -> Body | None:
        """What a message says."""
        return bodies.body(circuit, kind, to, path, attempt, at)

    def may_speak(self, circuit: Circuit | None, letter: Letter) -> bool:
        """Whether the sender is listened to. Here all are honest: nobody may be refused."""
        return answering.may_speak(circuit, letter.sender, letter.type, letter.path, letter.attempt)

    def received(self, here: Composer, letter: Letter) -> Event | Body | None:
        """The event that a message is; or its answer at once, where nothing is known of what it is about."""
        at, who, id = here.now(), letter.sender, letter.id
        about = (letter.path, letter.attempt)
        circuit = here.disk.circuits.get(id)
        known = circuit is not None and (letter.path == 0 or circuit.leg(*about) is not None)
        if not self.may_speak(circuit, letter):
            raise AssertionError(f"{here.name} lets {who} say no {letter.type} of {letter.path}@{letter.attempt}")
        match letter.body:
            case HoldBody() as body if letter.path == 0:
                gone = releasing.GONE if (id, 0) in here.disk.given_up else None
                return ev.PassedOn(at, id, here.name, who, letter.message, body, gone)
            case HoldBody() as body:
                late = self.given_up(here, id, letter.path)
                return ev.HoldReceived(
                    at, id, here.name, who, letter.message, *about, body, here.ledger(id), None, late
                )
            case QueryBody(handed=handed, whole=whole) if handed is not None and not known:
                found = here.exchange.ready(reference(id, *about))
                return ev.Restored(
                    at, id, here.name, who, letter.message, *about, handed, whole, found, here.ledger(id)
                )
            case ReleaseBody() if not known:
                here.exchange.remove(reference(id, *about))  # a restored backup may know nothing of it
                path = (id, letter.path)
                here.disk.given_up[path] = max(here.disk.given_up.get(path, 0), letter.attempt)
                return ReleasedBody()
        if not known:
            return signalling.stranger_answer(letter.type)
        match letter.body:
            case CommitBody(trace=trace):
                return ev.CommitReceived(at, who, letter.message, *about, trace, here.ledger(id))
            case ActivateBody(trace=trace, seconds=seconds):
                return ev.ActivateReceived(at, who, letter.message, *about, trace, seconds)
            case ReleaseBody(problem=problem, element=element, whole=all_of_it):
                return ev.ReleaseReceived(at, who, letter.message, *about, problem, element, all_of_it)
            case QueryBody(state=state, whole=whole):
                return ev.QueryReceived(at, who, letter.message, *about, state, whole)
            case _:
                raise AssertionError(letter)

    def heard(self, here: Composer, id: UUID, asked: Send, answer: Body) -> Event | None:
        """The event that an answer is."""
        at, about = here.now(), (asked.path, asked.attempt)
        assert type_of(answer) in ANSWERS[asked.type], (asked, answer)
        match answer:
            case HeldBody() if asked.path == 0:
                return ev.AcceptedReceived(at)
            case HeldBody(label=label):
                return ev.HeldReceived(at, *about, label, here.ledger(id))
            case CommittedBody():
                return None
            case ActivatedBody():
                return ev.ActivatedReceived(at, *about)
            case RefusedBody(problem=problem, element=element, whole=whole, seen=seen):
                return ev.RefusedReceived(at, *about, asked.to, problem, element, whole, seen)
            case ReleasedBody():
                return ev.ReleasedReceived(at, *about, asked.to)
            case StateBody(state=state, whole=whole, problem=problem):
                return ev.StateReceived(at, *about, asked.to, state, whole, problem)
            case _:
                raise AssertionError(answer)
