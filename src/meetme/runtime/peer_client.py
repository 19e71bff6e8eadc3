"""Talking to other members: JSON over HTTP with mutual TLS, one pinned connection pool for each of them."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from meetme.model.errors import MeetMeError, NotFound, Unreachable
from meetme.model.members import Member
from meetme.runtime.api_client import KEEP_ALIVE_SECONDS, LAST_EVENT, waiting
from meetme.runtime.correlation import TRACEPARENT, traceparent
from meetme.runtime.problems import error_of_problem
from meetme.runtime.tls import Trust, refuses_us

ANSWER_LIMIT = 256 * 1024
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
NOT_MODIFIED = 304
LONGEST_ETAG = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered. `document` None: nothing, as with 202 and 204."""

    status: int
    document: Any
    last_event: int = 0
    """Which is part of what `document` tells (`Last-Event-ID`); 0: none, or it was not said."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A document that is not the one that was known: its text, and what the peer calls it."""

    text: str
    etag: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """How a member was reached."""

    seconds: float
    clock_ahead: float | None
    """How far its clock is ahead of ours, in seconds, give or take `uncertainty`; None: it did not say."""
    uncertainty: float


@dataclass(frozen=True, slots=True)
class _Connections:
    """Those to one member, as the roster had it when they were made."""

    member: Member
    context: ssl.SSLContext
    client: httpx2.AsyncClient


