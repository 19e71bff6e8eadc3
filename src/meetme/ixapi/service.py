"""The IX-API server as a service: everything wired around one loop, and the listener in front of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection, Mapping
from typing import cast
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy import text
from starlette.exceptions import HTTPException

from meetme import __version__
from meetme.ixapi import problems, store, wire
from meetme.ixapi.api import ROOT, Api
from meetme.ixapi.auth import Doorman, Key
from meetme.ixapi.bundle import Bundle, Event
from meetme.ixapi.course import Course
from meetme.ixapi.desk import Desk
from meetme.ixapi.directory import Directory
from meetme.ixapi.figures import CourseFigures, StandingFigures
from meetme.ixapi.machine import BundleMachine
from meetme.ixapi.ordering_rules import OrderingRules
from meetme.ixapi.performer import Performer
from meetme.ixapi.reaching import openers_of
from meetme.ixapi.settings import IxApiSettings, secret_of
from meetme.ixapi.switches import LOOK_SECONDS, Opener, Switches
from meetme.ixapi.watching import Watcher
from meetme.model.errors import InvalidInput, MeetMeError, NotFound, Unreachable
from meetme.runtime.clock import Clock, SharedClock
from meetme.runtime.correlation import correlation
from meetme.runtime.database import Database, migrate
from meetme.runtime.figures import DatabaseFigures, LoopFigures
from meetme.runtime.http import Check, build_app
from meetme.runtime.identity import Identity
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.problems import MEDIA_TYPE, error_of_validation, problem_document
from meetme.runtime.replicas import Replicas
from meetme.runtime.service import Service, Where
from meetme.runtime.sse import Bell
from meetme.runtime.telemetry import Registry
from meetme.runtime.tls import optional_server_context
from meetme.runtime.tracing import Tracer


class IxApiService(Service):
    """One exchange's IX-API server. `database` stays its owner's to close."""

    def __init__(
        self,
        settings: IxApiSettings,
        *,
        database: Database,
        clock: Clock,
        identity: Identity | None = None,
        openers: Mapping[str, Opener] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`identity`: for configurators that are not on this machine, and to listen beyond loopback (TLS).
        `openers`: how to reach each switch by name, if not by the settings' targets. Raises InvalidInput.
        """
        super().__init__()
        settings.check()
        clock = shared = SharedClock(clock)
        plant = settings.plant()
        self._settings = settings
        self._identity = identity
        self._database = database
        self._log = structlog.get_logger().bind(service="ixapi")
        if openers is None:
            openers = openers_of(settings, identity)
        self._switches = Switches(openers, clock)
        self._ledger = Ledger()
        self.registry = Registry("ixapi")
        """What Prometheus is told."""
        self.registry.register(StandingFigures(database, self._ledger, clock, lambda: self._switches))
        database.count(DatabaseFigures(self.registry))
        course = Course(plant, settings.archive_seconds)
        figures = CourseFigures(self.registry)
        machine = BundleMachine(course, figures.entered)
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._loop: Loop[Bundle, Event] = Loop(
            database,
            self._ledger,
            machine,
            Performer(database, self._switches, clock, plant.mtu),
            owner=owner,
            clock=clock,
            committed=lambda _bundles: self._bell.ring(),
            figures=LoopFigures(self.registry),
        )
        self._watcher = Watcher(database, self._loop, clock, plant.mtu, figures.reordered)
        self._replicas = Replicas(
            database, self._ledger, owner=owner, clock=clock, changed=self._elsewhere, time_is=shared.set
        )
        self._bell = Bell()
        self._signing = ""
        directory = Directory(settings, plant)
        doorman = Doorman(
            plant,
            {a.api_key: Key(a.id, secret_of(a)) for a in settings.account if a.api_key},
            lambda: self._signing,
            clock,
            access_seconds=settings.access_seconds,
            refresh_seconds=settings.refresh_seconds,
        )
        desk = Desk(
            self._loop,
            self._ledger,
            machine,
            OrderingRules(plant, {offering.id: offering for offering in settings.offerings()}, directory.assignments()),
            clock,
        )
        self._checks: dict[str, Check] = {"database": self._database_answers, "loop": self._loop_runs}
        self._checks |= {f"switch {door.name}": door.look for door in self._switches}
        self._app = build_app(
            title="MeetMe IX-API",
            version=__version__,
            description="Order point-to-point circuits at this exchange (IX-API 2.x).",
            ready=self._checks,
            registry=self.registry,
            tracer=tracer,
        )
        Api(desk, directory, doorman, database, self._bell, self._health).add_routes(self._app)
        _speak_ixapi(self._app)

    @property
    def url(self) -> str:
        """Where it is, once started."""
        return self.local_url

    async def start(self, *, listen: Where | None = None) -> None:
        """Take up what an earlier process left, then listen; `listen`: instead of the settings' address."""
        await asyncio.to_thread(migrate, self._database, "meetme.runtime")
        await asyncio.to_thread(migrate, self._database, "meetme.ixapi")
        await asyncio.to_thread(wire.warm_up)
        self._signing = await self._database.run(lambda tx: store.secret(tx, "tokens"))
        await self._replicas.join()
        self._tasks = [
            asyncio.create_task(self._loop.run(), name="ixapi loop"),
            asyncio.create_task(self._replicas.run(), name="ixapi replicas"),
            *(asyncio.create_task(self._watcher.follow(d), name=f"watch {d.name}") for d in self._switches),
            *(asyncio.create_task(self._first_look(name, check), name=name) for name, check in self._checks.items()),
        ]
        try:
            beyond = optional_server_context(self._identity, ()) if self._identity is not None else None
            await self._listen_local(self._app, listen or self._settings.listen, beyond=beyond)
            await self._listen_metrics(self.registry, self._settings.listen_metrics)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Answer no more, give back what is under way. Services stay in force."""
        await super().close()
        await self._switches.close()

    async def kill(self) -> None:
        """End the own tasks; nobody is told."""
        await super().kill()
        await self._replicas.leave()

    # --- what keeps it right ------------------------------------------------------------------------------------------

    async def _first_look(self, name: str, check: Check) -> None:
        try:
            await check()
        except MeetMeError as error:
            self._log.warning("not reached at the start", what=name, problem=error.text)

    def _elsewhere(self, _instances: Collection[str]) -> None:
        """Another replica on the same database has written, or may have."""
        self._loop.wake()
        self._bell.ring()

    async def _health(self) -> Mapping[str, str]:
        said = await asyncio.gather(*(_said(check) for check in self._checks.values()))
        return dict(zip(self._checks, said, strict=True))

    async def _database_answers(self) -> None:
        await self._database.run(lambda tx: tx.execute(text("SELECT 1")))

    async def _loop_runs(self) -> None:
        if not self.alive():
            raise Unreachable("loop_stopped", "loop: must run", hint="restart the service; its log says why")


def _speak_ixapi(app: FastAPI) -> None:
    """Let errors below /api/v2 be said as IX-API says them."""

    def answered(request: Request, error: MeetMeError) -> Response:
        id = correlation()
        own = problem_document(error, instance=f"urn:meetme:request:{id}" if id else None)
        if request.url.path.startswith(ROOT):
            own = problems.document(error, request.method, own)
        # 2.1.0 has its problems as plain JSON; who asks for the media type of problems gets it.
        plain = request.url.path.startswith(ROOT) and MEDIA_TYPE not in request.headers.get("accept", "")
        headers = {"www-authenticate": "Bearer"} if own["status"] == 401 else None
        return JSONResponse(own, own["status"], headers, "application/json" if plain else MEDIA_TYPE)

    async def on_error(request: Request, error: Exception) -> Response:
        return answered(request, cast(MeetMeError, error))

    async def on_validation(request: Request, error: Exception) -> Response:
        return answered(request, error_of_validation(cast(RequestValidationError, error).errors()))

    async def on_http(request: Request, error: Exception) -> Response:
        http, path = cast(HTTPException, error), request.url.path
        if http.status_code == 404:
            return answered(request, NotFound("route_unknown", f"path: must be one of this API ('{path}')"))
        if http.status_code == 405:
            seen = f"'{request.method} {path}'"
            response = answered(request, InvalidInput("method_unknown", f"method: must be one of this path ({seen})"))
        else:
            response = answered(request, InvalidInput("body_malformed", f"body: {http.detail}", field="body"))
        response.headers.update(http.headers or {})
        return response

    app.add_exception_handler(MeetMeError, on_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


async def _said(check: Check) -> str:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {LOOK_SECONDS:g} s"
    except MeetMeError as error:
        return error.text
    return "ok"
