"""Where messages of other composers come in: who may say what, what was said before, and the answer.

Rules of this file:

1. A message is written down, handled and answered in one transaction; the answer leaves after the commit.
2. A known message gets the stored answer again, whatever has happened since.
3. A message about a circuit that nobody knows here, which cannot begin one, is answered and writes nothing, but for a
   `release`: that is remembered, for its `hold` may be on its way still. Before it is said that such a one is
   released, nothing of it is left at the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from uuid import uuid5

import structlog
from sqlalchemy import Connection

from meetme.composer import events as ev
from meetme.composer import store, wire
from meetme.composer.accounts import Accounts
from meetme.composer.answering import may_speak, stranger_answer
from meetme.composer.circuit import Circuit
from meetme.composer.desk import no_negotiator
from meetme.composer.domain import Domain
from meetme.composer.events import Event
from meetme.composer.machine import ANSWER_SECONDS as GOOD_SECONDS
from meetme.composer.machine import CircuitMachine
from meetme.composer.messages import (
    ANSWERS,
    ActivateBody,
    Body,
    CommitBody,
    HoldBody,
    QueryBody,
    ReleaseBody,
)
from meetme.composer.planner import Planner
from meetme.composer.releasing import GONE
from meetme.composer.views import NEGOTIATE
from meetme.composer.words import reference
from meetme.ixapi.exchange import Exchange
from meetme.ixapi.orders import SegmentState
from meetme.model.agreement import MemberId
from meetme.model.envelope import check_envelope
from meetme.model.errors import Fault, Forbidden, MeetMeError, Pending, Problem
from meetme.model.members import Member, MemberKind
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.mailbox import ANSWER_SECONDS
from meetme.runtime.peer_figures import PeerFigures, Way
from meetme.runtime.sse import Bell


class Inbox:
    """Takes the messages of the other composers."""

    def __init__(
        self,
        database: Database,
        loop: Loop[Circuit, Event],
        ledger: Ledger,
        machine: CircuitMachine,
        domain: Domain,
        planner: Planner,
        exchange: Exchange,
        bell: Bell,
        clock: Clock,
        figures: PeerFigures | None = None,
        *,
        negotiates: Container[MemberId] = frozenset(),
    ) -> None:
        self._database = database
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._domain = domain
        self._accounts = Accounts(domain)
        self._planner = planner
        self._exchange = exchange
        self._bell = bell
        self._clock = clock
        self._figures = figures or PeerFigures()
        self._negotiates = negotiates

    async def receive(self, raw: str, sender: Member) -> str | None:
        """Handle a message from `sender`, whose certificate was checked: the answer (JSON), or None: ask again.

        Raises InvalidInput, Forbidden `sender_mismatch`, `receiver_mismatch`, `not_an_exchange`, Stale.
        """
        with self._figures.exchange(Way.RECEIVED) as exchange:
            message = wire.read_message(raw)
            exchange.type = message.type
            with structlog.contextvars.bound_contextvars(circuit=str(message.circuit)):
                self._check(message, sender)
                found = await self._found(message)
                if not await self._cleared(message):
                    exchange.pending = True
                    return None
                rung = self._bell.listen(str(message.circuit))
                answer = await self._loop.commit(lambda tx: self._handle(tx, message, raw, found))
                if answer is None:
                    answer = await store.MAILBOX.answered(
                        self._database, self._bell, message.circuit, message.sender, message.message, rung
                    )
                structlog.get_logger().info(
                    "message received", type=message.type, message=str(message.message), peer=sender.id
                )
            exchange.pending = answer is None
        return answer

    def _check(self, message: wire.Message, sender: Member) -> None:
        if sender.kind is not MemberKind.IXP:
            raise Forbidden(
                "not_an_exchange",
                f'message.from: must be an exchange ("{sender.id}" is a {sender.kind})',
                hint="members order circuits with POST /api/v1/circuits",
                field="from",
                fault=Fault.REMOTE,
            )
        check_envelope(
            sender=message.sender,
            certificate=sender.id,
            to=message.to,
            me=self._domain.me,
            service="composer",
            expires=message.expires,
            now=self._clock.now(),
            kind=message.type,
            asks=ANSWERS,
        )

    async def _found(self, message: wire.Message) -> bool:
        """Whether the exchange carries the segment of a leg that is handed over."""
        if not isinstance(message.body, QueryBody) or message.body.handed is None:
            return False
        try:
            seen = await self._exchange.look(reference(message.circuit, message.path, message.attempt))
        except MeetMeError:
            return False
        return seen.state is not SegmentState.ABSENT

    async def _cleared(self, message: wire.Message) -> bool:
        """Take off the exchange what this composer does not know and a neighbour takes back; False: not done yet.

        A store restored from a backup has forgotten legs that its exchange still carries. Raises MeetMeError where the
        exchange cannot be asked: then the neighbour still owes the release, and comes again.
        """
        if not isinstance(message.body, ReleaseBody) or message.path == 0:
            return True
        c = await self._database.read(lambda tx: store.load(tx, message.circuit))
        if c is not None and c.leg(message.path, message.attempt) is not None:
            return True
        self._check_party(message, c)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._exchange.remove(reference(message.circuit, message.path, message.attempt))
        except (TimeoutError, Pending):
            return False
        return True

    # --- in the transaction -------------------------------------------------------------------------------------------

    def _handle(self, tx: Connection, message: wire.Message, raw: str, found: bool) -> str | None:
        self._ledger.lock(tx, self._machine.name, str(message.circuit))
        known = store.MAILBOX.known(tx, message.sender, message.message)
        if known is not None:
            return known.answer
        c = store.load(tx, message.circuit)
        self._check_party(message, c)
        event = self._event(tx, message, c, found)
        if not isinstance(event, Event):
            if isinstance(message.body, ReleaseBody):
                now = self._clock.now()
                store.give_up(tx, message.circuit, message.path, message.sender, message.attempt, now)
            return self._direct(message, event)
        now = self._clock.now()
        store.MAILBOX.put(
            tx, message.sender, message.message, message.circuit, body=raw, expires=message.expires, now=now
        )
        self._ledger.deliver(tx, self._machine, str(message.circuit), event, now)
        after = store.MAILBOX.known(tx, message.sender, message.message)
        return after.answer if after else None

    @staticmethod
    def _check_party(message: wire.Message, c: Circuit | None) -> None:
        if not may_speak(c, message.sender, message.type, message.path, message.attempt):
            raise Forbidden(
                "not_a_party",
                "message.circuit: must be one that leads through the sender, beside this exchange",
                field="circuit",
                fault=Fault.REMOTE,
            )

    def _event(self, tx: Connection, m: wire.Message, c: Circuit | None, found: bool) -> Event | Body:
        """What the message means to the rules; or the answer right away, where it changes nothing."""
        at, me = self._clock.now(), self._domain.me
        leg = c.leg(m.path, m.attempt) if c is not None else None
        match m.body:
            case HoldBody() as body if m.path == 0:
                return ev.PassedOn(at, m.circuit, me, m.sender, m.message, body, self._against_passing(tx, m, body))
            case HoldBody() as body:
                position = len(body.trace)
                ledger = self._accounts.ledger(tx, m.circuit, (body.hops, position))
                against = self._against(body, position)
                given_up = store.given_up(tx, m.circuit, m.path, m.sender) or 0
                return ev.HoldReceived(
                    at, m.circuit, me, m.sender, m.message, m.path, m.attempt, body, ledger, against, given_up
                )
            case QueryBody(handed=handed, whole=whole) if handed is not None and leg is None and m.path:
                position = len(handed.hops) and next((i for i, h in enumerate(handed.hops) if h.exchange == me), 0)
                ledger = self._accounts.ledger(tx, m.circuit, (handed.hops, position))
                return ev.Restored(
                    at, m.circuit, me, m.sender, m.message, m.path, m.attempt, handed, whole, found, ledger
                )
            case _ if c is None or (m.path and leg is None):
                return stranger_answer(m.type)
            case CommitBody(trace=trace):
                way = (leg.hops, leg.position) if leg is not None else ((), 0)
                ledger = self._accounts.ledger(tx, m.circuit, way)
                return ev.CommitReceived(at, m.sender, m.message, m.path, m.attempt, trace, ledger)
            case ActivateBody(trace=trace, seconds=seconds):
                return ev.ActivateReceived(at, m.sender, m.message, m.path, m.attempt, trace, seconds)
            case ReleaseBody(problem=problem, element=element, whole=whole):
                return ev.ReleaseReceived(at, m.sender, m.message, m.path, m.attempt, problem, element, whole)
            case QueryBody(state=state, whole=whole):
                return ev.QueryReceived(at, m.sender, m.message, m.path, m.attempt, state, whole)
            case _:
                raise AssertionError(m.type)

    def _against(self, body: HoldBody, position: int) -> Problem | None:
        """What this side has against its part of a route, apart from capacity."""
        if not 0 < position < len(body.hops) or body.hops[position].exchange != self._domain.me:
            return None  # the rules say what is wrong with such a route
        problem = self._domain.way_problem(body.hops, position, body.mtu)
        if problem is None and position == len(body.hops) - 1:
            problem = self._domain.end_problem(body.request.b, body.ordered_by, "b")
        return problem

    def _against_passing(self, tx: Connection, m: wire.Message, body: HoldBody) -> Problem | None:
        """What this side has against being the head of a circuit that was ordered elsewhere."""
        if store.given_up(tx, m.circuit, m.path, m.sender) is not None:
            return GONE
        if body.request.then == NEGOTIATE and body.request.a.member not in self._negotiates:
            return no_negotiator()
        problem = self._domain.end_problem(body.request.a, body.ordered_by, "a")
        if problem is None and body.request.b.port in dict(self._domain.access_ports()):
            ends = dict(self._domain.access_ports())
            if ends[body.request.b.port] == body.request.b.member:
                problem = self._domain.end_problem(body.request.b, body.ordered_by, "b")
        return problem

    def _direct(self, message: wire.Message, body: Body) -> str:
        answer = wire.Message(
            circuit=message.circuit,
            message=uuid5(message.message, "answer"),
            path=message.path,
            attempt=message.attempt,
            sender=MemberId(self._domain.me),
            to=message.sender,
            expires=self._clock.now() + GOOD_SECONDS,
            body=body,
        )
        return wire.write_message(answer)
