"""Sockets that are opened, handed in, taken and given back."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import parsedate_to_datetime

import pytest
from fastapi.responses import StreamingResponse

from meetme.model.errors import Conflict, InvalidInput
from meetme.runtime.http import build_app
from meetme.runtime.listener import listening, open_listener

from .webs import raw

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
async def test_a_listener_answers_where_it_says(listen: str) -> None:
    listener = await open_listener(hello, listen)
    async with listening(listener):
        assert listener.url == f"http://{listener.address}"
        answer = await raw(listener.address.replace("[", "").replace("]", ""), GET)
        assert (answer.status, answer.body) == (200, b"ok")
        assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 5
        assert "server" not in answer.headers


async def test_a_port_that_is_in_use_is_one_clear_problem() -> None:
    first = await open_listener(hello, "127.0.0.1:0")
    async with listening(first):
        with pytest.raises(Conflict) as caught:
            await open_listener(hello, first.address, flag="--listen-peers")
        assert (caught.value.code, caught.value.field) == ("port_in_use_by_another", "listen_peers")
        assert str(caught.value) == f"--listen-peers: must be free ('{first.address}' is in use by another program)"
        assert (await raw(first.address, GET)).status == 200, "the first one goes on"


async def test_a_port_is_free_again_at_once() -> None:
    first = await open_listener(hello, "127.0.0.1:0")
    await raw(first.address, GET)
    await first.close()
    again = await open_listener(hello, first.address)
    assert (await raw(again.address, GET)).status == 200
    await again.close()


async def test_a_socket_that_is_open_already_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        listener = await open_listener(hello, bound)
        assert listener.address == f"127.0.0.1:{port}"
        assert (await raw(listener.address, GET)).status == 200
        await listener.close()
    inherited = socket.create_server(("127.0.0.1", 0))
    listener = await open_listener(hello, f"fd:{inherited.detach()}")
    assert (await raw(listener.address, GET)).status == 200
    await listener.close()


@pytest.mark.parametrize(
    ("listen", "code"),
    [
        ("", "listen_malformed"),
        ("8471", "listen_malformed"),
        (":8471", "listen_malformed"),
        ("127.0.0.1:", "listen_malformed"),
        ("127.0.0.1:99999", "listen_malformed"),
        ("127.0.0.1:http", "listen_malformed"),
        ("::1:8471", "listen_malformed"),
        ("no-such-host.invalid:1", "listen_malformed"),
        ("fd:x", "listen_malformed"),
        ("fd:9999", "listen_malformed"),
        ("192.0.2.1:0", "listen_not_local"),
        ("0.0.0.0:0", "tls_required"),
        ("[::]:0", "tls_required"),
    ],
)
async def test_a_place_where_we_cannot_listen_is_refused_with_the_flag(listen: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await open_listener(hello, listen, flag="--listen-metrics")
    assert (caught.value.code, caught.value.field) == (code, "listen_metrics")
    assert str(caught.value).startswith("--listen-metrics: must")


class Slow:
    """An app whose requests end when they are let go; `/started` has begun its answer by then."""

    def __init__(self) -> None:
        self.begun, self.gate, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.app = build_app(title="slow", version="1")

        async def pieces():
            try:
                yield b"half"
                self.begun.set()
                await self.gate.wait()
            finally:
                self.ended.set()

        @self.app.get("/")
        async def slow() -> None:
            self.begun.set()
            try:
                await self.gate.wait()
            finally:
                self.ended.set()

        @self.app.get("/started")
        async def started() -> StreamingResponse:
            return StreamingResponse(pieces(), headers={"content-length": "8"})


async def test_closing_lets_a_request_end() -> None:
    slow = Slow()
    listener = await open_listener(slow.app, "127.0.0.1:0")
    asking = asyncio.create_task(raw(listener.address, GET))
    await slow.begun.wait()
    closing = asyncio.create_task(listener.close(grace=5))
    await asyncio.sleep(0)
    slow.gate.set()
    assert (await asking).status == 200
    await closing
    with pytest.raises(OSError):
        await raw(listener.address, GET)


async def test_closing_cuts_off_a_request_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    listener = await open_listener(slow.app, "127.0.0.1:0")
    asking = asyncio.create_task(raw(listener.address, GET))
    await slow.begun.wait()
    await listener.close(grace=0.01)
    answer = await asking
    assert (answer.status, answer.json["type"]) == (503, "urn:meetme:problem:service_stopping")
    assert slow.ended.is_set()

    slow = Slow()
    listener = await open_listener(slow.app, "127.0.0.1:0")
    asking = asyncio.create_task(raw(listener.address, GET.replace(b"/ ", b"/started ", 1)))
    await slow.begun.wait()
    await listener.close(grace=0.01)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asking
    assert slow.ended.is_set()
    assert caplog.records == [], "being stopped is no error"


async def test_idle_connections_do_not_hold_up_the_end() -> None:
    listener = await open_listener(hello, "127.0.0.1:0")
    host, _, port = listener.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(GET)
    await reader.readuntil(b"ok")
    async with asyncio.timeout(0.5):
        await listener.close()
        assert await reader.read() == b""
    writer.close()
