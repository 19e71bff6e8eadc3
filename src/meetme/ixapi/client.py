"""Requests to an exchange over IX-API 2.x (2.1.0 to 2.7.1): tokens, retries, pages, errors.

What is asked is in `requests`, what an answer means in `shown` and `faults`, what to do about it in `progress`.
Only what cannot have been carried out is sent again here: reading, and what was refused before it was looked at (401,
429, no connection). For everything else the caller looks first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

import httpx2
import structlog

from meetme.ixapi.credentials import FORM, ClientCredentials, Credentials, Session
from meetme.ixapi.faults import error_of
from meetme.ixapi.shown import Implementation, read_implementation
from meetme.model.errors import InvalidInput, MeetMeError, NotFound, Unauthenticated, Unreachable, Unsupported
from meetme.runtime.clock import Clock, SystemClock

BASE_PATH = "/api/v2"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 15.0
ANSWER_LIMIT = 16 * 1024 * 1024
READS = 3
"""How often a request that changes nothing is sent, before somebody hears that it fails."""
BUSY_SECONDS = 30.0
"""How long one request waits at most, all in all, for an exchange that says it is busy (429)."""
PAGE_LIMIT = 500
PAGES = 1000
MERGE_PATCH = "application/merge-patch+json"

Sleep = Callable[[float], Awaitable[None]]


class IxApiClient:
    """Asks one exchange. Every method raises MeetMeError; Unreachable where asking again may help."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        verify: ssl.SSLContext | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        """`url` may leave out /api/v2. `verify`: with whose certificates; None: those that this machine trusts.

        Raises InvalidInput `exchange_url_invalid`: a secret leaves this machine encrypted or not at all.
        """
        self.url = _checked_url(url)
        if isinstance(credentials, ClientCredentials):
            _checked_url(credentials.token_url, base="", field="token_url")
        self._http = httpx2.AsyncClient(
            verify=verify if verify is not None else True,
            transport=transport,
            timeout=httpx2.Timeout(answer_seconds, connect=CONNECT_SECONDS),
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "meetme"},
            follow_redirects=False,
            trust_env=False,
        )
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._random = random or Random()
        self._session = Session(credentials, self._post_credentials, self._clock)
        self._implementation: Implementation | None = None
        self._waits: bool | None = None
        """Whether the exchange lets an answer wait; None: it has not been asked to."""
        self._log = structlog.get_logger().bind(exchange=self.url)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def implementation(self) -> Implementation:
        """Its version and what it can, asked once."""
        if self._implementation is None:
            self._implementation = await self._detect()
        return self._implementation

    async def health(self) -> str:
        """`pass`, `warn` or `fail` as the exchange says of itself; empty if it says nothing."""
        found = await self._try("/health")
        return str(found.get("status") or "") if isinstance(found, Mapping) else ""

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """One document."""
        return (await self._read(path, query))[1]

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create something. Raises Unreachable also where it may have been created."""
        return (await self._send("POST", path, body=body)).document

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something (RFC 7386)."""
        try:
            return (await self._send("PATCH", path, body=body, media_type=MERGE_PATCH)).document
        except Unsupported:
            # Early servers know of no media type but JSON.
            return (await self._send("PATCH", path, body=body)).document

    async def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask for something to be decommissioned."""
        return (await self._send("DELETE", path, body=body)).document

    async def list(self, path: str, query: Mapping[str, Any] | None = None) -> list[Any]:
        """The whole of a collection, page by page where the exchange gives it so.

        A filter that an exchange does not know it ignores (IX-API 2.1.0): whoever asks has to look at what comes.
        """
        return [each async for each in self._pages(path, dict(query or {}))]

    async def wait_for(self, path: str, query: Mapping[str, Any], seconds: int) -> bool:
        """Wait until there is something of that kind, or `seconds` are over: both are good to look again for.

        The exchange is asked to answer no sooner (`Prefer: wait`, RFC 7240, section 4.3). False: it does not do that,
        which is remembered, or has not answered.
        """
        if self._waits is False:
            return False
        try:
            answer = await self._send("GET", path, query=query, more={"prefer": f"wait={seconds}"})
        except MeetMeError:
            return False
        self._waits = "wait" in answer.headers.get("preference-applied", "").lower()
        return self._waits

    # --- pages -------------------------------------------------------------------------------------------------------

    async def _pages(self, path: str, query: dict[str, Any]) -> AsyncIterator[Any]:
        # 206 is the sign of a page (later versions). How its token travels differs: whatever header names one is good,
        # and the offset says the same. An exchange that repeats pages gives nothing new and so ends it.
        paged = (await self.implementation()).pagination
        seen: set[str] = set()
        token: str | None = None
        for number in range(PAGES):
            part: dict[str, Any] = {"page_limit": PAGE_LIMIT, "page_offset": len(seen)} if paged or number else {}
            if token is not None:
                part["page_token"] = token
            answer, document = await self._read(path, {**query, **part})
            if not isinstance(document, list):
                raise _malformed(f"GET {path}", "a list")
            fresh = 0
            for each in document:
                id = str(each.get("id")) if isinstance(each, Mapping) else json.dumps(each)
                if id not in seen:
                    seen.add(id)
                    fresh += 1
                    yield each
            token = _page_token(answer.headers) or token
            whole = answer.status != 206 and not (paged and len(document) >= PAGE_LIMIT)
            if not fresh or whole:
                return
        raise Unreachable("exchange_pages_endless", f"GET {path}: must end somewhere (more than {PAGES} pages)")

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _detect(self) -> Implementation:
        found = read_implementation(await self._try("/implementation"))
        if found.version is None:
            health = await self._try("/health")
            if isinstance(health, Mapping) and isinstance(health.get("version"), str):
                found = Implementation(health["version"], found.operations, found.pagination)
        return found

    async def _try(self, path: str) -> Any:
        """A document that an exchange may do without."""
        try:
            return await self.get(path)
        except Unauthenticated:
            raise
        except MeetMeError as error:
            if isinstance(error, Unreachable) and error.code != "exchange_answer_malformed":
                raise
            return None

    async def _read(self, path: str, query: Mapping[str, Any] | None) -> tuple[_Answer, Any]:
        for attempt in range(1, READS + 1):
            try:
                answer = await self._send("GET", path, query=query)
                if answer.document is None:
                    raise _malformed(f"GET {path}", "a document")
                return answer, answer.document
            except Unreachable as error:
                if attempt == READS or error.code == "exchange_busy":  # that has been waited for already
                    raise
            await self._sleep(0.05 * 2**attempt * self._random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        media_type: str = "application/json",
        more: Mapping[str, str] | None = None,
    ) -> _Answer:
        waited, logins = 0.0, 0
        content = json.dumps(body).encode() if body is not None else None
        while True:
            token = await self._session.token()
            headers = {"authorization": f"Bearer {token}", **(more or {})}
            if content is not None:
                headers["content-type"] = media_type
            begin = self._clock.monotonic()
            answer = await self._exchange(method, self.url + path, query, content, headers, what=f"{method} {path}")
            if method != "GET":
                # What may cost money is on record.
                seconds = round(self._clock.monotonic() - begin, 3)
                self._log.info("exchange asked", request=f"{method} {path}", status=answer.status, seconds=seconds)
            if answer.status == 401 and not logins:
                logins += 1
                self._session.refused(token)
            elif answer.status == 429 and waited + (pause := self._pause(answer)) <= BUSY_SECONDS:
                waited += pause
                await self._sleep(pause)
            else:
                return self._good(answer, f"{method} {path}")

    async def _post_credentials(self, where: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        url = where if "://" in where else self.url + where
        form = headers.get("content-type") == FORM
        content = str(httpx2.QueryParams(dict(body))) if form else json.dumps(body)
        headers = {"content-type": "application/json", **headers}
        what = f"POST {where}"
        answer = self._good(await self._exchange("POST", url, None, content.encode(), headers, what=what), what)
        if answer.document is None:
            raise _malformed(what, "a token")  # the page of a proxy: nothing is wrong with the credentials
        return answer.document

    async def _exchange(
        self,
        method: str,
        url: str,
        query: Mapping[str, Any] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        what: str,
    ) -> _Answer:
        try:
            async with self._http.stream(
                method, url, params=dict(query) if query else None, content=content, headers=dict(headers)
            ) as response:
                body = await _body(response, what)
        except httpx2.ConnectError as error:
            raise Unreachable(
                "exchange_unreachable",
                f"exchange '{self.url}': must be reachable ({_cause(error)})",
                hint="is the URL right, does a firewall let us through, and is its certificate one that we trust?",
            ) from error
        except httpx2.TimeoutException as error:
            raise Unreachable(
                "exchange_timeout", f"{what}: must be answered in time ({type(error).__name__})"
            ) from error
        except (httpx2.HTTPError, ssl.SSLError) as error:
            raise Unreachable("exchange_hung_up", f"{what}: must be answered ({type(error).__name__})") from error
        return _Answer(response.status_code, response.headers, _document(body))

    def _good(self, answer: _Answer, what: str) -> _Answer:
        if 200 <= answer.status < 300:
            return answer
        if 300 <= answer.status < 400:
            raise NotFound(
                "exchange_moved",
                f"exchange '{self.url}': must be where its URL says (status {answer.status})",
                hint="correct the URL of the exchange",
                field="url",
            )
        raise error_of(answer.status, answer.document, what=what)

    def _pause(self, answer: _Answer) -> float:
        """How long a busy exchange wants us to wait (RFC 9110, 10.2.3), with a little by chance."""
        said = answer.headers.get("retry-after", "")
        try:
            seconds = float(said) if said.isdigit() else parsedate_to_datetime(said).timestamp() - self._clock.now()
        except (ValueError, TypeError):
            seconds = 1.0
        return max(seconds, 0.1) * self._random.uniform(1.0, 1.2)


class _Answer:
    """One answer. `document` None: there is none, or it is not JSON."""

    __slots__ = ("document", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], document: Any) -> None:
        self.status = status
        self.headers = headers
        self.document = document


