"""The circuits API (blueprint 4): the same routes for whoever runs the exchange, and for the members at its ports.

Who asks decides what is seen: the local listener knows nobody by name and shows everything, the listener for other
members shows each member what `views.seen_by` allows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Path, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from sqlalchemy import Connection

from meetme.composer import logbook, store, wire
from meetme.composer.circuit import Circuit
from meetme.composer.desk import Desk, find
from meetme.composer.machine import CircuitMachine, still_due
from meetme.composer.views import CIRCUIT_KEYS, BegunView, CircuitOrder, CircuitView, Due, OffersView, seen_by, view
from meetme.composer.words import ENDED
from meetme.model.agreement import MemberId
from meetme.runtime.api_client import LAST_EVENT
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Debt, Ledger
from meetme.runtime.sse import Bell, Page, StreamEvent, as_it_stands, event_stream, last_event_id, preferred_wait

CIRCUITS = "/api/v1/circuits"
TAGS: list[str | Enum] = ["circuits"]
Id = Annotated[UUID, Path(description="the circuit")]
After = Annotated[int, Depends(last_event_id)]
Wait = Annotated[float, Depends(preferred_wait)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="repeats of a request have the same one")]
OrderedWith = Annotated[str | None, Query(description="the Idempotency-Key of the request that began it")]
Beginning = Annotated[str, Query(max_length=128, description="how the Idempotency-Key has to begin")]
Offers = Annotated[bool, Query(description="only say what there is; nothing is held")]


class CircuitsApi:
    """What the routes of both listeners share."""

    def __init__(self, me: MemberId, desk: Desk, database: Database, bell: Bell, clock: Clock) -> None:
        self.me = me
        self.desk = desk
        self._database = database
        self._bell = bell
        self._clock = clock

    def add_routes(self, app: FastAPI, caller: Callable[..., Any], read: list[Any], write: list[Any]) -> None:
        """Let `app` offer them. `caller`: a dependency that says who asks, None: whoever runs this exchange."""
        who = Depends(caller)

        @app.post(
            CIRCUITS,
            status_code=202,
            dependencies=write,
            tags=TAGS,
            summary="Order a circuit between two ports, take an offer, or ask for offers",
            response_class=JSONResponse,
            responses={
                202: {"model": CircuitView, "description": "begun; Location says where to follow it"},
                200: {
                    "model": OffersView,
                    "description": "offers: the best ways, or what stands in the way",
                },
            },
        )
        async def create_circuit(
            order: CircuitOrder, key: Key = None, offers: Offers = False, caller: MemberId | None = who
        ) -> JSONResponse:
            if offers:
                return JSONResponse(wire.offers_json(await self.desk.offers(order, caller)))
            c = await self.desk.create(order, key, caller)
            return JSONResponse(self._json(c, caller), 202, {"location": f"{CIRCUITS}/{c.id}"})

        @app.get(CIRCUITS, dependencies=read, tags=TAGS, summary="All circuits, the newest first, or that of one key")
        async def list_circuits(ordered_with: OrderedWith = None, caller: MemberId | None = who) -> list[CircuitView]:
            if ordered_with is not None:
                begun = await self.desk.begun_with(ordered_with, caller)
                return [] if begun is None else [self._view(begun, caller)]
            return await self._all(caller)

        @app.get(
            CIRCUIT_KEYS,
            dependencies=read,
            tags=TAGS,
            summary="Circuits that were begun with a key, until they have ended",
        )
        async def list_keys(beginning: Beginning = "", caller: MemberId | None = who) -> list[BegunView]:
            return await self.desk.begun(beginning, caller)

        @app.get(CIRCUITS + "/{id}", dependencies=read, tags=TAGS, summary="One circuit")
        async def get_circuit(
            id: Id, response: Response, after: After, wait: Wait, caller: MemberId | None = who
        ) -> CircuitView:
            shown, last = await as_it_stands(lambda: self._one(id, caller), self._bell, str(id), after, wait)
            response.headers[LAST_EVENT] = str(last)
            return shown

        @app.delete(
            CIRCUITS + "/{id}",
            status_code=202,
            dependencies=write,
            tags=TAGS,
            summary="Take a circuit back, at every exchange",
        )
        async def delete_circuit(id: Id, caller: MemberId | None = who) -> CircuitView:
            return self._view(await self.desk.release(id, caller), caller)

        @app.get(
            CIRCUITS + "/{id}/events",
            dependencies=read,
            tags=TAGS,
            summary="What happens to a circuit, as it happens (SSE: state)",
            response_class=StreamingResponse,
        )
        async def circuit_events(id: Id, after: After, caller: MemberId | None = who) -> StreamingResponse:
            await self._database.read(lambda tx: find(tx, id, caller))

            async def load(seen: int) -> Page:
                return await self._database.read(lambda tx: self._page(tx, id, seen, caller))

            return event_stream(load, self._bell, str(id), after)

    # --- what they show -----------------------------------------------------------------------------------------------

    def _view(self, c: Circuit, caller: MemberId | None, owed: tuple[Due, ...] = ()) -> CircuitView:
        shown = view(c, owed)
        return shown if caller is None else seen_by(shown, caller, self.me)

    def _json(self, c: Circuit, caller: MemberId | None) -> dict[str, Any]:
        return wire.view_json(self._view(c, caller))

    async def _all(self, caller: MemberId | None) -> list[CircuitView]:
        def read(tx: Connection) -> tuple[list[Circuit], list[tuple[str, Debt]]]:
            return store.circuits(tx, caller), Ledger().in_vain(tx, CircuitMachine.name, 1)

        listed, failing = await self._database.read(read)
        vain: dict[str, list[Debt]] = {}
        for id, debt in failing:
            vain.setdefault(id, []).append(debt)
        now = self._clock.now()
        return [self._view(c, caller, still_due(vain.get(str(c.id), ()), now)) for c in listed]

    async def _one(self, id: UUID, caller: MemberId | None) -> tuple[CircuitView, int]:
        def read(tx: Connection) -> tuple[Circuit, int, list[Debt]]:
            debts = Ledger().owed(tx, CircuitMachine.name, str(id))
            return find(tx, id, caller), logbook.last_told(tx, id), debts

        c, last, debts = await self._database.read(read)
        return self._view(c, caller, still_due(debts, self._clock.now())), last

    def _page(self, tx: Connection, id: UUID, after: int, caller: MemberId | None) -> Page:
        events = []
        for told in logbook.told(tx, id, after):
            data = json.loads(told.body)
            if caller is not None:
                data = wire.view_json(seen_by(wire.read_view(data), caller, self.me))
            events.append(StreamEvent(told.sequence, told.kind, data))
        return Page(events, ended=store.state_of(tx, id) in ENDED)
