"""A local API from the other side: requests, problems turned back into errors, event streams that are resumed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import UUID

import httpx2

from meetme.model.errors import Fault, MeetMeError, Unreachable
from meetme.runtime.problems import error_of_problem

if TYPE_CHECKING:
    from meetme.runtime.diagnosis import Diagnosis
    from meetme.runtime.logbook import AuditEntry

API = "/api/v1"
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 45.0
"""How long an event stream may say nothing, before it is opened anew: three times its pings."""
AGAIN_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 60.0
"""Shorter than the listener's, so that a connection is never used just as the other side gives it up."""
LAST_EVENT = "last-event-id"
"""With one instance: up to which of its events this is how it stands."""


@dataclass(frozen=True, slots=True)
class ApiEvent:
    """One event of a stream: its number, its kind (`state`, `step`, ...), and what it says."""

    id: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Patience:
    """With a service that goes away while something is begun or followed there."""

    seconds: float = 120.0
    """How long it may be away at a time."""
    told: Callable[[bool], None] = lambda away: None
    """Called with True when it has gone away, with False when it answers again."""


PATIENCE = Patience()


class _Absence:
    """Of a service: how long it lasts, and whom it is told."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since: float | None = None

    @property
    def now(self) -> bool:
        return self._since is not None

    def lasts(self, error: MeetMeError) -> None:
        """It did not answer, or not yet. Raises the error when patience is over."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._patience.told(True)
        elif now - self._since > self._patience.seconds:
            raise error

    def ends(self) -> None:
        """It answers."""
        if self.now:
            self._patience.told(False)
        self._since = None


class ApiClient:
    """Asks one service of this member. Errors are raised as it raised them; Unreachable where it does not answer."""

    def __init__(
        self, url: str, token: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        """`transport`: how to get there, if not in the clear (`runtime.local_tls.PinnedTransport`)."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._http = httpx2.AsyncClient(
            base_url=self._url,
            headers=headers,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=3.0),
            limits=httpx2.Limits(max_keepalive_connections=32, keepalive_expiry=KEEP_ALIVE_SECONDS),
            trust_env=False,
            transport=transport,
            # In the clear there is nothing to verify, and to read whom this machine trusts takes tens of milliseconds.
            verify=self._url.lower().startswith("https:"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    # --- what every service tells of itself ---------------------------------------------------------------------------

    async def diagnosis(self) -> Diagnosis:
        """What is wrong with the service, or will be soon."""
        from meetme.runtime.diagnosis import Diagnosis, Finding

        raw = await self._call("GET", "/diagnosis")
        return Diagnosis(raw["ok"], tuple(Finding(**each) for each in raw["findings"]))

    async def audit(self) -> AsyncGenerator[list[AuditEntry], None]:
        """The whole audit log, the oldest first, page by page."""
        from meetme.runtime.logbook import AuditEntry

        after = 0
        while page := [AuditEntry(**raw) for raw in await self._call("GET", f"/audit?after={after}")]:
            yield page
            after = page[-1].sequence

    # --- how it is asked ----------------------------------------------------------------------------------------------

    async def _call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        response = await self._response(method, path, body, headers)
        return response.json() if response.content else None

    async def _begin(self, method: str, path: str, body: Any, key: str | None, patience: Patience | None = None) -> Any:
        """Ask for something that is begun once for each Idempotency-Key.

        With `patience`, a request whose answer was lost is asked again: with the same key, that begins nothing twice.
        One that nobody took is not. Raises Unreachable when the service was away for longer.
        """
        headers = {"idempotency-key": key} if key else {}
        absence = _Absence(patience or PATIENCE)
        while True:
            try:
                begun = await self._call(method, path, body, headers)
                absence.ends()
                return begun
            except Unreachable as error:
                untaken = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
                if patience is None or key is None or (untaken and not absence.now):
                    raise
                absence.lasts(error)
            except MeetMeError as error:
                if error.code != "idempotency_key_in_flight" or not absence.now:
                    absence.ends()
                    raise
                absence.lasts(error)  # the request whose answer was lost is still being worked on
            await asyncio.sleep(AGAIN_SECONDS)

    async def _standing(self, path: str, *, after: int = 0, wait: int = 0) -> tuple[Any, int]:
        """How something stands, and the number of the last event that is part of it: at once, or as soon as there is
        one behind event `after`, for which it is waited `wait` seconds.
        """
        response = await self._response("GET", path, headers=waiting(after, wait))
        return response.json(), int(response.headers.get(LAST_EVENT, "0"))

    async def _response(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        try:
            response = await self._http.request(method, API + path, json=body, headers=dict(headers or {}))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise self._error(response)
        return response

    async def _events(self, path: str, after: int) -> AsyncGenerator[ApiEvent, None]:
        """What happens, behind event `after`, until it has ended. Raises Unreachable if the stream breaks."""
        headers = {LAST_EVENT: str(after)} if after else {}
        timeout = httpx2.Timeout(ANSWER_SECONDS, read=SILENCE_SECONDS)
        try:
            async with self._http.stream("GET", API + path, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._error(response)
                fields: dict[str, str] = {}
                async for line in response.aiter_lines():
                    if line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    else:
                        if "data" in fields:
                            yield ApiEvent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                        fields = {}
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def _follow(self, path: str, patience: Patience) -> AsyncGenerator[ApiEvent, None]:
        """How something stands (as an event `state`), and what happens to it from then on, without end.

        Whenever the service was away it begins anew with how it stands: a database that was restored meanwhile counts
        its events anew. Raises Unreachable when the service was away for longer than `patience`.
        """
        absence = _Absence(patience)
        while True:
            try:
                standing, after = await self._standing(path)
                absence.ends()
                yield ApiEvent(after, "state", standing)
                async with aclosing(self._events(path + "/events", after)) as events:
                    async for event in events:
                        yield event
            except Unreachable as error:
                absence.lasts(error)
            await asyncio.sleep(AGAIN_SECONDS)

    def _error(self, response: httpx2.Response) -> Exception:
        try:
            document = response.json()
        except ValueError:
            document = None
        return error_of_problem(response.status_code, document, who=None)

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        raise NotImplementedError


def waiting(after: int, seconds: int) -> dict[str, str]:
    """The headers of a request whose answer may wait for news (RFC 7240, section 4.3)."""
    return {LAST_EVENT: str(after), "prefer": f"wait={seconds}"} if seconds else {}


def unreachable(code: str, service: str, url: str, error: httpx2.HTTPError) -> Unreachable:
    """That a service of this member does not answer at `url`."""
    return Unreachable(
        code,
        f'url: must be that of a {service} that runs ("{url}": {error or type(error).__name__})',
        hint=f"start it with meetme serve {service}, or name another one with --url",
        field="url",
        fault=Fault.LOCAL,
    )


def part(text: UUID | str) -> str:
    """A part of a path, quoted."""
    return quote(str(text), safe="")
