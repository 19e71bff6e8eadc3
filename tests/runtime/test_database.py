"""One door to the database: a function is a transaction, and all of it or nothing is kept."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from meetme.model.errors import Conflict, Fault, InvalidInput, Unreachable
from meetme.runtime.database import Database, lock_until_commit, migrate


@pytest.fixture
def database(tmp_path: Path):
    database = Database.open(f"sqlite:///{tmp_path}/member.db")
    database.run_now(lambda tx: tx.execute(text("CREATE TABLE t (a INTEGER PRIMARY KEY)")))
    yield database
    database.close_now()


def count(tx) -> int:
    return tx.scalar(text("SELECT count(*) FROM t"))


async def test_a_transaction_is_kept_when_its_function_returns(database: Database) -> None:
    assert await database.run(lambda tx: tx.execute(text("INSERT INTO t VALUES (1)")).rowcount) == 1
    assert database.run_now(count) == 1


async def test_a_transaction_is_undone_when_its_function_raises(database: Database) -> None:
    def fails(tx) -> None:
        tx.execute(text("INSERT INTO t VALUES (1)"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.run(fails)
    assert database.run_now(count) == 0


async def test_transactions_run_one_after_the_other_in_one_thread(database: Database) -> None:
    threads: list[str] = []

    def add(tx) -> None:
        before = count(tx)
        threads.append(threading.current_thread().name)
        tx.execute(text("INSERT INTO t VALUES (:a)"), {"a": before})  # clashes if another one got in between

    await asyncio.gather(*(database.run(add) for _ in range(50)), asyncio.to_thread(database.run_now, add))
    assert database.run_now(count) == 51
    assert len({name for name in threads if name.startswith("database")}) == 1


def test_what_is_committed_is_on_disk_before_the_caller_goes_on(database: Database) -> None:
    pragmas = {
        name: database.run_now(lambda tx, name=name: tx.scalar(text(f"PRAGMA {name}")))
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_write_transaction_of_another_process_is_waited_for(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "member.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES (1)")
    seen: list[int] = []
    waiting = threading.Thread(target=lambda: seen.append(database.run_now(count)))
    waiting.start()
    waiting.join(0.05)
    assert seen == []
    other.execute("COMMIT")
    waiting.join(5)
    assert seen == [1]
    other.close()


def test_the_file_is_for_its_owner_alone(database: Database, tmp_path: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("member.db*")} == {0o600}


def test_memory_is_shared_by_all_transactions_of_one_database() -> None:
    first, second = Database.open("sqlite://"), Database.open(":memory:")
    first.run_now(lambda tx: tx.execute(text("CREATE TABLE t (a INTEGER)")))
    assert first.run_now(count) == 0
    assert second.run_now(lambda tx: tx.scalar(text("SELECT count(*) FROM sqlite_master"))) == 0
    first.close_now()
    second.close_now()


@pytest.mark.parametrize("url", ["", "member.db", "mysql://localhost/x", "mongodb://localhost/x"])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Database.open(url)
    assert caught.value.code == "database_url_invalid"
    assert caught.value.field == "database"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"nowhere/member\.db") as caught:
        Database.open(f"sqlite:///{tmp_path}/nowhere/member.db")
    assert caught.value.code == "database_unreachable"


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear colleague, " * 100)
    with pytest.raises(Unreachable):
        Database.open(f"sqlite:///{path}")
    assert path.read_text() == "Dear colleague, " * 100


def test_a_password_is_never_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        Database.open("mysql://user:secret@localhost/x")
    assert "secret" not in str(caught.value)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A room with one migration, importable as `shop.stock`."""
    folder = tmp_path / "shop" / "stock" / "migrations"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent, folder.parent.parent):
        (package / "__init__.py").touch()
    write_migration(folder, "0001", None, 'op.execute("CREATE TABLE stock_item (a INTEGER)")')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def write_migration(folder: Path, revision: str, after: str | None, body: str) -> None:
    (folder / f"{revision}_change.py").write_text(
        f"from alembic import op\n\nrevision = {revision!r}\ndown_revision = {after!r}\n\ndef upgrade():\n    {body}\n"
    )


def revision(tx) -> str:
    return tx.scalar(text("SELECT version_num FROM stock_version"))


def test_migrations_are_applied_in_order_and_once(database: Database, room: Path) -> None:
    migrate(database, "shop.stock")
    assert database.run_now(revision) == "0001"
    write_migration(room, "0003", "0002", 'op.execute("INSERT INTO stock_item (a, b) VALUES (1, 2)")')
    write_migration(room, "0002", "0001", 'op.execute("ALTER TABLE stock_item ADD COLUMN b INTEGER")')
    migrate(database, "shop.stock")
    migrate(database, "shop.stock")
    assert database.run_now(revision) == "0003"
    assert database.run_now(lambda tx: tx.execute(text("SELECT a, b FROM stock_item")).all()) == [(1, 2)]


def test_a_migration_that_fails_leaves_everything_as_it_was(database: Database, room: Path) -> None:
    migrate(database, "shop.stock")
    write_migration(room, "0002", "0001", 'op.execute("CREATE TABLE stock_other (a INTEGER)")')
    write_migration(room, "0003", "0002", "raise ValueError('broken')")
    with pytest.raises(ValueError, match="broken"):
        migrate(database, "shop.stock")
    assert database.run_now(revision) == "0001"
    tables = database.run_now(lambda tx: tx.scalars(text("SELECT name FROM sqlite_master")).all())
    assert "stock_other" not in tables


