"""The local API: what people, catalogues and command lines ask of the composer of their own exchange (blueprint 4)."""

from __future__ import annotations

from fastapi import FastAPI

from meetme.composer.circuits_api import CIRCUITS, TAGS, CircuitsApi, Id
from meetme.composer.views import CircuitView, view
from meetme.runtime.http import Access
from meetme.runtime.tokens import Tokens


def add_routes(app: FastAPI, tokens: Tokens, circuits: CircuitsApi) -> None:
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


async def _operator() -> None:
    """Whoever has the token runs this exchange."""
