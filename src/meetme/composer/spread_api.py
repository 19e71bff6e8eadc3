"""The routes about what is known of the federation: one for other composers, one for this member."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from meetme.composer.spreader import HANDLE_PATH, Spreader
from meetme.composer.topology_views import view, view_json
from meetme.model.errors import InvalidInput
from meetme.runtime.clock import Clock
from meetme.runtime.http import Access, PeerMember


def add_peer_routes(app: FastAPI, spreader: Spreader) -> None:
    """Let other composers compare what they know with this one."""

    @app.post(HANDLE_PATH, summary="What another composer knows of the federation")
    async def handle_advertisement(request: Request, member: PeerMember) -> Response:
        try:
            raw = (await request.body()).decode()
        except UnicodeDecodeError:
            raise InvalidInput("body_malformed", "body: must be UTF-8", field="body") from None
        return Response(await spreader.receive(raw, member), media_type="application/json")


def add_local_routes(app: FastAPI, access: Access, spreader: Spreader, clock: Clock) -> None:
    """Let this member see what is known."""

    @app.get(
        "/api/v1/topology",
        tags=["topology"],
        summary="The federation as this composer knows it",
        dependencies=[access.read],
    )
    async def topology() -> JSONResponse:
        known: dict[str, Any] = view_json(
            view(spreader.me, spreader.atlas(), spreader.spreading.neighbours, clock.now())
        )
        return JSONResponse(known)
