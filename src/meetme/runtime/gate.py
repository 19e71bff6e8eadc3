"""What every request passes on its way in and out: a name for the log, a limit, and a last net under it (pure ASGI)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meetme.model.errors import Fault, InvalidInput, MeetMeError, TooLarge, Unreachable
from meetme.runtime.correlation import REQUEST_HEADER, TRACEPARENT, correlated, correlation, request_id
from meetme.runtime.problems import MEDIA_TYPE, internal_error, problem_document
from meetme.runtime.telemetry import Registry
from meetme.runtime.tracing import Kind, Tracer

BODY_LIMIT = 64 * 1024
BODY_SECONDS = 10.0
"""How long a body may take to arrive."""
_SWALLOWED = 16 * BODY_LIMIT
"""How much of a body that is too large is read and dropped, so that the client gets to read the answer."""


class Requests:
    """Gives every request an id (its `X-Request-Id`, if it has one), a line in the log and its place in the metrics."""

    def __init__(self, app: ASGIApp, registry: Registry | None = None, tracer: Tracer | None = None) -> None:
        self._app = app
        self._tracer = tracer
        self._log = structlog.get_logger()
        self._seconds = registry.request_seconds if registry is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0
        id, parent = request_id(scope["headers"])

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-content-type-options", b"nosniff"))
                message["headers"].append((REQUEST_HEADER.encode(), id.encode()))
            await send(message)

        with correlated(id, **({TRACEPARENT: parent} if parent else {})), self._span(scope, parent):
            try:
                await self._app(scope, receive, watch)
            finally:
                seconds = time.perf_counter() - begin
                # The route as it is declared, not the path as it came: a label must not have a value for each id.
                route = getattr(scope.get("route"), "path", "none")
                if self._seconds is not None:
                    self._seconds.labels(scope["method"], route, status).observe(seconds)
                self._log.info(
                    "request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4)
                )

    def _span(self, scope: Scope, parent: str | None) -> AbstractContextManager[None]:
        path: str = scope["path"]
        # A stream of events lasts as long as somebody reads it: that is no measure of anything.
        if self._tracer is None or not path.startswith("/api/") or path.endswith("/events"):
            return nullcontext()
        name = " ".join((scope["method"], "/".join(path.split("/")[:4])))
        return self._tracer.span(name, Kind.SERVER, parent=parent)


class ErrorGate:
    """Errors that no route has turned into an answer: ours become problems, all others a 500 that tells nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            id = correlation()
            instance = f"urn:meetme:request:{id}" if id else None
            if isinstance(error, MeetMeError):
                document = problem_document(error, instance=instance)
            else:
                self._log.exception("a request failed unexpectedly", path=scope.get("path"))
                document = internal_error(instance=instance)
            if started:
                raise  # half an answer is out: cutting the connection is the only way left to say so
            await _answer(send, document)
        except asyncio.CancelledError:
            # The listener is being closed and has waited long enough; nobody else cancels requests.
            if not started:
                stopping = Unreachable("service_stopping", "service: is being stopped", fault=Fault.LOCAL)
                await _answer(send, problem_document(stopping))


class BodyLimit:
    """Takes in the whole body, up to a limit and within a time, before the app sees any of it."""

    def __init__(self, app: ASGIApp, larger: Mapping[str, int] | None = None) -> None:
        """`larger`: the limit in octets where it is not BODY_LIMIT, by path."""
        self._app = app
        self._larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body: bytes | None = None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._read(receive, self._larger.get(scope["path"], BODY_LIMIT))
        except TimeoutError:
            raise InvalidInput(
                "body_late", f"body: must arrive within {BODY_SECONDS:g} s", hint="send it again", field="body"
            ) from None

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InvalidInput("body_truncated", "body: must be whole (the client went away)", field="body")
            size += len(message.get("body", b""))
            if size <= limit:
                parts.append(message.get("body", b""))
            if not message.get("more_body", False) or size > _SWALLOWED:
                break
        if size > limit:
            raise TooLarge(
                "body_too_large",
                f"body: must not be larger than {limit // 1024} KiB ({size} octets or more)",
                hint="split it, or leave out what is not needed",
                field="body",
            )
        return b"".join(parts)


async def _answer(send: Send, document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": document["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
