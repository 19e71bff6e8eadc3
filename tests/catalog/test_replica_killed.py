"""Two replicas of a catalog on one PostgreSQL: one is killed with orders in its hands, the other takes them over."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from meetme.catalog.words import State
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from tests.catalog.pages import catalogs

ORDERS = 12


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [0, 1])
async def test_what_a_killed_replica_was_at_the_other_one_finishes(
    tmp_path: Path, new_postgresql: Callable[[str], str], victim: int
) -> None:
    url = new_postgresql(f"replica_{victim}")
    async with catalogs(tmp_path, approval=False, replicas={"csp-a": 2}, databases={"csp-a": url}) as found:
        buying, (selling,) = found["csp-a"], found["csp-b"]
        dies, lives = buying[victim].process, buying[1 - victim]
        assert selling.process.process is not None
        # The seller hears nothing for a while: what the buyer's replicas send is in their hands until it does.
        selling.process.process.send_signal(signal.SIGSTOP)
        placed = await asyncio.gather(
            *(buying[number % 2].client.place("csp-b/page", idempotency_key=f"k{number}") for number in range(ORDERS))
        )
        await _both_at_work(url)
        await dies.kill()
        selling.process.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(25):  # a lease would run out after 30
            while not all(order.state is State.ACTIVE for order in await lives.client.orders()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        # None is lost, none is there twice, at either side, also when a client asks again.
        again = await lives.client.place("csp-b/page", idempotency_key="k0")
        assert again.id == placed[0].id
        expected = {(order.id, State.ACTIVE) for order in placed}
        for client in (lives.client, selling.client):
            assert {(order.id, order.state) for order in await client.orders()} == expected
        for client in (lives.client, selling.client):
            said = [json.loads(entry.entry) async for page in client.audit() for entry in page]
            became = Counter((each["order"], each["after"]) for each in said if each.get("after") == "active")
            assert became == Counter((str(order.id), "active") for order in placed)


async def _both_at_work(url: str) -> None:
    """Wait until each replica has something in its hands."""
    database = Database.open(url)
    try:
        async with asyncio.timeout(10):
            while len(await database.run(Ledger().owners)) < 2:  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.02)
    finally:
        await database.close()
