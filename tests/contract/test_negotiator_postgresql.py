"""The negotiator on PostgreSQL: the same tables, claims and answers, with several transactions at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

from sqlalchemy import text

from meetme.model.errors import Conflict
from meetme.negotiator import logbook, store
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest
from meetme.runtime.database import Database
from tests.negotiator.pair import TOKEN, Side, pair

CIRCUITS = [f"c{number}" for number in range(1, 9)]


@asynccontextmanager
async def members(new_postgresql: Callable[[str], str]) -> AsyncIterator[tuple[Side, Side]]:
    """A pair with an empty database each."""
    urls = {letter: new_postgresql(f"member_{letter}") for letter in "ab"}
    async with pair(urls=urls) as sides:
        yield sides


async def test_there_and_back_twice(new_postgresql: Callable[[str], str]) -> None:
    async with members(new_postgresql) as (a, b):
        for number in range(2):
            started = await a.client.start(StartRequest("csp-b"), idempotency_key=f"k{number}")
            mine = await a.until(started.id, State.ACTIVE)
            assert mine.state is State.ACTIVE, mine.problem
            await b.until(started.id, State.ACTIVE)
            await a.client.terminate(started.id)
            assert (await a.until(started.id)).state is State.TERMINATED
            assert (await b.until(started.id)).state is State.TERMINATED
        for side in (a, b):
            assert side.database.run_now(logbook.verify_audit) is None
            assert side.database.run_now(store.claimed_prefixes) == ()


async def test_both_start_everything_at_once_and_nobody_waits_in_a_circle(new_postgresql: Callable[[str], str]) -> None:
    async with members(new_postgresql) as (a, b):
        for side in (a, b):
            for vlan, circuit in enumerate(CIRCUITS, start=1):
                await side.client.put_attachment(circuit, Attachment("r1", "eth1", vlan))

        async def start(side: Side, peer: str, circuit: str) -> None:
            try:
                await side.client.start(StartRequest(peer, circuit=circuit), idempotency_key=circuit)
            except Conflict as error:
                assert error.code == "negotiation_exists", "the other side was quicker"  # noqa: PT017

        starts = [start(*who, circuit) for circuit in CIRCUITS for who in ((a, "csp-b"), (b, "csp-a"))]
        await asyncio.gather(*starts)
        mine = await asyncio.gather(*(settled(a, circuit) for circuit in CIRCUITS))
        theirs = await asyncio.gather(*(settled(b, circuit) for circuit in CIRCUITS))
        assert [view.id for view in mine] == [view.id for view in theirs]
        await asyncio.gather(*(side.client.terminate(view.id) for view in mine for side in (a, b)))
        for view in mine:
            assert (await a.until(view.id)).state is State.TERMINATED
            assert (await b.until(view.id)).state is State.TERMINATED
        for side in (a, b):
            assert side.database.run_now(logbook.verify_audit) is None
            assert side.database.run_now(store.claimed_prefixes) == ()
            assert side.database.run_now(deadlocks) == 0


async def test_a_stream_at_one_replica_tells_at_once_what_another_has_done(
    new_postgresql: Callable[[str], str],
) -> None:
    async with members(new_postgresql) as (a, b):
        own = Database.open(a.database._engine.url.render_as_string())
        second = a.make(database=own)
        await second.start()
        heard: dict[str, float] = {}

        async def follow(client: NegotiatorClient, id: UUID, name: str) -> None:
            async with aclosing(client.follow(id)) as views:
                async for view in views:
                    if view.state is State.ACTIVE:
                        heard[name] = time.monotonic()
                        return

        async with NegotiatorClient(second.local_url, TOKEN) as there, asyncio.timeout(30):
            started = await a.client.start(StartRequest("csp-b"))
            await asyncio.gather(follow(a.client, started.id, "here"), follow(there, started.id, "there"))
            assert heard["there"] - heard["here"] < 0.7, "the poll comes every ten seconds"
            await there.terminate(started.id)
            assert (await a.until(started.id)).state is State.TERMINATED
            assert (await b.until(started.id)).state is State.TERMINATED
        await second.close()
        await own.close()


async def settled(side: Side, circuit: str):
    """The one negotiation of a circuit that becomes active."""
    async with asyncio.timeout(40):
        while True:
            for view in await side.client.negotiations():
                if view.circuit == circuit and view.state is State.ACTIVE:
                    return view
            await asyncio.sleep(0.05)


def deadlocks(tx) -> int:
    return tx.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
