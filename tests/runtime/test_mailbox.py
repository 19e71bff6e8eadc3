"""The messages of others and their answers: kept, given again, waited for, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import MetaData

from meetme.runtime import mailbox
from meetme.runtime.database import Database
from meetme.runtime.mailbox import KEPT_SECONDS, Mailbox
from meetme.runtime.sse import Bell

META = MetaData()
MAILBOX = Mailbox("room", "thing", META)
PEER, MESSAGE, THING = "csp-b", UUID(int=1), UUID(int=2)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    made = Database.open("sqlite://")
    made.run_now(lambda tx: META.create_all(tx))
    made.run_now(lambda tx: MAILBOX.put(tx, PEER, MESSAGE, THING, body="as it came", expires=100.0, now=70.0))
    yield made
    made.close_now()


async def test_the_answer_is_given_to_who_waits_and_to_every_repetition(database: Database) -> None:
    bell = Bell()
    waiting = asyncio.create_task(
        MAILBOX.answered(database, bell, THING, PEER, MESSAGE, bell.listen(str(THING))), name="waits"
    )
    await asyncio.sleep(0)
    bell.ring([str(THING)])  # something else has happened to it
    await database.run(lambda tx: MAILBOX.answer(tx, PEER, MESSAGE, "yes"))
    assert not waiting.done()
    bell.ring([str(THING)])
    assert await asyncio.wait_for(waiting, 3) == "yes"
    known = await database.run(lambda tx: MAILBOX.known(tx, PEER, MESSAGE))
    assert (known and known.about, known and known.answer) == (THING, "yes")
    assert await database.run(lambda tx: MAILBOX.known(tx, "csp-c", MESSAGE)) is None


async def test_who_waits_too_long_is_to_ask_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "ANSWER_SECONDS", 0.05)
    bell = Bell()
    assert await MAILBOX.answered(database, bell, THING, PEER, MESSAGE, bell.listen(str(THING))) is None


async def test_only_what_is_answered_and_long_over_is_forgotten(database: Database) -> None:
    late = 100.0 + KEPT_SECONDS + 1
    assert await database.run(lambda tx: MAILBOX.purge(tx, late)) == 0, "not answered"
    await database.run(lambda tx: MAILBOX.answer(tx, PEER, MESSAGE, "yes"))
    assert await database.run(lambda tx: MAILBOX.purge(tx, late - 2)) == 0, "may be repeated"
    assert await database.run(lambda tx: MAILBOX.purge(tx, late)) == 1
