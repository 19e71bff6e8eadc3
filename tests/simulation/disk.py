"""A member's database: SQLite in memory, with the statements of the code under test, sent past SQLAlchemy for speed.

More than half of a run went into SQLAlchemy's way of sending a statement. The statements here are the very same: those
that a module of a room holds are compiled once, any other takes the long way on the same connection.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from meetme.catalog import logbook as catalog_logbook
from meetme.catalog import store as catalog_store
from meetme.negotiator import logbook, store
from meetme.runtime import ledger
from meetme.runtime.database import Database, migrate
from meetme.runtime.keys import KeyStore
from meetme.runtime.logbook import Logbook
from meetme.runtime.mailbox import Mailbox

T = TypeVar("T")
_NAMED: Dialect = SQLiteDialect_pysqlite(paramstyle="named")


class Disk:
    """A member's database. Its content survives processes; `wipe` is a disk that broke, with no backup."""

    def __init__(self, room: str = "negotiator") -> None:
        self._room = room
        self.raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        engine = create_engine("sqlite://", creator=lambda: self.raw, poolclass=StaticPool)
        self._tx: Any = _Quick(self.raw, engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        self.wipe()

    def run(self, f: Callable[[Connection], T]) -> T:
        """One transaction."""
        self.raw.execute("BEGIN IMMEDIATE")
        try:
            result = f(self._tx)
        except BaseException:
            self.raw.execute("ROLLBACK")
            raise
        self.raw.execute("COMMIT")
        return result

    def wipe(self) -> None:
        """Nothing but empty tables."""
        self.raw.deserialize(_empty_tables(self._room))

    def copy(self) -> bytes:
        """A backup."""
        return bytes(self.raw.serialize())

    def restore(self, backup: bytes) -> None:
        """What was written since the backup is gone."""
        self.raw.deserialize(backup)


@cache
def _empty_tables(room: str) -> bytes:
    database = Database.open("sqlite://")
    migrate(database, "meetme.runtime")
    migrate(database, f"meetme.{room}")
    raw = database.run_now(lambda tx: tx.connection.dbapi_connection)
    return bytes(raw.serialize())  # type: ignore[union-attr]


@cache
def disk(number: int, room: str = "negotiator") -> Disk:
    """Opening one takes longer than half a run: they are wiped and used again."""
    return Disk(room)


# --- the short way ----------------------------------------------------------------------------------------------------


class _Quick:
    """As much of `sqlalchemy.Connection` as a transaction uses."""

    dialect = _NAMED

    def __init__(self, raw: sqlite3.Connection, slow: Connection) -> None:
        self._raw = raw
        self._slow = slow
        self.info: dict[str, Any] = {}

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        if id(statement) not in _kept():
            return self._slow.execute(statement, parameters)
        if isinstance(parameters, Sequence):
            if not parameters:
                return self._slow.execute(statement, parameters)
            sql, fixed = _compiled(id(statement), tuple(parameters[0]))
            found = self._raw.executemany(sql, [{**fixed, **one} for one in parameters])
        else:
            sql, fixed = _compiled(id(statement), tuple(parameters or ()), *_lists(parameters))
            found = self._raw.execute(sql, _flat(parameters, fixed))
        return _Rows(found)

    def scalar(self, statement: Any, parameters: Any = None) -> Any:
        row = self.execute(statement, parameters).first()
        return None if row is None else row[0]

    def scalars(self, statement: Any, parameters: Any = None) -> Iterator[Any]:
        return (row[0] for row in self.execute(statement, parameters))


class _Rows:
    """As much of `sqlalchemy.CursorResult` as a transaction uses."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.rowcount = cursor.rowcount
        self._cursor = cursor

    def __iter__(self) -> Iterator[Any]:
        if self._cursor.description is None:
            return iter(())
        return map(_row_type(tuple(c[0] for c in self._cursor.description))._make, self._cursor)

    def first(self) -> Any:
        return next(iter(self), None)

    def one_or_none(self) -> Any:
        rows = list(self)
        assert len(rows) < 2
        return rows[0] if rows else None

    def all(self) -> list[Any]:
        return list(self)


@cache
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names, rename=True)


@cache
def _kept() -> dict[int, ClauseElement]:
    """Every statement that a module holds."""
    found: dict[int, ClauseElement] = {}
    for module in (store, ledger, logbook, catalog_store, catalog_logbook):
        for value in vars(module).values():
            parts = vars(value) if isinstance(value, Logbook | Mailbox | KeyStore) else value
            several = parts.values() if isinstance(parts, dict) else (parts,)
            found |= {id(one): one for one in several if isinstance(one, ClauseElement)}
    return found


def _lists(parameters: Mapping[str, Any] | None) -> tuple[tuple[str, int], ...]:
    return tuple((name, len(value)) for name, value in (parameters or {}).items() if isinstance(value, list))


def _flat(parameters: Mapping[str, Any] | None, fixed: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(fixed)
    for name, value in (parameters or {}).items():
        if isinstance(value, list):
            flat |= {f"{name}_{number}": one for number, one in enumerate(value, start=1)}
        else:
            flat[name] = value
    return flat


@cache
def _compiled(statement: int, names: tuple[str, ...], *lists: tuple[str, int]) -> tuple[str, dict[str, Any]]:
    given: dict[str, Any] = {**dict.fromkeys(names), **{name: [None] * length for name, length in lists}}
    compiled = _kept()[statement].compile(dialect=_NAMED, column_keys=list(names))
    if isinstance(compiled, SQLCompiler):
        whole = compiled.construct_expanded_state(given)
        return whole.statement, {name: value for name, value in whole.parameters.items() if value is not None}
    return str(compiled), {}
