"""The routes about what is known of the federation: one for other composers, one for this member."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from meetme.composer.spreader import HANDLE_PATH, Spreader
from meetme.composer.topology_views import TOPOLOGY, TopologyView, seen_by, view, view_json
from meetme.model.errors import InvalidInput
from meetme.runtime.clock import Clock
from meetme.runtime.http import Access, PeerMember


def add_peer_routes(app: FastAPI, spreader: Spreader, clock: Clock) -> None:
    """Let other composers compare what they know with this one, and members see where their circuits run."""

    @app.post(HANDLE_PATH, summary="What another composer knows of the federation")
    async def handle_advertisement(request: Request, member: PeerMember) -> Response:
        try:
            raw = (await request.body()).decode()
        except UnicodeDecodeError:
            raise InvalidInput("body_malformed", "body: must be UTF-8", field="body") from None
        return Response(await spreader.receive(raw, member), media_type="application/json")

    @app.get(TOPOLOGY, summary="The federation, without the ports of other members")
    async def topology(member: PeerMember) -> JSONResponse:
        return JSONResponse(view_json(seen_by(_known(spreader, clock), member.id)))


def add_local_routes(app: FastAPI, access: Access, spreader: Spreader, clock: Clock) -> None:
    """Let this member see what is known."""

    @app.get(
        TOPOLOGY,
        tags=["topology"],
        summary="The federation as this composer knows it",
        dependencies=[access.read],
    )
    async def topology() -> JSONResponse:
        return JSONResponse(view_json(_known(spreader, clock)))


def _known(spreader: Spreader, clock: Clock) -> TopologyView:
    return view(spreader.me, spreader.atlas(), spreader.spreading.neighbours, clock.now())
