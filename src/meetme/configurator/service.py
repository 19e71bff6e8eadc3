"""The configurator's gRPC face: `LinkConfigurator` and the thesis's `Configurator`, with health and reflection."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

import grpc.aio
import structlog
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]
from grpc_reflection.v1alpha import reflection

from meetme.configurator import action_wire, intent_wire, wire
from meetme.configurator.figures import DeviceFigures, LinkFigures, Result
from meetme.configurator.keeper import Keeper
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.v1 import configurator_pb2_grpc as rpc
from meetme.drivers.actions import OffersActions, RouterActions
from meetme.drivers.base import ConfigT, Driver
from meetme.model.errors import MeetMeError, Unsupported
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.figures import DatabaseFigures
from meetme.runtime.grpc import Tls, build_server, listen
from meetme.runtime.http import build_metrics_app
from meetme.runtime.listener import Listener, open_listener
from meetme.runtime.telemetry import Registry
from meetme.runtime.tracing import Tracer

MessageT = TypeVar("MessageT", bound=Message)

MOST_CONFIRM_SECONDS = 86_400.0
MOST_PROBE_SECONDS = 60.0
GRACE_SECONDS = 2.0
"""For calls under way when the service stops."""

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())


class LinkServicer(rpc.LinkConfiguratorServicer):
    """Whole links, and segments. Errors leave as they are raised: `runtime.grpc.Guard` says them to the caller."""

    def __init__(self, keeper: Keeper[ConfigT], figures: DeviceFigures) -> None:
        self._keeper = keeper
        self._figures = figures
        self._unproven: set[str] = set()
        """Circuits that were applied and not confirmed since: what is probed then is worth a line in the log."""

    async def Apply(self, request: pb.ApplyRequest, context: Any) -> pb.ApplyReply:
        """One link's, or segment's, whole intent."""
        wire.refuse_unknown(request, "request")
        seconds = wire.read_seconds(request.confirm_seconds, field="confirm_seconds", most=MOST_CONFIRM_SECONDS)
        intent = intent_wire.read_apply(request)
        with self._figures.order("plan" if request.dry_run else "apply") as order:
            commands = await self._keeper.apply(intent, confirm_seconds=seconds or None, dry_run=request.dry_run)
            order.result = Result.DONE if commands else Result.UNCHANGED
        if not request.dry_run:
            self._unproven.add(intent.circuit)
        return pb.ApplyReply(changed=bool(commands) and not request.dry_run, commands=commands)

    async def Confirm(self, request: pb.LinkRef, context: Any) -> pb.ConfirmReply:
        """End the confirm timer."""
        with self._figures.order("confirm"):
            await self._keeper.confirm(request.circuit, wire.read_reference(request), request.generation)
        self._unproven.discard(request.circuit)
        return pb.ConfirmReply()

    async def Remove(self, request: pb.LinkRef, context: Any) -> pb.RemoveReply:
        """Take a link back."""
        with self._figures.order("remove"):
            removal = await self._keeper.remove(request.circuit, wire.read_reference(request), request.generation)
        self._unproven.discard(request.circuit)
        return pb.RemoveReply(left_on_device=removal.left_on_device)

    async def Observe(self, request: pb.ObserveRequest, context: Any) -> pb.Observation:
        """What the router has."""
        with self._figures.order("observe"):
            observation = await self._keeper.observe()
        self._keeper.strays.heard()
        return intent_wire.observation_message(observation)

    async def Probe(self, request: pb.ProbeRequest, context: Any) -> pb.ProbeReport:
        """Echo requests from the router."""
        asked = wire.read_probe(request, most=MOST_PROBE_SECONDS)
        with self._figures.order("probe"):
            report = await self._keeper.probe(asked)
        # The one order that changes no link, and so has no line of the keeper's. Later ones are many, and for figures.
        log = structlog.get_logger()
        tell = log.info if asked.circuit in self._unproven else log.debug
        tell("probe", circuit=asked.circuit, sent=report.sent, lost=report.lost)
        return wire.report_message(report)

    async def Capabilities(self, request: pb.CapabilitiesRequest, context: Any) -> pb.CapabilitiesReply:
        """What the device can do."""
        with self._figures.order("capabilities"):
            return wire.capabilities_message(await self._keeper.capabilities())

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.LinkEvent]:
        """Every change, as it happens."""
        async for event in self._keeper.watch():
            yield wire.event_message(event)


class ActionServicer(rpc.ConfiguratorServicer):
    """The thesis's three actions: whatever is wrong is said in the `Result`, never raised."""

    def __init__(self, actions: RouterActions | None, driver: str, figures: DeviceFigures) -> None:
        self._actions = actions
        self._driver = driver
        self._figures = figures

    async def AddIPToInterface(self, request: pb.IPAssignment, context: Any) -> pb.Result:
        """Assign an address to an interface."""

        async def act(actions: RouterActions) -> str:
            address, port = action_wire.read_assignment(request)
            await actions.add_address(address, port)
            return f"{address} is on {port}"

        return await self._result(request, act)

    async def AddRoute(self, request: pb.Route, context: Any) -> pb.Result:
        """Route a prefix to a next hop."""

        async def act(actions: RouterActions) -> str:
            prefix, next_hop = action_wire.read_route(request)
            await actions.add_route(prefix, next_hop)
            return f"{prefix} is routed via {next_hop}"

        return await self._result(request, act)

    async def ConfigureNat(self, request: pb.NatConfiguration, context: Any) -> pb.Result:
        """Translate one prefix to one alias."""

        async def act(actions: RouterActions) -> str:
            nat = action_wire.read_nat(request)
            await actions.configure_nat(nat)
            return f"{nat.real} is translated to {nat.alias} on {nat.port}"

        return await self._result(request, act)

    async def _result(self, request: Message, act: Callable[[RouterActions], Awaitable[str]]) -> pb.Result:
        try:
            wire.refuse_unknown(request, "request")
            if self._actions is None:
                raise Unsupported(
                    "actions_unsupported",
                    f'driver: offers no single actions ("{self._driver}")',
                    hint="use the service LinkConfigurator",
                )
            with self._figures.order("action"):
                said = await act(self._actions)
            structlog.get_logger().info("action", said=said)
            return pb.Result(success=True, message=said)
        except MeetMeError as error:
            return pb.Result(success=False, message=f"{error.text}; {error.hint}" if error.hint else error.text)
        except Exception as error:
            structlog.get_logger().error("action failed unexpectedly", exc_info=error)
            return pb.Result(success=False, message="failed unexpectedly; the configurator's log has the details")


