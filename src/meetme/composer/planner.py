"""Routes and offers, found in a thread: the rules (`offers`) may take up to a second for a hard question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from uuid import UUID, uuid4

from meetme.composer.circuit import Circuit
from meetme.composer.offers import Ends, Offer, find_offers, find_routes, locate
from meetme.composer.query import Budget
from meetme.composer.topology import Atlas
from meetme.composer.views import OfferView, RefusalView, SharedView, hop_views
from meetme.composer.words import CircuitRequest, Route
from meetme.runtime.clock import Clock

BUDGET_SECONDS = 1.0
"""How long a question may take that has no quick exact answer."""
OFFER_SECONDS = 300.0
"""How long an offer is good. Nothing is held for it: it may still be refused when it is taken."""
Offered = tuple[OfferView, tuple[Route, ...]]


class Planner:
    """Finds ways through the federation."""

    def __init__(self, atlas: Callable[[], Atlas], clock: Clock, new_id: Callable[[], UUID] = uuid4) -> None:
        """`atlas`: what is known of the federation now."""
        self._atlas = atlas
        self._clock = clock
        self._new_id = new_id

    def locate(self, request: CircuitRequest) -> Ends:
        """Where the ends are. Raises NotFound `end_unknown`, Refused `end_ambiguous`."""
        return locate(self._atlas(), request)

    async def routes(self, c: Circuit, lacking: Collection[int]) -> tuple[Route, ...]:
        """A route for each of the paths that a circuit lacks, apart from those it has; for fewer where there is
        only one way, and redundancy is best effort or all of them are broken. Raises NoPath, and what `locate` raises.
        """
        paths = tuple(lacking)
        excluded = tuple(element for path in paths for element in c.search(path).excluded)
        kept = {leg.path: leg.hops for leg in c.legs if leg.live and leg.path not in paths}
        return await asyncio.to_thread(
            find_routes,
            self._atlas(),
            c.request,
            paths,
            excluded=excluded,
            kept=kept,
            alone=c.established,
            budget=_budget(),
        )

    async def offers(self, request: CircuitRequest) -> tuple[tuple[Offered, ...], tuple[RefusalView, ...]]:
        """The ways of which none is better than another in every respect; or what stands in the way."""
        found = await asyncio.to_thread(find_offers, self._atlas(), request, budget=_budget())
        offered = tuple((self._view(each), each.routes) for each in found.offers)
        return offered, tuple(RefusalView(each.constraint, each.asked, each.nearest) for each in found.refused)

    def _view(self, offer: Offer) -> OfferView:
        second = offer.routes[1].hops if len(offer.routes) > 1 else ()
        return OfferView(
            id=self._new_id(),
            expires=datetime.fromtimestamp(self._clock.now() + OFFER_SECONDS, UTC),
            path=hop_views(offer.routes[0].hops),
            latency_ms=offer.latency_ms,
            bandwidth=offer.bandwidth,
            hops=offer.hops,
            price=offer.price,
            mtu=offer.mtu,
            availability=offer.availability,
            second_path=hop_views(second),
            shared=tuple(SharedView(each.kind, each.name) for each in offer.shared),
            optimal=offer.optimal,
        )


def _budget() -> Budget:
    deadline = time.monotonic() + BUDGET_SECONDS
    return Budget(expired=lambda: time.monotonic() > deadline)
