"""One member: what is on its disk, and the negotiator process, made of the real parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from meetme.configurator.client import RouterControl
from meetme.configurator.plan import Kept
from meetme.model.agreement import Agreement, MemberId
from meetme.model.errors import Fault, InvalidInput, MeetMeError
from meetme.model.intent import LinkIntent
from meetme.model.members import Member as Known
from meetme.model.members import MemberKind, Roster, ServiceUrls
from meetme.negotiator import store, wire
from meetme.negotiator.desk import Desk
from meetme.negotiator.events import ChangeAsked, Event
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Attachment, Negotiation, Wish
from meetme.negotiator.performer import Performer
from meetme.negotiator.roll_call import RollCall
from meetme.negotiator.routers import Opener, Router, Routers
from meetme.negotiator.side import Side
from meetme.negotiator.strays import Strays
from meetme.negotiator.watching import Watcher
from meetme.runtime.clock import SharedClock
from meetme.runtime.ledger import Lease, Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.sse import Bell
from tests.simulation.device import Configurator, ConfiguratorLine, Device
from tests.simulation.disk import Disk
from tests.simulation.invariants import Reserved
from tests.simulation.layout import Circuit, Home, Layout
from tests.simulation.network import PeerWire
from tests.simulation.process import Process
from tests.simulation.scheduler import Chance
from tests.simulation.siblings import Siblings

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")


@dataclass
class Member:
    """What of a member survives its processes, and the processes that live right now."""

    home: Home
    disk: Disk
    devices: dict[str, Device] = field(default_factory=dict)
    negotiators: list[Negotiator | None] = field(default_factory=list)
    """Its replicas, on one database."""
    configurators: dict[str, Configurator | None] = field(default_factory=dict)
    lives: int = 0
    slow_disk: bool = False
    known: dict[UUID, Negotiation] = field(default_factory=dict)
    """What was committed last, as read back from the store in the transaction that wrote it."""
    held: dict[UUID, set[Reserved]] = field(default_factory=dict)
    """What each of those keeps from the others, told by the design."""
    claims: dict[UUID, set[tuple[str, str]]] = field(default_factory=dict)
    """What the store says that each of them claims."""

    def __post_init__(self) -> None:
        self.id = self.home.id
        self.devices = {router: Device(router) for router in self.home.routers}
        self.configurators = dict.fromkeys(self.home.routers)
        self.negotiators = [None] * self.home.replicas

    @property
    def alive(self) -> list[Negotiator]:
        """The replicas that run."""
        return [negotiator for negotiator in self.negotiators if negotiator is not None]

    def somebody(self, chance: Chance, where: str) -> Negotiator | None:
        """One of the replicas that run, as whoever stands in front of them would choose."""
        alive = self.alive
        if len(alive) < 2:
            return alive[0] if alive else None
        return alive[int(chance.amount(f"replica {where}", 0.0, len(alive)))]

    def carried(self) -> Iterator[tuple[Device, str, LinkIntent | None]]:
        """What its routers carry, by circuit."""
        for device in self.devices.values():
            for circuit, intent in device.carried.items():
                yield device, circuit, intent

    def kept(self) -> Iterator[tuple[Device, str, Kept]]:
        """What its configurators keep, by circuit."""
        for device in self.devices.values():
            for circuit, kept in device.kept.items():
                yield device, circuit, kept

    def set_up(self, circuits: Iterable[Circuit]) -> None:
        """Register where the circuits land."""

        def work(tx: Connection) -> None:
            for circuit in circuits:
                if self.id in (circuit.one.member, circuit.other.member):
                    end, peer = circuit.end(self.id), circuit.peer(self.id) if circuit.named else None
                    store.put_attachment(tx, circuit.name, Attachment(end.router, end.port, peer=peer))

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
                raw = process.member.disk.raw
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

    async def read(self, f: Callable[[Connection], T]) -> T:
        """As `Database.read`: one transaction like any other, only that nothing may be written."""

        def look(tx: Connection) -> T:
            found = f(tx)
            assert not self._process.changed
            return found

        return await self.run(look)


class Trust:
    """Everybody is who he says: what proves it is tested elsewhere."""

    def __init__(self, home: Home, layout: Layout) -> None:
        self.identity = _Identity(home.id)
        self.roster = Roster(
            tuple(
                Known(
                    id,
                    MemberKind.CSP,
                    ("sha256:" + "0" * 64,),
                    urls=ServiceUrls(negotiator=f"https://{id}"),
                    policy=home.policy(id),
                )
                for id in layout.by_id
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
        return signed(payload, self.me)

    def countersign(self, document: str) -> str:
        """The same document with the own name added."""
        value = json.loads(document)
        signatures = [*value["signatures"], _signature(wire.payload_of(document), self.me)]
        return json.dumps({**value, "signatures": signatures})

    def verify(self, document: str, agreement: Agreement, signers: frozenset[str]) -> None:
        """Whether it says so, and has their names."""
        value = json.loads(document)
        payload = wire.payload_of(document)
        names = {signer for signer in signers if _signature(payload, signer) in value["signatures"]}
        if wire.read_agreement(payload) != agreement or signers - names:
            raise InvalidInput("signature_invalid", "agreement: not signed", fault=Fault.REMOTE)


def signed(payload: bytes, signer: str) -> str:
    """A document with a name under it. Whoever takes a name that is not its own has forged it: nobody here does."""
    text = urlsafe_b64encode(payload).rstrip(b"=").decode()
    return json.dumps({"payload": text, "signatures": [_signature(payload, signer)]})


def _signature(payload: bytes, signer: str) -> dict[str, str]:
    protected = urlsafe_b64encode(json.dumps({"kid": signer}).encode()).decode()
    return {"protected": protected, "signature": blake2b(payload, key=signer.encode(), digest_size=8).hexdigest()}


@dataclass(frozen=True)
class Parts:
    """What a member is built of. A mutant replaces one."""

    ledger: Callable[[], Ledger] = Ledger
    machine: Callable[..., NegotiationMachine] = NegotiationMachine
    performer: Callable[..., Performer] = Performer
    inbox: Callable[..., Inbox] = Inbox
    loop: Callable[..., Loop[Negotiation, Event]] = Loop
    configurator: Callable[..., Configurator] = Configurator
    side: Callable[..., Side] = FastSide
    siblings: Callable[..., Siblings] = Siblings
    strays: Callable[..., Strays] = Strays
    watcher: Callable[..., Watcher] = Watcher
    roll_call: Callable[..., RollCall] = RollCall


class Negotiator(Process):
    """One life of the negotiator process."""

    def __init__(self, world: World, member: Member, slot: int, parts: Parts) -> None:
        super().__init__(world, f"{member.id}'s negotiator {slot + 1 if slot else ''}".rstrip())
        self.member = member
        self.slot = slot
        clock = SharedClock(world.clock(f"{member.id}/{slot}"))
        owner = f"{member.id}/{member.lives}"
        self.changed: dict[UUID, None] = {}
        self.bell = Bell()
        storage: Any = Storage(self)
        ledger = parts.ledger()
        routers = Routers({name: Router(name, _opener(world, member.id, name), clock) for name in member.home.routers})
        trust: Any = Trust(member.home, world.layout)
        side = parts.side(member.home.settings, trust, routers)
        machine = world.watched(member, parts.machine(side), self._note)
        wires = PeerWire(world, self)
        self._side, self._ledger, self._machine, self._clock = side, ledger, machine, clock
        performer = parts.performer(storage, ledger, wires, routers, side, clock)

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
        self.inbox = parts.inbox(storage, self.loop, ledger, machine, side, routers, self.bell, clock)
        self.desk = Desk(self.loop, ledger, machine, side, routers, wires, clock, world.new_id)
        self._watcher = parts.watcher(storage, self.loop, parts.strays(storage, side, wires, clock), clock)
        self.rolls = parts.roll_call(storage, wires, self.loop.deliver, side.me, clock)
        self.siblings = parts.siblings(self, ledger, owner, clock, self.hear)
        self.spawn(self._run(routers))

    def _committed(self, instances: Collection[str]) -> None:
        self.bell.ring(instances)
        self.siblings.wrote(instances)

    def hear(self, instances: Collection[str]) -> None:
        """Another replica on the same database has written, or may have."""
        self.bell.ring(instances)
        self.loop.wake()

    async def _run(self, routers: Routers) -> None:
        for router in routers:
            with contextlib.suppress(MeetMeError):
                await router.look()
        self.siblings.join()
        self.spawn(self.siblings.run())
        for router in routers:
            self.spawn(self._watcher.follow(router))
        self.spawn(self.rolls.run())
        await self.loop.run()

    def _note(self, id: UUID) -> None:
        self.changed[id] = None

    async def change(self, id: UUID, wish: Wish) -> None:
        """A person wants an agreement changed."""

        def transaction(tx: Connection) -> None:
            n, now = store.load(tx, id), self._clock.now()
            if n is not None:
                event = ChangeAsked(now, wish, self._side.wished(tx, n, wish))
                self._ledger.deliver(tx, self._machine, str(id), event, now)

        await self.loop.commit(transaction)

    async def receive(self, text: str, sender: MemberId) -> str | None:
        """A message of the peer."""
        return await self.inbox.receive(text, sender)


def _opener(world: World, member: MemberId, router: str) -> Opener:
    line: Any = ConfiguratorLine(world, member, router)

    async def connect() -> RouterControl:
        return line  # type: ignore[no-any-return]

    return connect
