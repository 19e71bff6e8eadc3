"""Client and service, over a socket: what one raises the other raises, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from meetme.configurator.client import ConfiguratorClient, open_configurator
from meetme.configurator.service import ConfiguratorService
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.model.errors import (
    Conflict,
    DeviceFailed,
    Fault,
    InvalidInput,
    MeetMeError,
    NotFound,
    Stale,
    Unreachable,
)
from meetme.model.intent import LinkEventKind, LinkState, ProbeRequest
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.configurator.device import AGREEMENT, OTHER, Device, FakeDriver, intent, refuse, until

APPLY = "/meetme.configurator.v1.LinkConfigurator/Apply"


@dataclass
class Router:
    """A configurator on a unix socket that can be killed and started again."""

    folder: Path
    device: Device
    driver: FakeDriver
    service: ConfiguratorService | None = None
    database: Database | None = None

    @property
    def target(self) -> str:
        return f"unix:{self.folder / 'configurator.sock'}"

    async def start(self) -> None:
        self.driver = FakeDriver(self.device)
        self.database = Database.open(f"sqlite:///{self.folder / 'configurator.db'}")
        self.service = ConfiguratorService(self.driver, self.database, SystemClock())
        await self.service.start(self.target)

    async def stop(self) -> None:
        if self.service is not None and self.database is not None:
            await self.service.stop()
            await self.database.close()
            self.service = None


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    router = Router(tmp_path, Device(), FakeDriver(Device()))
    await router.start()
    yield router
    await router.stop()


@pytest.fixture
async def client(router: Router) -> AsyncIterator[ConfiguratorClient]:
    client = await open_configurator(router.target, seconds=5.0)
    assert isinstance(client, ConfiguratorClient)
    yield client
    await client.close()


async def test_the_life_of_a_link(client: ConfiguratorClient, router: Router) -> None:
    plan = await client.apply(intent(), dry_run=True)
    assert router.device.lines == {}
    assert await client.apply(intent(), confirm_seconds=30) == plan
    assert await client.apply(intent(), confirm_seconds=30) == ()
    (link,) = (await client.observe()).links
    assert (link.intent, link.state, link.in_sync) == (intent(), LinkState.TENTATIVE, True)
    await client.confirm("c1", AGREEMENT, 1)
    observation = await client.observe()
    assert observation.links[0].state is LinkState.CONFIRMED
    assert [port.name for port in observation.ports] == ["eth1"]
    assert [str(route.prefix) for route in observation.routes] == ["0.0.0.0/0", "10.0.0.0/24"]
    assert (await client.remove("c1", AGREEMENT, 1)).left_on_device == ()
    assert router.device.lines == {}
    assert (await client.observe()).links == ()


async def test_an_unconfirmed_link_goes_by_itself(client: ConfiguratorClient, router: Router) -> None:
    await client.apply(intent(), confirm_seconds=0.2)
    await until(lambda: not router.device.lines)
    with pytest.raises(NotFound) as caught:
        await client.confirm("c1", AGREEMENT, 1)
    assert caught.value.code == "link_unknown"


async def test_probe_and_capabilities(client: ConfiguratorClient) -> None:
    report = await client.probe(ProbeRequest("c1", ip_address("10.0.0.1"), ip_address("100.64.0.1"), (84, 1500)))
    assert (report.answered, report.rtt_ms) == ((84, 1500), 0.25)
    silent = await client.probe(ProbeRequest("c1", ip_address("10.0.0.1"), ip_address("100.64.0.99")))
    assert (silent.answered, silent.rtt_ms) == ((), None)
    assert (await client.capabilities()).driver == "fake"


async def test_errors_arrive_as_they_were_raised(client: ConfiguratorClient, router: Router) -> None:
    await client.apply(intent(generation=5))
    cases: list[tuple[type[MeetMeError], str, str | None, object]] = [
        (Stale, "stale_generation", "generation", client.apply(intent(generation=4))),
        (Conflict, "circuit_in_use", "intent.circuit", client.apply(intent(generation=6, agreement=OTHER))),
        (Conflict, "port_in_use", "intent.port", client.apply(intent(circuit="c2"))),
        (InvalidInput, "mtu_invalid", "intent.mtu", client.apply(intent(mtu=1))),
        (InvalidInput, "duration_invalid", "confirm_seconds", client.apply(intent(), confirm_seconds=-1)),
    ]
    for cls, code, field, order in cases:
        with pytest.raises(cls) as caught:
            await order  # type: ignore[misc]
        assert (caught.value.code, caught.value.field) == (code, field)
        assert caught.value.fault is Fault.LOCAL
    router.driver.before = refuse
    with pytest.raises(DeviceFailed, match="what was there before is back") as failed:
        await client.apply(intent(generation=6, mtu=1400))
    assert (failed.value.code, failed.value.fault) == ("device_refused", Fault.DEVICE)


async def test_what_nobody_expected_is_logged_and_says_no_more(client: ConfiguratorClient, router: Router) -> None:
    def bug(n: int) -> None:
        raise ZeroDivisionError("secret")

    router.driver.before = bug
    with pytest.raises(DeviceFailed) as caught:
        await client.apply(intent())
    assert caught.value.code == "internal_error"
    assert "secret" not in caught.value.text
    assert "Traceback" not in caught.value.text


async def test_watch_starts_with_the_present_and_follows(client: ConfiguratorClient, router: Router) -> None:
    await client.apply(intent())
    stream = client.watch()
    first = await anext(stream)
    assert (first.circuit, first.agreement, first.kind, first.in_sync) == ("c1", AGREEMENT, LinkEventKind.STATE, True)
    router.device.disturb("c1", None)
    assert [(await anext(stream)).kind for _ in range(2)] == [LinkEventKind.DRIFT, LinkEventKind.REPAIRED]
    await client.remove("c1", AGREEMENT, 1)
    last = await anext(stream)
    assert (last.kind, last.agreement) == (LinkEventKind.REMOVED, AGREEMENT)
    await stream.aclose()


@pytest.mark.parametrize(
    ("octets", "code", "field"),
    [
        (b"\xff\xff\xff", "message_malformed", "request"),
        (b"", "intent_missing", "intent"),
        (pb.ApplyRequest(intent=pb.LinkIntent()).SerializeToString(), "agreement_malformed", "intent.agreement"),
        (b"\xba\x3e\x02hi", "unknown_field", "request"),
        (b"\x0a\x03\xba\x3e\x00", "unknown_field", "request.intent"),
    ],
)
async def test_garbage_gets_one_clear_answer(router: Router, octets: bytes, code: str, field: str) -> None:
    async with grpc.aio.insecure_channel(router.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(APPLY)(octets)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    facts = dict(caught.value.trailing_metadata() or ())["meetme-problem-bin"]
    assert f'"code": "{code}"'.encode() in facts
    assert f'"field": "{field}"'.encode() in facts
    assert router.device.applied == 0


async def test_health_and_reflection(router: Router) -> None:
    async with grpc.aio.insecure_channel(router.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "meetme.configurator.v1.LinkConfigurator", "meetme.configurator.v1.Configurator"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
        listed = {service.name async for reply in stream for service in reply.list_services_response.service}
    assert {"meetme.configurator.v1.LinkConfigurator", "meetme.configurator.v1.Configurator"} <= listed


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        await open_configurator(f"unix:{tmp_path / 'nobody.sock'}")
    assert caught.value.code == "configurator_unreachable"


async def test_a_configurator_that_hangs(client: ConfiguratorClient, router: Router) -> None:
    router.driver.gate = asyncio.Event()
    hasty = await open_configurator(router.target, seconds=0.2)
    with pytest.raises(Unreachable) as caught:
        await hasty.apply(intent())
    assert caught.value.code == "configurator_timeout"
    router.driver.gate.set()
    await until(lambda: len(router.device.lines.get("c1", ())) == 4)
    assert await client.apply(intent()) == ()
    await hasty.close()


async def test_a_socket_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda reader, writer: asyncio.sleep(30), tmp_path / "mute.sock")
    with pytest.raises(Unreachable):
        await open_configurator(f"unix:{tmp_path / 'mute.sock'}", seconds=0.3)
    server.close()


async def test_the_client_finds_a_configurator_that_came_back(client: ConfiguratorClient, router: Router) -> None:
    await client.apply(intent(), confirm_seconds=30)
    stream = client.watch()
    await anext(stream)
    await router.stop()
    with pytest.raises((Unreachable, StopAsyncIteration)):
        await anext(stream)
    with pytest.raises(Unreachable) as caught:
        await client.observe()
    assert caught.value.code == "configurator_unreachable"
    await router.start()
    async with asyncio.timeout(5):
        while True:
            try:
                await client.confirm("c1", AGREEMENT, 1)
                break
            except Unreachable:
                await asyncio.sleep(0.05)
    assert (await client.observe()).links[0].state is LinkState.CONFIRMED


async def test_a_port_in_use_is_said_so(router: Router, tmp_path: Path) -> None:
    service = ConfiguratorService(router.driver, router.database, SystemClock())
    bound = await service.start("127.0.0.1:0")
    other = ConfiguratorService(router.driver, router.database, SystemClock())
    router.device.lines["of the other"] = ("port eth9",)
    with pytest.raises(Conflict) as caught:
        await other.start(bound)
    assert caught.value.code == "address_in_use"
    assert "of the other" in router.device.lines
    await service.stop()
