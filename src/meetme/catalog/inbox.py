"""Where messages of other catalog servers come in: who may say what, what was said before, and the answer.

Rules of this file:

1. A message is written down, handled and answered in one transaction; the answer leaves after the commit.
2. A known message gets the stored answer again, whatever has happened since.
3. A message that cannot begin or change anything (an order nobody knows, a request that is declined at once) writes
   nothing: strangers cannot fill the database.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid5

import structlog
from sqlalchemy import Connection

from meetme.catalog import events as ev
from meetme.catalog import store, wire
from meetme.catalog.events import Event
from meetme.catalog.lifecycle import step, stranger_answer
from meetme.catalog.machine import ANSWER_SECONDS as GOOD_SECONDS
from meetme.catalog.machine import OrderMachine
from meetme.catalog.messages import ANSWERS, AttachBody, Body, QueryBody, RequestBody, TerminateBody
from meetme.catalog.offers import Listing
from meetme.catalog.order import Order
from meetme.catalog.selling import judge
from meetme.catalog.words import ENDED
from meetme.model.agreement import MemberId
from meetme.model.envelope import check_envelope
from meetme.model.errors import Fault, Forbidden, Refused
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database, lock_until_commit
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.peer_figures import PeerFigures, Way
from meetme.runtime.sse import Bell

APPROVAL_SECONDS = 86_400.0
"""How long a person has to decide, if the settings do not say otherwise."""


class Inbox:
    """Takes the messages of the other catalog servers."""

    def __init__(
        self,
        database: Database,
        loop: Loop[Order, Event],
        ledger: Ledger,
        machine: OrderMachine,
        me: MemberId,
        offered: Callable[[Connection], Listing | None],
        bell: Bell,
        clock: Clock,
        figures: PeerFigures | None = None,
        *,
        approval_seconds: float = APPROVAL_SECONDS,
    ) -> None:
        """`offered`: the own listing, as of the transaction."""
        self._database = database
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._me = me
        self._offered = offered
        self._bell = bell
        self._clock = clock
        self._figures = figures or PeerFigures()
        self._approval_seconds = approval_seconds

    async def receive(self, raw: str, sender: MemberId) -> str | None:
        """Handle a message from `sender`, whose certificate was checked: the answer (JSON), or None: ask again.

        Raises InvalidInput, Forbidden `sender_mismatch`, `receiver_mismatch`, `not_a_party`, Stale `message_expired`,
        Refused `circuit_taken`.
        """
        with self._figures.exchange(Way.RECEIVED) as exchange:
            message = wire.read_message(raw)
            exchange.type = message.type
            with structlog.contextvars.bound_contextvars(order=str(message.order)):
                self._check(message, sender)
                rung = self._bell.listen(str(message.order))
                answer = await self._loop.commit(lambda tx: self._handle(tx, message, raw))
                if answer is None:
                    answer = await store.MAILBOX.answered(
                        self._database, self._bell, message.order, message.sender, message.message, rung
                    )
                structlog.get_logger().info(
                    "message received", type=message.type, message=str(message.message), peer=sender
                )
            exchange.pending = answer is None
        return answer

    def _check(self, message: wire.Message, sender: MemberId) -> None:
        check_envelope(
            sender=message.sender,
            certificate=sender,
            to=message.to,
            me=self._me,
            service="catalog",
            expires=message.expires,
            now=self._clock.now(),
            kind=message.type,
            asks=ANSWERS,
        )

    # --- in the transaction -------------------------------------------------------------------------------------------

    def _handle(self, tx: Connection, message: wire.Message, raw: str) -> str | None:
        self._ledger.lock(tx, self._machine.name, str(message.order))
        known = store.MAILBOX.known(tx, message.sender, message.message)
        if known is not None:
            return known.answer
        order = store.load(tx, message.order)
        if order is not None and order.partner != message.sender:
            raise Forbidden(
                "not_a_party",
                "message.order: must be one of the sender's",
                field="order",
                fault=Fault.REMOTE,
            )
        event = self._event(tx, message, order)
        if not isinstance(event, Event):
            return self._direct(message, event)
        now = self._clock.now()
        store.MAILBOX.put(
            tx, message.sender, message.message, message.order, body=raw, expires=message.expires, now=now
        )
        self._ledger.deliver(tx, self._machine, str(message.order), event, now)
        after = store.MAILBOX.known(tx, message.sender, message.message)
        return after.answer if after else None

    def _event(self, tx: Connection, message: wire.Message, order: Order | None) -> Event | Body:
        """What the message means to the rules; or the answer right away, where it changes nothing."""
        at, id = self._clock.now(), message.message
        match message.body:
            case RequestBody(wanted=wanted):
                judged = judge(wanted, self._offered(tx))
                event = ev.RequestReceived(
                    at,
                    id,
                    message.order,
                    self._me,
                    message.sender,
                    judged.wanted,
                    judged.refusal,
                    self._approval_seconds,
                    judged.offered,
                )
                if order is None:
                    begun = step(None, event).order
                    if begun.state in ENDED:
                        return begun.answers[0].body
                return event
            case _ if order is None:
                return stranger_answer(message.type)
            case AttachBody(circuit=circuit):
                # Two at once, about two orders, are looked at one after the other.
                lock_until_commit(tx, f"catalog circuit {circuit}")
                if store.has_circuit(tx, circuit, message.sender, message.order):
                    raise _taken(circuit)
                return ev.AttachReceived(at, id, circuit)
            case TerminateBody(reason=reason):
                return ev.TerminateReceived(at, id, reason)
            case QueryBody(state=state):
                return ev.QueryReceived(at, id, state)
            case _:
                raise AssertionError(message.type)

    def _direct(self, message: wire.Message, body: Body) -> str:
        answer = wire.Message(
            order=message.order,
            message=uuid5(message.message, "answer"),
            sender=self._me,
            to=message.sender,
            expires=self._clock.now() + GOOD_SECONDS,
            body=body,
        )
        return wire.write_message(answer)


def _taken(circuit: str) -> Refused:
    return Refused(
        "circuit_taken",
        f"circuit: must be of this order alone ('{circuit}' is of another one)",
        hint="the buyer's catalog server named one circuit for two orders",
        field="circuit",
        fault=Fault.REMOTE,
    )
