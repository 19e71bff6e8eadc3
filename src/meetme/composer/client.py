"""The composer's local API from the other side: for the command line, the lab and the catalogue."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

import httpx2

from meetme.composer import topology_views, wire
from meetme.composer.stray_views import Stray
from meetme.composer.topology_views import TopologyView
from meetme.composer.views import CircuitOrder, CircuitView, OffersView
from meetme.composer.words import ENDED
from meetme.model.errors import Unreachable
from meetme.runtime.api_client import PATIENCE, ApiClient, ApiEvent, Patience, part, unreachable


class ComposerClient(ApiClient):
    """Asks one composer. Errors are raised as the composer raised them; Unreachable where it does not answer."""

    async def offers(self, order: CircuitOrder) -> OffersView:
        """What there is; nothing is held."""
        return wire.read_offers(await self._call("POST", "/circuits?offers=true", wire.order_json(order)))

    async def create(
        self, order: CircuitOrder, *, idempotency_key: str | None = None, patience: Patience | None = None
    ) -> CircuitView:
        """Begin a circuit. The same key again gives the same circuit; with `patience` that is done if need be."""
        body = wire.order_json(order)
        return wire.read_view(await self._begin("POST", "/circuits", body, idempotency_key, patience))

    async def circuits(self) -> list[CircuitView]:
        """All of them, the newest first."""
        return [wire.read_view(raw) for raw in await self._call("GET", "/circuits")]

    async def begun_with(self, key: str) -> CircuitView | None:
        """The one that a request with this Idempotency-Key has begun; None: there is none."""
        found = await self._call("GET", f"/circuits?ordered_with={part(key)}")
        return wire.read_view(found[0]) if found else None

    async def circuit(self, id: UUID | str) -> CircuitView:
        """One of them."""
        return wire.read_view(await self._call("GET", f"/circuits/{part(id)}"))

    async def delete(self, id: UUID | str) -> CircuitView:
        """Take it back, at every exchange."""
        return wire.read_view(await self._call("DELETE", f"/circuits/{part(id)}"))

    async def release(self, id: UUID | str) -> CircuitView:
        """End its quarantine."""
        return wire.read_view(await self._call("POST", f"/circuits/{part(id)}/release"))

    async def strays(self) -> list[Stray]:
        """Segments at its exchange that no circuit knows."""
        found = await self._call("GET", "/strays")
        return [Stray(raw["reference"], UUID(raw["circuit"]), raw["state"]) for raw in found]

    async def remove_stray(self, reference: str) -> bool:
        """Have one of them taken away; whether it is gone already."""
        return bool((await self._call("DELETE", f"/strays?reference={part(reference)}"))["gone"])

    async def topology(self) -> TopologyView:
        """The federation as the composer knows it."""
        return topology_views.read_view(await self._call("GET", "/topology"))

    def events(self, id: UUID | str, after: int = 0) -> AsyncGenerator[ApiEvent, None]:
        """What happens to it (`state`, whose data is the whole view), behind event `after`, until it has ended.

        Raises Unreachable if the stream breaks.
        """
        return self._events(f"/circuits/{part(id)}/events", after)

    async def follow(self, id: UUID | str, patience: Patience = PATIENCE) -> AsyncGenerator[CircuitView, None]:
        """How it stands, now and after everything that happens, until it has ended; also across a restart.

        Whoever stops early closes it (`contextlib.aclosing`), and with it the connection. Raises Unreachable when
        nobody answers for longer than `patience`.
        """
        async with aclosing(self._follow(f"/circuits/{part(id)}", patience)) as events:
            async for event in events:
                if event.kind == "state":
                    shown = wire.read_view(event.data)
                    yield shown
                    if shown.state in ENDED:
                        return

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        return unreachable("composer_unreachable", "composer", self._url, error)
