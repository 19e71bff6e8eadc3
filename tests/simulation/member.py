"""One member: what is on its disk, and the negotiator process, made of the real parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from meetme.model.agreement import Agreement, MemberId
from meetme.model.errors import Fault, InvalidInput, MeetMeError
from meetme.model.members import Member as Known
from meetme.model.members import MemberKind, Roster, ServiceUrls
from meetme.negotiator import store, wire
from meetme.negotiator.desk import Desk
from meetme.negotiator.events import Event
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Attachment, Negotiation
from meetme.negotiator.performer import Performer
from meetme.negotiator.routers import Router, Routers
from meetme.negotiator.settings import Configurator as ConfiguratorSetting
from meetme.negotiator.settings import NegotiatorSettings
from meetme.negotiator.side import Side
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.sse import Bell
from tests.simulation.device import PORTS, Configurator, ConfiguratorLine, Device
from tests.simulation.network import PeerWire
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
CIRCUITS = dict(zip(("c1", "c2"), PORTS, strict=True))
"""Two circuits between the two members, and the port at which each lands, on both sides."""


@dataclass(frozen=True)
class Parts:
    """What a member is built of. A mutant replaces one."""

    ledger: Callable[[], Ledger] = Ledger
    machine: Callable[..., NegotiationMachine] = NegotiationMachine
    performer: Callable[..., Performer] = Performer
    inbox: Callable[..., Inbox] = Inbox
    loop: Callable[..., Loop[Negotiation, Event]] = Loop
    configurator: Callable[..., Configurator] = Configurator


class Disk:
    """A member's database. Its content survives processes; `lose` is a disk that broke, with no backup."""

    def __init__(self) -> None:
        self._database = Database.open("sqlite://")
        self.wipe()

    def run(self, f: Callable[[Connection], T]) -> T:
        """One transaction."""
        return self._database.run_now(f)

    def wipe(self) -> None:
        """Nothing but empty tables."""
        raw = self.run(lambda tx: tx.connection.dbapi_connection)
        raw.deserialize(_empty_tables())  # type: ignore[union-attr]


@cache
def _empty_tables() -> bytes:
    database = Database.open("sqlite://")
    migrate(database, "meetme.runtime")
    migrate(database, "meetme.negotiator")
    raw = database.run_now(lambda tx: tx.connection.dbapi_connection)
    return bytes(raw.serialize())  # type: ignore[union-attr]


@cache
def disks() -> tuple[Disk, Disk]:
    """Opening one takes longer than half a run: they are wiped and used again."""
    return Disk(), Disk()


@dataclass
class Member:
    """What of a member survives its processes, and the processes that live right now."""

    id: MemberId
    peer: MemberId
    disk: Disk
    settings: NegotiatorSettings
    probes: bool
    device: Device = field(default_factory=Device)
    negotiator: Negotiator | None = None
    configurator: Configurator | None = None
    lives: int = 0
    slow_disk: bool = False
    known: dict[UUID, Negotiation] = field(default_factory=dict)
    """What was committed last, as read back from the store in the transaction that wrote it."""
    claims: dict[UUID, set[tuple[str, str]]] = field(default_factory=dict)

    def set_up(self) -> None:
        """Register where the circuits land."""

        def work(tx: Connection) -> None:
            for circuit, port in CIRCUITS.items():
                store.put_attachment(tx, circuit, Attachment("r", port))

        self.disk.run(work)


class Storage:
    """The database as one process sees it: in every transaction it may die before and after."""

    def __init__(self, process: Negotiator) -> None:
        self._process = process

    async def run(self, f: Callable[[Connection], T]) -> T:
        """As `Database.run`."""
        process = self._process
        slow = process.member.slow_disk or process.world.strikes("slow disk", process.name)
        await asyncio.sleep(process.world.chance.amount(process.name, 0.5, 5.0) if slow else 0.0005)
        process.crash_point("before a transaction")
        changed: dict[UUID, str] = {}
        claims: list[tuple[str, str, str]] = []

        def transaction(tx: Connection) -> T:
            process.changed.clear()
            result = f(tx)
            if process.changed:
                # Read back what was written, past SQLAlchemy: that is what makes a run slow.
                raw: Any = tx.connection.dbapi_connection
                for id in process.changed:
                    query = "SELECT body FROM negotiator_negotiation WHERE id = ?"
                    changed[id] = raw.execute(query, (str(id),)).fetchone()[0]
                claims.extend(raw.execute("SELECT negotiation, kind, value FROM negotiator_claim"))
            return result

        result = process.member.disk.run(transaction)
        if changed:
            known = {id: wire.load_negotiation(body) for id, body in changed.items()}
            process.world.committed(process.member, known, claims)
        process.crash_point("after a transaction")
        await asyncio.sleep(0)
        return result


