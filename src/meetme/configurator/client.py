"""How a device is commanded, a router by its negotiator, a switch by its exchange: one protocol, whatever it can do.

`open_configurator` asks what it can, and returns a `ConfiguratorClient`, or a `ThreeActionClient` for one that was
written against the thesis's three actions alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol
from uuid import UUID

import grpc.aio

from meetme.configurator import intent_wire, wire
from meetme.configurator.three_actions import ThreeActionClient
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.v1 import configurator_pb2_grpc as rpc
from meetme.model.errors import Unsupported
from meetme.model.intent import (
    Capabilities,
    Intent,
    LinkEvent,
    LinkIntent,
    Observation,
    ProbeReport,
    ProbeRequest,
    Removal,
)
from meetme.runtime.grpc import CALL_SECONDS, Tls, call, from_status, open_channel

PART = "configurator"


class RouterControl(Protocol):
    """What a negotiator asks of a router. Every method raises MeetMeError.

    Unreachable `configurator_unreachable` or `configurator_timeout`: it is not known whether the order was carried out;
    giving it again does no harm.
    """

    async def apply(
        self, intent: LinkIntent, *, confirm_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Bring a link into force; the commands that it took (with `dry_run`: would take). Empty: it was in force."""

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """End the confirm timer. Raises NotFound `link_unknown` where the link has been rolled back."""

    async def remove(
        self, circuit: str, agreement: UUID, generation: int, *, intent: LinkIntent | None = None
    ) -> Removal:
        """Take a link back. `intent` is what was applied: a client that forgot it needs it to say what is left."""

    async def observe(self) -> Observation:
        """What the router has."""

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Echo requests from the router."""

    async def capabilities(self) -> Capabilities:
        """What it can do."""

    def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every link, then every change; ends with an error when the connection does."""

    async def close(self) -> None:
        """Let go of the connection."""


class ConfiguratorClient:
    """A configurator that offers `LinkConfigurator`. `seconds` is the deadline of a call; it reconnects by itself."""

    def __init__(self, channel: grpc.aio.Channel, target: str, *, seconds: float = CALL_SECONDS) -> None:
        self._channel = channel
        self._stub = rpc.LinkConfiguratorStub(channel)
        self._target = target
        self._seconds = seconds

    async def apply(
        self, intent: Intent, *, confirm_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Bring a link or segment into force. Raises also InvalidInput, Stale, Conflict, Unsupported, DeviceFailed."""
        request = intent_wire.apply_message(intent, confirm_seconds=confirm_seconds or 0.0, dry_run=dry_run)
        reply: pb.ApplyReply = await self._call(self._stub.Apply, request)
        return tuple(reply.commands)

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """End the confirm timer."""
        await self._call(self._stub.Confirm, _reference(circuit, agreement, generation))

    async def remove(self, circuit: str, agreement: UUID, generation: int, *, intent: Intent | None = None) -> Removal:
        """Take a link or a segment back; the configurator remembers it, so `intent` is not needed."""
        reply: pb.RemoveReply = await self._call(self._stub.Remove, _reference(circuit, agreement, generation))
        return Removal(tuple(reply.left_on_device))

    async def observe(self) -> Observation:
        """What the router has."""
        return intent_wire.read_observation(await self._call(self._stub.Observe, pb.ObserveRequest()))

    async def probe(self, request: ProbeRequest) -> ProbeReport:
        """Echo requests from the router; waits for `request.within` and the deadline of a call."""
        message = wire.probe_message(request)
        return wire.read_report(await self._call(self._stub.Probe, message, self._seconds + request.within))

    async def capabilities(self) -> Capabilities:
        """What it can do."""
        return wire.read_capabilities(await self._call(self._stub.Capabilities, pb.CapabilitiesRequest()))

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every link, then every change; raises Unreachable when the connection ends."""
        stream: Any = self._stub.Watch(pb.WatchRequest())
        try:
            async for message in stream:
                yield wire.read_event(message)
        except grpc.aio.AioRpcError as error:
            raise from_status(error, part=PART, target=self._target) from None
        finally:
            stream.cancel()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()

    async def _call(self, method: Callable[..., Awaitable[Any]], request: Any, seconds: float | None = None) -> Any:
        return await call(method, request, part=PART, target=self._target, seconds=seconds or self._seconds)


def _reference(circuit: str, agreement: UUID, generation: int) -> pb.LinkRef:
    return pb.LinkRef(circuit=circuit, agreement=str(agreement), generation=generation)


async def open_configurator(
    target: str, credentials: Tls | None = None, *, seconds: float = CALL_SECONDS
) -> ConfiguratorClient | ThreeActionClient:
    """Connect to the configurator at `target` (`HOST:PORT`, `unix:PATH`) and ask what it can.

    Raises InvalidInput `tls_required` without credentials beyond loopback, and Unreachable.
    """
    channel = open_channel(target, credentials)
    client = ConfiguratorClient(channel, target, seconds=seconds)
    try:
        await client.capabilities()
    except Unsupported as error:
        if error.code == "configurator_unimplemented":
            return ThreeActionClient(channel, target, seconds=seconds)
        await channel.close()
        raise
    except BaseException:
        await channel.close()
        raise
    return client
