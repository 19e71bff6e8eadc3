"""The database: two doors, `await database.run(f)` to write and `await database.read(f)` to look.

Both give the sync function `f` one transaction. SQLite (the default) has one writer, so one thread and one connection
do all the work, in order; every transaction starts as a writer (`BEGIN IMMEDIATE`), because one that starts as a reader
and writes later can fail half-way. WAL with `synchronous=FULL`: what was committed survives a power loss.

PostgreSQL takes several transactions at a time. One that writes (READ COMMITTED) takes the lock of what it is about
first; each of its statements then sees what others have committed until then. One that looks takes no locks, so all of
its statements have to see one moment (REPEATABLE READ): else it would give an order as it was, beside the number of an
event that came after, and whoever goes on from there would never hear of that.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import StaticPool

from meetme.model.errors import Conflict, Fault, InvalidInput, MeetMeError, Unreachable, Unsupported

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from psycopg import AsyncConnection

    from meetme.runtime.figures import DatabaseFigures

T = TypeVar("T")

BUSY_SECONDS = 10.0
"""How long to wait for another process that is writing to the same SQLite file."""
POSTGRESQL_CONNECTIONS = 8
CHANNEL = "meetme"
"""Of `NOTIFY`: told by every transaction of PostgreSQL that writes what other processes wait for."""
_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How a connection to PostgreSQL finds out that its server is gone without a word; in a URL they count more."""
_AFTERWARDS = "meetme afterwards"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")
_LOCKS = "meetme locks"
_LOOKS = "meetme looks"
_IN_EACH_OTHERS_WAY = ("40001", "40P01", "23505")
"""SQLSTATE of a serialization failure, a deadlock, and a row that somebody else wrote at the same time."""


