"""The negotiator on PostgreSQL: the same tables, claims and answers, with several transactions at a time."""

from __future__ import annotations

from sqlalchemy import create_engine, text

from meetme.negotiator import logbook, store
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest
from tests.negotiator.pair import pair
from tests.runtime.conftest import postgresql_url

__all__ = ["postgresql_url"]


async def test_there_and_back_twice(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("member_a", "member_b"):
            connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    urls = {letter: postgresql_url.replace("/postgres?", f"/member_{letter}?") for letter in "ab"}
    async with pair(urls=urls) as (a, b):
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
