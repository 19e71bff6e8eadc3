"""The local API: what people, catalogues and command lines ask of the composer of their own exchange (blueprint 4)."""

from __future__ import annotations

from fastapi import FastAPI

from meetme.composer.circuits_api import CIRCUITS, TAGS, CircuitsApi, Id
from meetme.composer.stray_views import Stray, StrayRemoval
from meetme.composer.strays import Strays
from meetme.composer.views import CircuitView, view
from meetme.runtime.http import Access
from meetme.runtime.tokens import Tokens

STRAYS = "/api/v1/strays"


def add_routes(app: FastAPI, tokens: Tokens, circuits: CircuitsApi, strays: Strays) -> None:
    """Let `app` offer the local API."""
    access = Access(tokens)
    circuits.add_routes(app, _operator, [access.read], [access.write])

    @app.post(
        CIRCUITS + "/{id}/release",
        dependencies=[access.write],
        tags=TAGS,
        summary="End the quarantine of what a neighbour never gave back",
    )
    async def release_circuit(id: Id) -> CircuitView:
        return view(await circuits.desk.let_go(id))

    @app.get(
        STRAYS,
        dependencies=[access.read],
        tags=TAGS,
        summary="Segments at the own exchange of which no circuit is known",
    )
    async def list_strays() -> list[Stray]:
        return list(await strays.find())

    @app.delete(STRAYS, status_code=202, dependencies=[access.write], tags=TAGS, summary="Have one of them taken away")
    async def delete_stray(reference: str) -> StrayRemoval:
        return StrayRemoval(reference, await strays.remove(reference))


async def _operator() -> None:
    """Whoever has the token runs this exchange."""