def test_alembic_is_not_imported_when_nothing_has_to_be_done(
    database: Database, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database, "shop.stock")
    for name in [name for name in sys.modules if name.partition(".")[0] == "alembic"]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    migrate(database, "shop.stock")


def test_tables_of_a_newer_version_are_left_alone(database: Database, room: Path) -> None:
    migrate(database, "shop.stock")
    database.run_now(lambda tx: tx.execute(text("UPDATE stock_version SET version_num = '0009'")))
    with pytest.raises(Conflict, match="revision 0009, known 0001") as caught:
        migrate(database, "shop.stock")
    assert caught.value.code == "database_newer"


@pytest.mark.parametrize("way", ["deadlock", "written by two"])
async def test_who_stood_in_anothers_way_is_given_a_second_chance(postgresql_url: str, way: str) -> None:
    database = Database.open(postgresql_url)
    database.run_now(
        lambda tx: tx.execute(text("DROP TABLE IF EXISTS twice; CREATE TABLE twice (a INTEGER PRIMARY KEY)"))
    )
    both = threading.Barrier(2)
    calls: list[int] = []

    def work(first: int, second: int):
        def f(tx) -> None:
            calls.append(first)
            if way == "deadlock":
                tx.execute(text("SELECT pg_advisory_xact_lock(:a)"), {"a": first})
                if len(calls) <= 2:
                    both.wait(5)
                tx.execute(text("SELECT pg_advisory_xact_lock(:a)"), {"a": second})
            elif not tx.scalar(text("SELECT count(*) FROM twice")):
                if len(calls) <= 2:
                    both.wait(5)
                tx.execute(text("INSERT INTO twice VALUES (1)"))

        return f

    await asyncio.gather(database.run(work(1, 2)), database.run(work(2, 1)))
    assert len(calls) == 3
    await database.close()


async def test_a_database_that_stays_busy_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.runtime.database.BUSY_SECONDS", 0.05)
    database = Database.open(f"sqlite:///{tmp_path}/member.db")
    other = sqlite3.connect(tmp_path / "member.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unreachable) as caught:
        await database.run(lambda tx: tx.execute(text("SELECT 1")))
    assert (caught.value.code, caught.value.fault) == ("database_busy", Fault.LOCAL)
    other.execute("ROLLBACK")
    other.close()
    assert await database.run(lambda tx: tx.scalar(text("SELECT 1"))) == 1
    await database.close()


async def test_a_database_server_that_went_away_is_said_so(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    with pytest.raises(Unreachable) as caught:
        await database.run(lambda tx: tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())")))
    assert (caught.value.code, caught.value.fault) == ("database_unreachable", Fault.LOCAL)
    assert await database.run(lambda tx: tx.scalar(text("SELECT 1"))) == 1
    await database.close()


async def test_a_mistake_of_ours_stays_one(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await database.run(lambda tx: [tx.execute(text("INSERT INTO t VALUES (1)")) for _ in range(2)])


async def test_who_looks_sees_one_moment_whatever_others_commit_meanwhile(database_url: str) -> None:
    database = Database.open(database_url)
    database.run_now(lambda tx: tx.execute(text("CREATE TABLE t (a INTEGER PRIMARY KEY)")))

    def insert(tx) -> None:
        tx.execute(text("INSERT INTO t VALUES (1)"))

    def look(tx) -> tuple[int, int]:
        before = count(tx)
        if database.shared:  # SQLite has one transaction at a time as it is
            database.run_now(insert)
        return before, count(tx)

    assert await database.read(look) == (0, 0)
    if not database.shared:
        await database.run(insert)
    assert database.read_now(count) == 1, "the next one sees it"
    await database.close()


async def test_who_only_looks_can_write_nothing(database_url: str) -> None:
    database = Database.open(database_url)
    database.run_now(lambda tx: tx.execute(text("CREATE TABLE t (a INTEGER PRIMARY KEY)")))
    with pytest.raises((DBAPIError, Unreachable), match=r"read-?only"):
        await database.read(lambda tx: tx.execute(text("INSERT INTO t VALUES (1)")))
    await database.run(lambda tx: tx.execute(text("INSERT INTO t VALUES (1)")))
    assert await database.read(count) == 1
    await database.close()


async def test_a_lock_is_taken_once_a_transaction_and_goes_with_it(new_postgresql: Callable[[str], str]) -> None:
    database = Database.open(new_postgresql("locks"))
    asked: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda _c, _cur, statement, *_: asked.append(statement))
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def first(tx) -> None:
        for _ in range(3):
            lock_until_commit(tx, "one")
        inside.set()
        go_on.wait(5)
        order.append("first")

    def second(tx) -> None:
        lock_until_commit(tx, "two")
        lock_until_commit(tx, "one")
        order.append("second")

    running = asyncio.create_task(database.run(first))
    await asyncio.to_thread(inside.wait, 5)
    assert sum("advisory" in statement for statement in asked) == 1
    waiting = asyncio.create_task(database.run(second))
    await asyncio.sleep(0.1)
    assert order == []
    go_on.set()
    await asyncio.gather(running, waiting)
    assert order == ["first", "second"]
    for _ in range(2):  # the same connection serves again, and locks again
        before = len(asked)
        await database.run(second)
        assert sum("advisory" in statement for statement in asked[before:]) == 2
    await database.close()
