"""The words that were heard, on both engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meetme.composer import spread_store
from meetme.composer.book import Mark, Word
from meetme.runtime.database import Database, migrate
from tests.composer.advertisements import NOW, advertisement


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database.open(database_url)
    migrate(database, "meetme.composer")
    yield database
    database.close_now()


def word(member: str, version: int, fingerprint: str = "0" * 16) -> Word:
    return Word(advertisement(member), Mark(version, fingerprint), f"{member} {version}")


def test_the_latest_of_each_is_kept(database: Database) -> None:
    newest = int(NOW * 1000)
    database.run_now(lambda tx: spread_store.save(tx, (word("ixp-a", 1), word("ixp-b", newest), word("ixp-a", 2))))
    database.run_now(lambda tx: spread_store.save(tx, (word("ixp-b", newest - 1), word("ixp-a", 2, "f" * 16))))
    assert database.run_now(spread_store.marks) == {"ixp-a": Mark(2, "f" * 16), "ixp-b": Mark(newest, "0" * 16)}
    (row,) = database.run_now(lambda tx: spread_store.load(tx, ("ixp-b", "ixp-z")))
    assert (row.document, row.expires) == (f"ixp-b {newest}", NOW + 3600)


def test_strangers_are_not_kept(database: Database) -> None:
    database.run_now(lambda tx: spread_store.save(tx, (word("ixp-a", 1), word("ixp-b", 1))))
    database.run_now(lambda tx: spread_store.forget(tx, ("ixp-a",)))
    assert [row.member for row in database.run_now(spread_store.load)] == ["ixp-b"]


def test_the_table_is_as_migrated(database: Database) -> None:
    from sqlalchemy import inspect

    columns = database.run_now(lambda tx: inspect(tx).get_columns("composer_advertisement"))
    assert [column["name"] for column in columns] == [column.name for column in spread_store.ADVERTISEMENT.columns]