class Database:
    """One SQLite file, or one PostgreSQL database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        only_looks = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        self._onlooker = engine.execution_options(**only_looks, postgresql_readonly=True)
        """The same connections, for those who only look."""
        self._single = engine.dialect.name == "sqlite"
        # With one connection for everybody, `run_now` in any thread has to wait for its turn like the writer thread.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self._single else nullcontext()
        self._threads = ThreadPoolExecutor(1 if self._single else POSTGRESQL_CONNECTIONS, "database")
        self.backends: set[int] = set()
        """Own connections to PostgreSQL, by their process at the server: what they notify is not news."""
        if self.shared:
            event.listen(engine, "connect", lambda raw, _record: self.backends.add(raw.info.backend_pid))
            event.listen(engine, "close", lambda raw, _record: self.backends.discard(raw.info.backend_pid))
        self._figures: DatabaseFigures | None = None

    def count(self, figures: DatabaseFigures) -> None:
        """From now on tell `figures` of every transaction."""
        self._figures = figures

    @classmethod
    def open(cls, url: str) -> Database:
        """Open `sqlite:///path` (made if missing, for its owner alone), `sqlite://` (in memory) or `postgresql://...`.

        Raises InvalidInput `database_url_invalid`, Unreachable `database_unreachable` and Unsupported
        `database_driver_missing`.
        """
        try:
            parsed = make_url("sqlite://" if url == ":memory:" else url)
        except ArgumentError:
            raise _bad_url(url) from None
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
            raise _bad_url(parsed.render_as_string(hide_password=True))
        shown = parsed.render_as_string(hide_password=True)
        try:
            database = cls(_sqlite(parsed.database, shown) if parsed.drivername == "sqlite" else _postgresql(parsed))
            database._once(database._engine, lambda tx: tx.execute(text("SELECT 1")), 0.0)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise Unsupported(
                "database_driver_missing",
                f"database: its driver must be installed (no module for '{shown}')",
                hint="pip install 'meetme[postgresql]'",
                field="database",
            ) from error
        except DBAPIError as error:
            raise _unreachable(shown, error.orig) from error
        return database

    @property
    def shared(self) -> bool:
        """Whether it is a server, that several processes on several machines may use at once."""
        return not self._single

    @property
    def file(self) -> Path | None:
        """The file it is in; None: a server, or memory."""
        name = self._engine.url.database if self._single else None
        return Path(name) if name and name != ":memory:" else None

    async def dedicated(self) -> AsyncConnection[Any]:
        """A connection to PostgreSQL of one's own, for what belongs to a session; each statement is a transaction.

        Raises Unreachable `database_unreachable`.
        """
        from psycopg import AsyncConnection, OperationalError

        _, parameters = self._engine.dialect.create_connect_args(self._engine.url)
        try:
            return await AsyncConnection.connect(
                **{**_PATIENCE, "application_name": "meetme replica", **parameters}, autocommit=True
            )
        except OperationalError as error:
            raise _unreachable(self._engine.url.render_as_string(hide_password=True), error) from error

    async def run(self, f: Callable[[Connection], T]) -> T:
        """Give `f` one transaction, in a thread: committed when it returns, rolled back when it raises.

        Where two transactions stood in each other's way (PostgreSQL), `f` is called once more. Raises what `f` raises,
        and Unreachable `database_busy` or `database_unreachable`.
        """
        return await self._in_a_thread(self._engine, f)

    async def read(self, f: Callable[[Connection], T]) -> T:
        """Like `run` for an `f` that only looks: all that it sees was true at one moment, and it can write nothing."""
        return await self._in_a_thread(self._onlooker, f)

    def run_now(self, f: Callable[[Connection], T]) -> T:
        """Like `run`, in the calling thread."""
        return self._run(self._engine, f, time.perf_counter())

    def read_now(self, f: Callable[[Connection], T]) -> T:
        """Like `read`, in the calling thread."""
        return self._run(self._onlooker, f, time.perf_counter())

    async def _in_a_thread(self, engine: Engine, f: Callable[[Connection], T]) -> T:
        # What is logged in there belongs to what is logged out here.
        context, asked = copy_context(), time.perf_counter()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, self._run, engine, f, asked)

    def _run(self, engine: Engine, f: Callable[[Connection], T], asked: float) -> T:
        try:
            return self._once(engine, f, asked)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _IN_EACH_OTHERS_WAY:
                return self._again(engine, f)
            raise self._failed(error) from error

    def _again(self, engine: Engine, f: Callable[[Connection], T]) -> T:
        try:
            return self._once(engine, f, time.perf_counter())
        except DBAPIError as error:
            raise self._failed(error) from error

    def _once(self, engine: Engine, f: Callable[[Connection], T], asked: float) -> T:
        with self._turn:
            begin = time.perf_counter()
            try:
                with engine.begin() as tx:
                    tx.info[_AFTERWARDS] = []
                    result = f(tx)
                    afterwards = tx.info[_AFTERWARDS]
            finally:
                if self._figures is not None:
                    self._figures.waited(begin - asked)
                    self._figures.took(time.perf_counter() - begin)
        for tell in afterwards:
            tell()
        return result

    def _failed(self, error: DBAPIError) -> Exception:
        said = _failed(error)
        if self._figures is not None:
            kind = said.code.removeprefix("database_") if isinstance(said, MeetMeError) else "other"
            self._figures.failed(kind)
        return said

    async def close(self) -> None:
        """Wait for the transactions that have begun, then let go."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """Like `close`, in the calling thread."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()


def afterwards(tx: Connection, tell: Callable[[], None]) -> None:
    """Call `tell` once the transaction is on disk: for logs and figures, which cannot be taken back. In its thread."""
    waiting: list[Callable[[], None]] | None = tx.info.get(_AFTERWARDS)
    if waiting is not None:
        waiting.append(tell)


def _failed(error: DBAPIError) -> Exception:
    """What a transaction failed with, as it is said to whoever asked for it; a mistake of ours stays what it is."""
    if not isinstance(error, OperationalError | InterfaceError):
        return error
    cause = str(error.orig).partition("\n")[0]
    if getattr(error.orig, "sqlstate", None) in _IN_EACH_OTHERS_WAY or "locked" in cause:
        return Unreachable(
            "database_busy",
            f"database: is busy with other transactions ({cause})",
            hint="try again in a moment",
            fault=Fault.LOCAL,
        )
    return Unreachable(
        "database_unreachable",
        f"database: does not answer ({cause})",
        hint="is the server running, and the disk not full?",
        fault=Fault.LOCAL,
    )


