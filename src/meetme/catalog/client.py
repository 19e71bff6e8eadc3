"""The catalogue's local API from the other side: for the command line and the lab."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx2

from meetme.catalog import wire
from meetme.catalog.stray_views import Stray
from meetme.catalog.views import EntryView, OrderView
from meetme.catalog.ways import Ways
from meetme.catalog.words import ENDED
from meetme.model.errors import Unreachable
from meetme.runtime.api_client import PATIENCE, ApiClient, Patience, part, unreachable


class CatalogClient(ApiClient):
    """Asks one catalog server. Errors are raised as it raised them; Unreachable where it does not answer."""

    async def search(self, **query: Any) -> tuple[list[EntryView], int]:
        """The offers of one page, by the parameters of `GET /api/v1/offers`, and how many there are in all."""
        said = urlencode({key: value for key, value in query.items() if value is not None})
        raw = await self._call("GET", f"/offers?{said}")
        return [wire.read_entry(each) for each in raw["offers"]], raw["total"]

    async def offer(self, provider: str, name: str) -> EntryView:
        """One offer."""
        return wire.read_entry(await self._call("GET", f"/offers/{part(provider)}/{part(name)}"))

    async def ways(self, provider: str, name: str, redundancy: str | None = None) -> Ways:
        """The ways over the federation to a service, the best first."""
        said = "" if redundancy is None else "?" + urlencode({"redundancy": redundancy})
        return wire.read_ways(await self._call("GET", f"/offers/{part(provider)}/{part(name)}/ways{said}"))

    async def own_offers(self) -> list[EntryView]:
        """What this member offers."""
        return [wire.read_entry(each) for each in await self._call("GET", "/own-offers")]

    async def put_offer(self, offer: dict[str, Any]) -> None:
        """Offer something, in the place of what was offered under its name."""
        await self._call("PUT", f"/own-offers/{part(offer['name'])}", offer)

    async def publish(
        self, offers: Sequence[Mapping[str, Any]], *, only: bool = False, dry_run: bool = False
    ) -> list[tuple[str, str]]:
        """Offer all of these at once; the names of what changes, and how."""
        said = urlencode({"only": str(only).lower(), "dry_run": str(dry_run).lower()})
        raw = await self._call("PUT", f"/own-offers?{said}", {"offers": list(offers)})
        return [(each["name"], each["what"]) for each in raw["changes"]]

    async def withdraw(self, name: str) -> None:
        """Offer it no more."""
        await self._call("DELETE", f"/own-offers/{part(name)}")

    async def place(
        self, offer: str, *, idempotency_key: str | None = None, patience: Patience | None = None, **more: Any
    ) -> OrderView:
        """Order `PROVIDER/NAME`. The same key again gives the same order; with `patience` that is done if need be."""
        body = {"offer": offer, **more}
        return wire.read_view(await self._begin("POST", "/orders", body, idempotency_key, patience))

    async def orders(self) -> list[OrderView]:
        """All of them, bought and sold, the newest first."""
        return [wire.read_view(raw) for raw in await self._call("GET", "/orders")]

    async def order(self, id: UUID | str) -> OrderView:
        """One of them."""
        return wire.read_view(await self._call("GET", f"/orders/{part(id)}"))

    async def terminate(self, id: UUID | str) -> OrderView:
        """Take it back."""
        return wire.read_view(await self._call("DELETE", f"/orders/{part(id)}"))

    async def approve(self, id: UUID | str, by: str = "operator") -> OrderView:
        """Let the buyer have it."""
        return wire.read_view(await self._call("POST", f"/orders/{part(id)}/approve", {"by": by}))

    async def decline(self, id: UUID | str, by: str = "operator", why: str = "") -> OrderView:
        """Do not. `why` is what the buyer reads."""
        return wire.read_view(await self._call("POST", f"/orders/{part(id)}/decline", {"by": by, "why": why}))

    async def strays(self) -> list[Stray]:
        """What was made for orders that it does not know."""
        return wire.read_strays(await self._call("GET", "/strays"))

    async def remove_stray(self, circuit: str) -> bool:
        """Have everything of one circuit taken back; whether it is gone already."""
        return bool((await self._call("DELETE", f"/strays?circuit={part(circuit)}"))["gone"])

    async def follow(self, id: UUID | str, patience: Patience = PATIENCE) -> AsyncGenerator[OrderView, None]:
        """How it stands, now and after everything that happens, until it has ended; also across a restart.

        Whoever stops early closes it (`contextlib.aclosing`), and with it the connection. Raises Unreachable when
        nobody answers for longer than `patience`.
        """
        async with aclosing(self._follow(f"/orders/{part(id)}", patience)) as events:
            async for event in events:
                if event.kind == "state":
                    shown = wire.read_view(event.data)
                    yield shown
                    if shown.state in ENDED:
                        return

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        return unreachable("catalog_unreachable", "catalog", self._url, error)
