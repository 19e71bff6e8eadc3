"""The local API from the other side: for the command line, the lab and the catalogue."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from urllib.parse import urlencode
from uuid import UUID

import httpx2

from meetme.model.errors import Unreachable
from meetme.negotiator import wire
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import ENDED
from meetme.negotiator.views import ChangeRequest, NegotiationView, Plan, SignedAgreement, StartRequest
from meetme.runtime.api_client import PATIENCE, ApiClient, ApiEvent, Patience, part, unreachable


class NegotiatorClient(ApiClient):
    """Asks one negotiator. Errors are raised as the negotiator raised them; Unreachable where it does not answer."""

    async def start(
        self, request: StartRequest, *, idempotency_key: str | None = None, patience: Patience | None = None
    ) -> NegotiationView:
        """Begin a negotiation. The same key again gives the same one; with `patience` that is done if need be."""
        body = wire.request_json(request)
        return wire.read_view(await self._begin("POST", "/start_negotiation", body, idempotency_key, patience))

    async def plan(self, request: StartRequest) -> Plan:
        """What a request would lead to; nothing is held."""
        body = {**wire.request_json(request), "dry_run": True}
        return wire.read_plan(await self._call("POST", "/start_negotiation", body))

    async def change(
        self,
        id: UUID | str,
        request: ChangeRequest,
        *,
        idempotency_key: str | None = None,
        patience: Patience | None = None,
    ) -> NegotiationView:
        """Change an active agreement: the answer comes as soon as that has begun. Key and patience as with `start`."""
        path, body = f"/negotiations/{part(id)}", wire.change_json(request)
        return wire.read_view(await self._begin("PATCH", path, body, idempotency_key, patience))

    async def plan_change(self, id: UUID | str, request: ChangeRequest) -> Plan:
        """What a change would lead to; nothing is held."""
        body = {**wire.change_json(request), "dry_run": True}
        return wire.read_plan(await self._call("PATCH", f"/negotiations/{part(id)}", body))

    async def negotiations(self, circuit: str | None = None) -> list[NegotiationView]:
        """All of them, or those over one circuit, the newest first."""
        said = "" if circuit is None else "?" + urlencode({"circuit": circuit})
        found = [wire.read_view(raw) for raw in await self._call("GET", f"/negotiations{said}")]
        # An older server lists all of them.
        return [n for n in found if circuit in (None, n.circuit)]

    async def negotiation(self, id: UUID | str) -> NegotiationView:
        """One of them."""
        return wire.read_view(await self._call("GET", f"/negotiations/{part(id)}"))

    async def news(self, id: UUID | str, after: int, wait: int) -> tuple[NegotiationView, int]:
        """How it stands as soon as something happens behind event `after`, or else in `wait` seconds; and the number
        of the last event that is part of that.
        """
        raw, last = await self._standing(f"/negotiations/{part(id)}", after=after, wait=wait)
        return wire.read_view(raw), last

    async def terminate(self, id: UUID | str) -> NegotiationView:
        """Take it back, on both sides."""
        return wire.read_view(await self._call("DELETE", f"/negotiations/{part(id)}"))

    async def release(self, id: UUID | str) -> NegotiationView:
        """End its quarantine."""
        return wire.read_view(await self._call("POST", f"/negotiations/{part(id)}/release"))

    async def agreement(self, id: UUID | str) -> SignedAgreement:
        """The document that both have signed."""
        return wire.read_signed(await self._call("GET", f"/agreements/{part(id)}"))

    async def attachments(self) -> dict[str, Attachment]:
        """Where every circuit lands."""
        found = await self._call("GET", "/attachments")
        return {circuit: wire.read_attachment(raw) for circuit, raw in found.items()}

    async def attachment(self, circuit: str) -> Attachment:
        """Where a circuit lands."""
        return wire.read_attachment(await self._call("GET", f"/attachments/{part(circuit)}"))

    async def put_attachment(self, circuit: str, attachment: Attachment) -> Attachment:
        """Register where a circuit lands."""
        body = wire.attachment_json(attachment)
        return wire.read_attachment(await self._call("PUT", f"/attachments/{part(circuit)}", body))

    async def delete_attachment(self, circuit: str) -> None:
        """Forget where a circuit lands."""
        await self._call("DELETE", f"/attachments/{part(circuit)}")

    def events(self, id: UUID | str, after: int = 0) -> AsyncGenerator[ApiEvent, None]:
        """What happens to it (`state`, whose data is the whole view, `step` or `health`), behind event `after`, until
        it has ended. Raises Unreachable if the stream breaks.
        """
        return self._events(f"/negotiations/{part(id)}/events", after)

    async def follow(self, id: UUID | str, patience: Patience = PATIENCE) -> AsyncGenerator[NegotiationView, None]:
        """How it stands, now and after everything that happens, until it has ended; also across a restart.

        Whoever stops early closes it (`contextlib.aclosing`), and with it the connection. Raises Unreachable when
        nobody answers for longer than `patience`.
        """
        shown: NegotiationView | None = None
        async with aclosing(self._follow(f"/negotiations/{part(id)}", patience)) as events:
            async for event in events:
                shown = _after(shown, event)
                yield shown
                if shown.state in ENDED:
                    return

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        return unreachable("negotiator_unreachable", "negotiator", self._url, error)


def _after(view: NegotiationView | None, event: ApiEvent) -> NegotiationView:
    """How a negotiation looks after one of its events: of those that are followed, the first is `state`."""
    if view is None or event.kind == "state":
        return wire.read_view(event.data)
    match event.kind:
        case "step":
            return replace(view, steps=(*view.steps, wire.read_step(event.data)))
        case "health":
            return replace(view, health=wire.read_health(event.data))
        case _:
            return view
