"""What other members reach: `POST /api/v1/handle_negotiation`, and `POST /api/v1/compare_agreements`."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response

from meetme.model.errors import InvalidInput
from meetme.negotiator.inbox import Inbox
from meetme.negotiator.roll_call import RollCall
from meetme.negotiator.side import COMPARE_PATH, HANDLE_PATH
from meetme.runtime.http import PeerMember


def add_routes(app: FastAPI, inbox: Inbox, rolls: RollCall) -> None:
    """Let `app` take messages for `inbox`, and the rolls of peers."""

    @app.post(HANDLE_PATH, summary="A message of another negotiator", responses={202: {}})
    async def handle_negotiation(request: Request, member: PeerMember) -> Response:
        raw = await _text(request)
        answer = await inbox.receive(raw, member.id)
        if answer is None:
            return Response(status_code=202)
        return Response(answer, media_type="application/json")

    @app.post(COMPARE_PATH, summary="The agreements that another negotiator holds to be active with us")
    async def compare_agreements(request: Request, member: PeerMember) -> Response:
        return Response(await rolls.answer(await _text(request), member.id), media_type="application/json")


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise InvalidInput("body_malformed", "body: must be UTF-8", field="body") from None
