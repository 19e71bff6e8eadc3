"""The local API from the other side: for the command line, the lab and the catalogue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import UUID

import httpx2

from meetme.model.errors import Fault, Unreachable
from meetme.negotiator import wire
from meetme.negotiator.diagnosis import Diagnosis, Finding
from meetme.negotiator.logbook import AuditEntry
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import ENDED
from meetme.negotiator.views import ChangeRequest, NegotiationView, Plan, SignedAgreement, StartRequest
from meetme.runtime.problems import error_of_problem

API = "/api/v1"
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 45.0
"""How long an event stream may say nothing, before it is opened anew: three times its pings."""
AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class NegotiationEvent:
    """One event of a negotiation: `state` (data: the whole view), `step` or `health`."""

    id: int
    kind: str
    data: dict[str, Any]


class NegotiatorClient:
    """Asks one negotiator. Errors are raised as the negotiator raised them; Unreachable where it does not answer."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._http = httpx2.AsyncClient(
            base_url=self._url, headers=headers, timeout=httpx2.Timeout(ANSWER_SECONDS, connect=3.0), trust_env=False
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

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> NegotiationView:
        """Begin a negotiation. The same key again gives the same negotiation."""
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return wire.read_view(await self._call("POST", "/start_negotiation", wire.request_json(request), headers))

    async def plan(self, request: StartRequest) -> Plan:
        """What a request would lead to; nothing is held."""
        body = {**wire.request_json(request), "dry_run": True}
        return wire.read_plan(await self._call("POST", "/start_negotiation", body))

    async def change(
        self, id: UUID | str, request: ChangeRequest, *, idempotency_key: str | None = None
    ) -> NegotiationView:
        """Change an active agreement: the answer comes as soon as that has begun."""
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        path = f"/negotiations/{_part(id)}"
        return wire.read_view(await self._call("PATCH", path, wire.change_json(request), headers))

    async def plan_change(self, id: UUID | str, request: ChangeRequest) -> Plan:
        """What a change would lead to; nothing is held."""
        body = {**wire.change_json(request), "dry_run": True}
        return wire.read_plan(await self._call("PATCH", f"/negotiations/{_part(id)}", body))

    async def negotiations(self) -> list[NegotiationView]:
        """All of them, the newest first."""
        return [wire.read_view(raw) for raw in await self._call("GET", "/negotiations")]

    async def negotiation(self, id: UUID | str) -> NegotiationView:
        """One of them."""
        return wire.read_view(await self._call("GET", f"/negotiations/{_part(id)}"))

    async def terminate(self, id: UUID | str) -> NegotiationView:
        """Take it back, on both sides."""
        return wire.read_view(await self._call("DELETE", f"/negotiations/{_part(id)}"))

    async def release(self, id: UUID | str) -> NegotiationView:
        """End its quarantine."""
        return wire.read_view(await self._call("POST", f"/negotiations/{_part(id)}/release"))

    async def agreement(self, id: UUID | str) -> SignedAgreement:
        """The document that both have signed."""
        return wire.read_signed(await self._call("GET", f"/agreements/{_part(id)}"))

    async def attachments(self) -> dict[str, Attachment]:
        """Where every circuit lands."""
        found = await self._call("GET", "/attachments")
        return {circuit: wire.read_attachment(raw) for circuit, raw in found.items()}

    async def attachment(self, circuit: str) -> Attachment:
        """Where a circuit lands."""
        return wire.read_attachment(await self._call("GET", f"/attachments/{_part(circuit)}"))

    async def put_attachment(self, circuit: str, attachment: Attachment) -> Attachment:
        """Register where a circuit lands."""
        body = wire.attachment_json(attachment)
        return wire.read_attachment(await self._call("PUT", f"/attachments/{_part(circuit)}", body))

    async def delete_attachment(self, circuit: str) -> None:
        """Forget where a circuit lands."""
        await self._call("DELETE", f"/attachments/{_part(circuit)}")

    async def diagnosis(self) -> Diagnosis:
        """What is wrong with the member, or will be soon."""
        raw = await self._call("GET", "/diagnosis")
        return Diagnosis(raw["ok"], tuple(Finding(**each) for each in raw["findings"]))

    async def audit(self) -> AsyncGenerator[list[AuditEntry], None]:
        """The whole audit log, the oldest first, page by page."""
        after = 0
        while page := [AuditEntry(**raw) for raw in await self._call("GET", f"/audit?after={after}")]:
            yield page
            after = page[-1].sequence

    async def events(self, id: UUID | str, after: int = 0) -> AsyncGenerator[NegotiationEvent, None]:
        """What happens to it, behind event `after`, until it has ended. Raises Unreachable if the stream breaks."""
        headers = {"last-event-id": str(after)} if after else {}
        timeout = httpx2.Timeout(ANSWER_SECONDS, read=SILENCE_SECONDS)
        path = f"{API}/negotiations/{_part(id)}/events"
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
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
                            yield NegotiationEvent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                        fields = {}
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def follow(self, id: UUID | str) -> AsyncGenerator[NegotiationView, None]:
        """How it stands, now and after everything that happens, until it has ended; also across a restart.

        Whoever stops early closes it (`contextlib.aclosing`), and with it the connection.
        """
        shown, after = await self._standing(id)
        yield shown
        while shown.state not in ENDED:
            try:
                async with aclosing(self.events(id, after)) as events:
                    async for event in events:
                        shown, after = _after(shown, event), event.id
                        yield shown
            except Unreachable:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _standing(self, id: UUID | str) -> tuple[NegotiationView, int]:
        response = await self._response("GET", f"/negotiations/{_part(id)}")
        return wire.read_view(response.json()), int(response.headers.get("last-event-id", "0"))

    async def _call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        response = await self._response(method, path, body, headers)
        return response.json() if response.content else None

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

    def _error(self, response: httpx2.Response) -> Exception:
        try:
            document = response.json()
        except ValueError:
            document = None
        return error_of_problem(response.status_code, document, who=None)

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        return Unreachable(
            "negotiator_unreachable",
            f'url: must be that of a negotiator that runs ("{self._url}": {error or type(error).__name__})',
            hint="start it with meetme serve negotiator, or name another one with --url",
            field="url",
            fault=Fault.LOCAL,
        )


def _part(text: UUID | str) -> str:
    return quote(str(text), safe="")


def _after(view: NegotiationView, event: NegotiationEvent) -> NegotiationView:
    """How a negotiation looks after one of its events."""
    match event.kind:
        case "state":
            return wire.read_view(event.data)
        case "step":
            return replace(view, steps=(*view.steps, wire.read_step(event.data)))
        case "health":
            return replace(view, health=wire.read_health(event.data))
        case _:
            return view
