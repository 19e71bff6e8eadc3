"""Sockets that serve an app: as many as a process needs, with the client's certificate visible and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
import ssl
import time
from email.utils import formatdate
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from meetme.model.errors import Conflict, InvalidInput, MeetMeError
from meetme.runtime.problems import MEDIA_TYPE, problem_document

KEEP_ALIVE_SECONDS = 75
HANDSHAKE_SECONDS = 5.0
_HTTPS = "https://"
GRACE_SECONDS = 1.0
"""How long requests under way may take when the listener is closed."""


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 with the client's certificate in the scope, as the draft of the ASGI TLS extension has it."""

    _chain: tuple[str, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert(binary_form=True) if connection is not None else None
        self._chain = (ssl.DER_cert_to_PEM_cert(certificate),) if certificate else ()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tls": {"client_cert_chain": self._chain}}

    def eof_received(self) -> None:
        # The client says no more. If it owed us the rest of a body, it hears so, and the app never sees the request.
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_started:
            self._answer(
                InvalidInput(
                    "body_truncated",
                    "body: must be whole (the connection ended inside it)",
                    hint="compare Content-Length with what was sent",
                    field="body",
                )
            )
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def give_up(self) -> None:
        """Before a request is cancelled: half an answer cannot be put right, so act as if the client were gone."""
        if self.cycle is not None and self.cycle.response_started:
            self.cycle.disconnected = True

    def send_400_response(self, msg: str) -> None:
        self._answer(InvalidInput("body_malformed", "request: must be HTTP/1.1", field="request"))

    def _answer(self, error: MeetMeError) -> None:
        body = json.dumps(problem_document(error)).encode()
        head = (
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _State(ServerState):
    """What the connections of one listener share. The Date header is made when it is asked for, not by a timer."""

    _at = 0
    _headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - replaced, never changed

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        now = int(time.time())
        if now != self._at:
            self._at, self._headers = now, [(b"date", formatdate(now, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, _value: object) -> None:
        pass


class Listener:
    """One socket with one app behind it. Made by `open_listener`; ended by `close`."""

    def __init__(self, server: asyncio.Server, state: ServerState, address: str, *, tls: bool) -> None:
        self._server = server
        self._state = state
        self.address = address
        """`HOST:PORT` as bound: a port 0 has become the one it got."""
        self.url = f"{'https' if tls else 'http'}://{address}"

    async def close(self, *, grace: float = GRACE_SECONDS) -> None:
        """Take no more connections, let requests under way end within `grace` seconds, cut off the rest."""
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace)
        for connection in list(self._state.connections):
            assert isinstance(connection, _Protocol)
            connection.give_up()
        for task in self._state.tasks:
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        for connection in list(self._state.connections):
            connection.transport.close()
        await self._server.wait_closed()


async def open_listener(
    app: ASGIApp,
    listen: str | socket.socket,
    *,
    flag: str = "--listen",
    tls: ssl.SSLContext | None = None,
    beyond_loopback: ssl.SSLContext | None = None,
) -> Listener:
    """Serve `app` at `listen`: `HOST:PORT`, `[IPV6]:PORT`, `fd:NUMBER` or a socket that is bound already.

    `tls`: always. `beyond_loopback`: where the address is not a loopback one, or is written `https://HOST:PORT`.
    Raises InvalidInput `listen_malformed`, `listen_not_local`, `listen_not_permitted`, `tls_required` (in the clear
    means loopback), and Conflict `port_in_use_by_another`. `flag` is named in them.
    """
    if isinstance(listen, str) and beyond_loopback is not None and listen.startswith(_HTTPS):
        listen, tls = listen.removeprefix(_HTTPS), beyond_loopback
    opened = listen if isinstance(listen, socket.socket) else _bind(listen, flag)
    try:
        address = _name(opened)
        if tls is None and not _is_local(opened):
            tls = beyond_loopback
        if tls is None and not _is_local(opened):
            raise _wrong("tls_required", flag, "must be a loopback address without TLS", address, "use 127.0.0.1")
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        state = _State()
        server = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(config, state, {}),
            sock=opened,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
            backlog=1024,
        )
    except BaseException:
        opened.close()
        raise
    return Listener(server, state, address, tls=tls is not None)


@contextlib.asynccontextmanager
async def listening(*listeners: Listener) -> Any:
    """Close every one of `listeners` at the end, side by side."""
    try:
        yield
    finally:
        await asyncio.gather(*(listener.close() for listener in listeners))


def _bind(listen: str, flag: str) -> socket.socket:
    if listen.startswith("fd:"):
        try:
            return socket.socket(fileno=int(listen.removeprefix("fd:")))
        except (ValueError, OSError):
            raise _wrong("listen_malformed", flag, "must be the number of an open socket", listen) from None
    host, _, port = listen.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and "[" not in listen):
        hint = "for example 127.0.0.1:8471 or [::1]:8471"
        raise _wrong("listen_malformed", flag, "must be HOST:PORT", listen, hint)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise _wrong("listen_malformed", flag, "must name a host that is known", listen) from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        # Bound is not enough: two sockets may be bound to one port, only one may listen.
        opened.listen(1024)
    except OSError as error:
        opened.close()
        match error.errno:
            case errno.EADDRINUSE:
                raise Conflict(
                    "port_in_use_by_another",
                    f"{flag}: must be free ('{listen}' is in use by another program)",
                    hint=f"end that program (ss -ltnp shows it) or choose another port with {flag}",
                    field=_field(flag),
                ) from None
            case errno.EACCES | errno.EPERM:
                raise _wrong(
                    "listen_not_permitted", flag, "must be a port we may use", listen, "1024 or above"
                ) from None
            case _:
                raise _wrong("listen_not_local", flag, "must be an address of this machine", listen) from None
    return opened


def _is_local(opened: socket.socket) -> bool:
    if opened.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(opened.getsockname()[0]).is_loopback


def _name(opened: socket.socket) -> str:
    if opened.family == socket.AF_UNIX:
        return str(opened.getsockname())
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wrong(code: str, flag: str, rule: str, seen: str, hint: str = "") -> InvalidInput:
    return InvalidInput(code, f"{flag}: {rule} ('{seen}')", hint=hint, field=_field(flag))


def _field(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
