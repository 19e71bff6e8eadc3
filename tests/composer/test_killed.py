"""Composers of real processes that are killed at any moment: a whole circuit or none, and nothing left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from meetme.composer.words import ENDED, State

from .federation import order
from .serving import Exchange, exchanges

ONE = [(0.1, 0)]
"""After how many seconds which composer is killed."""
MANY = [(round(Random(7).uniform(0.0, 0.1) + number * 0.06, 3), number % 2) for number in range(24)]


async def settled(exchange: Exchange, id: object, *states: State) -> State:
    """In which state it ends up: one of `states`, or nothing of it left."""
    async with asyncio.timeout(90), exchange.client() as client:
        while True:
            view = await client.circuit(str(id))
            if view.state in states or view.state in ENDED:
                return view.state
            await asyncio.sleep(0.1)


async def nothing_left(found: dict[str, Exchange]) -> None:
    left: list[str] = ["?"]
    try:
        async with asyncio.timeout(90):
            while left:
                left = []
                for exchange in found.values():
                    left += [f"{exchange.name} {claim}" for claim in exchange.claims()]
                    left += [f"{exchange.name} {service}" for service in await exchange.services()]
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(left) from None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("points", [pytest.param(ONE, id="one"), pytest.param(MANY, id="many", marks=pytest.mark.slow)])
async def test_whatever_is_killed_a_circuit_is_whole_or_gone(tmp_path: Path, points: list[tuple[float, int]]) -> None:
    async with exchanges(tmp_path, "ixp-1", "ixp-2") as found:
        both = list(found.values())
        for after, victim in points:
            async with both[0].client() as client:
                started = await client.create(order("csp-a/a1", "csp-b/b1"))
            await asyncio.sleep(after)
            await both[victim].composer.kill()
            await both[victim].composer.start()
            ended = await settled(both[0], started.id, State.ACTIVE)
            if ended is State.ACTIVE:
                assert await settled(both[1], started.id, State.ACTIVE) is State.ACTIVE
                assert [len(await each.services()) for each in both] == [1, 1]
                async with both[1].client() as client:
                    await client.delete(started.id)
                await asyncio.sleep(after)
                await both[1 - victim].composer.kill()
                await both[1 - victim].composer.start()
                assert await settled(both[0], started.id) is State.RELEASED
            await nothing_left(found)
