"""Routers that know the three actions alone: one agreement that is translated, and nothing beside it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from meetme.model.agreement import Translation
from meetme.model.errors import Conflict
from meetme.negotiator import store
from meetme.negotiator.negotiation import Attachment, Claim
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import CAN, pair

RECIPE = replace(CAN, unnumbered=False, translate=False, translate_identical_only=True, ipv6=False, max_prefixes=1)


async def test_a_second_one_beside_a_translated_one_is_refused_at_once() -> None:
    async with pair() as (a, b):
        for side in (a, b):
            side.router.capabilities_ = RECIPE
            await side.restart(crash=False)
            await side.client.put_attachment("c2", Attachment("r1", "eth2"))
        first = await a.client.start(StartRequest(peer="csp-b"))
        found = await a.until(first.id, State.ACTIVE, State.FAILED, State.REFUSED)
        assert found.agreement is not None
        assert found.agreement.translation is Translation.SINGLE
        with pytest.raises(Conflict) as caught:
            await a.client.start(StartRequest(peer="csp-b", circuit="c2"))
        assert (caught.value.code, caught.value.existing) == ("router_translates_one_link", str(first.id))


async def test_nothing_is_translated_beside_another_one() -> None:
    async with pair() as (a, b):
        for side in (a, b):
            side.router.capabilities_ = RECIPE
            await side.restart(crash=False)
            beside = [Claim("port", "r1/eth7"), Claim("port", "r10/eth7")]
            side.database.run_now(lambda tx, beside=beside: store.claim(tx, UUID(int=9), beside))
        started = await a.client.start(StartRequest(peer="csp-b"))
        ended = await a.until(started.id, State.ACTIVE, State.FAILED, State.REFUSED)
        assert ended.problem is not None
        assert (ended.state, ended.problem.code) == (State.REFUSED, "translation_impossible")
        assert a.database.run_now(lambda tx: store.at_router(tx, "r1")) == (UUID(int=9),)
        assert a.database.run_now(lambda tx: store.at_router(tx, "r1", UUID(int=9))) == ()
        assert a.database.run_now(lambda tx: store.at_router(tx, "r")) == ()
