"""Negotiator and configurator with identities of their own, as on two machines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meetme.configurator.service import ConfiguratorService
from meetme.drivers.memory import MemoryDriver
from meetme.model.errors import InvalidInput, MeetMeError, NotFound
from meetme.negotiator.router_tls import router_tls
from meetme.negotiator.settings import Configurator
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.grpc import Tls
from meetme.runtime.identity import Identity, create_identity
from tests.negotiator.pair import pair, settings


@asynccontextmanager
async def router(own: Identity, clients: list[bytes]) -> AsyncIterator[str]:
    """A configurator with the memory driver that speaks TLS to those whose certificates are in `clients`."""
    database = Database.open("sqlite://")
    service = ConfiguratorService(MemoryDriver(), database, SystemClock())
    address = await service.start("127.0.0.1:0", lambda: Tls(own.key, own.certificate, tuple(clients)))
    try:
        yield address
    finally:
        await service.stop()
        await database.close()


def pinned(folder: Path, *identities: Identity) -> tuple[Path, ...]:
    paths = []
    for identity in identities:
        paths.append(folder / f"{identity.pin[7:15]}.pem")
        paths[-1].write_bytes(identity.certificate)
    return tuple(paths)


async def test_each_has_an_identity_of_its_own(tmp_path: Path) -> None:
    own, other = create_identity("router1"), create_identity("router1")
    clients: list[bytes] = []
    async with router(own, clients) as one, router(other, clients) as two:
        changes = {
            letter: {
                "configurator": (Configurator("router1", target),),
                # Two of one name: the certificate is being changed.
                "configurator_certificates": pinned(tmp_path, own, other),
            }
            for letter, target in (("a", one), ("b", two))
        }
        async with pair(real=True, **changes) as (a, b):
            with pytest.raises(MeetMeError) as caught:
                await a.client.start(StartRequest("csp-b"))
            assert caught.value.code == "configurator_unreachable", "the configurator does not know the negotiator yet"
            clients.extend(side.service._trust.identity.certificate for side in (a, b))
            for side in (a, b):
                await side.restart(crash=False)
            started = await a.client.start(StartRequest("csp-b"))
            assert (await a.until(started.id, State.ACTIVE)).state is State.ACTIVE
            await b.until(started.id, State.ACTIVE)


async def test_a_router_under_another_key_is_not_believed(tmp_path: Path) -> None:
    own, impostor = create_identity("router1"), create_identity("router1")
    clients: list[bytes] = []
    async with router(impostor, clients) as target:
        change = {
            "configurator": (Configurator("router1", target),),
            "configurator_certificates": pinned(tmp_path, own),
        }
        async with pair(real=True, a=change) as (a, _b):
            clients.append(a.service._trust.identity.certificate)
            with pytest.raises(MeetMeError) as caught:
                await a.client.start(StartRequest("csp-b"))
            assert caught.value.code == "configurator_unreachable"


def test_without_certificates_beyond_loopback_it_is_the_members_own() -> None:
    me = create_identity("csp-a")
    remote = (Configurator("r1", "192.0.2.1:8475"), Configurator("r2", "127.0.0.1:8475"))
    assert router_tls(settings(configurator=remote), me) == {
        "r1": Tls(me.key, me.certificate, (me.certificate,), name="csp-a"),
        "r2": None,
    }


def test_a_certificate_of_nobody_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    me, stranger = create_identity("csp-a"), create_identity("router9")
    with pytest.raises(InvalidInput) as caught:
        router_tls(settings(configurator_certificates=pinned(tmp_path, stranger)), me)
    assert caught.value.code == "certificate_of_nobody"
    with pytest.raises(NotFound) as missing:
        router_tls(settings(configurator_certificates=(tmp_path / "none.pem",)), me)
    assert (missing.value.code, missing.value.field) == ("certificate_missing", "configurator_certificates")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(InvalidInput) as malformed:
        router_tls(settings(configurator_certificates=(tmp_path / "text.pem",)), me)
    assert malformed.value.code == "certificate_malformed"
