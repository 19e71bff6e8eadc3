"""The composer as a service: everything wired around one loop, and the two listeners in front of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection
from uuid import uuid4

from sqlalchemy import Connection, text

from meetme import __version__
from meetme.composer import local_api, peers_api, spread_api, spread_wire, store, wire
from meetme.composer.circuit import Circuit
from meetme.composer.circuits_api import CircuitsApi
from meetme.composer.desk import Desk
from meetme.composer.diagnosis import SUBJECT, Doctor
from meetme.composer.domain import Domain
from meetme.composer.events import Event
from meetme.composer.figures import CourseFigures, standing
from meetme.composer.inbox import Inbox
from meetme.composer.line import Line
from meetme.composer.logbook import BOOK
from meetme.composer.machine import CircuitMachine
from meetme.composer.negotiations import Negotiations
from meetme.composer.own import Own
from meetme.composer.performer import Performer
from meetme.composer.planner import Planner
from meetme.composer.settings import ComposerSettings
from meetme.composer.settling import Settling
from meetme.composer.spreader import Spreader
from meetme.composer.strays import Strays
from meetme.composer.turns import Turns
from meetme.ixapi.exchange import Exchange
from meetme.model.errors import Unreachable
from meetme.model.members import Roster
from meetme.runtime import operations_api
from meetme.runtime.clock import Clock, SharedClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.diagnosis import Checkup
from meetme.runtime.figures import DatabaseFigures, LoopFigures
from meetme.runtime.http import Access, Check, build_app, build_peer_app
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
GIVEN_UP_SECONDS = 3600.0
"""For how long a `hold` that comes after its `release` is known as such. No message is good for nearly as long."""


class ComposerService(Service):
    """One exchange's composer. `database` and `exchange` stay their owner's to close."""

    def __init__(
        self,
        settings: ComposerSettings,
        *,
        identity: Identity,
        roster: Callable[[], Roster],
        tokens: Tokens,
        database: Database,
        clock: Clock,
        exchange: Exchange,
        tracer: Tracer | None = None,
        clients: LocalClients | None = None,
    ) -> None:
        """`exchange`: what segments are ordered from. `clients`: whose certificates open the local API.

        Raises InvalidInput.
        """
        super().__init__(vital=2)
        settings.check(identity.member)
        clock = shared = SharedClock(clock)
        self._settings = settings
        self._database = database
        self._clock = clock
        self._exchange = exchange
        self._trust = trust = Trust(identity, roster)
        self._domain = domain = Domain(identity.member, settings)
        self._bell = Bell()
        self._ledger = Ledger()
        self.registry = Registry("composer")
        """What Prometheus is told."""
        self.registry.register(standing(database, self._ledger, clock))
        self.registry.register(TrustFigures(trust))
        database.count(DatabaseFigures(self.registry))
        turns, settling = Turns(self._ledger, settings.setups), Settling()
        entered = (CourseFigures(self.registry).entered, settling.entered)
        self._machine = CircuitMachine(domain, turns, entered)
        self._client = PeerClient(trust)
        messages = PeerFigures(self.registry)
        self.spreader = Spreader(
            trust=trust,
            database=database,
            client=self._client,
            clock=clock,
            describe=self._describe,
            neighbours=settings.neighbours,
            every=settings.interval,
            lifetime=settings.lifetime,
            look=exchange.connections if settings.checks_connections else None,
            figures=messages,
        )
        planner = Planner(self.spreader.atlas, clock)
        negotiations = Negotiations(settings.negotiator)
        line = Line(self._client, messages)
        performer = Performer(
            database, self._ledger, line, exchange, domain, planner, negotiations, turns, settling, clock
        )
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._loop: Loop[Circuit, Event] = Loop(
            database,
            self._ledger,
            self._machine,
            performer,
            owner=owner,
            clock=clock,
            committed=self._committed,
            figures=LoopFigures(self.registry),
        )
        self._replicas = Replicas(
            database, self._ledger, owner=owner, clock=clock, changed=self._elsewhere, time_is=shared.set
        )
        parts = (self._loop, self._ledger, self._machine, domain, planner)
        desk = Desk(*parts, clock, negotiates=negotiations)
        inbox = Inbox(database, *parts, exchange, self._bell, clock, messages, negotiates=negotiations)
        circuits = CircuitsApi(identity.member, desk, database, self._bell, clock)
        ready: dict[str, Check] = {
            "database": self._database_answers,
            "loop": self._loop_runs,
            "exchange": exchange.connections,
        }
        self.strays = Strays(database, exchange, self.registry)
        self._clients = clients or LocalClients()
        self._local = build_app(
            title="MeetMe composer",
            version=__version__,
            description="Circuits across exchanges: what there is, order, watch and take back.",
            ready=ready,
            registry=self.registry,
            tracer=tracer,
            tokens=tokens,
            clients=clients,
        )
        local_api.add_routes(self._local, tokens, circuits, self.strays)
        common = Checkup(SUBJECT, database, self._ledger, trust, self._client, clock, runs=self.alive)
        doctor = Doctor(common, exchange, self.spreader.atlas, settings.neighbours, clock, self.strays.find)
        operations_api.add_routes(self._local, tokens, doctor.look, BOOK, database)
        spread_api.add_local_routes(self._local, Access(tokens), self.spreader, clock)
        self._peers = build_peer_app(
            title="MeetMe composer, for other members",
            version=__version__,
            trust=trust,
            registry=self.registry,
            tracer=tracer,
        )
        peers_api.add_routes(self._peers, inbox, circuits)
        spread_api.add_peer_routes(self._peers, self.spreader, clock)

    async def start(self, *, local: Where | None = None, peers: Where | None = None) -> None:
        """Take up what an earlier process left, then listen. `local`, `peers`: instead of the settings' addresses.

        An exchange that cannot be reached does not keep it from starting: what it owes there stays owed.
        """
        await asyncio.to_thread(migrate, self._database, "meetme.runtime")
        await asyncio.to_thread(migrate, self._database, "meetme.composer")
        await asyncio.to_thread(wire.warm_up)
        await asyncio.to_thread(spread_wire.warm_up)
        await self._replicas.join()
        await self.spreader.start()
        self._tasks = [
            asyncio.create_task(self._loop.run(), name="composer loop"),
            asyncio.create_task(self.spreader.run(), name="composer spreader"),
            asyncio.create_task(self._keep_tidy(), name="composer purge"),
            asyncio.create_task(self._replicas.run(), name="composer replicas"),
            asyncio.create_task(self.strays.run(), name="composer strays"),
        ]
        try:
            await self._listen(local or self._settings.listen, peers or self._settings.listen_peers)
        except BaseException:
            await self.close()
            raise

    async def _listen(self, local: Where, peers: Where | None) -> None:
        beyond = self._clients.server_context(self._trust.identity)
        await self._listen_local(self._local, local, beyond=beyond)
        await self._listen_peers(self._peers, peers, tls=self._trust.server_context())
        await self._listen_metrics(self.registry, self._settings.listen_metrics)

    async def close(self) -> None:
        """Answer no more, give back what is under way. Circuits stay as they are."""
        await super().close()
        await self._client.close()

    async def kill(self) -> None:
        """End the own tasks; nobody is told."""
        await super().kill()
        await self._replicas.leave()

    # --- what keeps it right ------------------------------------------------------------------------------------------

    def _describe(self, tx: Connection) -> Own:
        """What is true of the exchange, by the settings and by what circuits have of it."""
        held = store.all_held(tx)
        settings = self._settings
        return Own(settings.country, self._domain.points(held), self._domain.transits(held), frozenset(settings.tags))

    def _committed(self, instances: Collection[str]) -> None:
        self._bell.ring(instances)
        if self._machine.changed:
            self._machine.changed = False
            self.spreader.nudge()

    def _elsewhere(self, instances: Collection[str]) -> None:
        """Another replica on the same database has written, or may have."""
        self._bell.ring(instances)
        self._loop.wake()

    async def _keep_tidy(self) -> None:
        while True:
            await self._database.run(self._tidy)
            await asyncio.sleep(PURGE_SECONDS)

    def _tidy(self, tx: Connection) -> None:
        now = self._clock.now()
        store.MAILBOX.purge(tx, now)
        store.forget_given_up(tx, now - GIVEN_UP_SECONDS)

    async def _database_answers(self) -> None:
        await self._database.run(lambda tx: tx.execute(text("SELECT 1")))

    async def _loop_runs(self) -> None:
        if not self.alive():
            raise Unreachable("loop_stopped", "loop: must run", hint="restart the composer; its log says why")
