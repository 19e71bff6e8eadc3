"""The negotiator as a service: everything wired around one loop, and the two listeners in front of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Mapping
from uuid import uuid4

import structlog
from sqlalchemy import text

from meetme import __version__
from meetme.configurator.client import RouterControl, open_configurator
from meetme.model.errors import MeetMeError, Unreachable
from meetme.model.members import Roster
from meetme.negotiator import host_probe, local_api, logbook, peers_api, store, wire
from meetme.negotiator.change_desk import ChangeDesk
from meetme.negotiator.desk import Desk
from meetme.negotiator.diagnosis import Doctor
from meetme.negotiator.events import Event
from meetme.negotiator.figures import CourseFigures, RouterFigures, standing
from meetme.negotiator.health_figures import HealthFigures, ProbeFigures
from meetme.negotiator.host_probe import HostProbe
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.monitor import HealthMonitor
from meetme.negotiator.negotiation import Health, Negotiation
from meetme.negotiator.performer import Performer
from meetme.negotiator.probing import Probing
from meetme.negotiator.roll_call import RollCall
from meetme.negotiator.router_tls import router_tls
from meetme.negotiator.routers import Opener, Router, Routers
from meetme.negotiator.settings import Configurator, NegotiatorSettings
from meetme.negotiator.side import Line, Side
from meetme.negotiator.strays import Strays
from meetme.negotiator.traces import entered as _entered
from meetme.negotiator.traces import traced
from meetme.negotiator.watching import Watcher
from meetme.runtime import operations_api
from meetme.runtime.clock import Clock, SharedClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.figures import DatabaseFigures, LoopFigures
from meetme.runtime.grpc import Tls
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

FIRST_LOOK_SECONDS = 1.0
"""How long the start waits to see the routers: one that is away is looked for while we serve."""
PURGE_SECONDS = 600.0
"""Between two times of forgetting old messages."""


class NegotiatorService(Service):
    """One member's negotiator. `database` stays its owner's to close."""

    def __init__(
        self,
        settings: NegotiatorSettings,
        *,
        identity: Identity,
        roster: Callable[[], Roster],
        tokens: Tokens,
        database: Database,
        clock: Clock,
        openers: Mapping[str, Opener] | None = None,
        host: HostProbe | None = host_probe.ask,
        tracer: Tracer | None = None,
        clients: LocalClients | None = None,
    ) -> None:
        """`openers`: how to reach each router by name, if not by the settings' targets. Raises NotFound, InvalidInput.

        `host`: how this host asks addresses where a router's configurator cannot probe. `clients`: whose certificates
        open the local API.
        """
        super().__init__()
        settings.check(identity.member)
        clock = shared = SharedClock(clock)
        self._settings = settings
        self._database = database
        self._clock = clock
        self._log = structlog.get_logger().bind(service="negotiator")
        trust = Trust(identity, roster)
        if openers is None:
            tls = router_tls(settings, identity)
            openers = {c.name: _opener(c, tls[c.name]) for c in settings.configurator}
        self._routers = Routers({name: Router(name, opener, clock) for name, opener in openers.items()})
        self._side = Side(settings, trust, self._routers)
        self._bell = Bell()
        self._ledger = Ledger()
        self.registry = Registry("negotiator")
        """What Prometheus is told."""
        self.registry.register(standing(database, self._ledger, clock))
        self.registry.register(TrustFigures(trust))
        self.registry.register(RouterFigures(lambda: {router.name: router.reached_at for router in self._routers}))
        database.count(DatabaseFigures(self.registry))
        self._machine = NegotiationMachine(self._side, _entered(CourseFigures(self.registry), tracer))
        self._client = PeerClient(trust)
        messages = PeerFigures(self.registry)
        line = Line(self._client, messages)
        self._monitor: HealthMonitor | None = None
        performer = Performer(database, self._ledger, line, self._routers, self._side, clock, host)
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._loop: Loop[Negotiation, Event] = Loop(
            database,
            self._ledger,
            self._machine,
            performer if tracer is None else traced(performer, tracer),
            owner=owner,
            clock=clock,
            committed=self._bell.ring,
            figures=LoopFigures(self.registry),
        )
        self._replicas = Replicas(
            database, self._ledger, owner=owner, clock=clock, changed=self._elsewhere, time_is=shared.set
        )
        if settings.probe_interval:
            self._monitor = HealthMonitor(
                database,
                Probing(self._routers, clock, host),
                self._loop.deliver,
                clock,
                every=settings.probe_interval,
                seen=ProbeFigures(self.registry).seen,
            )
            self.registry.register(HealthFigures(self._monitor.states))
        self._watcher = Watcher(database, self._loop, Strays(database, self._side, line, clock), clock)
        parts = (self._loop, self._ledger, self._machine, self._side, self._routers)
        self._desk = Desk(*parts, line, clock)
        changes = ChangeDesk(*parts, line, clock)
        self._inbox = Inbox(database, *parts, self._bell, clock, messages)
        ready: dict[str, Check] = {"database": self._database_answers, "loop": self._loop_runs}
        ready |= {f"configurator {router.name}": router.look for router in self._routers}
        self._local = build_app(
            title="MeetMe negotiator",
            version=__version__,
            description="Layer 3 between two members: start, watch and take back negotiations.",
            ready=ready,
            registry=self.registry,
            tracer=tracer,
            tokens=tokens,
            clients=clients,
        )
        self._clients = clients or LocalClients()
        present = self._monitor.present if self._monitor else _stored
        self._rolls = RollCall(database, line, self._loop.deliver, self._side.me, clock, messages)
        asked = (database, self._loop, self._routers, self._bell, clock)
        local_api.add_routes(self._local, tokens, self._desk, changes, *asked, present, self._rolls.owed)
        doctor = Doctor(database, self._ledger, self._routers, trust, self._client, clock, runs=self.alive)
        operations_api.add_routes(self._local, tokens, doctor.look, logbook.BOOK, database)
        self._peers = build_peer_app(
            title="MeetMe negotiator, for peers",
            version=__version__,
            trust=trust,
            registry=self.registry,
            tracer=tracer,
        )
        peers_api.add_routes(self._peers, self._inbox, self._rolls)
        self._trust = trust

    async def start(self, *, local: Where | None = None, peers: Where | None = None) -> None:
        """Take up what an earlier process left, then listen. `local`, `peers`: instead of the settings' addresses.

        A configurator that cannot be reached does not keep it from starting: what it owes there stays owed.
        """
        await asyncio.to_thread(migrate, self._database, "meetme.runtime")
        await asyncio.to_thread(migrate, self._database, "meetme.negotiator")
        await asyncio.to_thread(wire.warm_up)
        await self._side.resolve()
        await self._replicas.join()
        looks = [asyncio.create_task(self._first_look(router), name=f"look {router.name}") for router in self._routers]
        await asyncio.wait(looks, timeout=FIRST_LOOK_SECONDS)
        self._tasks = [
            asyncio.create_task(self._loop.run(), name="negotiator loop"),
            asyncio.create_task(self._keep_tidy(), name="negotiator purge"),
            asyncio.create_task(self._replicas.run(), name="negotiator replicas"),
            asyncio.create_task(self._rolls.run(), name="negotiator roll call"),
            *(asyncio.create_task(self._watcher.follow(r), name=f"watch {r.name}") for r in self._routers),
            *looks,
        ]
        if self._monitor is not None:
            self._tasks.append(asyncio.create_task(self._monitor.run(), name="negotiator health"))
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
        """Answer no more, give back what is under way. Agreements stay in force."""
        await super().close()
        await self._client.close()
        await self._routers.close()

    async def kill(self) -> None:
        """End the own tasks; nobody is told."""
        await super().kill()
        await self._replicas.leave()

    # --- what keeps it right ------------------------------------------------------------------------------------------

    async def _first_look(self, router: Router) -> None:
        try:
            await router.look()
        except MeetMeError as error:
            self._log.warning("a router cannot be reached", router=router.name, problem=error.text)

    def _elsewhere(self, instances: Collection[str]) -> None:
        """Another replica on the same database has written, or may have."""
        self._bell.ring(instances)
        self._loop.wake()

    async def _keep_tidy(self) -> None:
        while True:
            await self._database.run(lambda tx: store.purge_messages(tx, self._clock.now()))
            await asyncio.sleep(PURGE_SECONDS)

    async def _database_answers(self) -> None:
        await self._database.run(lambda tx: tx.execute(text("SELECT 1")))

    async def _loop_runs(self) -> None:
        if not self.alive():
            raise Unreachable("loop_stopped", "loop: must run", hint="restart the negotiator; its log says why")


def _stored(n: Negotiation) -> Health | None:
    return n.health


def _opener(configurator: Configurator, tls: Tls | None) -> Opener:
    async def connect() -> RouterControl:
        return await open_configurator(configurator.target, tls)

    return connect
