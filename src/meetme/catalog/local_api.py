"""The local API: what people, programs and the web page ask of the member's own catalog server (blueprint 5)."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Path, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import Connection

from meetme.catalog import logbook, store, wire
from meetme.catalog.desk import Desk, find
from meetme.catalog.machine import OrderMachine, still_due
from meetme.catalog.mirroring import Mirroring
from meetme.catalog.offers import Entry, Listing
from meetme.catalog.offers_file import read_all, read_offer
from meetme.catalog.order import Order
from meetme.catalog.publishing import Publisher
from meetme.catalog.search import MOST_ON_PAGE, PAGE, Sort, search
from meetme.catalog.search import Query as Search
from meetme.catalog.stray_views import StrayRemoval
from meetme.catalog.strays import Strays
from meetme.catalog.underlay import Underlay
from meetme.catalog.views import Decision, Offers, OrderRequest, entry_view, not_listed, view
from meetme.catalog.words import ENDED, Connectivity
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput
from meetme.runtime.api_client import LAST_EVENT
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.http import Access
from meetme.runtime.ledger import Debt, Ledger
from meetme.runtime.sse import Bell, Page, StreamEvent, event_stream, last_event_id
from meetme.runtime.tokens import Tokens

OFFERS, ORDERS, OWN = "/api/v1/offers", "/api/v1/orders", "/api/v1/own-offers"
STRAYS = "/api/v1/strays"
LARGE_BODIES = {OWN: 256 * 1024}
"""As much as fits into a listing, with room for blanks."""
OFFER_TAGS: list[str | Enum] = ["offers"]
ORDER_TAGS: list[str | Enum] = ["orders"]
Id = Annotated[UUID, Path(description="the order")]
After = Annotated[int, Depends(last_event_id)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="repeats of a request have the same one")]
Words = Annotated[str, Query(max_length=200, description="words, each of which must be found")]
Size = Annotated[int, Query(ge=1, le=MOST_ON_PAGE)]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
Only = Annotated[bool, Query(description="also withdraw what is offered and not named")]
DryRun = Annotated[bool, Query(description="say what would change; change nothing")]
Redundancy = Annotated[str | None, Query(description="none, best_effort or strict; left out: as the offer asks for")]


def add_routes(
    app: FastAPI,
    tokens: Tokens,
    desk: Desk,
    mirroring: Mirroring,
    publisher: Publisher,
    underlay: Underlay,
    database: Database,
    bell: Bell,
    clock: Clock,
) -> None:
    """Let `app` offer them."""
    access = Access(tokens)
    _offer_routes(app, access, mirroring, publisher, underlay, database)
    _order_routes(app, access, desk, database, bell, clock)


def add_stray_routes(app: FastAPI, tokens: Tokens, strays: Strays) -> None:
    """Let `app` tell what was made for orders that are not known, and have it taken back."""
    access = Access(tokens)

    @app.get(
        STRAYS, dependencies=[access.read], tags=ORDER_TAGS, summary="Circuits and agreements of orders not known here"
    )
    async def list_strays() -> JSONResponse:
        return JSONResponse([wire.stray_json(each) for each in await strays.find()])

    @app.delete(STRAYS, status_code=202, dependencies=[access.write], tags=ORDER_TAGS, summary="Have one taken back")
    async def delete_stray(circuit: str) -> StrayRemoval:
        return StrayRemoval(circuit, await strays.remove(circuit))


def _offer_routes(
    app: FastAPI, access: Access, mirroring: Mirroring, publisher: Publisher, underlay: Underlay, database: Database
) -> None:
    @app.get(OFFERS, dependencies=[access.read], tags=OFFER_TAGS, summary="Offers of all members: searched and paged")
    async def list_offers(
        text: Words = "",
        category: str | None = None,
        provider: str | None = None,
        country: str | None = None,
        connectivity: Connectivity | None = None,
        max_price: Decimal | None = None,
        sort: Sort = Sort.RELEVANCE,
        page: PageNumber = 1,
        size: Size = PAGE,
    ) -> JSONResponse:
        query = Search(
            text=text,
            category=category,
            provider=None if provider is None else MemberId(provider),
            country=country,
            connectivity=connectivity,
            max_price=max_price,
            sort=sort,
            page=page,
            size=size,
        )
        found = search(await database.read(mirroring.known), query)
        entries = [wire.entry_json(entry_view(entry)) for entry in found.entries]
        return JSONResponse({"offers": entries, "total": found.total, "pages": found.pages, "facets": found.facets})

    async def one(provider: str, name: str) -> Entry:
        known = await database.read(mirroring.known)
        found = next((e for e in known if (e.provider, e.offer.name) == (provider, name)), None)
        if found is None:
            raise not_listed(provider, name)
        return found

    @app.get(OFFERS + "/{provider}/{name}", dependencies=[access.read], tags=OFFER_TAGS, summary="One offer")
    async def get_offer(provider: str, name: str) -> JSONResponse:
        return JSONResponse(wire.entry_json(entry_view(await one(provider, name))))

    @app.get(
        OFFERS + "/{provider}/{name}/ways",
        dependencies=[access.read],
        tags=OFFER_TAGS,
        summary="The ways over the federation to a service, the best first; nothing is held",
    )
    async def get_ways(provider: str, name: str, redundancy: Redundancy = None) -> JSONResponse:
        entry = await one(provider, name)
        return JSONResponse(wire.ways_json(await underlay.ways(entry.offer, entry.provider, redundancy)))

    @app.get(OWN, dependencies=[access.read], tags=OFFER_TAGS, summary="What this member offers")
    async def list_own() -> JSONResponse:
        return JSONResponse(_own(await database.read(mirroring.own)))

    @app.put(
        OWN,
        dependencies=[access.write],
        tags=OFFER_TAGS,
        summary="Offer all of these at once, each in the place of what was offered under its name; or nothing of it",
    )
    async def put_offers(body: Offers, only: Only = False, dry_run: DryRun = False) -> JSONResponse:
        found = await publisher.bring(read_all(body.offers), only=only, dry_run=dry_run)
        return JSONResponse({"changes": [{"name": each.name, "what": each.what} for each in found], "dry_run": dry_run})

    @app.put(
        OWN + "/{name}",
        dependencies=[access.write],
        tags=OFFER_TAGS,
        summary="Offer something, in the place of what was offered under this name",
    )
    async def put_offer(name: str, body: dict[str, Any]) -> JSONResponse:
        if body.setdefault("name", name) != name:
            raise InvalidInput("offer_name", f'name: must be that of the path ("{name}")', field="name")
        offer = read_offer(body)
        await publisher.put(offer)
        return JSONResponse(wire.offer_json(offer))

    @app.delete(OWN + "/{name}", status_code=204, dependencies=[access.write], tags=OFFER_TAGS, summary="Withdraw one")
    async def delete_offer(name: str) -> Response:
        await publisher.withdraw(name)
        return Response(status_code=204)


def _own(listing: Listing | None) -> list[dict[str, Any]]:
    if listing is None:
        return []
    own = (Entry(listing.provider, listing.version, offer) for offer in listing.offers)
    return [wire.entry_json(entry_view(entry)) for entry in own]


def _order_routes(app: FastAPI, access: Access, desk: Desk, database: Database, bell: Bell, clock: Clock) -> None:
    def shown(n: Order, debts: list[Debt] | None = None) -> dict[str, Any]:
        return wire.view_json(view(n, still_due(debts or (), clock.now())))

    @app.post(ORDERS, status_code=202, dependencies=[access.write], tags=ORDER_TAGS, summary="Order a service")
    async def place_order(request: OrderRequest, key: Key = None) -> JSONResponse:
        n = await desk.place(request, key)
        return JSONResponse(shown(n), 202, {"location": f"{ORDERS}/{n.id}"})

    @app.get(ORDERS, dependencies=[access.read], tags=ORDER_TAGS, summary="All orders, bought and sold, newest first")
    async def list_orders() -> JSONResponse:
        return JSONResponse([shown(n) for n in await database.read(store.orders)])

    @app.get(ORDERS + "/{id}", dependencies=[access.read], tags=ORDER_TAGS, summary="One order")
    async def get_order(id: Id) -> JSONResponse:
        def read(tx: Connection) -> tuple[Order, int, list[Debt]]:
            return find(tx, id), logbook.last_told(tx, id), Ledger().owed(tx, OrderMachine.name, str(id))

        n, last, debts = await database.read(read)
        return JSONResponse(shown(n, debts), headers={LAST_EVENT: str(last)})

    @app.delete(
        ORDERS + "/{id}", status_code=202, dependencies=[access.write], tags=ORDER_TAGS, summary="Take an order back"
    )
    async def delete_order(id: Id) -> JSONResponse:
        return JSONResponse(shown(await desk.terminate(id)), 202)

    @app.post(ORDERS + "/{id}/approve", dependencies=[access.write], tags=ORDER_TAGS, summary="Let the buyer have it")
    async def approve_order(id: Id, decision: Decision) -> JSONResponse:
        return JSONResponse(shown(await desk.approve(id, decision.by)))

    @app.post(ORDERS + "/{id}/decline", dependencies=[access.write], tags=ORDER_TAGS, summary="Do not, and say why")
    async def decline_order(id: Id, decision: Decision) -> JSONResponse:
        return JSONResponse(shown(await desk.decline(id, decision.by, decision.why)))

    @app.get(
        ORDERS + "/{id}/events",
        dependencies=[access.read],
        tags=ORDER_TAGS,
        summary="What happens to an order, as it happens (SSE: state, step)",
        response_class=StreamingResponse,
    )
    async def order_events(id: Id, after: After) -> StreamingResponse:
        await database.read(lambda tx: find(tx, id))

        def page(tx: Connection, seen: int) -> Page:
            told = logbook.told(tx, id, seen)
            events = [StreamEvent(each.sequence, each.kind, json.loads(each.body)) for each in told]
            return Page(events, ended=find(tx, id).state in ENDED)

        async def load(seen: int) -> Page:
            return await database.read(lambda tx: page(tx, seen))

        return event_stream(load, bell, str(id), after)