async def _body(response: httpx2.Response, what: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > ANSWER_LIMIT:
            raise Unreachable(
                "exchange_answer_too_large", f"{what}: must be answered with at most {ANSWER_LIMIT} octets"
            )
        parts.append(part)
    return b"".join(parts)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _malformed(what: str, wanted: str) -> MeetMeError:
    return Unreachable(
        "exchange_answer_malformed",
        f"{what}: must be answered with {wanted}, as JSON",
        hint="is the URL that of an IX-API?",
    )


def _page_token(headers: Mapping[str, str]) -> str | None:
    return next((value for name, value in headers.items() if "page" in name.lower() and "token" in name.lower()), None)


def _checked_url(url: str, *, base: str = BASE_PATH, field: str = "url") -> str:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        parsed = httpx2.URL("")
    if parsed.userinfo:
        raise InvalidInput("exchange_url_invalid", f"{field}: must not hold a user or a password", field=field)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(
            "exchange_url_invalid",
            f"{field}: must be that of an IX-API ('{url}')",
            hint="for example https://exchange.example/api/v2",
            field=field,
        )
    if parsed.scheme == "http" and not _is_this_machine(parsed.host):
        raise InvalidInput(
            "exchange_url_invalid",
            f"{field}: must be https, so that nobody reads the secret on the way ('{url}')",
            hint="plain http is possible on this machine only",
            field=field,
        )
    text = url.rstrip("/")
    return text + base if parsed.path in ("", "/") else text


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cause(error: BaseException) -> str:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"its certificate is not one that we trust: {found.verify_message}"
        if isinstance(found, ssl.SSLError):
            return f"TLS: {found.reason or found}"
        found = found.__cause__ or found.__context__
    return str(error) or type(error).__name__
