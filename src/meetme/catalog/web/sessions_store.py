"""Sessions and failed logins in the database, for all replicas. Each function is part of the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import BigInteger, Column, Connection, Double, Integer, Table, Text, delete, insert, or_, select, update

from meetme.catalog import accounts_store, store
from meetme.catalog.accounts import Account
from meetme.catalog.web.sessions import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    TOUCH_SECONDS,
    WINDOW_SECONDS,
    Failures,
    Session,
    hash_of,
)
from meetme.runtime.database import lock_until_commit

SESSION = Table(
    "catalog_session",
    store.META,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("begun", Double, nullable=False),
    Column("seen", Double, nullable=False),
)
FAILED_LOGIN = Table(
    "catalog_failed_login",
    store.META,
    Column("counter", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", Double, nullable=False),
)


def begin(tx: Connection, secret: str, account: Account, now: float) -> None:
    """A login that holds from now on, for whoever has `secret`."""
    values = {"account": account.name, "epoch": account.epoch, "begun": now, "seen": now}
    tx.execute(insert(SESSION).values(id=hash_of(secret), **values))


def find(tx: Connection, secret: str, now: float, *, used: bool = True) -> Account | None:
    """Whose session `secret` is of. None: there is none, or it holds no more. `used`: a person does something now."""
    id = hash_of(secret)
    row = tx.execute(select(SESSION).where(SESSION.c.id == id)).first()
    if row is None:
        return None
    session, account = Session(row.begun, row.seen), accounts_store.find(tx, row.account)
    if account is None or account.epoch != row.epoch or not session.good(now):
        tx.execute(delete(SESSION).where(SESSION.c.id == id))
        return None
    if used and now - session.seen > TOUCH_SECONDS:
        tx.execute(update(SESSION).where(SESSION.c.id == id).values(seen=now))
    return account


def end(tx: Connection, secret: str) -> None:
    """It holds no more."""
    tx.execute(delete(SESSION).where(SESSION.c.id == hash_of(secret)))


def purge(tx: Connection, now: float) -> None:
    """Forget what holds no more."""
    tx.execute(delete(SESSION).where(or_(SESSION.c.seen < now - IDLE_SECONDS, SESSION.c.begun < now - LONGEST_SECONDS)))
    tx.execute(delete(FAILED_LOGIN).where(FAILED_LOGIN.c.since < now - WINDOW_SECONDS))


# --- failed logins ----------------------------------------------------------------------------------------------------


def to_wait(tx: Connection, counters: Iterable[tuple[str, int]], now: float) -> float:
    """Seconds until the next login may be tried; 0: now."""
    return max(_failures(tx, counter, now).left(most, now) for counter, most in counters)


def note_failure(tx: Connection, counters: Iterable[tuple[str, int]], now: float) -> None:
    """One more login has failed."""
    lock_until_commit(tx, "catalog_failed_login")
    for counter, _ in counters:
        failures = _failures(tx, counter, now).more(now)
        forget_failures(tx, counter)
        tx.execute(insert(FAILED_LOGIN).values(counter=counter, failures=failures.count, since=failures.since))


def forget_failures(tx: Connection, counter: str) -> None:
    """Begin to count anew."""
    tx.execute(delete(FAILED_LOGIN).where(FAILED_LOGIN.c.counter == counter))


def _failures(tx: Connection, counter: str, now: float) -> Failures:
    row = tx.execute(select(FAILED_LOGIN).where(FAILED_LOGIN.c.counter == counter)).first()
    return Failures(0, now) if row is None else Failures(row.failures, row.since)
