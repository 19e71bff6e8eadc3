"""The way to an exchange: tokens, pages, errors, TLS, a real listener."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meetme.cli.main import run
from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey, ClientCredentials
from meetme.ixapi.faults import error_of
from meetme.ixapi.opening import ExchangeAccess, open_exchange
from meetme.model.errors import InvalidInput, MeetMeError, NotFound, Unauthenticated, Unreachable
from meetme.runtime.clock import ManualClock
from meetme.runtime.listener import listening, open_listener
from tests.ixapi.misbehaving import KEY, SECRET, Manners, Misbehaving, app
from tests.ixapi.ordering_at import Bench, order


async def test_one_token_serves_many_and_is_refreshed_before_it_expires() -> None:
    bench = Bench(Manners(token_seconds=600.0))
    await asyncio.gather(*(bench.client.connections() for _ in range(10)))
    assert (bench.exchange.logins, bench.exchange.refreshes) == (1, 0)
    bench.clock.advance(560.0)
    await bench.client.connections()
    assert (bench.exchange.logins, bench.exchange.refreshes) == (1, 0)
    bench.clock.advance(15.0)
    await bench.client.connections()
    assert (bench.exchange.logins, bench.exchange.refreshes) == (1, 1)
    bench.clock.advance(100_000.0)
    await bench.client.connections()
    assert (bench.exchange.logins, bench.exchange.refreshes) == (1, 2)


async def test_an_exchange_without_refresh_gets_a_login() -> None:
    bench = Bench(Manners(token_seconds=600.0))
    await bench.client.connections()
    token, exchange = bench.exchange._token, bench.exchange
    exchange._token = lambda path, body: (  # type: ignore[method-assign]
        exchange._problem(404, "not-found") if path == "/auth/refresh" else token(path, body)
    )
    bench.clock.advance(590.0)
    await bench.client.connections()
    assert bench.exchange.logins == 2


async def test_client_credentials_get_a_token_elsewhere() -> None:
    asked: list[httpx2.Request] = []
    answers: list[tuple[int, Any]] = [(200, {"access_token": "opaque", "expires_in": 300})]

    async def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        status, document = answers[0] if request.url.host == "login.example" else (200, [])
        stream = httpx2.ByteStream(json.dumps(document).encode())
        return httpx2.Response(status, stream=stream, request=request)

    clock = ManualClock()
    credentials = ClientCredentials("me:too", SECRET, "https://login.example/token", ("ix", "api"))
    client = IxApiClient("https://ix.example", credentials, transport=_Transport(handle), clock=clock)
    assert await client.list("/connections") == []
    login = asked[0]
    assert login.headers["authorization"] == "Basic " + base64.b64encode(f"me%3Atoo:{SECRET}".encode()).decode()
    assert login.content == b"grant_type=client_credentials&scope=ix+api"
    assert {request.headers["authorization"] for request in asked[1:]} == {"Bearer opaque"}
    clock.advance(280.0)
    answers[0] = (400, {"error": "invalid_client"})
    with pytest.raises(Unauthenticated):
        await client.list("/connections")
    answers[0] = (200, None)
    with pytest.raises(Unreachable, match="must be answered with a token"):  # a proxy's page says nothing about them
        await client.list("/connections")
    assert SECRET not in repr(credentials)
    with pytest.raises(InvalidInput, match="token_url: must be https"):
        IxApiClient("https://ix.example", ClientCredentials("me", SECRET, "http://login.example/token"))


async def test_what_it_can_is_detected_and_what_it_does_not_say_is_tried() -> None:
    bench = Bench(Manners(version="2.4.2", page=50))
    found = await bench.api.implementation()
    assert (found.version, found.pagination, found.offers("whatever")) == ("2.4.2", True, True)
    assert await bench.api.health() == "pass"
    answer = bench.exchange._answer
    bench.exchange._answer = lambda method, path, *rest: (  # type: ignore[method-assign]
        bench.exchange._problem(404, "not-found") if path == "/implementation" else answer(method, path, *rest)
    )
    bench.new_client()
    assert (await bench.api.implementation()).version == "2.4.2"


@pytest.mark.parametrize("url", ["http://ix.example", "ftp://ix.example", "ix.example", "https://me:pass@ix.example"])
def test_secrets_leave_this_machine_encrypted_or_not_at_all(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        IxApiClient(url, ApiKey(KEY, SECRET))
    assert refused.value.code == "exchange_url_invalid"
    assert "pass@" not in refused.value.text


@pytest.mark.parametrize(
    ("status", "document", "kind", "code", "field"),
    [
        (400, {"type": "https://errors.ix-api.net/v2/validation-error.html", "properties": [
            {"name": "vlan_config", "reason": {"vlan": ["in use"]}}]}, "Conflict", "exchange_vlan_taken", "vlan"),
        (400, {"type": "https://errors.ix-api.net/v2/validation-error.html", "properties": [
            {"name": "capacity", "reason": "too much"}]}, "Exhausted", "exchange_capacity", "bandwidth"),
        (400, {"type": "https://errors.ix-api.net/v2/validation-error.html", "properties": "odd"},
         "Refused", "exchange_finds_invalid", None),
        (400, {"type": "x/unable-to-fulfill.html", "detail": "no"}, "Refused", "exchange_refuses", None),
        (400, {"type": "x/cancellation-policy-error.html", "decommission_at": "2027-01-01"},
         "Refused", "exchange_cancels_later", "decommission_at"),
        (403, {"title": "no"}, "Forbidden", "exchange_forbids", None),
        (404, None, "NotFound", "exchange_object_unknown", None),
        (405, "<html>", "Unsupported", "exchange_unsupported", None),
        (409, {}, "Conflict", "exchange_conflict", None),
        (418, [1], "Refused", "exchange_refuses", None),
        (503, {"detail": 7}, "Unreachable", "exchange_failing", None),
    ],
)  # fmt: skip
def test_problems_become_errors(status: int, document: Any, kind: str, code: str, field: str | None) -> None:
    error = error_of(status, document, what="POST /x")
    assert (type(error).__name__, error.code, error.field) == (kind, code, field)
    assert error.text.startswith("POST /x: ")


async def test_answers_that_make_no_sense_are_refused() -> None:
    async def handle(request: httpx2.Request) -> httpx2.Response:
        documents = {"/token": {"access_token": "t"}, "/implementation": {}, "/health": None}
        document = documents.get(next((p for p in documents if request.url.path.endswith(p)), ""), {"not": "a list"})
        stream = httpx2.ByteStream(json.dumps(document).encode())
        status = 307 if request.url.path.endswith("/moved") else 200
        return httpx2.Response(status, stream=stream, headers={"location": "https://evil.example/"}, request=request)

    client = IxApiClient("https://ix.example", ApiKey(KEY, SECRET), transport=_Transport(handle), sleep=_no_sleep)
    with pytest.raises(Unreachable, match="list"):
        await client.list("/connections")
    with pytest.raises(NotFound, match="307"):
        await client.get("/moved")


async def test_over_a_real_connection_with_a_certificate_that_is_checked(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    certificate = _certificate(tmp_path)
    async with _serving(certificate) as (exchange, port):
        url = f"https://localhost:{port}"
        access = ExchangeAccess(url, KEY, secret, certificate / "certificate.pem")
        client = open_exchange(access)
        try:
            built = await client.build(order())
            assert built.b_vlan == 100
            await client.remove("c1")
            assert not exchange.live()
        finally:
            await client.close()
        stranger = open_exchange(ExchangeAccess(url, KEY, secret))
        try:
            with pytest.raises(Unreachable, match="certificate"):
                await stranger.connections()
        finally:
            await stranger.close()


async def test_an_exchange_without_what_is_needed_is_found_out() -> None:
    bench = Bench()
    bench.exchange.offerings = []
    bench.exchange.speed = {}
    bench.exchange._implementation = lambda: {  # type: ignore[method-assign]
        "schema_version": "2.7.1",
        "supported_operations": ["network-services_list", "NetworkServicesCreate"],
    }
    findings = {finding.what: finding for finding in await bench.client.check()}
    assert {what for what, finding in findings.items() if finding.needed and not finding.ok} == {
        "orders",
        "offerings",
        "connections",
    }
    assert "network_services_create" not in findings["orders"].detail
    assert "network_services_destroy" in findings["orders"].detail
    assert all(finding.hint for finding in findings.values() if not finding.ok)


async def test_the_command_says_what_it_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text(SECRET)
    certificate = _certificate(tmp_path)
    async with _serving(certificate) as (_, port):
        there = [f"https://localhost:{port}", "--key", KEY, "--secret", str(tmp_path / "secret")]
        trusted = ["--certificate", str(certificate / "certificate.pem")]
        assert await asyncio.to_thread(run, ["exchange", "check", *there, *trusted, "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["ok"]
        assert await asyncio.to_thread(run, ["exchange", "check", *there]) == 4
        assert "certificate" in capsys.readouterr().err


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        open_exchange(ExchangeAccess("https://ix.example", KEY, tmp_path / "secret"))
    assert (missing.value.code, missing.value.field) == ("exchange_secret_missing", "exchange_secret")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "pem").write_text("none")
    for path, code in (
        (tmp_path / "x", "exchange_certificate_missing"),
        (tmp_path / "pem", "exchange_certificate_invalid"),
    ):
        with pytest.raises(MeetMeError) as wrong:
            open_exchange(ExchangeAccess("https://ix.example", KEY, tmp_path / "secret", path))
        assert wrong.value.code == code


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        found: httpx2.Response = await self._handle(request)
        return found


async def _no_sleep(_seconds: float) -> None: ...


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[tuple[Misbehaving, int]]:
    exchange = Misbehaving(Manners(looks=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    listener = await open_listener(app(exchange), "127.0.0.1:0", tls=context)
    async with listening(listener):
        yield exchange, int(listener.address.rpartition(":")[2])


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder
