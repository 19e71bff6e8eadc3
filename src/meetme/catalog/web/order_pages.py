"""Orders: placed, followed as they happen, looked at from near, decided about, taken back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from starlette.responses import HTMLResponse, Response, StreamingResponse

from meetme.catalog import store
from meetme.catalog.accounts import Role
from meetme.catalog.desk import find
from meetme.catalog.machine import OrderMachine, still_due
from meetme.catalog.order import Order
from meetme.catalog.sight import Sight
from meetme.catalog.views import OrderRequest, OrderView, view
from meetme.catalog.web.visits import Visit, go
from meetme.catalog.words import ENDED, Party, State
from meetme.model.errors import InvalidInput, MeetMeError, NotFound
from meetme.negotiator.negotiation import Health
from meetme.runtime.ledger import Debt, Ledger
from meetme.runtime.sse import Silence

HEALTH_SECONDS = 2.0
"""How long the list of connections waits for how they do."""


# --- all of them ------------------------------------------------------------------------------------------------------


async def orders(visit: Visit) -> Response:
    """What was bought and sold, the newest first, and how it does."""
    listed = await visit.house.database.read(store.orders)
    healths = await _healths(visit) if any(n.state is State.ACTIVE for n in listed) else {}
    shown = [(n.offered.title if n.offered is not None else n.wanted.offer, view(n)) for n in listed]
    live = [each for each in shown if each[1].state not in ENDED]
    over = [each for each in shown if each[1].state in ENDED]
    return await visit.page("orders.html", live=live, over=over[:100], more=max(0, len(over) - 100), healths=healths)


async def _healths(visit: Visit) -> Mapping[str, Health]:
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            return await visit.house.underlay.healths()
    except (TimeoutError, MeetMeError):
        return {}  # that it is not known is shown


async def approvals(visit: Visit) -> Response:
    """Orders of other members that wait for a decision."""
    listed = await visit.house.database.read(lambda tx: store.orders(tx, Party.SELLER, live=True))
    shown = [(n, view(n)) for n in listed if n.state is State.APPROVING]
    return await visit.page("approvals.html", shown=shown)


# --- one of them ------------------------------------------------------------------------------------------------------


async def place(visit: Visit) -> Response:
    """Order something."""
    visit.need(Role.ORDER)
    way = visit.said("way", 40)
    try:
        chosen = UUID(way) if way else None
    except ValueError:
        raise InvalidInput(
            "way_malformed", f'way: must be one of those that are shown ("{way}")', field="way"
        ) from None
    redundancy = visit.said("redundancy", 40) if chosen is None else ""
    request = OrderRequest(offer=visit.said("offer", 200), circuit_offer=chosen, redundancy=redundancy or None)
    placed = await visit.house.desk.place(request, visit.said("key", 64) or None)
    return go(f"/orders/{placed.id}")


async def order(visit: Visit) -> Response:
    """How it stands."""
    n, shown = await _read(visit, _id(visit))
    sight = await visit.house.underlay.sight(n) if n.state is State.ACTIVE else None
    return await visit.page("order.html", n=n, order=shown, sight=sight, elapsed=_elapsed(visit, n))


async def connection(visit: Visit) -> Response:
    """A part of its page: what is seen of it from near. Empty where it is not active."""
    n, shown = await _read(visit, _id(visit))
    sight = await visit.house.underlay.sight(n) if n.state is State.ACTIVE else Sight()
    return HTMLResponse(visit.part("connection.html", n=n, order=shown, sight=sight))


async def live(visit: Visit) -> Response:
    """The part of its page that changes, each time that it does (SSE)."""
    id = _id(visit)
    await _read(visit, id)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_parts(visit, id), media_type="text/event-stream", headers=headers)


async def _parts(visit: Visit, id: UUID) -> AsyncIterator[str]:
    last, silence = "", Silence()
    while True:
        rung = visit.house.bell.listen(str(id))
        n, shown = await _read(visit, id)
        key = json.dumps(_key(n, shown))
        if key != last:
            part = visit.part("order_part.html", n=n, order=shown, sight=None, elapsed=_elapsed(visit, n))
            yield _event(part)
            silence.is_broken()
            last = key
        if n.state in ENDED:
            yield "event: over\ndata: over\n\n"
            return
        if await silence.lasts(rung):
            if await visit.house.guard.person(visit.request) is None:
                yield "event: over\ndata: over\n\n"
                return
            yield ": still here\n\n"


def _key(n: Order, shown: OrderView) -> list[Any]:
    """What of it shows."""
    return [
        n.revision,
        n.state.value,
        len(n.steps),
        [[t.what, t.presence, t.id] for t in shown.things],
        n.partner_ready,
    ]


def _event(text: str) -> str:
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"


async def terminate(visit: Visit) -> Response:
    """Take it back."""
    visit.need(Role.ORDER)
    n = await visit.house.desk.terminate(_id(visit))
    return go(f"/orders/{n.id}")


async def approve(visit: Visit) -> Response:
    """Let the buyer have it."""
    visit.need(Role.APPROVE)
    n = await visit.house.desk.approve(_id(visit), visit.person.account.name)
    return go(f"/orders/{n.id}")


async def decline(visit: Visit) -> Response:
    """Do not."""
    visit.need(Role.APPROVE)
    n = await visit.house.desk.decline(_id(visit), visit.person.account.name, visit.said("why", 200))
    return go(f"/orders/{n.id}")


# --- what they share --------------------------------------------------------------------------------------------------


def _id(visit: Visit) -> UUID:
    text = visit.request.path_params["id"]
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("order_unknown", f'order: must be one that is known here ("{text[:40]}")', field="id") from None


async def _read(visit: Visit, id: UUID) -> tuple[Order, OrderView]:
    def read(tx: Connection) -> tuple[Order, list[Debt]]:
        return find(tx, id), Ledger().owed(tx, OrderMachine.name, str(id))

    n, debts = await visit.house.database.read(read)
    return n, view(n, still_due(debts, visit.house.clock.now()))


def _elapsed(visit: Visit, n: Order) -> float:
    return max(0.0, visit.house.clock.now() - n.began)
