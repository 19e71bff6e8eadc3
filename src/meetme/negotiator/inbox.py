"""Where messages of other negotiators come in: who may say what, what was said before, and the answer.

Rules of this file:

1. A message is written down, handled and answered in one transaction; the answer leaves after the commit.
2. A known message gets the stored answer again, whatever has happened since.
3. A message that cannot begin or change anything (a refused circuit, a negotiation nobody knows, a dry run) writes
   nothing: strangers to a negotiation cannot fill the database.
"""

from __future__ import annotations

from uuid import UUID

import structlog
from sqlalchemy import Connection

from meetme.model.agreement import Agreement, MemberId, Role
from meetme.model.envelope import check_envelope
from meetme.model.errors import Conflict, Fault, Forbidden, InvalidInput, MeetMeError, Problem, raise_problems
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.circuits import land, port_in_use
from meetme.negotiator.claims import port_claim
from meetme.negotiator.events import Event
from meetme.negotiator.facts import port_problems
from meetme.negotiator.locks import lock_circuit, lock_claims
from meetme.negotiator.machine import NegotiationMachine, envelope
from meetme.negotiator.messages import (
    ANSWERS,
    Body,
    ChangeBody,
    CommitBody,
    ConfirmBody,
    ProposeBody,
    QueryBody,
    RefuseBody,
    StateBody,
    TerminateBody,
)
from meetme.negotiator.negotiation import Answer, Attachment, Negotiation
from meetme.negotiator.pace import Pace
from meetme.negotiator.policy import announce_problems
from meetme.negotiator.protocol import step, stranger_answer
from meetme.negotiator.reactions import yields
from meetme.negotiator.routers import Routers
from meetme.negotiator.side import Side, refused
from meetme.negotiator.states import State
from meetme.negotiator.views import Terms
from meetme.runtime.clock import Clock
from meetme.runtime.correlation import about
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.peer_figures import PeerFigures, Way
from meetme.runtime.sse import Bell


