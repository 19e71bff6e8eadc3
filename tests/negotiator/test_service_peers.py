"""What another member may say, and what it leads to: nobody speaks for somebody else, nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import replace
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text

from meetme.negotiator.messages import QueryBody, TerminateBody
from meetme.negotiator.states import State

from .pair import pair
from .whole import connect, message, say, settled


async def test_a_peer_speaks_for_itself_and_in_time() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        before = b.contents()
        good = message(a, b, mine.id, TerminateBody())
        for wrong, status, code in (
            (replace(good, sender="csp-c"), 403, "sender_mismatch"),
            (replace(good, to="csp-c"), 403, "receiver_mismatch"),
            (replace(good, expires=good.expires - 60), 409, "message_expired"),
            (replace(good, circuit="another"), 422, "circuit_mismatch"),
            ("{}", 422, "version_unknown"),
            ("{", 422, "message_malformed"),
            (b"\xff\xff", 400, "body_malformed"),
            ("x" * 70_000, 413, "body_too_large"),
        ):
            answer = await say(a, b, wrong)
            assert (answer.status_code, answer.json()["type"]) == (status, f"urn:meetme:problem:{code}")
        assert b.contents() == before
        assert (await b.client.negotiation(mine.id)).state is State.ACTIVE


async def test_a_third_member_cannot_touch_it() -> None:
    from meetme.model.members import Member, MemberKind
    from meetme.runtime.identity import create_identity

    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        third = create_identity("csp-c")
        before = b.contents()
        with pytest.raises((httpx2.HTTPError, ssl.SSLError)):
            await say(a, b, message(a, b, mine.id, TerminateBody(), sender="csp-c"), identity=third)
        known = Member("csp-c", MemberKind.CSP, (third.pin,), (third.certificate,))
        for side in (a, b):
            trust = side.service._trust
            trust._roster = lambda trust=trust, now=trust.roster.with_member(known): now
        answer = await say(a, b, message(a, b, mine.id, TerminateBody(), sender="csp-c"), identity=third)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:meetme:problem:not_a_party")
        assert b.contents() == before


async def test_a_repeated_message_gets_the_same_answer_and_does_nothing() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        ask = message(a, b, mine.id, QueryBody(State.ACTIVE, 1))
        first = await say(a, b, ask)
        assert first.status_code == 200
        before = b.contents()
        assert (await say(a, b, ask)).json() == first.json()
        assert b.contents() == before


async def test_what_nobody_knows_is_answered_and_not_written_down() -> None:
    async with pair() as (a, b):
        before = b.contents()
        for body, kind in ((TerminateBody(), "terminated"), (QueryBody(State.ACTIVE, 3), "state")):
            answer = (await say(a, b, message(a, b, uuid4(), body))).json()
            assert answer["type"] == kind
        assert b.contents() == before


async def test_a_lost_database_is_taken_up_again_from_the_signed_agreement() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        everything = b.contents("runtime_effect")
        wipe = [f"DELETE FROM {table}" for table in everything]
        b.database.run_now(lambda tx: [tx.execute(text(sql)) for sql in [*wipe, "DELETE FROM runtime_effect"]])
        b.router.links.clear()
        assert await b.client.negotiations() == []
        await a.service._rolls.call()
        async with asyncio.timeout(10):
            while not (known := await b.client.negotiations()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (known[0].id, known[0].state, known[0].agreement) == (mine.id, State.ACTIVE, mine.agreement)
        await settled(a, b)
        assert b.router.links[mine.circuit].intent.agreement == mine.id
        assert (await a.client.negotiation(mine.id)).state is State.ACTIVE
        forged = (await a.client.agreement(mine.id)).document
        forged["signatures"] = forged["signatures"][:1]
        b.database.run_now(lambda tx: [tx.execute(text(sql)) for sql in [*wipe, "DELETE FROM runtime_effect"]])
        body = QueryBody(State.ACTIVE, 9, mine.agreement)
        answer = await say(a, b, message(a, b, mine.id, body, document=json.dumps(forged)))
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:meetme:problem:signature_invalid")
        assert await b.client.negotiations() == []
