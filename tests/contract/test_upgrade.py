"""Databases that an older version wrote, and that are moved: what was in them is there, on either engine.

`tests/golden/store/*-0.1.0.sql` is what 0.1.0 left on SQLite: csp-a with an active agreement on circuit c1 and a
terminated one on c2. Never made anew.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from uuid import UUID

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import MetaData, inspect, text

from meetme.cli.main import run
from meetme.configurator import store as links
from meetme.model.errors import Conflict
from meetme.model.intent import LinkState
from meetme.negotiator import events as ev
from meetme.negotiator import logbook, store
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import State
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Ledger
from meetme.runtime.replicas import Replicas
from tests.negotiator.test_store import PlainSigner

GOLDEN = Path(__file__).parents[1] / "golden/store"
NEGOTIATOR, CONFIGURATOR = ("meetme.runtime", "meetme.negotiator"), ("meetme.configurator",)
ACTIVE, OVER = UUID("9be92eb3-6a40-468c-8196-77c1f4dbd9d8"), UUID("6921b311-4d65-4c3e-bbc1-72c3e6061ace")


def restore(name: str, path: Path) -> str:
    """The SQLite database that 0.1.0 left, as a URL."""
    connection = sqlite3.connect(path)
    connection.executescript((GOLDEN / f"{name}-0.1.0.sql").read_text())
    connection.close()
    return f"sqlite:///{path}"


def as_it_was(name: str, rooms: tuple[str, ...], url: str, tmp_path: Path) -> Database:
    """The same on the engine of `url`: tables by the migrations that 0.1.0 had, rows as they were."""
    if url.startswith("sqlite"):
        return Database.open(restore(name, tmp_path / f"{name}.db"))
    old = Database.open(restore(name, tmp_path / "old.db"))
    database = Database.open(url)

    def build(tx) -> None:
        meta = MetaData()
        old.run_now(lambda from_: meta.reflect(from_))
        for room in rooms:
            version = meta.tables[f"{room.rpartition('.')[2]}_version"]
            last = old.run_now(lambda from_, version=version: from_.execute(version.select()).scalar_one())
            with Operations.context(MigrationContext.configure(tx)):
                for module in sorted(e.name[:-3] for e in (files(room) / "migrations").iterdir() if e.name[0] == "0"):
                    if module[:4] <= last:
                        import_module(f"{room}.migrations.{module}").upgrade()
            tx.execute(text(f"CREATE TABLE {version.name} (version_num VARCHAR(32) PRIMARY KEY)"))
        for table in meta.sorted_tables:
            rows = [dict(row) for row in old.run_now(lambda from_, t=table: from_.execute(t.select()).mappings().all())]
            if rows:
                tx.execute(table.insert(), rows)
        for table, column in (("negotiator_event", "sequence"), ("runtime_effect", "id")):
            if table in meta.tables:
                tx.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), 1000)"))

    database.run_now(build)
    old.close_now()
    return database


@pytest.fixture
def negotiator(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """What 0.1.0 left, brought up to date."""
    database = as_it_was("negotiator", NEGOTIATOR, database_url, tmp_path)
    for room in NEGOTIATOR:
        migrate(database, room)
    yield database
    database.close_now()


def holds_what_was_there(database: Database) -> None:
    def check(tx) -> None:
        active, over = store.load(tx, ACTIVE), store.load(tx, OVER)
        assert active is not None
        assert over is not None
        assert (active.state, over.state) == (State.ACTIVE, State.TERMINATED)
        assert active.agreement is not None
        assert active.document is not None
        assert [str(p.alias) for p in active.agreement.initiator.prefixes] == ["172.16.0.0/24"]
        assert store.attachments(tx) == {
            "c1": Attachment("r1", "eth1", 10, 1500),
            "c2": Attachment("r1", "eth1", 20, 1500),
        }
        assert store.claimant(tx, "port", "r1/eth1.10") == ACTIVE
        assert [str(prefix) for prefix in store.claimed_prefixes(tx)] == ["172.16.0.0/24"]
        assert store.next_generation(tx, "c1", 0.0) == 1795366400550
        done = store.KEYS.done_with(tx, "order-1")
        assert done is not None
        assert done.about == ACTIVE
        assert logbook.verify_audit(tx) is None
        assert logbook.audit_head(tx)[0] == 12
        assert [t.sequence for t in logbook.told(tx, ACTIVE)] == list(range(1, 10))
        assert [debt.key for debt in Ledger().owed(tx, "negotiation", str(ACTIVE))] == ["timer:CompareDue"]

    database.run_now(check)


def goes_on(database: Database) -> None:
    """What is decided next fits onto what was there: new events, effects and audit entries clash with no old ones."""
    machine, ledger, now = NegotiationMachine(PlainSigner()), Ledger(), time.time()
    after = database.run_now(lambda tx: ledger.deliver(tx, machine, str(ACTIVE), ev.TerminateAsked(now), now))
    assert after.state is State.TERMINATING
    owed = database.run_now(lambda tx: {debt.key for debt in ledger.owed(tx, "negotiation", str(ACTIVE))})
    assert owed >= {"device", "send:terminate"}
    assert database.run_now(logbook.verify_audit) is None
    assert database.run_now(lambda tx: logbook.last_told(tx, ACTIVE)) > 22


def test_what_0_1_0_left_is_there_after_the_upgrade_and_goes_on(negotiator: Database) -> None:
    holds_what_was_there(negotiator)
    goes_on(negotiator)


def test_the_links_that_0_1_0_had_configured_are_there_after_the_upgrade(database_url: str, tmp_path: Path) -> None:
    database = as_it_was("configurator", CONFIGURATOR, database_url, tmp_path)
    migrate(database, *CONFIGURATOR)
    kept, seen = database.run_now(links.load)
    assert {circuit: (k.intent.agreement, k.state, k.intent.vlan) for circuit, k in kept.items()} == {
        "c1": (ACTIVE, LinkState.CONFIRMED, 10)
    }
    assert seen == {"c1": 1795366400549, "c2": 1795366402260}
    database.close_now()


def test_an_upgraded_database_has_the_tables_of_a_new_one(negotiator: Database, tmp_path: Path) -> None:
    new = Database.open(f"sqlite:///{tmp_path}/new.db")
    for room in NEGOTIATOR:
        migrate(new, room)

    def shape(tx):
        inspector = inspect(tx)
        return {
            table: (
                sorted((column["name"], column["nullable"]) for column in inspector.get_columns(table)),
                sorted(index["name"] for index in inspector.get_indexes(table) if not index["unique"]),
            )
            for table in inspector.get_table_names()
            if not table.startswith(("sqlite_", "configurator_"))
        }

    assert negotiator.run_now(shape) == new.run_now(shape)
    new.close_now()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(negotiator: Database) -> None:
    negotiator.run_now(lambda tx: tx.execute(text("UPDATE negotiator_version SET version_num = '9999'")))
    with pytest.raises(Conflict, match=r"must not be newer than this MeetMe \(revision 9999, known 0") as caught:
        migrate(negotiator, "meetme.negotiator")
    assert caught.value.code == "database_newer"
    assert "restore the backup" in caught.value.hint
    holds_what_was_there(negotiator)


async def test_processes_that_start_together_migrate_one_after_the_other(database_url: str, tmp_path: Path) -> None:
    as_it_was("negotiator", NEGOTIATOR, database_url, tmp_path).close_now()
    url = database_url if database_url.startswith("postgresql") else f"sqlite:///{tmp_path}/negotiator.db"
    databases = [Database.open(url) for _ in range(4)]
    for room in NEGOTIATOR:
        await asyncio.gather(*(asyncio.to_thread(migrate, database, room) for database in databases))
    holds_what_was_there(databases[0])
    for database in databases:
        await database.close()


# --- moving -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> str:
    """The URL of an empty database."""
    if engine == "sqlite":
        return f"sqlite:///{tmp_path}/copy.db"
    make: Callable[[str], str] = request.getfixturevalue("new_postgresql")
    return make("moved")


def contents(database: Database):
    def read(tx):
        meta = MetaData()
        meta.reflect(tx)
        return {t.name: sorted(map(tuple, tx.execute(t.select())), key=repr) for t in meta.sorted_tables}

    return database.run_now(read)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_copy_has_every_row_and_goes_on(
    negotiator: Database, database_url: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = database_url if negotiator.shared else f"sqlite:///{tmp_path}/negotiator.db"
    options = ["database", "copy", "--from", source, "--to", target]
    assert run([*options, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert not (tmp_path / "copy.db").exists()
    assert run(options) == 0
    assert capsys.readouterr().out == dry
    assert "negotiator_audit" in dry
    copied = Database.open(target)
    assert contents(copied) == contents(negotiator)
    for room in NEGOTIATOR:
        migrate(copied, room)
    holds_what_was_there(copied)
    goes_on(copied)
    moved = contents(copied)
    assert run(options) == 1, "a database that has something is never written over"
    assert "database_not_empty" in capsys.readouterr().err
    assert contents(copied) == moved
    copied.close_now()


@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_database_of_an_older_version_is_copied_as_it_is(target: str, tmp_path: Path) -> None:
    """The service that opens the copy brings it up to date, as it would have the source."""
    source = restore("negotiator", tmp_path / "old.db")
    assert run(["database", "copy", "--from", source, "--to", target]) == 0
    copied = Database.open(target)
    assert copied.run_now(lambda tx: tx.scalar(text("SELECT version_num FROM runtime_version"))) == "0001"
    for room in NEGOTIATOR:
        migrate(copied, room)
    holds_what_was_there(copied)
    goes_on(copied)
    copied.close_now()


async def test_a_database_in_use_is_copied_only_as_a_backup(
    negotiator: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = database_url if negotiator.shared else f"sqlite:///{tmp_path}/negotiator.db"
    user = Replicas(negotiator, Ledger(), owner="user", clock=SystemClock(), changed=lambda _: None)
    await user.join()
    copy = ["database", "copy", "--from", source, "--to", f"sqlite:///{tmp_path}/copy.db"]
    assert run(copy) == 1
    assert "database_in_use" in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()
    assert run([*copy, "--running"]) == 0
    (tmp_path / "copy.db").unlink()
    await user.leave()
    assert run(copy) == 0


def test_what_cannot_be_copied_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"sqlite:///{tmp_path}/copy.db"
    assert run(["database", "copy", "--from", f"sqlite:///{tmp_path}/nowhere.db", "--to", target]) == 2
    assert "database_missing" in capsys.readouterr().err
    (tmp_path / "empty.db").touch()
    assert run(["database", "copy", "--from", f"sqlite:///{tmp_path}/empty.db", "--to", target]) == 2
    assert "database_empty" in capsys.readouterr().err
    newer = Database.open(restore("negotiator", tmp_path / "newer.db"))
    newer.run_now(lambda tx: tx.execute(text("UPDATE negotiator_version SET version_num = '9999'")))
    newer.close_now()
    assert run(["database", "copy", "--from", f"sqlite:///{tmp_path}/newer.db", "--to", target]) == 1
    assert "database_newer" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["empty.db", "newer.db"], "no target is left behind"
