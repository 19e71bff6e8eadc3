"""What tests do with two whole members: connect them, wait for them, speak as one of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import httpx2
from sqlalchemy import text

from meetme.negotiator import wire
from meetme.negotiator.side import HANDLE_PATH
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import Side

LOGS = ("negotiator_event", "negotiator_audit")
TRACES = (
    *LOGS,
    "negotiator_negotiation",
    "negotiator_request",
    "negotiator_message",
    "negotiator_circuit",
    "negotiator_idempotency",
)


async def connect(a: Side, b: Side, **request):
    started = await a.client.start(StartRequest(b.name, **request))
    mine = await a.until(started.id, State.ACTIVE)
    assert mine.state is State.ACTIVE, mine.problem
    theirs = await b.until(started.id, State.ACTIVE)
    assert theirs.state is State.ACTIVE, theirs.problem
    return mine, theirs


async def settled(a: Side, b: Side) -> None:
    """Wait until neither side owes anything but its timers."""

    def owes(tx) -> int:
        return tx.scalar(text("SELECT count(*) FROM runtime_effect WHERE kind != 'wake'"))

    async with asyncio.timeout(15):
        while await a.database.run(owes) or await b.database.run(owes):  # noqa: ASYNC110 - it is in a database
            await asyncio.sleep(0.02)


async def say(a: Side, b: Side, message: wire.Message | str | bytes, *, identity=None) -> httpx2.Response:
    """POST to b's peer listener with a's certificate (or another one)."""
    context = a.service._trust.client_context(a.service._trust.roster.member("csp-b"))
    if identity is not None:
        from meetme.runtime.tls import Trust

        context = Trust(identity, lambda: a.service._trust.roster).client_context(
            a.service._trust.roster.member("csp-b")
        )
    content = wire.write_message(message) if isinstance(message, wire.Message) else message
    async with httpx2.AsyncClient(verify=context, trust_env=False) as http:
        return await http.post(b.service.peers_url + HANDLE_PATH, content=content)


def message(a: Side, b: Side, id, body, **changes) -> wire.Message:
    import time

    plain = wire.Message(id, uuid4(), "direct:csp-a:csp-b", a.name, b.name, time.time() + 30, body)
    return replace(plain, **changes)
