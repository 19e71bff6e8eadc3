"""The one route that other members reach: `POST /api/v1/handle_negotiation`."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response

from meetme.model.errors import InvalidInput
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.side import HANDLE_PATH
from meetme.runtime.http import PeerMember


def add_routes(app: FastAPI, inbox: Inbox) -> None:
    """Let `app` take messages for `inbox`."""

    @app.post(HANDLE_PATH, summary="A message of another negotiator", responses={202: {}})
    async def handle_negotiation(request: Request, member: PeerMember) -> Response:
        try:
            raw = (await request.body()).decode()
        except UnicodeDecodeError:
            raise InvalidInput("body_malformed", "body: must be UTF-8", field="body") from None
        answer = await inbox.receive(raw, member.id)
        if answer is None:
            return Response(status_code=202)
        return Response(answer, media_type="application/json")
