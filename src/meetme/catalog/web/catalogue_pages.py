"""What there is to be had: the catalogue, and one offer with the ways to reach it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from urllib.parse import urlencode
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from meetme.catalog.offers import Entry
from meetme.catalog.search import Query, Sort, search
from meetme.catalog.views import REDUNDANCIES, not_listed
from meetme.catalog.ways import Ways
from meetme.catalog.web.visits import Visit
from meetme.catalog.words import Connectivity
from meetme.composer.topology_views import TopologyView
from meetme.model.agreement import MemberId
from meetme.model.errors import MeetMeError, Unreachable

SECONDS = 5.0
"""How long a page waits for the ways to a service."""
_FILTERS = ("category", "provider", "country", "connectivity")


async def catalogue(visit: Visit) -> Response:
    """Search, filters, order, pages."""
    query = read_query(visit.request)
    known = await visit.house.database.read(visit.house.mirroring.known)
    found = search(known, query)
    if query.page > max(1, found.pages):
        query = replace(query, page=max(1, found.pages))
        found = search(known, query)
    asked = {name: visit.request.query_params.get(name, "") for name in ("q", *_FILTERS, "max_price")}
    narrowed = any(value for name, value in asked.items())

    def link(page: int) -> str:
        given = {name: value for name, value in asked.items() if value}
        given |= {} if query.sort is Sort.RELEVANCE else {"sort": query.sort.value}
        return "/?" + urlencode(given | ({"page": str(page)} if page > 1 else {}))

    return await visit.page(
        "catalogue.html",
        found=found,
        query=query,
        asked=asked,
        narrowed=narrowed,
        known=len(known),
        sorts=tuple(Sort),
        link=link,
    )


def read_query(request: Request) -> Query:
    """What is looked for. What makes no sense in an address is as if it were not there."""
    given = request.query_params
    text = {name: given.get(name) or None for name in _FILTERS}
    connectivity = text["connectivity"]
    sort = given.get("sort", "")
    page = given.get("page", "")
    return Query(
        text=given.get("q", "")[:200],
        category=text["category"],
        provider=None if text["provider"] is None else MemberId(text["provider"]),
        country=text["country"],
        connectivity=Connectivity(connectivity) if connectivity in set(Connectivity) else None,
        max_price=_amount(given.get("max_price", "")),
        sort=Sort(sort) if sort in set(Sort) else Sort.RELEVANCE,
        page=int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 7 and int(page) else 1,
    )


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text.strip().replace(",", "."))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < 10**9 else None


async def offer(visit: Visit) -> Response:
    """One offer, the ways to reach it, and where it is ordered."""
    provider, name = (visit.request.path_params[key] for key in ("provider", "name"))
    entry = await find(visit, provider, name)
    wanted = visit.request.query_params.get("redundancy", "")
    redundancy = wanted if wanted in REDUNDANCIES else entry.offer.needs.redundancy
    ways, countries = await _ways(visit, entry, redundancy)
    return await visit.page(
        "offer.html",
        entry=entry,
        offer=entry.offer,
        own=entry.provider == visit.house.me,
        redundancy=redundancy,
        redundancies=REDUNDANCIES,
        ways=ways,
        countries=countries,
        key=str(uuid4()),
    )


async def find(visit: Visit, provider: str, name: str) -> Entry:
    """An offer that is listed. Raises NotFound `offer_unknown`."""
    known = await visit.house.database.read(visit.house.mirroring.known)
    found = next((e for e in known if (e.provider, e.offer.name) == (provider, name)), None)
    if found is None:
        raise not_listed(provider, name)
    return found


async def _ways(visit: Visit, entry: Entry, redundancy: str) -> tuple[Ways, dict[str, str]]:
    """The ways, and the country of each exchange, as far as it is told. That nobody answers is part of it."""
    if entry.offer.connectivity is Connectivity.NONE or entry.provider == visit.house.me:
        return Ways(), {}
    underlay = visit.house.underlay
    try:
        async with asyncio.timeout(SECONDS):
            ways, federation = await asyncio.gather(
                underlay.ways(entry.offer, entry.provider, redundancy), underlay.federation()
            )
    except TimeoutError:
        late = Unreachable("exchange_late", f"exchange: must answer within {SECONDS:g} s", hint="load the page anew")
        return Ways(problems=(late.problem,)), {}
    except MeetMeError as error:
        return Ways(problems=(error.problem,)), {}
    return ways, _countries(federation)


def _countries(federation: TopologyView | None) -> dict[str, str]:
    if federation is None:
        return {}
    return {str(each.member): each.country for each in federation.exchanges if each.country is not None}