class Inbox:
    """Takes the messages of the peers."""

    def __init__(
        self,
        database: Database,
        loop: Loop[Negotiation, Event],
        ledger: Ledger,
        machine: NegotiationMachine,
        side: Side,
        routers: Routers,
        bell: Bell,
        clock: Clock,
        figures: PeerFigures | None = None,
    ) -> None:
        self._database = database
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._side = side
        self._routers = routers
        self._bell = bell
        self._clock = clock
        self._pace = Pace(clock)
        self._figures = figures or PeerFigures()

    async def receive(self, raw: str, sender: MemberId) -> str | None:
        """Handle a message from `sender`, whose certificate was checked: the answer (JSON), or None: ask again.

        Raises InvalidInput, Forbidden `sender_mismatch`, `not_a_party`, Stale `message_expired`.
        """
        with self._figures.exchange(Way.RECEIVED) as exchange:
            message = wire.read_message(raw)
            exchange.type = message.type
            with about(message.negotiation):
                answer = await self._answer(message, raw, sender)
                structlog.get_logger().info(
                    "message received", type=message.type, message=str(message.message), peer=sender
                )
            exchange.pending = answer is None
        return answer

    async def _answer(self, message: wire.Message, raw: str, sender: MemberId) -> str | None:
        self._check(message, sender)
        if isinstance(message.body, ProposeBody):
            if (excess := await self._excess(message)) is not None:
                return self._direct(message, RefuseBody((refused(excess),)))
            await self._look(message)
        rung = self._bell.listen(str(message.negotiation))
        answer = await self._loop.commit(lambda tx: self._handle(tx, message, raw))
        if answer is None:
            answer = await store.MAILBOX.answered(
                self._database, self._bell, message.negotiation, message.sender, message.message, rung
            )
        return answer

    def _check(self, message: wire.Message, sender: MemberId) -> None:
        check_envelope(
            sender=message.sender,
            certificate=sender,
            to=message.to,
            me=self._side.me,
            service="negotiator",
            expires=message.expires,
            now=self._clock.now(),
            kind=message.type,
            asks=ANSWERS,
        )

    async def _excess(self, message: wire.Message) -> Problem | None:
        """Whether a peer begins more than its policy allows. A further round or a repetition is no beginning."""
        policy = self._side.policy(message.sender)
        if policy.proposals_per_minute is None:
            return None
        if await self._database.read(lambda tx: store.load(tx, message.negotiation)) is not None:
            return None
        return self._pace.take(message.sender, policy, message.negotiation)

    async def _look(self, message: wire.Message) -> None:
        """A fresh look at the router that an offer is about. What goes wrong is said when the offer is handled."""
        try:
            attachment = await self._loop.commit(lambda tx: self._land(tx, message))
            await self._side.resolve()
            await self._routers.get(attachment.router).look(fresh=False)
        except MeetMeError:
            return

    # --- in the transaction -------------------------------------------------------------------------------------------

    def _handle(self, tx: Connection, message: wire.Message, raw: str) -> str | None:
        self._lock(tx, message.negotiation)
        known = store.MAILBOX.known(tx, message.sender, message.message)
        if known is not None:
            return known.answer
        n = store.load(tx, message.negotiation)
        if n is not None:
            self._check_party(n, message)
        event = self._event(tx, message, n)
        if not isinstance(event, Event):
            return self._direct(message, event)
        now = self._clock.now()
        store.MAILBOX.put(
            tx, message.sender, message.message, message.negotiation, body=raw, expires=message.expires, now=now
        )
        self._ledger.deliver(tx, self._machine, str(message.negotiation), event, now)
        after = store.MAILBOX.known(tx, message.sender, message.message)
        return after.answer if after else None

    def _lock(self, tx: Connection, negotiation: UUID) -> None:
        self._ledger.lock(tx, self._machine.name, str(negotiation))

    def _check_party(self, n: Negotiation, message: wire.Message) -> None:
        if n.peer != message.sender:
            raise Forbidden(
                "not_a_party",
                "message.negotiation: must be one of the sender's",
                field="negotiation",
                fault=Fault.REMOTE,
            )
        if n.circuit != message.circuit:
            raise InvalidInput(
                "circuit_mismatch",
                f'message.circuit: must be that of the negotiation ("{message.circuit}")',
                field="circuit",
                fault=Fault.REMOTE,
            )

    def _event(self, tx: Connection, message: wire.Message, n: Negotiation | None) -> Event | Body:
        """What the message means to the rules; or the answer right away, where it changes nothing."""
        at, id = self._clock.now(), message.message
        if message.change and n is not None:
            return self._of_change(tx, message, n)
        match message.body:
            case ProposeBody() as body if not message.change:
                return self._proposed(tx, message, body)
            case QueryBody(agreement=Agreement() as agreement, state=State.ACTIVE) if n is None:
                return self._restored(tx, message, agreement)
            case _ if n is None:
                return stranger_answer(message.type)
            case ChangeBody():
                return ev.ChangeWanted(at, id, self._side.wished(tx, n, n.wish))
            case _:
                return self._asked(message, n)

    def _asked(self, message: wire.Message, n: Negotiation) -> Event:
        """What a message means that needs nothing of this side's facts."""
        at, id = self._clock.now(), message.message
        match message.body:
            case CommitBody(agreement=agreement):
                document = message.document or ""
                self._side.verify(document, agreement, frozenset({n.peer, n.me}))
                return ev.CommitReceived(at, id, agreement, document)
            case ConfirmBody(verified=verified):
                return ev.ConfirmReceived(at, id, verified)
            case TerminateBody(reason=reason, undone=undone):
                return ev.TerminateReceived(at, id, reason, undone)
            case QueryBody() as body:
                handed = self._handed(n, body, message.document or "")
                return ev.QueryReceived(at, id, body.state, body.revision, body.agreed, body.changes, handed)
            case _:
                raise AssertionError(message.type)

    def _handed(self, n: Negotiation, body: QueryBody, document: str) -> ev.Handed | None:
        if body.agreement is None or n.agreement is None or body.agreement.revision <= n.agreement.revision:
            return None
        self._side.verify(document, body.agreement, frozenset({n.me, n.peer}))
        return ev.Handed(body.agreement, document, self._side.policy(n.peer))

    def _direct(self, message: wire.Message, body: Body) -> str:
        about = Negotiation(
            id=message.negotiation,
            role=Role.RESPONDER,
            me=self._side.me,
            peer=message.sender,
            circuit=message.circuit,
            order=None,
            attachment=Attachment("", ""),
            generation=0,
            started=0.0,
        )
        return wire.write_message(envelope(about, Answer(message.message, body, message.change), self._clock.now()))

    # --- offers -------------------------------------------------------------------------------------------------------

    def _land(self, tx: Connection, message: wire.Message) -> Attachment:
        registered = store.attachment(tx, message.circuit)
        return land(self._side.settings, message.circuit, (self._side.me, message.sender), registered)

    def _proposed(self, tx: Connection, message: wire.Message, body: ProposeBody) -> Event | Body:
        me, peer, id = self._side.me, message.sender, message.negotiation
        lock_circuit(tx, message.circuit)
        rival = store.rival(tx, message.circuit, other_than=id)
        if rival is not None and yields(rival, me=me, peer=peer):
            self._lock(tx, rival.id)
        lock_claims(tx)
        known = store.load(tx, id)
        try:
            attachment = self._land(tx, message)
            if known is None and any(s.agreement == id for router in self._routers for s in router.strays):
                # Known to the router and lost to the store: what it was is found out, it does not begin anew.
                raise Conflict(
                    "negotiation_known",
                    f"negotiation: must be a new one ({id} has a link on the router)",
                    hint="start again",
                    field="negotiation",
                )
            view = self._side.view(attachment)
            raise_problems(port_problems(attachment, view, Terms(), "circuit"))
            rival = store.rival(tx, message.circuit, other_than=id)
            holder = store.claimant(tx, "port", port_claim(attachment), other_than=id)
            if holder is not None and (rival is None or holder != rival.id):
                raise port_in_use(attachment, holder)
            if rival is not None and not body.dry_run and yields(rival, me=me, peer=peer):
                # First, so that what it claims is free for the one that survives.
                now = self._clock.now()
                self._ledger.deliver(tx, self._machine, str(rival.id), ev.Superseded(now, id), now)
            own = self._side.admitted(tx, peer, attachment, Terms(), known)
        except MeetMeError as error:
            structlog.get_logger().warning(
                "a proposal is refused", peer=peer, circuit=message.circuit, problem=error.text
            )
            return RefuseBody((refused(error.problem),))
        event = ev.ProposeReceived(
            at=self._clock.now(),
            message=message.message,
            id=id,
            peer=peer,
            circuit=message.circuit,
            order=body.order,
            attachment=attachment,
            own=own,
            generation=store.next_generation(tx, message.circuit, self._clock.now()),
            offer=body.offer,
            policy=self._side.policy(peer),
            agreements=store.live_with(tx, peer) - (known is not None),
            rival=rival,
        )
        if body.dry_run:
            # The rules are asked, and what they say is held by nobody and signed by nobody.
            (answer,) = step(None, event).negotiation.answers
            return answer.body
        return event

    # --- changes ------------------------------------------------------------------------------------------------------

    def _of_change(self, tx: Connection, message: wire.Message, n: Negotiation) -> Event | Body:
        """A message about a change of the agreement."""
        number, body = message.change, message.body
        if not isinstance(body, ProposeBody):
            return ev.OfChange(number, self._asked(message, n))
        lock_claims(tx)
        c = n.change
        wish = c.wish if c is not None and c.number == number else n.wanted or n.wish
        try:
            own = self._side.wished(tx, n, wish)
        except MeetMeError as error:
            structlog.get_logger().warning("a change is refused", peer=n.peer, circuit=n.circuit, problem=error.text)
            return RefuseBody((refused(error.problem),))
        proposed = ev.ProposeReceived(
            at=self._clock.now(),
            message=message.message,
            id=n.id,
            peer=n.peer,
            circuit=n.circuit,
            order=n.order,
            attachment=n.attachment,
            own=own,
            generation=n.generation,
            offer=body.offer,
            policy=self._side.policy(n.peer),
            base=body.base,
        )
        event = ev.OfChange(number, proposed)
        if not body.dry_run:
            return event
        return next(a.body for a in step(n, event).negotiation.answers if a.to == message.message)

    # --- a lost database ----------------------------------------------------------------------------------------------

    def _restored(self, tx: Connection, message: wire.Message, agreement: Agreement) -> Event | Body:
        """The peer holds an active agreement that is not known here. Taken up again if both have signed it, and if
        policy still lets the peer announce what it brings.
        """
        me, document = self._side.me, message.document or ""
        sides = {agreement.initiator.member: Role.INITIATOR, agreement.responder.member: Role.RESPONDER}
        about_us = set(sides) == {me, message.sender}
        if not about_us or (agreement.id, agreement.circuit) != (message.negotiation, message.circuit):
            return stranger_answer(message.type)
        self._side.verify(document, agreement, frozenset({me, message.sender}))
        theirs = [entry.real for entry in agreement.side(sides[message.sender]).prefixes]
        if any(announce_problems(self._side.policy(message.sender), theirs, "agreement.prefixes")):
            # What was agreed then is not allowed any more: it is over here, and so the peer ends it too.
            return StateBody(State.FAILED, 0)
        attachment = self._land(tx, message)
        return ev.Restored(
            at=self._clock.now(),
            message=message.message,
            agreement=agreement,
            role=sides[me],
            attachment=attachment,
            generation=store.next_generation(tx, message.circuit, self._clock.now()),
            document=document,
        )
