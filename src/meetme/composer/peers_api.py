"""The routes that other members reach: messages of composers, and the circuits API for the members at the ports."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response

from meetme.composer.circuits_api import CircuitsApi
from meetme.composer.inbox import Inbox
from meetme.composer.line import HANDLE_PATH
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput
from meetme.runtime.http import PeerMember


def add_routes(app: FastAPI, inbox: Inbox, circuits: CircuitsApi) -> None:
    """Let `app` take messages for `inbox`, and orders for `circuits`."""

    @app.post(HANDLE_PATH, summary="A message of another composer about a circuit", responses={202: {}})
    async def handle_circuit(request: Request, member: PeerMember) -> Response:
        answer = await inbox.receive(await _text(request), member)
        if answer is None:
            return Response(status_code=202)
        return Response(answer, media_type="application/json")

    circuits.add_routes(app, _member, [], [])


async def _member(member: PeerMember) -> MemberId:
    return member.id


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise InvalidInput("body_malformed", "body: must be UTF-8", field="body") from None
