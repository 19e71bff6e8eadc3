"""The routes that other members reach: messages about orders, and what this member offers."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from meetme.catalog import store
from meetme.catalog.inbox import Inbox
from meetme.catalog.line import HANDLE_PATH, LISTING_PATH
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, NotFound
from meetme.runtime.database import Database
from meetme.runtime.http import PeerMember


def add_routes(app: FastAPI, inbox: Inbox, database: Database, me: MemberId) -> None:
    """Let `app` take messages for `inbox`, and hand out the own listing."""

    @app.post(HANDLE_PATH, summary="A message of another catalog server about an order", responses={202: {}})
    async def handle_order(request: Request, member: PeerMember) -> Response:
        try:
            raw = (await request.body()).decode()
        except UnicodeDecodeError:
            raise InvalidInput("body_malformed", "body: must be UTF-8", field="body") from None
        answer = await inbox.receive(raw, member.id)
        if answer is None:
            return Response(status_code=202)
        return Response(answer, media_type="application/json")

    @app.get(
        LISTING_PATH,
        summary="Everything that this member offers, signed",
        responses={304: {"description": "still what If-None-Match names"}},
    )
    async def listing(
        member: PeerMember, known: Annotated[str | None, Header(alias="If-None-Match")] = None
    ) -> Response:
        def work(tx: Connection) -> store.Kept | None:
            return store.listing(tx, me)

        kept = await database.read(work)
        if kept is None:
            raise NotFound("listing_none", "listing: nothing is offered here yet", field="listing")
        if known is not None and known == kept.etag:
            return Response(status_code=304, headers={"etag": kept.etag})
        return Response(kept.document, media_type="application/json", headers={"etag": kept.etag})
