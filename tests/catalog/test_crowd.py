"""Orders of many members at once, and of members with several replicas: none is lost, nothing is made twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import Connection

from meetme.catalog import logbook, store
from meetme.catalog.views import OrderView
from meetme.catalog.words import ENDED, State, What
from tests.catalog.crowd import Crowd, SharedWorld, crowd
from tests.catalog.test_service import Side

SIX = tuple(f"csp-{letter}" for letter in "abcdef")


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


async def everywhere(members: Crowd, number: int, *states: State, seconds: float = 120.0) -> None:
    """Wait until so many orders, at both sides each, are all in one of `states`."""

    def seen() -> Counter[State]:
        count: Counter[State] = Counter()
        for replicas in members.values():
            count.update(replicas[-1].database.run_now(store.count_by_state))
        return count

    async with asyncio.timeout(seconds):
        while (found := seen()).total() < 2 * number or set(found) - {*states}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert found.total() == 2 * number


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_fifty_orders_at_once_between_six_members(tmp_path: Path) -> None:
    world, random, number = SharedWorld(), Random(5), 50
    async with crowd(tmp_path, world, SIX) as members:
        pairs = [random.sample(SIX, 2) for _ in range(number)]
        begun = time.perf_counter()
        placed = await asyncio.gather(
            *(
                members[buyer][0].client.place(f"{seller}/backup", idempotency_key=f"order-{n}")
                for n, (buyer, seller) in enumerate(pairs)
            )
        )
        again = await asyncio.gather(
            *(
                members[buyer][0].client.place(f"{seller}/backup", idempotency_key=f"order-{n}")
                for n, (buyer, seller) in enumerate(pairs)
            )
        )
        assert [order.id for order in again] == [order.id for order in placed]
        await everywhere(members, number, State.ACTIVE)
        seconds = time.perf_counter() - begun
        print(f"\n{number} orders active at both sides after {seconds:.2f} s: {number / seconds:.1f} a second")
        made = Counter(world.made)
        assert all(made[What.CIRCUIT, order.id] == made[What.NEGOTIATION, order.id] == 1 for order in placed)
        assert sum(made.values()) == 4 * number, "a circuit, a negotiation, and where it lands at both"
        ends = [members[pair[n % 2]][0].client.terminate(placed[n].id) for n, pair in enumerate(pairs)]
        await asyncio.gather(*ends)
        await everywhere(members, number, State.TERMINATED)
        assert world.empty
        assert world.at_once == []


async def replica_dies(members: Crowd, world: SharedWorld, victim: int, moment: float, number: int) -> None:
    """Orders at both replicas of csp-a, one of which ends in the middle; the other one finishes them all."""
    both = members["csp-a"]
    placed = await asyncio.gather(*(both[n % 2].client.place("csp-b/backup") for n in range(number)))
    await asyncio.sleep(moment)
    await both[victim].service.kill()
    survivor: Side = both[1 - victim]
    for order in placed:
        assert (await survivor.until(order.id, State.ACTIVE)).state is State.ACTIVE
    made = Counter(world.made)
    assert all(made[What.CIRCUIT, order.id] == made[What.NEGOTIATION, order.id] == 1 for order in placed)
    await asyncio.gather(*(survivor.client.terminate(order.id) for order in placed))
    for order in placed:
        assert (await survivor.until(order.id, *ENDED)).state is State.TERMINATED


@pytest.mark.parametrize("moment", [0.05, *(pytest.param(n / 20, marks=pytest.mark.slow) for n in (0, 2, 4, 8, 12))])
async def test_what_a_replica_leaves_the_other_one_takes_over(
    tmp_path: Path, new_postgresql: Callable[[str], str], moment: float
) -> None:
    world = SharedWorld()
    urls = {"csp-a": new_postgresql("catalogs")}
    async with crowd(tmp_path, world, ("csp-a", "csp-b"), urls=urls, replicas={"csp-a": 2}) as members:
        await replica_dies(members, world, 0 if moment < 0.3 else 1, moment, 6)
        assert world.at_once == []
        async with asyncio.timeout(30):
            while not world.empty:  # noqa: ASYNC110 - the other member is at it
                await asyncio.sleep(0.05)


async def test_what_happens_while_an_order_is_looked_at_is_told_afterwards(
    tmp_path: Path, new_postgresql: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others commit between two statements of one look: how it stands and the last event have to be of one moment."""
    world, last_told = SharedWorld(held={What.CIRCUIT}), logbook.last_told
    async with crowd(tmp_path, world, ("csp-a", "csp-b"), urls={"csp-a": new_postgresql("catalogs")}) as members:
        buyer = members["csp-a"][0]
        placed = await buyer.client.place("csp-b/backup")

        def standing(id: UUID) -> State | None:
            n = buyer.database.read_now(lambda tx: store.load(tx, id))
            return n and n.state

        def not_before_it_is_active(tx: Connection, id: UUID) -> int:
            world.held.clear()
            until = time.monotonic() + 10
            while standing(id) is not State.ACTIVE and time.monotonic() < until:
                time.sleep(0.01)
            return last_told(tx, id)

        monkeypatch.setattr(logbook, "last_told", not_before_it_is_active)
        seen = [view.state async for view in until_active(buyer, placed.id)]
        assert seen[0] is not State.ACTIVE, "that is what it was when it was looked at"
        assert seen[-1] is State.ACTIVE


async def until_active(side: Side, id: UUID) -> AsyncIterator[OrderView]:
    async with asyncio.timeout(20), aclosing(side.client.follow(str(id))) as views:
        async for view in views:
            yield view
            if view.state is State.ACTIVE:
                return
