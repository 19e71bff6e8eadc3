"""The processes that work on one database: each hears what the others write, and finds out when one of them has died.

A lease (`runtime.ledger`) names its owner. Whoever owns leases keeps a lock that the operating system or the database
server takes away when the process is gone, however it went; so a lease whose owner has no lock is dead, and is taken
back long before it runs out. Rules of this file:

1. PostgreSQL: the lock is a session-level advisory lock on a connection that serves nothing else, the one that listens
   (`NOTIFY` is part of the transaction that delivers an event). It is a shared lock: whoever connects again need not
   wait until the server has noticed that the old connection is no more. An owner is dead when it was seen to own a
   lease and no lock at two looks in a row: one that lost its connection and comes back at once is not.
2. SQLite: the lock is `flock` on the file `DATABASE-alive`, shared while a process lives. Who gets it exclusively when
   it starts is alone, and every lease of another owner is a dead one's. Nobody is heard: who waits looks now and then.
3. Taken for dead and alive after all, an owner has lost its leases: its results are dropped, orders to devices are
   fenced by their generation. That is what happens to a lease that runs out, too.
4. On PostgreSQL every process goes by the server's clock: what is due, and when a lease runs out, is one question with
   one answer, whatever the clocks of the hosts show.
5. Where all of this fails (a host without power, a network that is cut), leases still run out.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from meetme.runtime.clock import Clock
from meetme.runtime.database import CHANNEL, Database
from meetme.runtime.ledger import Ledger

if TYPE_CHECKING:
    from psycopg import AsyncConnection

LOOK_SECONDS = 0.5
"""Between two looks for dead owners."""
POLL_SECONDS = 10.0
"""How often those who wait look again although nothing was heard."""
DEAF_POLL_SECONDS = 1.0
"""The same where nobody can be heard (SQLite, or while the server is away)."""
GATHER_SECONDS = 0.01
"""How long to gather what comes in at once."""
ANSWER_SECONDS = 5.0
"""How long the server may take to answer before the connection counts as lost."""
RECONNECT_SECONDS = 0.2
OFF_SECONDS = 2.0
"""How far a host's clock may be from the database's before that is worth a word."""
_NAMESPACE = zlib.crc32(b"meetme replica") & 0x7FFFFFFF
_ALIVE = (
    "SELECT objid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
    " WHERE datname = current_database() AND locktype = 'advisory' AND objsubid = 2 AND granted"
    f" AND classid = {_NAMESPACE}"
)
# On a host that lost its power nobody closes the connection: the server gives it up after about ten seconds.
_SESSION = ("SET tcp_keepalives_idle = 4", "SET tcp_keepalives_interval = 2", "SET tcp_keepalives_count = 3")


class Replicas:
    """This process among those that work on the same database."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        *,
        owner: str,
        clock: Clock,
        changed: Callable[[Collection[str]], None],
        time_is: Callable[[float], float] = lambda _now: 0.0,
    ) -> None:
        """`owner`: as this process leases. `changed` is told the instances that others wrote about; empty: any.

        `time_is` is told now and then what the database's clock shows (epoch seconds), and says how far off it was.
        """
        self._database = database
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self._changed = changed
        self._time_is = time_is
        self._off = 0.0
        self._log = structlog.get_logger().bind(owner=owner)
        self._file: int | None = None
        self._line: AsyncConnection[Any] | None = None
        self._suspects: frozenset[str] = frozenset()
        self._alive: frozenset[int] = frozenset()

    async def join(self) -> None:
        """To be called before anything is leased: from here on others see that this process is alive.

        Takes back what dead owners hold as far as that can be told at once. Raises Unreachable.
        """
        if self._database.file is not None:
            if self._lock_file(self._database.file):
                await self._reclaim(await self._database.read(self._ledger.owners))
        elif self._database.shared:
            await self._connect()
            await self._look()

    async def run(self) -> None:
        """Hear the others and take over what the dead leave, until cancelled."""
        while True:
            try:
                await (self._listen() if self._database.shared else self._poll())
            except Exception as error:
                self._log.warning("the other replicas cannot be heard", problem=str(error).partition("\n")[0])
                await self._hang_up()
            await asyncio.sleep(RECONNECT_SECONDS)
            self._changed(())

    async def leave(self) -> None:
        """Be as one that has died: for the end of the process, once nothing is leased any more."""
        await self._hang_up()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # --- SQLite -------------------------------------------------------------------------------------------------------

    def _lock_file(self, database: Path) -> bool:
        """Show that this process is alive. True: it is the only one."""
        self._file = os.open(f"{database}-alive", os.O_RDWR | os.O_CREAT, 0o600)
        alone = False
        with suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        fcntl.flock(self._file, fcntl.LOCK_SH)
        return alone

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(DEAF_POLL_SECONDS)
            self._changed(())

    # --- PostgreSQL ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> AsyncConnection[Any]:
        if self._line is None:
            line = await self._database.dedicated()
            for statement in _SESSION:
                await line.execute(statement)
            await line.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_NAMESPACE, _signed(key_of(self._owner))))
            await line.execute(f"LISTEN {CHANNEL}")
            await self._keep_time(line)
            self._line = line
        return self._line

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with suppress(Exception):
                await line.close()

    async def _listen(self) -> None:
        line = await self._connect()
        look, poll = 0.0, time.monotonic() + POLL_SECONDS
        while True:
            wait = max(0.0, look - time.monotonic())
            heard = [n async for n in line.notifies(timeout=wait, stop_after=1)]
            others = {n.payload for n in heard if n.pid not in self._database.backends}
            if others:
                self._changed(others)
                await asyncio.sleep(GATHER_SECONDS)
            now = time.monotonic()
            if now >= look:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._look()
                look = now + LOOK_SECONDS
            if now >= poll:
                await self._keep_time(line)
                self._changed(())
                poll = now + POLL_SECONDS

    async def _keep_time(self, line: AsyncConnection[Any]) -> None:
        """Go by the database's clock: leases and deadlines of one replica are judged by the others."""
        asked = time.monotonic()
        cursor = await line.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        row = await cursor.fetchone()
        off = self._time_is(row[0] + (time.monotonic() - asked) / 2) if row else 0.0
        if abs(off - self._off) > OFF_SECONDS:
            self._off = off
            self._log.warning("the clock of this host differs from the database's, which counts", seconds=round(off, 1))

    async def _look(self) -> None:
        """Take back what owners hold that have been dead for two looks."""
        line = await self._connect()
        # In this order: who is seen to own a lease had its lock before it took that.
        owners = frozenset(await self._database.read(self._ledger.owners)) - {self._owner}
        cursor = await line.execute(_ALIVE)
        alive = frozenset(row[0] for row in await cursor.fetchall())
        dead = frozenset(owner for owner in owners if key_of(owner) not in alive)
        await self._reclaim(dead & self._suspects)
        self._suspects = dead
        if self._alive - alive:
            self._changed(())  # nobody but us knows now when its timers are due
        self._alive = alive

    async def _reclaim(self, owners: Collection[str]) -> None:
        gone = [owner for owner in owners if owner != self._owner]
        if not gone:
            return
        number = await self._database.run(lambda tx: self._ledger.reclaim(tx, gone, self._clock.now()))
        self._log.warning("took over what dead processes had begun", effects=number, dead=gone)
        self._changed(())


def anybody_alive(database: Database) -> bool:
    """Whether a process works on the database at this moment, as far as it shows that (`join`)."""
    if database.shared:
        return bool(database.read_now(lambda tx: tx.execute(text(_ALIVE)).all()))
    mark = Path(f"{database.file}-alive")
    if database.file is None or not mark.exists():
        return False
    with mark.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def key_of(owner: str) -> int:
    """The number of an owner's lock."""
    return zlib.crc32(owner.encode())


def _signed(key: int) -> int:
    """As PostgreSQL takes it: `int4`; in `pg_locks` it is an `oid`, without a sign."""
    return key - 2**32 if key >= 2**31 else key
