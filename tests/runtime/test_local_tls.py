"""The local API over TLS: a token or a certificate opens it, nothing else does, and nothing is said to a stranger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from meetme.cli.member import LocalApi
from meetme.model.errors import InvalidInput, NotFound, Unauthenticated, Unreachable
from meetme.runtime.http import Access, build_app
from meetme.runtime.identity import Identity, create_identity, pin_of, save_identity
from meetme.runtime.listener import Listener, listening, open_listener
from meetme.runtime.local_tls import LocalClients, PinnedTransport
from meetme.runtime.telemetry import Registry
from meetme.runtime.tls import fetch_certificate
from meetme.runtime.tokens import Scope, Tokens

TOKEN = {"authorization": "Bearer opens"}


class World:
    """A service of member `isp-a` with one client that may change things and one that may read."""

    def __init__(self) -> None:
        self.member, self.boss, self.reader = (create_identity(name) for name in ("isp-a", "boss", "reader"))
        self.clients = LocalClients([(self.boss.certificate, Scope.WRITE), (self.reader.certificate, Scope.READ)])
        tokens = Tokens.of({"opens": Scope.WRITE})
        access = Access(tokens)
        self.app = build_app(title="s", version="1", registry=Registry(), tokens=tokens, clients=self.clients)
        self.changed = 0

        @self.app.get("/thing", dependencies=[access.read])
        async def thing() -> dict[str, int]:
            return {"changed": self.changed}

        @self.app.post("/thing", dependencies=[access.write])
        async def change() -> dict[str, int]:
            self.changed += 1
            return {"changed": self.changed}

    async def listen(self, where: str) -> Listener:
        return await open_listener(self.app, where, beyond_loopback=self.clients.server_context(self.member))

    def client(self, url: str, identity: Identity | None = None, *, pin: str | None = None) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=PinnedTransport(pin or self.member.pin, identity), base_url=url)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    async with listening(listener := await world.listen("https://127.0.0.1:0")):
        yield listener.url


async def statuses(client: httpx2.AsyncClient, **headers: str) -> tuple[int, int]:
    async with client:
        return (
            (await client.get("/thing", headers=headers)).status_code,
            (await client.post("/thing", headers=headers)).status_code,
        )


async def test_each_is_let_in_within_its_scope(world: World, url: str) -> None:
    assert url.startswith("https://")
    assert await statuses(world.client(url, world.boss)) == (200, 200)
    assert await statuses(world.client(url, world.reader)) == (200, 403)
    assert await statuses(world.client(url), **TOKEN) == (200, 200)
    assert world.changed == 2


async def test_nobody_gets_in_with_nothing(world: World, url: str) -> None:
    assert await statuses(world.client(url)) == (401, 401)
    assert await statuses(world.client(url), authorization="Bearer another") == (401, 401)
    assert world.changed == 0


async def test_a_wrong_token_is_not_made_good_by_a_certificate(world: World, url: str) -> None:
    async with world.client(url, world.boss) as client:
        answer = await client.post("/thing", headers={"authorization": "Bearer another"})
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:meetme:problem:token_unknown")


async def test_what_a_reader_lacks_is_said_of_its_certificate(world: World, url: str) -> None:
    async with world.client(url, world.reader) as client:
        answer = await client.post("/thing")
    assert (answer.json()["type"], answer.json()["field"]) == ("urn:meetme:problem:certificate_scope", "certificate")


async def test_an_unknown_certificate_is_cut_off_and_told_so(world: World, url: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await statuses(world.client(url, create_identity("boss")), **TOKEN)
    assert (caught.value.code, caught.value.field) == ("client_certificate_refused", "certificate")
    assert world.changed == 0


async def test_nothing_is_said_to_a_service_with_another_key(world: World, url: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await statuses(world.client(url, world.boss, pin=create_identity("isp-a").pin), **TOKEN)
    assert caught.value.code == "server_key_unknown"
    assert world.changed == 0


async def test_the_key_is_looked_at_again_on_the_connection_that_is_used(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever shows the right certificate first and has not its key gets no further."""
    right = await fetch_certificate("127.0.0.1", int(url.rpartition(":")[2]))

    async def pretend(_host: str, _port: int) -> bytes:
        return right

    monkeypatch.setattr("meetme.runtime.local_tls.fetch_certificate", pretend)
    world.member = create_identity("isp-a")
    async with listening(listener := await world.listen("https://127.0.0.1:0")):
        with pytest.raises(httpx2.ConnectError):
            await statuses(world.client(listener.url, pin=pin_of(right)), **TOKEN)
    assert world.changed == 0


async def test_figures_and_readiness_are_nobodys_business_from_afar(world: World, url: str) -> None:
    async with world.client(url) as stranger:
        assert [(await stranger.get(page)).status_code for page in ("/healthz", "/readyz", "/metrics")] == [
            200,
            401,
            401,
        ]
    async with world.client(url, world.reader) as reader:
        assert [(await reader.get(page)).status_code for page in ("/readyz", "/metrics")] == [200, 200]
    async with world.client(url) as holder:
        assert (await holder.get("/metrics", headers=TOKEN)).status_code == 200


async def test_loopback_stays_as_it_was(world: World) -> None:
    async with listening(listener := await world.listen("127.0.0.1:0")):
        assert listener.url.startswith("http://")
        async with httpx2.AsyncClient(base_url=listener.url) as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/thing", headers=TOKEN)).status_code == 200
        with pytest.raises(Unreachable) as caught:
            await statuses(world.client(listener.url.replace("http:", "https:")))
    assert caught.value.code == "server_unreachable"


async def test_beyond_loopback_it_is_tls(world: World) -> None:
    async with listening(listener := await world.listen("0.0.0.0:0")):
        assert listener.url.startswith("https://")


def test_a_certificate_has_one_scope(world: World, tmp_path: Path) -> None:
    path = tmp_path / "boss.pem"
    path.write_bytes(world.boss.certificate)
    with pytest.raises(InvalidInput) as caught:
        LocalClients.read(clients=[path], readers=[path])
    assert caught.value.code == "local_client_twice"
    with pytest.raises(NotFound):
        LocalClients.read(clients=[tmp_path / "none.pem"], readers=[])


async def test_the_command_line_finds_key_and_pin(
    world: World, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_identity(world.boss, key=tmp_path / "ops/key.pem", certificate=tmp_path / "ops/certificate.pem")
    save_identity(world.member, key=tmp_path / "key.pem", certificate=tmp_path / "certificate.pem")
    monkeypatch.setenv("MEETME_DIR", str(tmp_path))
    api = LocalApi(url=url, certificate=tmp_path / "ops/certificate.pem")
    async with httpx2.AsyncClient(transport=api.transport(), base_url=url) as client:
        assert (await client.post("/thing")).status_code == 200
    monkeypatch.setenv("MEETME_DIR", str(tmp_path / "nothing"))
    for wrong, code in (
        (LocalApi(url="http://127.0.0.1:1", certificate=tmp_path / "ops/certificate.pem"), "certificate_needs_tls"),
        (LocalApi(url=url), "server_pin_missing"),
        (LocalApi(url=url, server_pin="sha256:12"), "server_pin_malformed"),
    ):
        with pytest.raises(InvalidInput) as caught:
            wrong.transport()
        assert caught.value.code == code