def _sqlite(path: str | None, shown: str) -> Engine:
    if path and path != ":memory:":
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise _unreachable(shown, error) from error
    engine = create_engine(
        f"sqlite:///{path}" if path else "sqlite://",
        poolclass=StaticPool,
        # No implicit BEGIN by the driver: we say it ourselves, below.
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Who looks may not write here either: what PostgreSQL would refuse is found out.
        raw: Any = connection.connection.driver_connection
        if connection.info.pop(_LOOKS, False):
            raw.execute("PRAGMA query_only = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if connection.get_execution_options().get("postgresql_readonly", False):
            connection.info[_LOOKS] = True
            raw.execute("PRAGMA query_only = ON")

    return engine


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url,
        pool_size=POSTGRESQL_CONNECTIONS,
        connect_args={name: value for name, value in _PATIENCE.items() if name not in url.query},
    )


def _bad_url(seen: str) -> MeetMeError:
    return InvalidInput(
        "database_url_invalid",
        f"database: must be a URL of SQLite or PostgreSQL ('{seen}')",
        hint="for example sqlite:////var/lib/meetme/member.db or postgresql://user@host/name",
        field="database",
    )


def _unreachable(shown: str, cause: object) -> MeetMeError:
    return Unreachable(
        "database_unreachable",
        f"database: '{shown}' cannot be opened ({cause})",
        hint="check that the folder exists and is writable, or that the server is running",
        field="database",
    )


def lock_until_commit(tx: Connection, what: str) -> None:
    """Nobody else passes here with the same words until this transaction ends. Asked for again, it costs nothing.

    For PostgreSQL, which runs several transactions at a time; SQLite has one writer as it is.
    """
    if tx.dialect.name != "postgresql":
        return
    # What is noted belongs to the connection, which serves one transaction after the other.
    whose, held = tx.info.get(_LOCKS, (None, set()))
    if whose is None or whose() is not tx:
        held = set()
        tx.info[_LOCKS] = (ref(tx), held)
    if what not in held:
        tx.execute(_LOCK, {"what": what})
        held.add(what)


def migrate(database: Database, room_package: str) -> None:
    """Bring the tables of one room (`meetme.negotiator`) to the newest revision, in one transaction.

    A room's history is its package `migrations`, files `NNNN_what.py` with revision `NNNN`, kept in the version table
    `<room>_version`. Raises Conflict `database_newer` when a newer MeetMe has been here.
    """
    database.run_now(lambda tx: upgrade(tx, room_package))


def revision_of(tx: Connection, room_package: str) -> str | None:
    """At which revision the tables of a room are; None: it has none here."""
    table = _version_table(room_package)
    found: str | None = tx.scalar(text(f"SELECT version_num FROM {table}")) if inspect(tx).has_table(table) else None
    return found


def upgrade(tx: Connection, room_package: str, to: str | None = None) -> None:
    """`migrate` as part of a transaction; `to` an older revision than the newest, if need be."""
    room, table = room_package.rpartition(".")[2], _version_table(room_package)
    folder = files(room_package) / "migrations"
    head = max(entry.name[:4] for entry in folder.iterdir() if entry.name[:4].isdigit())
    # Replicas that start together: the second one finds the tables as the first has left them.
    lock_until_commit(tx, "meetme migrate")
    current = revision_of(tx, room_package)
    newest = max(filter(None, (current, to)), default="")
    if newest > head:
        raise Conflict(
            "database_newer",
            f"database: tables of '{room}' must not be newer than this MeetMe (revision {newest}, known {head})",
            hint="run the newer version, or restore the backup from before the upgrade",
            field="database",
        )
    target = to or head
    if current is not None and current >= target:
        return
    # Only now: importing Alembic takes longer than starting the rest of a service.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    context = MigrationContext.configure(tx, opts={"version_table": table})
    with Operations.context(context):
        for revision in reversed(list(script.iterate_revisions(target, current or "base"))):
            revision.module.upgrade()
    context.stamp(script, target)


def _version_table(room_package: str) -> str:
    return f"{room_package.rpartition('.')[2]}_version"