class PeerClient:
    """Connections to every member we talk to, kept open. Follows the roster: a new key or address is used at once."""

    def __init__(self, trust: Trust, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._trust = trust
        self._timeout = httpx2.Timeout(answer_seconds, connect=CONNECT_SECONDS)
        self._clients: dict[str, _Connections] = {}

    async def post(self, member: str, service: str, path: str, document: Mapping[str, Any]) -> Answer:
        """POST `document` to `path` of a member's `service` ("negotiator").

        Raises NotFound `peer_unknown` or `peer_url_missing`, Unreachable `peer_*`, or the error the peer answered with.
        """
        return await self._send("POST", member, service, path, json.dumps(document).encode())

    async def request(
        self,
        method: str,
        member: str,
        service: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> Answer:
        """Any request, with `key` as its Idempotency-Key. Raises what `post` raises."""
        body = None if document is None else json.dumps(document).encode()
        more = {"idempotency-key": key} if key is not None else {}
        return _read(member, *await self._exchange(method, member, service, path, body, more))

    async def post_text(self, member: str, service: str, path: str, text: str) -> Answer:
        """The same with JSON that is written already."""
        return await self._send("POST", member, service, path, text.encode())

    async def get(self, member: str, service: str, path: str) -> Answer:
        """GET `path` of a member's `service`. Raises what `post` raises."""
        return await self._send("GET", member, service, path, None)

    async def get_news(self, member: str, service: str, path: str, after: int, wait: int) -> Answer:
        """The same, as soon as there is something behind event `after`, or else in `wait` seconds."""
        return _read(member, *await self._exchange("GET", member, service, path, None, waiting(after, wait)))

    async def get_changed(self, member: str, service: str, path: str, etag: str) -> Changed | None:
        """GET a document, unless it still is the one of `etag` (RFC 9110, section 13.1.2; empty: none is known).

        None: it is. Raises what `post` raises.
        """
        more = {"if-none-match": etag} if etag else {}
        response, body = await self._exchange("GET", member, service, path, None, more)
        if response.status_code == NOT_MODIFIED and etag:
            return None
        _read(member, response, body)
        try:
            return Changed(body.decode(), response.headers.get("etag", "")[:LONGEST_ETAG])
        except UnicodeDecodeError:
            raise Unreachable("peer_answer_malformed", f"peer '{member}': must answer with UTF-8") from None

    async def look(self, member: str, service: str) -> Sighting:
        """Whether a member can be reached with the key that we have pinned, and what time it is there.

        Raises what `post` raises.
        """
        begin, sent = time.perf_counter(), time.time()
        response, _ = await self._exchange("GET", member, service, "/", None)
        seconds = time.perf_counter() - begin
        try:
            there = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return Sighting(seconds, None, 0.0)
        # It was said somewhere between question and answer, in whole seconds without what was over them.
        return Sighting(seconds, there + 0.5 - (sent + seconds / 2), 0.5 + seconds / 2)

    async def reach(self, member: str, service: str) -> None:
        """Open a connection, so that the first message does not wait for one. Raises what `post` raises.

        Asks for nothing: a listener for peers has no page at `/`, and says so.
        """
        try:
            await self._send("GET", member, service, "/", None)
        except NotFound as error:
            if error.code != "route_unknown":
                raise

    async def close(self) -> None:
        """Close every connection."""
        for connections in self._clients.values():
            await connections.client.aclose()
        self._clients.clear()

    async def _send(self, method: str, name: str, service: str, path: str, body: bytes | None) -> Answer:
        return _read(name, *await self._exchange(method, name, service, path, body))

    async def _exchange(
        self, method: str, name: str, service: str, path: str, body: bytes | None, more: Mapping[str, str] | None = None
    ) -> tuple[httpx2.Response, bytes]:
        member = self._trust.roster.member(name)
        url = getattr(member.urls, service)
        if url is None:
            raise NotFound(
                "peer_url_missing",
                f"peer '{name}': must have a {service} in the roster",
                hint=f"meetme peer add {name} --{service} URL",
                field=service,
            )
        known = await self._connections(member)
        headers = {**({"content-type": "application/json"} if body is not None else {}), **(more or {})}
        if (span := traceparent()) is not None:
            headers[TRACEPARENT] = span
        try:
            async with known.client.stream(method, url.rstrip("/") + path, content=body, headers=headers) as response:
                return response, await _body(name, response)
        except httpx2.TimeoutException as error:
            raise Unreachable(
                "peer_timeout", f"peer '{name}': must answer in time ('{url}', {type(error).__name__})"
            ) from error
        except (httpx2.HTTPError, ssl.SSLError) as error:  # after the handshake, what TLS finds comes as it is
            raise await _unreachable(name, httpx2.URL(url), known.context, error) from error

    async def _connections(self, member: Member) -> _Connections:
        known = self._clients.get(member.id)
        if known is not None and known.member == member:
            return known
        context = self._trust.client_context(member)
        client = httpx2.AsyncClient(
            verify=context,
            timeout=self._timeout,
            limits=httpx2.Limits(max_keepalive_connections=32, keepalive_expiry=KEEP_ALIVE_SECONDS),
            # A compressed answer could be small on the wire and huge here.
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "meetme"},
            trust_env=False,
        )
        fresh = self._clients[member.id] = _Connections(member, context, client)
        if known is not None:
            await known.client.aclose()
        return fresh


async def _body(name: str, response: httpx2.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > ANSWER_LIMIT:
            raise Unreachable(
                "peer_answer_too_large", f"peer '{name}': must not answer with more than {ANSWER_LIMIT // 1024} KiB"
            )
        parts.append(part)
    return b"".join(parts)


def _read(name: str, response: httpx2.Response, body: bytes) -> Answer:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    document: Any = None
    if media_type in ("application/json", "application/problem+json") and body:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            media_type = "malformed"
    if not response.is_success:
        raise error_of_problem(response.status_code, document, who=f"peer '{name}'")
    if body and media_type != "application/json":
        raise Unreachable(
            "peer_answer_malformed",
            f"peer '{name}': must answer with JSON ({response.headers.get('content-type', 'no content type')!r})",
            hint="is there something else at its address?",
        )
    last = response.headers.get(LAST_EVENT, "")
    return Answer(response.status_code, document, int(last) if last.isascii() and last.isdigit() else 0)


async def _unreachable(name: str, url: httpx2.URL, context: ssl.SSLContext, error: Exception) -> MeetMeError:
    cause = _tls_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            "peer_certificate_unknown",
            f"peer '{name}': must show a key that we have pinned ('{url}' shows another one)",
            hint=f"ask its operator for the fingerprint, then meetme peer add {name}",
        )
    connected = not isinstance(error, httpx2.ConnectError)
    if connected and url.scheme == "https" and await refuses_us(url.host, url.port or 443, context):
        return Unreachable(
            "peer_refuses_certificate",
            f"peer '{name}': must know our key ('{url}' refuses it)",
            hint="its operator has to run meetme peer add for us",
        )
    if isinstance(error, ssl.SSLError):
        return Unreachable(
            "peer_connection_disturbed",
            f"peer '{name}': what it says must arrive as it was said ('{url}': {error.reason or error})",
            hint="something on the way alters what passes; none of it is believed",
        )
    if cause is not None:
        return Unreachable(
            "peer_speaks_no_tls", f"peer '{name}': must speak TLS 1.3 ('{url}': {cause.reason or cause})"
        )
    return Unreachable(
        "peer_hung_up" if connected else "peer_unreachable",
        f"peer '{name}': must {'answer' if connected else 'be reachable'} ('{url}': {error or type(error).__name__})",
        hint="is it running, and does a firewall let us through?",
    )


def _tls_cause(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error
