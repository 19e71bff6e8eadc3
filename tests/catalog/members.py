"""Two members' orders over the durable loop: real stores, real rules, a way between them that can be cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from meetme.catalog import events as ev
from meetme.catalog import store, wire
from meetme.catalog.events import Event
from meetme.catalog.fake import FakeUnderlay, FakeWorld
from meetme.catalog.inbox import Inbox
from meetme.catalog.machine import OrderMachine
from meetme.catalog.offers import Listing
from meetme.catalog.order import Order
from meetme.catalog.performer import Performer
from meetme.catalog.words import State, Wanted
from meetme.model.agreement import MemberId
from meetme.model.errors import Unreachable
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.sse import Bell

CLOCK = SystemClock()


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Member:
    """One member: what outlives its process, and the process."""

    me: MemberId
    database: Database
    world: FakeWorld
    listing: Listing | None = None
    others: dict[str, Member] = field(default_factory=dict)
    cut: bool = False
    dies: Callable[[str], bool] = lambda _point: False
    """Asked before and after each effect: whether the process dies at this point."""
    lives: int = 0
    inbox: Inbox | None = None

    def __post_init__(self) -> None:
        self.bell = Bell()
        self.ledger, self.machine = Ledger(), OrderMachine()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin a life. What the last one had leased is free at once, as `Replicas` sees to it elsewhere."""
        self.lives += 1
        performer = Performer(self.database, self.ledger, self, FakeUnderlay(self.world, self.me), CLOCK)

        async def perform(lease: Lease) -> Any:
            self._point(f"before {lease.kind} {lease.key}")
            result = await performer(lease)
            self._point(f"after {lease.kind} {lease.key}")
            return result

        owner = f"{self.me}/{self.lives}"
        self.database.run_now(
            lambda tx: self.ledger.reclaim(tx, [o for o in self.ledger.owners(tx) if o != owner], CLOCK.now())
        )
        self.loop: Loop[Order, Event] = Loop(
            self.database, self.ledger, self.machine, perform, owner=owner, clock=CLOCK, committed=self.bell.ring
        )
        parts = (self.loop, self.ledger, self.machine, self.me, lambda _tx: self.listing, self.bell, CLOCK)
        self.inbox = Inbox(self.database, *parts)
        self.task = asyncio.create_task(self.loop.run())

    async def kill(self) -> None:
        """kill -9, as far as the store can tell."""
        self.inbox = None
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    def _point(self, point: str) -> None:
        if self.dies(point):
            self.dies = lambda _point: False
            self.inbox = None
            asyncio.get_running_loop().call_soon(asyncio.ensure_future, self._rise())
            raise asyncio.CancelledError

    async def _rise(self) -> None:
        await self.kill()
        self.start()

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """The way to the other one (`performer.CatalogLine`)."""
        other = self.others[peer]
        if self.cut or other.inbox is None:
            raise Unreachable("peer_unreachable", "peer: must be reachable")
        answer = await other.inbox.receive(wire.write_message(message), self.me)
        return None if answer is None else json.loads(answer)

    # --- what a person does -------------------------------------------------------------------------------------------

    async def place(self, id: UUID, seller: MemberId, wanted: Wanted) -> None:
        await self.loop.deliver(str(id), ev.Placed(CLOCK.now(), id, self.me, seller, wanted))

    async def terminate(self, id: UUID) -> None:
        await self.loop.deliver(str(id), ev.TerminateAsked(CLOCK.now()))

    def order(self, id: UUID) -> Order | None:
        return self.database.run_now(lambda tx: store.load(tx, id))

    async def until(self, id: UUID, *states: State, seconds: float = 30.0) -> Order:
        """Wait for one of these states."""
        async with asyncio.timeout(seconds):
            while True:
                rung = self.bell.listen(str(id))
                order = self.order(id)
                if order is not None and order.state in states:
                    return order
                try:
                    async with asyncio.timeout(1.0):  # a life that has ended rings for nobody
                        await rung.wait()
                except TimeoutError:
                    continue


@asynccontextmanager
async def two_members(listing: Listing) -> AsyncIterator[tuple[Member, Member]]:
    """A buyer and a seller that offers `listing`."""
    world = FakeWorld()
    members = []
    for name in ("csp-a", "csp-b"):
        database = Database.open("sqlite://")
        migrate(database, "meetme.runtime")
        migrate(database, "meetme.catalog")
        members.append(Member(MemberId(name), database, world))
    a, b = members
    b.listing = listing
    for member in members:
        member.others = {other.me: other for other in members}
        member.start()
    try:
        yield a, b
    finally:
        for member in members:
            await member.kill()
            member.database.close_now()
