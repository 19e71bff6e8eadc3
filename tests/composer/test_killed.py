"""Composers of real processes that are killed at any moment: a whole circuit or none, and nothing left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from meetme.composer.words import ENDED, State
from meetme.ixapi.fake import FakeExchange
from meetme.ixapi.orders import BuiltSegment, SegmentOrder

from .federation import chain, federation, order
from .serving import Exchange, exchanges

POINTS = [(round(Random(7).uniform(0.0, 0.1) + number * 0.06, 3), number % 2) for number in range(24)]
"""After how many seconds which composer is killed."""


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


@pytest.mark.slow
@pytest.mark.timeout(3000)
async def test_whatever_is_killed_a_circuit_is_whole_or_gone(tmp_path: Path) -> None:
    async with exchanges(tmp_path, "ixp-1", "ixp-2") as found:
        both = list(found.values())
        for after, victim in POINTS:
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


@pytest.mark.parametrize(("verb", "victim"), [("build", 0), ("build", 1), ("remove", 1)])
async def test_a_composer_that_dies_at_its_exchange_goes_on_where_it_was(
    tmp_path: Path, verb: str, victim: int
) -> None:
    async with federation(chain("ixp-1", "ixp-2"), tmp_path, exchanges=lambda _name: Hanging()) as fed:
        both = list(fed.ixps.values())
        exchange = both[victim].exchange
        assert isinstance(exchange, Hanging)
        exchange.hangs = verb
        started = await both[0].client.create(order("csp-a/a1", "csp-b/b1"))
        if verb == "remove":
            await both[0].until(started.id, State.ACTIVE)
            await both[0].client.delete(started.id)
        async with asyncio.timeout(15):
            await exchange.reached.wait()
        exchange.hangs = ""
        await both[victim].restart()
        if verb == "build":
            for ixp in both:
                assert (await ixp.until(started.id, State.ACTIVE, seconds=40)).state is State.ACTIVE
                assert len(ixp.exchange.segments) == 1
            await both[1 - victim].client.delete(started.id)
            await both[1 - victim].restart()
        for ixp in both:
            assert (await ixp.until(started.id, seconds=40)).state is State.RELEASED
        await fed.empty()


class Hanging(FakeExchange):
    """An exchange that carries out one kind of call and does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = ""
        self.reached = asyncio.Event()

    async def build(self, order: SegmentOrder) -> BuiltSegment:
        built = await super().build(order)
        await self._hang("build")
        return built

    async def remove(self, reference: str) -> None:
        await super().remove(reference)
        await self._hang("remove")

    async def _hang(self, verb: str) -> None:
        if self.hangs == verb:
            self.reached.set()
            await asyncio.Event().wait()
