"""Requests to other members over mutual TLS, and what becomes of their failures."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meetme.model.errors import Conflict, Fault, MeetMeError, NotFound, Refused, Unreachable
from meetme.model.members import Roster
from meetme.runtime.http import build_peer_app
from meetme.runtime.identity import create_identity
from meetme.runtime.listener import listening, open_listener
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.problems import problem_document
from meetme.runtime.tls import Trust

from .webs import Federation, member_of


@asynccontextmanager
async def peer(tmp_path: Path, app):
    """A member whose app is `app`, and a client of it."""
    federation = Federation(tmp_path)
    listener = await open_listener(app, "127.0.0.1:0", tls=federation.trust.server_context())
    federation.url = listener.url
    client = PeerClient(federation.trust_of(federation.b), answer_seconds=0.5)
    async with listening(listener):
        yield client
        await client.close()


def answers(status: int, body: bytes, media_type: str = "application/json", **headers: str):
    async def app(scope, receive, send) -> None:
        fields = [(b"content-type", media_type.encode())]
        fields += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return app


async def error_of(client: PeerClient) -> MeetMeError:
    with pytest.raises(MeetMeError) as caught:
        await client.post("isp-a", "negotiator", "/x", {})
    assert caught.value.fault is Fault.REMOTE
    return caught.value


async def test_an_answer_without_a_body_has_no_document(tmp_path: Path) -> None:
    async with peer(tmp_path, answers(202, b"")) as client:
        answer = await client.post("isp-a", "negotiator", "/x", {})
    assert (answer.status, answer.document) == (202, None)


async def test_what_is_sent_arrives_where_it_belongs(tmp_path: Path) -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        message = await receive()
        seen.append((scope["method"], scope["path"], message["body"], dict(scope["headers"]).get(b"content-type")))
        await answers(200, b"[1]")(scope, receive, send)

    async with peer(tmp_path, app) as client:
        await client.post("isp-a", "negotiator", "/api/v1/handle", {"é": 1})
        assert (await client.get("isp-a", "negotiator", "/api/v1/agreements/7")).document == [1]
    assert [(method, path, json.loads(body or "null"), kind) for method, path, body, kind in seen] == [
        ("POST", "/api/v1/handle", {"é": 1}, b"application/json"),
        ("GET", "/api/v1/agreements/7", None, None),
    ]


async def test_a_document_is_fetched_only_where_it_has_changed(tmp_path: Path) -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        known = dict(scope["headers"]).get(b"if-none-match", b"").decode()
        seen.append(known)
        same = known == '"one"'
        await answers(304 if same else 200, b"" if same else b'{"a": 1}', etag='"one"')(scope, receive, send)

    async with peer(tmp_path, app) as client:
        first = await client.get_changed("isp-a", "negotiator", "/x", "")
        assert first is not None
        assert (first.text, first.etag) == ('{"a": 1}', '"one"')
        assert await client.get_changed("isp-a", "negotiator", "/x", first.etag) is None
        assert await client.get_changed("isp-a", "negotiator", "/x", '"two"') is not None
    assert seen == ["", '"one"', '"two"']


async def test_nothing_new_is_no_answer_to_who_knows_nothing(tmp_path: Path) -> None:
    async with peer(tmp_path, answers(304, b"")) as client:
        with pytest.raises(MeetMeError):
            await client.get_changed("isp-a", "negotiator", "/x", "")


async def test_a_request_may_have_a_key(tmp_path: Path) -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append((scope["method"], dict(scope["headers"]).get(b"idempotency-key")))
        await answers(200, b"{}")(scope, receive, send)

    async with peer(tmp_path, app) as client:
        await client.request("POST", "isp-a", "negotiator", "/x", {}, key="one")
        await client.request("DELETE", "isp-a", "negotiator", "/x")
    assert seen == [("POST", b"one"), ("DELETE", None)]


async def test_one_connection_serves_many_messages(tmp_path: Path) -> None:
    clients = set()

    async def app(scope, receive, send) -> None:
        clients.add(scope["client"])
        await answers(200, b"{}")(scope, receive, send)

    async with peer(tmp_path, app) as client:
        for _ in range(5):
            await client.post("isp-a", "negotiator", "/x", {})
    assert len(clients) == 1


async def test_a_connection_can_be_opened_before_it_is_needed(tmp_path: Path) -> None:
    clients = []
    app = build_peer_app(title="peers", version="1", trust=Federation(tmp_path).trust)

    async def counting(scope, receive, send) -> None:
        clients.append(scope["client"])
        await app(scope, receive, send)

    async with peer(tmp_path, counting) as client:
        await client.reach("isp-a", "negotiator")
        await client.reach("isp-a", "negotiator")
        with pytest.raises(NotFound, match="must be a member"):
            await client.reach("nobody", "negotiator")
    assert len(clients) == 2
    assert len(set(clients)) == 1


async def test_a_problem_of_the_peer_is_raised_here_and_is_its_fault(tmp_path: Path) -> None:
    problem = problem_document(Refused("policy_denied", "prefix: must be welcome", hint="ask", field="prefix"))
    app = answers(409, json.dumps(problem).encode(), "application/problem+json")
    async with peer(tmp_path, app) as client:
        error = await error_of(client)
    assert type(error) is Refused
    assert (error.code, error.text, error.hint) == ("policy_denied", "peer 'isp-a': prefix: must be welcome", "ask")


@pytest.mark.parametrize(
    ("app", "cls", "code"),
    [
        (answers(409, b"<html>", "text/html"), Conflict, "peer_answered_409"),
        (answers(302, b"", location="http://127.0.0.1:1/"), Unreachable, "peer_answered_302"),
        (answers(200, b"<html>", "text/html"), Unreachable, "peer_answer_malformed"),
        (answers(200, b"{", "application/json"), Unreachable, "peer_answer_malformed"),
        (answers(200, b"[" * 100_000, "application/json"), Unreachable, "peer_answer_malformed"),
        (answers(200, b"\xff\xfe\x00", "application/json"), Unreachable, "peer_answer_malformed"),
        (answers(200, b"\x1f\x8b\x08\x00", content_encoding="gzip"), Unreachable, "peer_answer_malformed"),
        (answers(200, b" " * 300_000), Unreachable, "peer_answer_too_large"),
        (answers(500, b"x" * 300_000, "text/plain"), Unreachable, "peer_answer_too_large"),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, app, cls: type, code: str) -> None:
    async with peer(tmp_path, app) as client:
        error = await error_of(client)
    assert (type(error), error.code) == (cls, code)
    assert "isp-a" in error.text


async def test_a_peer_that_hangs_or_hangs_up_is_unreachable(tmp_path: Path) -> None:
    async def hangs(scope, receive, send) -> None:
        await asyncio.sleep(60)

    async with peer(tmp_path, hangs) as client:
        assert (await error_of(client)).code == "peer_timeout"

    async def plain(reader, writer) -> None:
        await reader.read(100)
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        roster = Roster((member_of(create_identity("isp-a"), f"https://127.0.0.1:{port}"),))
        client = PeerClient(Trust(create_identity("isp-b"), lambda: roster))
        assert (await error_of(client)).code in ("peer_unreachable", "peer_speaks_no_tls")
    assert (await error_of(client)).code == "peer_unreachable"
    await client.close()


async def test_an_answer_that_was_altered_on_the_way_is_not_believed(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    listener = await open_listener(answers(200, b"{}"), "127.0.0.1:0", tls=federation.trust.server_context())
    host, _, port = listener.address.rpartition(":")
    carriers: set[asyncio.Task[None]] = set()

    async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter, altered: int) -> None:
        """TLS records on their way; of the `altered` one of those that are encrypted, one bit is another one."""
        seen = 0
        try:
            while True:
                head = await source.readexactly(5)
                body = bytearray(await source.readexactly(int.from_bytes(head[3:])))
                seen += head[0] == 23
                if head[0] == 23 and seen == altered:
                    body[0] ^= 1
                to.write(head + body)
        except asyncio.IncompleteReadError:
            to.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(host, int(port))
        # Five carry the rest of the server's handshake; the sixth is its answer.
        for source, to, altered in ((reader, onward[1], 0), (onward[0], writer, 6)):
            carriers.add(asyncio.create_task(carry(source, to, altered)))

    async with listening(listener), await asyncio.start_server(between, "127.0.0.1", 0) as proxy:
        federation.url = f"https://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        client = PeerClient(federation.trust_of(federation.b), answer_seconds=0.5)
        error = await error_of(client)
        assert (type(error), error.code) == (Unreachable, "peer_connection_disturbed")
        assert "MAC" in error.text
        await client.close()
    for carrier in carriers:
        carrier.cancel()
    await asyncio.gather(*carriers, return_exceptions=True)
