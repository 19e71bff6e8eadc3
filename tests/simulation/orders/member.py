"""One member: what is on its disk, and the catalog processes on it, made of the real parts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import ip_network
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from meetme.catalog import store, wire
from meetme.catalog.desk import Desk
from meetme.catalog.events import Event
from meetme.catalog.inbox import Inbox
from meetme.catalog.machine import OrderMachine
from meetme.catalog.offers import Entry, Listing, Offer, OfferEnd
from meetme.catalog.order import Order
from meetme.catalog.performer import Performer
from meetme.catalog.underlay import Underlay
from meetme.catalog.words import Connectivity
from meetme.model.agreement import MemberId
from meetme.runtime.clock import SharedClock
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.sse import Bell
from tests.simulation.disk import Disk
from tests.simulation.orders.line import OrderLine
from tests.simulation.orders.underlay import SimulatedUnderlay
from tests.simulation.process import Process
from tests.simulation.scheduler import Chance
from tests.simulation.siblings import Siblings

if TYPE_CHECKING:
    from tests.simulation.orders.world import World

T = TypeVar("T")
APPROVAL_SECONDS = 40.0
_ENDS = (OfferEnd(MemberId("ixp"), "p1"),)
_L3: dict[str, Any] = {"category": "storage", "ends": _ENDS, "prefix": ip_network("10.0.0.0/24")}
_NONE: dict[str, Any] = {"category": "web", "connectivity": Connectivity.NONE, "instructions": "https://x.example"}
OFFERS = (
    Offer(name="vault", title="Vault", **_L3),
    Offer(name="asked-vault", title="Vault", approval=True, **_L3),
    Offer(name="wire", title="Wire", category="link", connectivity=Connectivity.L2, ends=_ENDS),
    Offer(name="page", title="Page", **_NONE),
    Offer(name="asked-page", title="Page", approval=True, **_NONE),
)
CRASH_POINTS = (
    "after an effect, before it is settled",
    "before an effect",
    "after a message was handled, before its answer left",
    "before a message is handled",
    "before a transaction",
    "after a transaction",
)
"""Where a catalog dies."""


@dataclass
class Member:
    """What of a member survives its processes, and the processes that live right now."""

    id: MemberId
    disk: Disk
    replicas: int = 1
    crooked: bool = False
    negotiators: list[Catalog | None] = field(default_factory=list)
    """Its catalogs, on one database; `Siblings` calls them so."""
    lives: int = 0
    known: dict[UUID, Order] = field(default_factory=dict)
    """What was committed last."""
    entered: dict[UUID, float] = field(default_factory=dict)
    """When each of them came into its present state."""
    backup: bytes | None = None
    restored: bool = False
    withdrawn: bool = False
    """It offers nothing at present."""

    def __post_init__(self) -> None:
        self.negotiators = [None] * self.replicas

    @property
    def alive(self) -> list[Catalog]:
        """The replicas that run."""
        return [catalog for catalog in self.negotiators if catalog is not None]

    def somebody(self, chance: Chance, where: str) -> Catalog | None:
        """One of the replicas that run."""
        alive = self.alive
        if len(alive) < 2:
            return alive[0] if alive else None
        return alive[int(chance.amount(f"replica {where}", 0.0, len(alive)))]

    def listing(self) -> Listing:
        """What it offers."""
        return Listing(provider=self.id, version=1, issued=0.0, expires=4e9, offers=() if self.withdrawn else OFFERS)


class Storage:
    """The database as one process sees it: in every transaction it may die before and after."""

    def __init__(self, process: Catalog) -> None:
        self._process = process

    async def run(self, f: Callable[[Connection], T]) -> T:
        """As `Database.run`."""
        process = self._process
        await process.world.a_while(0.0005)
        process.crash_point("before a transaction")
        changed: dict[UUID, Order] = {}

        def transaction(tx: Connection) -> T:
            process.changed.clear()
            result = f(tx)
            changed.update({id: wire.load_order(_body(process.member.disk, id)) for id in process.changed})
            return result

        result = process.member.disk.run(transaction)
        if changed:
            process.world.committed(process.member, changed)
        process.crash_point("after a transaction")
        await process.world.a_while(0.0)
        return result

    async def read(self, f: Callable[[Connection], T]) -> T:
        """As `Database.read`: one transaction like any other, only that nothing may be written."""

        def look(tx: Connection) -> T:
            found = f(tx)
            assert not self._process.changed
            return found

        return await self.run(look)


def _body(disk: Disk, id: UUID) -> str:
    text: str = disk.raw.execute("SELECT body FROM catalog_order WHERE id = ?", (str(id),)).fetchone()[0]
    return text


@dataclass(frozen=True)
class Parts:
    """What a catalog is built of. A mutant replaces one."""

    ledger: Callable[[], Ledger] = Ledger
    machine: Callable[[], OrderMachine] = OrderMachine
    performer: Callable[..., Performer] = Performer
    inbox: Callable[..., Inbox] = Inbox
    loop: Callable[..., Loop[Order, Event]] = Loop
    siblings: Callable[..., Siblings] = Siblings
    underlay: Callable[[Catalog], Underlay] = SimulatedUnderlay


class Catalog(Process):
    """One life of the catalog process."""

    def __init__(self, world: World, member: Member, slot: int, parts: Parts) -> None:
        sim: Any = world
        super().__init__(sim, f"{member.id}'s catalog {slot + 1 if slot else ''}".rstrip())
        self.world: World = world  # type: ignore[assignment]
        self.member = member
        self.changed: dict[UUID, None] = {}
        clock = SharedClock(world.clock(f"{member.id}/{slot}"))
        owner = f"{member.id}/{member.lives}"
        self.bell = Bell()
        storage: Any = Storage(self)
        ledger, machine = parts.ledger(), world.watched(member, parts.machine(), self._note)
        performer = parts.performer(storage, ledger, OrderLine(world, self), parts.underlay(self), clock)

        async def perform(lease: Lease) -> Any:
            self.crash_point("before an effect")
            result = await performer(lease)
            self.crash_point("after an effect, before it is settled")
            return result

        self.loop = parts.loop(
            storage,
            ledger,
            machine,
            perform,
            owner=owner,
            clock=clock,
            committed=self._committed,
            random=Random(f"{world.seed}/{member.id}/{member.lives}"),
        )
        self.inbox = parts.inbox(
            storage,
            self.loop,
            ledger,
            machine,
            member.id,
            lambda _tx: member.listing(),
            self.bell,
            clock,
            approval_seconds=APPROVAL_SECONDS,
        )
        self.desk = Desk(
            self.loop, ledger, machine, member.id, lambda _tx: world.catalogue(), clock, new_id=world.new_id
        )
        me: Any = self
        self.siblings = parts.siblings(me, ledger, owner, clock, self.hear)
        self.spawn(self._run())

    def _committed(self, instances: Collection[str]) -> None:
        self.bell.ring(instances)
        self.siblings.wrote(instances)

    def hear(self, instances: Collection[str]) -> None:
        """Another replica on the same database has written, or may have."""
        self.bell.ring(instances)
        self.loop.wake()

    async def _run(self) -> None:
        self.siblings.join()
        self.spawn(self.siblings.run())
        await self.loop.run()

    def _note(self, id: UUID) -> None:
        self.changed[id] = None


def load(member: Member, id: UUID) -> Order | None:
    """An order as it is on a member's disk."""
    return member.disk.run(lambda tx: store.load(tx, id))


def entries(member: Member) -> list[Entry]:
    """What others know of its offers."""
    return [Entry(member.id, 1, offer) for offer in OFFERS]
