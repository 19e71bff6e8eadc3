"""Answers to messages that change nothing: of strangers, of latecomers, or repeated because the answer was lost."""

from __future__ import annotations

from dataclasses import replace

from meetme.composer import aligning, releasing
from meetme.composer import events as ev
from meetme.composer.circuit import Answer, Circuit, Leg, MemberId, State
from meetme.composer.events import Event
from meetme.composer.messages import (
    ActivatedBody,
    Body,
    CommittedBody,
    HeldBody,
    MessageType,
    RefusedBody,
    ReleasedBody,
    StateBody,
)


def stranger_answer(kind: MessageType) -> Body:
    """What to say to a message about a circuit, or a leg, that this composer does not know."""
    match kind:
        case MessageType.RELEASE:
            return ReleasedBody()
        case MessageType.QUERY:
            return StateBody(None, None)
        case _:
            return RefusedBody(releasing.GONE)


def neighbours(circuit: Circuit, path: int, attempt: int) -> frozenset[MemberId]:
    """Who may speak of this leg, or with path 0 of the circuit: whoever is beside any of its legs."""
    leg = circuit.leg(path, attempt)
    legs = (leg,) if leg is not None else circuit.legs
    beside = {side for x in legs for side in (x.before, x.beyond) if side is not None}
    if path == 0:  # a head that was restored from a backup does not know any more who had asked
        beside |= {x for x in (circuit.asked_by, circuit.head) if x is not None and x != circuit.me}
    return frozenset(beside)


def may_speak(circuit: Circuit | None, sender: MemberId, kind: MessageType, path: int, attempt: int) -> bool:
    """Whether `sender` may say that here: of a leg, only those beside this exchange on its way speak.

    Who begins one is looked at by the rules. One that is not known has no neighbours, as a circuit that is not: it is
    answered as any stranger's. A composer that had been asked, and was not heard of, may have been about to ask this
    one, which is part of the way round it by now, and takes that back; or this one is an older backup.
    """
    if circuit is None or kind is MessageType.HOLD or (path and circuit.leg(path, attempt) is None):
        return True
    if path == 0 and circuit.restored:
        return True  # whoever had passed it on is not known any more; nobody guesses its id
    return sender in neighbours(circuit, path, attempt)


def standing_answer(c: Circuit, event: Event) -> Circuit:
    """The circuit with an answer that says where this side stands, where the event was a message."""
    match event:
        case ev.CommitReceived() | ev.ActivateReceived() | ev.ReleaseReceived() | ev.QueryReceived():
            leg = c.leg(event.path, event.attempt)
            answer = Answer(event.message, event.sender, event.path, event.attempt, _standing(c, leg, event))
        case ev.PassedOn():
            known = c.asked_by == event.sender and not c.ending
            body: Body = HeldBody() if known else RefusedBody(c.problem or releasing.GONE, whole=True)
            answer = Answer(event.message, event.sender, 0, 0, body)
        case _:
            return c
    return replace(c, answers=(answer,))


def _standing(c: Circuit, leg: Leg | None, event: Event) -> Body:
    match event:
        case ev.CommitReceived() if leg is not None and leg.state in (State.COMMITTED, State.ACTIVE):
            return CommittedBody()
        case ev.ActivateReceived() if leg is not None and leg.state is State.ACTIVE:
            return ActivatedBody()
        case ev.ReleaseReceived():
            return ReleasedBody()
        case ev.QueryReceived():
            return aligning.standing(c, leg)
        case _:
            return RefusedBody((leg.problem if leg else None) or releasing.GONE, whole=c.ending)