class ConfiguratorService(Generic[ConfigT]):
    """One device behind a gRPC listener. `database` stays its owner's to close."""

    def __init__(
        self,
        driver: Driver[ConfigT],
        database: Database,
        clock: Clock,
        *,
        stray_seconds: float = 0.0,
        tracer: Tracer | None = None,
    ) -> None:
        """`stray_seconds`: see the setting of that name."""
        self._tracer = tracer
        self.registry = Registry("configurator")
        """What Prometheus is told."""
        database.count(DatabaseFigures(self.registry))
        figures = DeviceFigures(self.registry)
        self._keeper = Keeper(driver, database, clock, stray_seconds=stray_seconds, figures=figures)
        self.registry.register(LinkFigures(self._keeper.standing, lambda: len(self._keeper.strays.circuits)))
        self._links = LinkServicer(self._keeper, figures)
        actions = driver.actions if isinstance(driver, OffersActions) else None
        self._actions = ActionServicer(actions, driver.name, figures)
        self._server: grpc.aio.Server | None = None
        self._metrics: Listener | None = None
        self.metrics_url: str | None = None
        """Where figures are served, once started; None: nowhere."""

    async def start(
        self, address: str, tls: Callable[[], Tls] | None = None, *, metrics: str | socket.socket | None = None
    ) -> str:
        """Heal the device, then listen on `address` (`HOST:PORT`, `unix:PATH`); the address with the port it got.

        `metrics`: where /metrics is served. Raises InvalidInput `tls_required`, Conflict `address_in_use`, and what
        the driver's `open` raises.
        """
        server = build_server(tls, self._tracer)
        rpc.add_LinkConfiguratorServicer_to_server(self._links, server)
        rpc.add_ConfiguratorServicer_to_server(self._actions, server)
        state = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(state, server)  # type: ignore[no-untyped-call]
        shown = (*SERVICES, reflection.SERVICE_NAME, health.SERVICE_NAME)
        reflection.enable_server_reflection(shown, server)  # type: ignore[no-untyped-call]
        if metrics is not None:
            app = build_metrics_app(self.registry)
            self._metrics = await open_listener(app, metrics, flag="--listen-metrics")
            self.metrics_url = self._metrics.url
        bound = listen(server, address, tls)  # first: a second configurator must not get as far as the device
        await self._keeper.start()
        await server.start()
        for service in ("", *SERVICES):
            await state.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._server = server
        return bound

    def alive(self) -> bool:
        """Whether it takes orders."""
        return self._server is not None

    async def stop(self) -> None:
        """Take no more calls, finish those under way, let go of the device."""
        if self._metrics is not None:
            await self._metrics.close()
        if self._server is not None:
            self._keeper.end_watches()  # they would never end by themselves
            await self._server.stop(GRACE_SECONDS)
            await self._keeper.stop()
