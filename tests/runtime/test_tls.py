"""Mutual TLS: who is let in, now, and who no longer."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from meetme.model.errors import NotFound, Unauthenticated, Unreachable
from meetme.model.members import Member, Roster
from meetme.runtime.identity import Identity, create_identity
from meetme.runtime.listener import listening, open_listener
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.roster import read_roster, write_roster
from meetme.runtime.tls import Trust, fetch_certificate, pinned_client_context

from .webs import Federation, member_of


@pytest.fixture
async def federation(tmp_path: Path):
    async with Federation(tmp_path).listening() as federation:
        yield federation


async def ask(trust: Trust, member: str = "isp-a"):
    client = PeerClient(trust)
    try:
        return await client.post(member, "negotiator", "/api/v1/handle", {"x": 1})
    finally:
        await client.close()


async def test_a_known_member_is_heard_under_its_own_name(federation: Federation) -> None:
    answer = await ask(federation.trust_of(federation.b))
    assert (answer.status, answer.document) == (200, {"from": "isp-b", "echo": {"x": 1}})


async def test_an_unknown_member_is_cut_off(federation: Federation) -> None:
    with pytest.raises(Unreachable) as caught:
        await ask(federation.trust_of(create_identity("isp-b")))
    assert caught.value.code == "peer_refuses_certificate"
    assert federation.seen == []


async def test_a_server_with_another_key_gets_nothing(federation: Federation) -> None:
    with pytest.raises(Unreachable) as caught:
        await ask(federation.trust_of(federation.b, expecting=create_identity("isp-a")))
    assert caught.value.code == "peer_certificate_unknown"
    assert federation.seen == []


def anonymous_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def answer_to(federation: Federation, context: ssl.SSLContext) -> bytes | None:
    """What the server answers; None: it cuts the connection."""
    host, _, port = federation.url.removeprefix("https://").rpartition(":")
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.write(b"POST /api/v1/handle HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            return await reader.read(1000) or None
    except (ssl.SSLError, ConnectionError):
        return None


async def test_a_client_without_a_certificate_is_cut_off(federation: Federation) -> None:
    assert await answer_to(federation, anonymous_context()) is None
    assert federation.seen == []


async def test_tls_1_2_is_refused(federation: Federation) -> None:
    context = anonymous_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await answer_to(federation, context) is None
    assert federation.seen == []


def issue(subject: Identity, *, by: Identity, ca: bool) -> Identity:
    """A certificate for the key of `subject`, signed by the key of `by`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by.member)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name if ca else x509.Name([]))
        .issuer_name(name)
        .public_key(x509.load_pem_x509_certificate(subject.certificate).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"meetme:member:{by.member}")]), critical=True
        )
        .sign(load_pem_private_key(by.key, None), hashes.SHA256())
    )
    return Identity(subject.key, certificate.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("authority", [False, True])
async def test_a_known_key_vouches_for_no_other(federation: Federation, authority: bool) -> None:
    b = federation.b
    if authority:  # b has made itself a certificate that may sign others, and is known by that one
        b = issue(b, by=b, ca=True)
        write_roster(federation.roster_path, Roster((member_of(b),)))
        assert (await ask(federation.trust_of(b))).document["from"] == "isp-b"
    federation.seen.clear()
    with pytest.raises((Unreachable, Unauthenticated)) as caught:
        await ask(federation.trust_of(issue(create_identity("isp-c"), by=b, ca=False)))
    assert caught.value.code == ("certificate_unknown" if authority else "peer_refuses_certificate")
    assert federation.seen == []


async def test_a_member_that_is_added_while_the_server_runs_is_heard(federation: Federation) -> None:
    late = create_identity("isp-late")
    with pytest.raises(Unreachable):
        await ask(federation.trust_of(late))
    write_roster(federation.roster_path, read_roster(federation.roster_path).with_member(member_of(late)))
    assert (await ask(federation.trust_of(late))).document["from"] == "isp-late"
    assert (await ask(federation.trust_of(federation.b))).document["from"] == "isp-b"


async def test_a_member_that_is_removed_is_cut_off_even_on_a_connection_that_is_open(federation: Federation) -> None:
    client = PeerClient(federation.trust_of(federation.b))
    await client.post("isp-a", "negotiator", "/api/v1/handle", {"x": 1})
    write_roster(federation.roster_path, read_roster(federation.roster_path).without("isp-b"))
    with pytest.raises(Unauthenticated) as still_open:
        await client.post("isp-a", "negotiator", "/api/v1/handle", {"x": 2})
    assert still_open.value.code == "certificate_unknown"
    await client.close()
    with pytest.raises(Unreachable) as anew:
        await ask(federation.trust_of(federation.b))
    assert anew.value.code == "peer_refuses_certificate"
    assert federation.seen == [{"x": 1}]


async def test_a_member_that_changes_its_key_is_known_by_both(federation: Federation) -> None:
    new = create_identity("isp-b")
    both = Member(
        id="isp-b",
        kind=member_of(new).kind,
        pins=(federation.b.pin, new.pin),
        certificates=(federation.b.certificate, new.certificate),
    )
    write_roster(federation.roster_path, Roster((both,)))
    for identity in (federation.b, new):
        assert (await ask(federation.trust_of(identity))).document["from"] == "isp-b"


async def test_a_client_follows_the_roster(federation: Federation) -> None:
    roster = Roster((member_of(create_identity("isp-a"), federation.url),))
    client = PeerClient(Trust(federation.b, lambda: roster))
    with pytest.raises(Unreachable):
        await client.post("isp-a", "negotiator", "/api/v1/handle", {"x": 1})
    roster = Roster((member_of(federation.a, federation.url),))
    assert (await client.post("isp-a", "negotiator", "/api/v1/handle", {"x": 1})).status == 200
    roster = Roster((member_of(federation.a),))
    with pytest.raises(NotFound) as no_url:
        await client.post("isp-a", "negotiator", "/api/v1/handle", {"x": 1})
    assert no_url.value.code == "peer_url_missing"
    roster = Roster()
    with pytest.raises(NotFound) as nobody:
        await client.post("isp-a", "negotiator", "/api/v1/handle", {"x": 1})
    assert nobody.value.code == "peer_unknown"
    await client.close()


async def test_a_certificate_is_fetched_for_a_person_to_compare(federation: Federation) -> None:
    host, _, port = federation.url.removeprefix("https://").rpartition(":")
    assert await fetch_certificate(host, int(port)) == federation.a.certificate
    assert federation.seen == []


async def test_fetching_from_something_else_says_what_is_wrong(federation: Federation) -> None:
    async def silent(_reader, writer) -> None:
        await asyncio.sleep(60)

    async def plain(_reader, writer) -> None:
        writer.write(b"220 mail.example\r\n")
        writer.close()

    for talk, code, seconds in ((silent, "peer_timeout", 0.1), (plain, "peer_speaks_no_tls", 5.0)):
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            with pytest.raises(Unreachable) as caught:
                await fetch_certificate("127.0.0.1", server.sockets[0].getsockname()[1], seconds=seconds)
            assert caught.value.code == code
    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        free = server.sockets[0].getsockname()[1]
    with pytest.raises(Unreachable) as refused:
        await fetch_certificate("127.0.0.1", free)
    assert refused.value.code == "peer_unreachable"


async def test_one_process_may_have_many_listeners_on_one_trust(federation: Federation) -> None:
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    listeners = [await open_listener(app, "127.0.0.1:0", tls=federation.trust.server_context()) for _ in range(3)]
    async with listening(*listeners):
        for listener in listeners:
            federation.url = listener.url
            assert (await ask(federation.trust_of(federation.b))).status == 204


def test_no_key_is_written_to_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed in the middle would leave it there."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    identity = create_identity("csp-a")
    assert pinned_client_context(identity.certificate, identity).verify_mode is ssl.CERT_REQUIRED
