"""The local API: what people, catalogues and command lines ask of their own negotiator (blueprint, REST)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Path, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from sqlalchemy import Connection

from meetme.model.errors import Conflict, NotFound, Problem, raise_problems
from meetme.model.members import parse_member_id
from meetme.model.names import bad_name, is_name
from meetme.negotiator import logbook, store, wire
from meetme.negotiator.change_desk import ChangeDesk
from meetme.negotiator.circuits import attachment_unknown
from meetme.negotiator.desk import Desk, negotiation_unknown
from meetme.negotiator.events import Event
from meetme.negotiator.facts import port_problems
from meetme.negotiator.machine import NegotiationMachine, still_due
from meetme.negotiator.negotiation import Attachment, Health, Negotiation
from meetme.negotiator.routers import Routers
from meetme.negotiator.states import ENDED
from meetme.negotiator.views import (
    LEAST_MTU,
    MOST_MTU,
    ChangeRequest,
    Due,
    NegotiationView,
    Plan,
    StartRequest,
    Terms,
    view,
)
from meetme.runtime.api_client import LAST_EVENT
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.http import Access
from meetme.runtime.ledger import Debt, Ledger
from meetme.runtime.loop import Loop
from meetme.runtime.sse import Bell, Page, StreamEvent, as_it_stands, event_stream, last_event_id, preferred_wait
from meetme.runtime.tokens import Tokens

NEGOTIATIONS = "/api/v1/negotiations"
Id = Annotated[UUID, Path(description="the negotiation")]
Circuit = Annotated[str, Path(description="the circuit's name, as its order has it")]
OverCircuit = Annotated[str | None, Query(description="over this circuit alone")]
After = Annotated[int, Depends(last_event_id)]
Wait = Annotated[float, Depends(preferred_wait)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="repeats of a request have the same one")]


def add_routes(
    app: FastAPI,
    tokens: Tokens,
    desk: Desk,
    changes: ChangeDesk,
    database: Database,
    loop: Loop[Negotiation, Event],
    routers: Routers,
    bell: Bell,
    clock: Clock,
    present: Callable[[Negotiation], Health | None] = lambda n: n.health,
    compared: Callable[[Negotiation], Due | None] = lambda _n: None,
) -> None:
    """Let `app` offer the local API. `present`: how the data plane of a negotiation does right now.

    `compared`: what is owed where its peer does not answer.
    """
    access = Access(tokens)
    read, write = [access.read], [access.write]

    def shown(n: Negotiation, debts: Iterable[Debt], now: float) -> NegotiationView:
        missed = compared(n)
        owed = still_due(debts, now)
        return view(n, owed if missed is None else (*owed, missed), health=present(n))

    @app.post(
        "/api/v1/start_negotiation",
        status_code=202,
        dependencies=write,
        tags=["negotiations"],
        summary="Begin a negotiation with a peer, or see what it would lead to",
        response_class=JSONResponse,
        responses={
            202: {"model": NegotiationView, "description": "begun; Location says where to follow it"},
            200: {"model": Plan, "description": "dry run: the agreement, and the commands for the own router"},
        },
    )
    async def start_negotiation(request: StartRequest, key: Key = None) -> JSONResponse:
        if request.dry_run:
            return JSONResponse(wire.plan_json(await desk.plan(request)))
        n = await desk.start(request, key)
        return JSONResponse(wire.view_json(view(n)), 202, {"location": f"{NEGOTIATIONS}/{n.id}"})

    @app.get(NEGOTIATIONS, dependencies=read, tags=["negotiations"], summary="All negotiations, the newest first")
    async def list_negotiations(circuit: OverCircuit = None) -> list[NegotiationView]:
        def read(tx: Connection) -> tuple[list[Negotiation], list[tuple[str, Debt]]]:
            return store.negotiations(tx, circuit), Ledger().in_vain(tx, NegotiationMachine.name, 1)

        listed, failing = await database.read(read)
        vain: dict[str, list[Debt]] = {}
        for id, debt in failing:
            vain.setdefault(id, []).append(debt)
        now = clock.now()
        return [shown(n, vain.get(str(n.id), ()), now) for n in listed]

    @app.get(NEGOTIATIONS + "/{id}", dependencies=read, tags=["negotiations"], summary="One negotiation")
    async def get_negotiation(id: Id, response: Response, after: After, wait: Wait) -> NegotiationView:
        def read(tx: Connection) -> tuple[Negotiation, int, list[Debt]]:
            return _find(tx, id), logbook.last_told(tx, id), Ledger().owed(tx, NegotiationMachine.name, str(id))

        async def look() -> tuple[NegotiationView, int]:
            n, last, debts = await database.read(read)
            return shown(n, debts, clock.now()), last

        seen, last = await as_it_stands(look, bell, str(id), after, wait)
        response.headers[LAST_EVENT] = str(last)
        return seen

    @app.patch(
        NEGOTIATIONS + "/{id}",
        status_code=202,
        dependencies=write,
        tags=["negotiations"],
        summary="Change an active agreement, or see what that would lead to",
        response_class=JSONResponse,
        responses={
            202: {"model": NegotiationView, "description": "begun; or done, where nothing changes"},
            200: {"model": Plan, "description": "dry run: the agreement, and the commands for the own router"},
        },
    )
    async def change_negotiation(id: Id, request: ChangeRequest, key: Key = None) -> JSONResponse:
        if request.dry_run:
            return JSONResponse(wire.plan_json(await changes.plan(id, request)))
        n = await changes.change(id, request, key)
        return JSONResponse(wire.view_json(view(n)), 202, {"location": f"{NEGOTIATIONS}/{n.id}"})

    @app.delete(
        NEGOTIATIONS + "/{id}",
        status_code=202,
        dependencies=write,
        tags=["negotiations"],
        summary="Take a negotiation back, on both sides",
    )
    async def delete_negotiation(id: Id) -> NegotiationView:
        return view(await desk.terminate(id))

    @app.post(
        NEGOTIATIONS + "/{id}/release",
        dependencies=write,
        tags=["negotiations"],
        summary="End the quarantine of what could not be verified as removed",
    )
    async def release_negotiation(id: Id) -> NegotiationView:
        return view(await desk.release(id))

    @app.get(
        NEGOTIATIONS + "/{id}/events",
        dependencies=read,
        tags=["negotiations"],
        summary="What happens to a negotiation, as it happens (SSE: state, step, health)",
        response_class=StreamingResponse,
    )
    async def negotiation_events(id: Id, after: After) -> StreamingResponse:
        await database.read(lambda tx: _find(tx, id))

        async def load(seen: int) -> Page:
            return await database.read(lambda tx: _page(tx, id, seen))

        return event_stream(load, bell, str(id), after)

    @app.get(
        "/api/v1/agreements/{id}",
        dependencies=read,
        tags=["negotiations"],
        summary="The agreement that both members signed (JWS over canonical JSON)",
    )
    async def get_agreement(id: Id) -> dict[str, Any]:
        n = await database.read(lambda tx: _find(tx, id))
        if n.document is None:
            raise NotFound(
                "agreement_unknown",
                f"agreement: must have been made ({n.id} is {n.state})",
                hint=f"see what became of it with meetme show {n.id}",
                field="id",
            )
        document: dict[str, Any] = json.loads(n.document)
        return document

    _add_attachments(app, access, desk, database, loop, routers, clock)


def _add_attachments(
    app: FastAPI,
    access: Access,
    desk: Desk,
    database: Database,
    loop: Loop[Negotiation, Event],
    routers: Routers,
    clock: Clock,
) -> None:
    read, write = [access.read], [access.write]
    path = "/api/v1/attachments/{circuit:path}"
    tags: list[str | Enum] = ["attachments"]
    landed: dict[int | str, dict[str, Any]] = {200: {"model": Attachment}, 201: {"model": Attachment}}

    @app.get("/api/v1/attachments", dependencies=read, tags=tags, summary="Where every circuit lands")
    async def list_attachments() -> dict[str, Attachment]:
        return await database.read(store.attachments)

    @app.get(path, dependencies=read, tags=tags, summary="Where a circuit lands")
    async def get_attachment(circuit: Circuit) -> Attachment:
        found = await database.read(lambda tx: store.attachment(tx, circuit))
        if found is None:
            raise attachment_unknown(circuit)
        return found

    @app.put(
        path,
        dependencies=write,
        tags=tags,
        summary="Register where a circuit lands",
        responses=landed,
    )
    async def put_attachment(circuit: Circuit, attachment: wire.AttachmentBody) -> JSONResponse:
        peer = None if attachment.peer is None else parse_member_id(attachment.peer, field="peer")
        wanted = Attachment(attachment.router, attachment.port, attachment.vlan, attachment.mtu, peer)
        _check_attachment(circuit, wanted)
        seen = await routers.get(wanted.router).look(fresh=False)
        raise_problems(p for p in port_problems(wanted, seen, Terms(), "port") if p.code == "port_unknown")

        def put(tx: Connection) -> bool:
            if store.attachment(tx, circuit) == wanted:
                return False  # repeated by who was not answered: nothing changes
            _unused(tx, circuit, wanted)
            new = store.put_attachment(tx, circuit, wanted)
            logbook.audit(tx, clock.now(), "AttachmentPut", circuit=circuit, **wire.attachment_json(wanted))
            return new

        new = await loop.commit(put)
        return JSONResponse(wire.attachment_json(wanted), 201 if new else 200)

    @app.delete(
        path, status_code=204, dependencies=write, tags=tags, summary="Forget a circuit: it has been given back"
    )
    async def delete_attachment(circuit: Circuit) -> Response:
        """What is reserved only for a peer that cannot be reached is free a day later."""

        def forget(tx: Connection) -> None:
            released = desk.circuit_released(tx, circuit)
            if not released:
                _unused(tx, circuit, None)
            if not (store.delete_attachment(tx, circuit) or released):
                raise attachment_unknown(circuit)
            logbook.audit(tx, clock.now(), "AttachmentDeleted", circuit=circuit)

        await loop.commit(forget)
        return Response(status_code=204)


def _check_attachment(circuit: str, a: Attachment) -> None:
    names = {"circuit": circuit, "router": a.router, "port": a.port}
    problems = [bad_name(field, seen) for field, seen in names.items() if not is_name(seen)]
    if a.vlan is not None and not 1 <= a.vlan <= 4094:
        problems.append(Problem("vlan_invalid", f"vlan: must be between 1 and 4094 ({a.vlan})", "", "vlan"))
    if not LEAST_MTU <= a.mtu <= MOST_MTU:
        text = f"mtu: must be between {LEAST_MTU} and {MOST_MTU} octets ({a.mtu})"
        problems.append(Problem("mtu_invalid", text, "", "mtu"))
    raise_problems(problems)


def _unused(tx: Connection, circuit: str, wanted: Attachment | None) -> None:
    """A circuit in use stays where it is. Registering the same again changes nothing and is fine."""
    rival = store.rival(tx, circuit)
    if rival is not None and store.attachment(tx, circuit) != wanted:
        raise Conflict(
            "circuit_in_use",
            f'circuit: must not be in use ("{circuit}", negotiation {rival.id} is {rival.state})',
            hint=f"terminate that one first (meetme show {rival.id})",
            field="circuit",
            existing=str(rival.id),
        )


def _find(tx: Connection, id: UUID) -> Negotiation:
    n = store.load(tx, id)
    if n is None:
        raise negotiation_unknown(id)
    return n


def _page(tx: Connection, id: UUID, after: int) -> Page:
    events = [StreamEvent(t.sequence, t.kind, json.loads(t.body)) for t in logbook.told(tx, id, after)]
    return Page(events, ended=store.state_of(tx, id) in ENDED)
