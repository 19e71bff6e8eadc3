"""Who may talk to a configurator beyond loopback: those whose certificate it pinned, and it to them alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from meetme.configurator.client import open_configurator
from meetme.configurator.service import ConfiguratorService
from meetme.model.errors import InvalidInput, MeetMeError
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.grpc import Tls
from meetme.runtime.identity import Identity, create_identity
from tests.configurator.device import Device, FakeDriver


def tls(own: Identity, *peers: Identity, name: str | None = None) -> Tls:
    return Tls(own.key, own.certificate, tuple(peer.certificate for peer in peers), name)


@dataclass
class Listener:
    target: str
    own: Identity
    client: Identity
    pinned: list[Identity] = field(default_factory=list)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    own, client = create_identity("router1"), create_identity("csp-a")
    listener = Listener("", own, client, [client])
    database = Database.open("sqlite://")
    service = ConfiguratorService(FakeDriver(Device()), database, SystemClock())
    listener.target = await service.start("127.0.0.1:0", lambda: tls(own, *listener.pinned))
    yield listener
    await service.stop()
    await database.close()


async def test_both_know_each_other(listener: Listener) -> None:
    client = await open_configurator(listener.target, tls(listener.client, listener.own, name="router1"))
    assert (await client.observe()).links == ()
    await client.close()


async def test_an_unknown_client_is_turned_away(listener: Listener) -> None:
    stranger = create_identity("csp-a")
    with pytest.raises(MeetMeError):
        await open_configurator(listener.target, tls(stranger, listener.own, name="router1"), seconds=2)


async def test_an_unknown_server_is_not_believed(listener: Listener) -> None:
    impostor = create_identity("router1")
    with pytest.raises(MeetMeError) as caught:
        await open_configurator(listener.target, tls(listener.client, impostor, name="router1"), seconds=2)
    assert caught.value.code == "configurator_unreachable"


async def test_a_known_server_under_another_name_is_not_believed(listener: Listener) -> None:
    with pytest.raises(MeetMeError):
        await open_configurator(listener.target, tls(listener.client, listener.own, name="router2"), seconds=2)


async def test_no_tls_no_answer(listener: Listener) -> None:
    with pytest.raises(MeetMeError):
        await open_configurator(listener.target, seconds=2)


async def test_a_client_pinned_later_is_let_in(listener: Listener) -> None:
    late = create_identity("csp-b")
    listener.pinned.append(late)
    client = await open_configurator(listener.target, tls(late, listener.own, name="router1"), seconds=2)
    assert (await client.capabilities()).driver == "fake"
    listener.pinned.remove(late)
    with pytest.raises(MeetMeError) as caught:
        await client.capabilities()
    assert caught.value.code == "certificate_unknown"
    await client.close()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8475", "router.example:8475"])
async def test_in_the_clear_only_on_this_machine(address: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await open_configurator(address)
    assert caught.value.code == "tls_required"
    database = Database.open("sqlite://")
    service = ConfiguratorService(FakeDriver(Device()), database, SystemClock())
    with pytest.raises(InvalidInput) as refused:
        await service.start(address)
    assert refused.value.code == "tls_required"
    await database.close()
