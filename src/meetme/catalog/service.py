"""The catalog server: everything wired around one loop, and the two listeners in front of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from meetme import __version__
from meetme.catalog import local_api, peers_api, store, wire
from meetme.catalog.desk import Desk
from meetme.catalog.diagnosis import SUBJECT, Doctor
from meetme.catalog.events import Event
from meetme.catalog.figures import CourseFigures, standing
from meetme.catalog.inbox import Inbox
from meetme.catalog.line import Line
from meetme.catalog.listening import Listener, awaits
from meetme.catalog.logbook import BOOK
from meetme.catalog.machine import OrderMachine
from meetme.catalog.member_underlay import MemberUnderlay
from meetme.catalog.mirroring import Mirroring
from meetme.catalog.offers_file import read_offers
from meetme.catalog.order import Order
from meetme.catalog.performer import Performer
from meetme.catalog.publishing import Publisher
from meetme.catalog.settings import CatalogSettings
from meetme.catalog.strays import Strays
from meetme.catalog.underlay import Underlay
from meetme.catalog.web.assets import Assets
from meetme.catalog.web.doors import Doors
from meetme.catalog.web.guard import Guard
from meetme.catalog.web.looks import environment
from meetme.catalog.web.site import build_site
from meetme.catalog.web.visits import House
from meetme.catalog.words import What
from meetme.model.agreement import MemberId
from meetme.model.errors import Unreachable
from meetme.model.members import Roster
from meetme.negotiator.client import NegotiatorClient
from meetme.runtime import operations_api
from meetme.runtime.clock import Clock, SharedClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.diagnosis import Checkup
from meetme.runtime.figures import DatabaseFigures, LoopFigures
from meetme.runtime.http import Check, build_app, build_peer_app
from meetme.runtime.identity import Identity
from meetme.runtime.ledger import Ledger
from meetme.runtime.local_tls import LocalClients
from meetme.runtime.loop import Loop
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.peer_figures import PeerFigures, TrustFigures
from meetme.runtime.replicas import Replicas
from meetme.runtime.service import Service, Where
from meetme.runtime.sse import Bell
from meetme.runtime.telemetry import Registry
from meetme.runtime.tls import Trust
from meetme.runtime.tokens import Tokens
from meetme.runtime.tracing import Tracer

PURGE_SECONDS = 600.0
"""Between two times of forgetting old messages."""


class CatalogService(Service):
    """One member's catalog server. `database` stays its owner's to close."""

    def __init__(
        self,
        settings: CatalogSettings,
        *,
        identity: Identity,
        roster: Callable[[], Roster],
        tokens: Tokens,
        database: Database,
        clock: Clock,
        negotiator_token: str | None = None,
        underlay: Underlay | None = None,
        tracer: Tracer | None = None,
        clients: LocalClients | None = None,
    ) -> None:
        """`negotiator_token`: of the own negotiator; None: nothing that needs layer 3 is bought or sold.

        `underlay`: what circuits and agreements are had from, if not from the own exchanges and negotiator.
        `clients`: whose certificates open the local API. Raises InvalidInput.
        """
        super().__init__()
        settings.check()
        clock = shared = SharedClock(clock)
        self._settings = settings
        self._database = database
        self._clock = clock
        self._trust = trust = Trust(identity, roster)
        me = MemberId(identity.member)
        self._bell = Bell()
        ledger = Ledger()
        self.registry = Registry("catalog")
        """What Prometheus is told."""
        self.registry.register(standing(database, ledger, clock))
        self.registry.register(TrustFigures(trust))
        database.count(DatabaseFigures(self.registry))
        machine = OrderMachine(CourseFigures(self.registry).entered)
        self._client = PeerClient(trust)
        messages = PeerFigures(self.registry)
        line = Line(self._client, messages)
        self._negotiator = None if negotiator_token is None else NegotiatorClient(settings.negotiator, negotiator_token)
        if underlay is None:
            underlay = MemberUnderlay(settings, me, self._client, self._negotiator)
        self._ledger, self._machine = ledger, machine
        self._listener = Listener(underlay, self._heard, clock)
        performer = Performer(database, ledger, line, underlay, clock, self._listener.listen)
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._loop: Loop[Order, Event] = Loop(
            database,
            ledger,
            machine,
            performer,
            owner=owner,
            clock=clock,
            committed=self._bell.ring,
            figures=LoopFigures(self.registry),
        )
        self._replicas = Replicas(
            database, ledger, owner=owner, clock=clock, changed=self._elsewhere, time_is=shared.set
        )
        self.publisher = Publisher(database, identity, clock, lifetime=settings.lifetime)
        self.mirroring = Mirroring(database, line, trust, me, clock, self.registry, every=settings.interval)
        self.strays = Strays(database, underlay, self.registry)
        desk = Desk(self._loop, ledger, machine, me, self.mirroring.known, clock)
        inbox = Inbox(
            database,
            self._loop,
            ledger,
            machine,
            me,
            self.mirroring.own,
            self._bell,
            clock,
            messages,
            approval_seconds=settings.approval_hours * 3600,
        )
        ready: dict[str, Check] = {"database": self._database_answers, "loop": self._loop_runs}
        self._clients = clients or LocalClients()
        self._local = build_app(
            title="MeetMe catalog",
            version=__version__,
            description="Services of all members: find, order, decide, take back.",
            ready=ready,
            registry=self.registry,
            tracer=tracer,
            tokens=tokens,
            clients=clients,
            large_bodies=local_api.LARGE_BODIES,
        )
        local_api.add_routes(
            self._local, tokens, desk, self.mirroring, self.publisher, underlay, database, self._bell, clock
        )
        local_api.add_stray_routes(self._local, tokens, self.strays)
        common = Checkup(SUBJECT, database, ledger, trust, self._client, clock, runs=self.alive)
        doctor = Doctor(common, underlay, self.mirroring, self.strays.find, me, clock)
        operations_api.add_routes(self._local, tokens, doctor.look, BOOK, database)
        assets = Assets()
        house = House(
            me,
            desk,
            self.mirroring,
            underlay,
            database,
            self._bell,
            clock,
            Guard(database, clock, me, web_url=settings.web_url),
            environment(assets),
        )
        self._site = build_site(house, assets, self.registry)
        self._peers = build_peer_app(
            title="MeetMe catalog, for other members",
            version=__version__,
            trust=trust,
            registry=self.registry,
            tracer=tracer,
        )
        peers_api.add_routes(self._peers, inbox, database, me)

    async def start(self, *, local: Where | None = None, peers: Where | None = None) -> None:
        """Take up what an earlier process left, then listen. `local`, `peers`: instead of the settings' addresses.

        Raises InvalidInput, NotFound where the file of offers cannot be read.
        """
        await asyncio.to_thread(migrate, self._database, "meetme.runtime")
        await asyncio.to_thread(migrate, self._database, "meetme.catalog")
        await asyncio.to_thread(wire.warm_up)
        if self._settings.offers is not None:
            await self.publisher.publish(await asyncio.to_thread(read_offers, self._settings.offers))
        await self._replicas.join()
        self._tasks = [
            asyncio.create_task(self._loop.run(), name="catalog loop"),
            asyncio.create_task(self.publisher.run(), name="catalog publisher"),
            asyncio.create_task(self.mirroring.run(), name="catalog mirroring"),
            asyncio.create_task(self._keep_tidy(), name="catalog purge"),
            asyncio.create_task(self._replicas.run(), name="catalog replicas"),
            asyncio.create_task(self.strays.run(), name="catalog strays"),
        ]
        try:
            await self._listen(local or self._settings.listen, peers or self._settings.listen_peers)
        except BaseException:
            await self.close()
            raise

    async def _listen(self, local: Where, peers: Where | None) -> None:
        beyond = self._clients.server_context(self._trust.identity)
        await self._listen_local(Doors(self._local, self._site), local, beyond=beyond)
        await self._listen_peers(self._peers, peers, tls=self._trust.server_context())
        await self._listen_metrics(self.registry, self._settings.listen_metrics)

    async def close(self) -> None:
        """Answer no more, give back what is under way. Orders stay as they are."""
        await super().close()
        await self._listener.close()
        await self._client.close()
        if self._negotiator is not None:
            await self._negotiator.close()

    async def kill(self) -> None:
        """End the own tasks; nobody is told."""
        await super().kill()
        await self._listener.close()
        await self._replicas.leave()

    # --- what it hears ------------------------------------------------------------------------------------------------

    async def _heard(self, id: UUID, what: What, standing: str, event: Event) -> Order | None:
        def deliver(tx: Connection) -> Order | None:
            self._ledger.lock(tx, self._machine.name, str(id))
            n = store.load(tx, id)
            if n is None or not awaits(n, what) or n.thing(what).standing == standing:
                return n
            return self._ledger.deliver(tx, self._machine, str(id), event, self._clock.now())

        return await self._loop.commit(deliver)

    # --- what keeps it right ------------------------------------------------------------------------------------------

    def _elsewhere(self, instances: Collection[str]) -> None:
        """Another replica on the same database has written, or may have."""
        self._bell.ring(instances)
        self._loop.wake()

    async def _keep_tidy(self) -> None:
        while True:
            await self._database.run(lambda tx: store.MAILBOX.purge(tx, self._clock.now()))
            await asyncio.sleep(PURGE_SECONDS)

    async def _database_answers(self) -> None:
        await self._database.run(lambda tx: tx.execute(text("SELECT 1")))

    async def _loop_runs(self) -> None:
        if not self.alive():
            raise Unreachable("loop_stopped", "loop: must run", hint="restart the catalog; its log says why")
