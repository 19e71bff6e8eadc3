"""Processes on one database: they hear each other, and what a dead one had leased is taken over at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from meetme.runtime import replicas
from meetme.runtime.clock import ManualClock, SharedClock, SystemClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Lease, Ledger, Owed
from meetme.runtime.loop import Loop
from meetme.runtime.replicas import Replicas

from .machines import Notebook

LEDGER = Ledger()
MACHINE = Notebook(lambda _state, _event: (Owed("k", "send", "body"),))
CHILD = """
import asyncio, sys
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger
from meetme.runtime.replicas import Replicas

async def main(url):
    database, ledger = Database.open(url), Ledger()
    replicas = Replicas(database, ledger, owner="child", clock=SystemClock(), changed=lambda _: None)
    await replicas.join()
    hearing = asyncio.create_task(replicas.run())
    await database.run(lambda tx: ledger.lease(tx, "notebook", "child", SystemClock().now(), 9, 3600.0))
    print("leased", flush=True)
    await hearing

asyncio.run(main(sys.argv[1]))
"""


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited shows in the database alone
            await asyncio.sleep(0.005)


@asynccontextmanager
async def replica(
    url: str, owner: str, changed: Callable[[Collection[str]], None] = lambda _instances: None
) -> AsyncIterator[tuple[Replicas, Database]]:
    database = Database.open(url)
    one = Replicas(database, LEDGER, owner=owner, clock=SystemClock(), changed=changed)
    await one.join()
    running = asyncio.create_task(one.run())
    try:
        yield one, database
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await one.leave()
        await database.close()


def lease(database: Database, owner: str) -> list[Lease]:
    return database.run_now(lambda tx: LEDGER.lease(tx, "notebook", owner, time.time(), 9, 3600.0))


def owner_of(database: Database) -> str | None:
    return database.run_now(lambda tx: LEDGER.owed(tx, "notebook", "x"))[0].owner


@pytest.fixture
def owing(database: Database) -> Database:
    """One effect is owed."""
    database.run_now(lambda tx: LEDGER.deliver(tx, MACHINE, "x", "x/0", time.time()))
    return database


@asynccontextmanager
async def child(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process, which has leased everything for an hour."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, url, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    try:
        assert await process.stdout.readline() == b"leased\n"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_what_a_killed_process_had_leased_is_taken_over_in_a_second(owing: Database, database_url: str) -> None:
    async with child(database_url) as process:
        assert owner_of(owing) == "child"
        if database_url.startswith("sqlite"):
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with replica(database_url, "heir"):
            if process.returncode is None:
                await asyncio.sleep(3 * replicas.LOOK_SECONDS)
                assert owner_of(owing) == "child", "it lives, and keeps what it has"
                process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: owner_of(owing) is None)
            assert time.monotonic() - killed < 2.0
            assert len(lease(owing, "heir")) == 1, "due at once"


async def test_who_starts_beside_a_living_one_takes_nothing_from_it(owing: Database, database_url: str) -> None:
    async with child(database_url), replica(database_url, "second"), replica(database_url, "third"):
        await asyncio.sleep(3 * replicas.LOOK_SECONDS)
        assert owner_of(owing) == "child"


async def test_a_result_of_one_taken_for_dead_is_dropped(owing: Database, database_url: str) -> None:
    (late,) = lease(owing, "never joined")
    async with replica(database_url, "heir"):
        await until(lambda: owner_of(owing) is None)
    (now,) = lease(owing, "heir")
    assert not owing.run_now(lambda tx: LEDGER.settle(tx, MACHINE, late, "x/late", time.time()))
    assert owing.run_now(lambda tx: LEDGER.settle(tx, MACHINE, now, None, time.time()))
    assert owing.run_now(lambda tx: MACHINE.load(tx, "x")) == ("x/0",)


# --- PostgreSQL alone: one process hears another ----------------------------------------------------------------------

shared = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@shared
async def test_what_another_writes_is_heard_at_once_and_the_own_is_not(database: Database, database_url: str) -> None:
    heard: dict[str, list[Collection[str]]] = {"one": [], "two": []}
    async with (
        replica(database_url, "one", heard["one"].append) as (_, first),
        replica(database_url, "two", heard["two"].append),
    ):
        await asyncio.sleep(0.1)
        for calls in heard.values():
            calls.clear()
        began = time.monotonic()
        first.run_now(lambda tx: LEDGER.deliver(tx, MACHINE, "x", "x/1", 0.0))
        await until(lambda: heard["two"])
        assert time.monotonic() - began < 0.3
        assert heard == {"one": [], "two": [{"x"}]}

        def undone(tx) -> None:
            LEDGER.deliver(tx, MACHINE, "y", "y/1", 0.0)
            raise KeyError("undone")

        with pytest.raises(KeyError):
            first.run_now(undone)
        first.run_now(lambda tx: LEDGER.deliver(tx, MACHINE, "z", "z/1", 0.0))
        await until(lambda: len(heard["two"]) > 1)
        assert heard["two"][1:] == [{"z"}], "what was undone is no news"


@shared
async def test_a_lost_line_is_made_again_and_costs_no_lease(owing: Database, database_url: str) -> None:
    heard: list[Collection[str]] = []
    async with replica(database_url, "one", heard.append) as (_, first), replica(database_url, "two"):
        lease(first, "one")
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'meetme replica'"
        assert owing.run_now(lambda tx: tx.execute(text(kill))).rowcount == 2
        await until(lambda: heard)
        await asyncio.sleep(3 * replicas.LOOK_SECONDS)
        assert owner_of(owing) == "one"
        heard.clear()
        owing.run_now(lambda tx: LEDGER.deliver(tx, MACHINE, "later", "later/1", 0.0))
        await until(lambda: {"later"} in heard)


@shared
async def test_a_loop_takes_up_at_once_what_another_process_owes(database: Database, database_url: str) -> None:
    done = asyncio.Event()

    async def perform(lease: Lease) -> None:
        done.set()

    loop = Loop(database, LEDGER, MACHINE, perform, owner="worker", clock=SystemClock())
    running = asyncio.create_task(loop.run())
    one = Replicas(database, LEDGER, owner="worker", clock=SystemClock(), changed=lambda _instances: loop.wake())
    await one.join()
    hearing = asyncio.create_task(one.run())
    await asyncio.sleep(0.1)
    other = Database.open(database_url)
    began = time.monotonic()
    other.run_now(lambda tx: LEDGER.deliver(tx, MACHINE, "x", "x/1", time.time()))
    async with asyncio.timeout(5):
        await done.wait()
    assert time.monotonic() - began < 0.5
    hearing.cancel()
    running.cancel()
    await asyncio.gather(hearing, running, return_exceptions=True)
    await one.leave()
    await other.close()


async def test_a_database_in_memory_has_no_replicas() -> None:
    database = Database.open("sqlite://")
    one = Replicas(database, LEDGER, owner="one", clock=ManualClock(), changed=lambda _: None)
    await one.join()
    await one.leave()
    await database.close()


async def test_replicas_go_by_the_clock_of_the_database_and_not_by_those_of_their_hosts(
    new_postgresql: Callable[[str], str],
) -> None:
    url = new_postgresql("clocks")
    database = Database.open(url)
    clocks = [SharedClock(ManualClock(time.time() + wrong)) for wrong in (-200.0, 90.0)]
    for number, clock in enumerate(clocks):
        one = Replicas(database, LEDGER, owner=str(number), clock=clock, changed=lambda _: None, time_is=clock.set)
        migrate(database, "meetme.runtime")
        await one.join()
        await one.leave()
    assert [clock.now() for clock in clocks] == pytest.approx([time.time()] * 2, abs=2.0)
    await database.close()