class Trust:
    """Everybody is who he says: what proves it is tested elsewhere."""

    def __init__(self, member: MemberId) -> None:
        self.identity = _Identity(member)
        self.roster = Roster(
            tuple(
                Known(id, MemberKind.CSP, ("sha256:" + "0" * 64,), urls=ServiceUrls(negotiator=f"https://{id}"))
                for id in (ALFA, BRAVO)
            )
        )


@dataclass(frozen=True)
class _Identity:
    member: MemberId


class FastSide(Side):
    """The real side, but for signatures: names instead of keys, for speed."""

    async def resolve(self) -> None:
        """No name is looked up."""

    def sign(self, payload: bytes) -> str:
        """A document with the own name under it."""
        return json.dumps(
            {"payload": urlsafe_b64encode(payload).rstrip(b"=").decode(), "signatures": [self._signature()]}
        )

    def countersign(self, document: str) -> str:
        """The same document with the own name added."""
        value = json.loads(document)
        return json.dumps({**value, "signatures": [*value["signatures"], self._signature()]})

    def _signature(self) -> dict[str, str]:
        return {"protected": urlsafe_b64encode(json.dumps({"kid": self.me}).encode()).decode(), "signature": ""}

    def verify(self, document: str, agreement: Agreement, signers: frozenset[str]) -> None:
        """Whether it says so, and has their names."""
        value = json.loads(document)
        names = {json.loads(urlsafe_b64decode(s["protected"]))["kid"] for s in value["signatures"]}
        if wire.read_agreement(wire.payload_of(document)) != agreement or signers - names:
            raise InvalidInput("signature_invalid", "agreement: not signed", fault=Fault.REMOTE)


class Negotiator(Process):
    """One life of the negotiator process."""

    def __init__(self, world: World, member: Member, parts: Parts) -> None:
        super().__init__(world, f"{member.id}'s negotiator")
        self.member = member
        self.changed: dict[UUID, None] = {}
        self.bell = Bell()
        storage: Any = Storage(self)
        ledger = parts.ledger()
        line = ConfiguratorLine(world, member.id)

        async def open_line() -> ConfiguratorLine:
            return line

        routers = Routers({"r": Router("r", open_line, world.clock)})
        trust: Any = Trust(member.id)
        side = FastSide(member.settings, trust, routers)
        machine = world.watched(member, parts.machine(side), self._note)
        wires = PeerWire(world, self)
        performer = parts.performer(storage, ledger, wires, routers, side, world.clock)

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
            owner=f"{member.id}/{member.lives}",
            clock=world.clock,
            committed=self.bell.ring,
            random=Random(f"{world.seed}/{member.id}/{member.lives}"),
        )
        self.inbox = parts.inbox(storage, self.loop, ledger, machine, side, routers, self.bell, world.clock)
        self.desk = Desk(self.loop, ledger, machine, side, routers, wires, world.clock, world.new_id)
        self.spawn(self._run(routers))

    async def _run(self, routers: Routers) -> None:
        with contextlib.suppress(MeetMeError):
            await routers.get("r").look()
        await self.loop.run()

    def _note(self, id: UUID) -> None:
        self.changed[id] = None

    async def receive(self, text: str, sender: MemberId) -> str | None:
        """A message of the peer."""
        return await self.inbox.receive(text, sender)


def settings(member: MemberId, aliases: str, links: str) -> NegotiatorSettings:
    """Both members use the very same network."""
    return NegotiatorSettings(
        local_subnet=(ip_network("10.0.0.0/24"),),
        border_router_port="p1",
        private_networks=tuple(ip_network(p) for p in aliases.split()),
        negotiated_networks=tuple(ip_network(p) for p in links.split()),
        configurator=(ConfiguratorSetting("r", "127.0.0.1:1"),),
    )
