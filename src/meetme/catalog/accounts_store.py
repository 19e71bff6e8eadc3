"""Accounts in the database, for all replicas; passwords are kept as what scrypt makes of them (RFC 7914).

Each function is part of the caller's transaction, but for `Verifier.of` and `check`: a password takes a quarter of a
second and 32 MiB, and orders wait for the same database.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hmac import compare_digest

from sqlalchemy import BigInteger, Column, Connection, Double, Integer, Row, Table, Text, delete, insert, select, update

from meetme.catalog import logbook, store
from meetme.catalog.accounts import (
    LONGEST_PASSWORD,
    Account,
    Role,
    name_problems,
    normal_name,
    normal_password,
    password_problems,
    role_problems,
)
from meetme.model.errors import Conflict, NotFound, raise_problems
from meetme.runtime.database import Database, lock_until_commit

ACCOUNT = Table(
    "catalog_account",
    store.META,
    Column("name", Text, primary_key=True),
    Column("roles", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("changed", Double, nullable=False),
    Column("salt", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("r", Integer, nullable=False),
    Column("p", Integer, nullable=False),
    Column("hash", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """How dear a try is, as scrypt counts: memory is 128 n r octets, time goes with n r p (RFC 7914, 2)."""

    n: int = 2**15
    r: int = 8
    p: int = 3


COST = Cost()
"""Of new passwords. Those that are there keep the one that they were made with."""
_SALT_OCTETS, _HASH_OCTETS = 16, 32
_NOBODY = bytes(_SALT_OCTETS)
"""The salt for a name that nobody has: it takes as long to say no."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is kept of a password: whoever has it can tell whether a guess is right, at a cost, and no more."""

    salt: bytes
    cost: Cost
    hash: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, password: str, cost: Cost = COST) -> Verifier:
        """Of a new password for the account `name`; computes for a while. Raises InvalidInput."""
        raise_problems(password_problems(normal_name(name), normal_password(password)))
        salt = secrets.token_bytes(_SALT_OCTETS)
        return cls(salt, cost, _scrypt(password, salt, cost))


def generated_password() -> str:
    """A new one that nobody guesses: 25 of 31 letters and digits (123 bits), in groups that can be read aloud."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another one
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(5))


def add(tx: Connection, name: str, password: Verifier, roles: Iterable[Role], now: float) -> Account:
    """A new account. Raises InvalidInput, Conflict `account_exists`."""
    name, given = normal_name(name), frozenset(roles)
    raise_problems([*name_problems(name), *role_problems(given)])
    lock_until_commit(tx, "catalog_account")
    if find(tx, name) is not None:
        raise Conflict(
            "account_exists",
            f'name: must not be that of another account ("{name}")',
            hint="meetme account password and roles change one that is there",
            field="name",
        )
    account = Account(name=name, roles=given, epoch=_new_epoch(), changed=now)
    tx.execute(insert(ACCOUNT).values(name=name, **_standing(account), **_secret(password)))
    logbook.audit(tx, now, "AccountAdded", account=name, roles=sorted(given))
    return account


def set_password(tx: Connection, name: str, password: Verifier, now: float) -> Account:
    """Another password: sessions of the account end. Raises NotFound `account_unknown`."""
    changed = replace(_get(tx, name), epoch=_new_epoch(), changed=now)
    _write(tx, {**_standing(changed), **_secret(password)}, changed.name)
    logbook.audit(tx, now, "AccountPasswordChanged", account=changed.name)
    return changed


def set_roles(tx: Connection, name: str, roles: Iterable[Role], now: float) -> Account:
    """Other roles, in the place of those that it had: sessions of the account end. Raises InvalidInput, NotFound."""
    given = frozenset(roles)
    raise_problems(role_problems(given))
    changed = replace(_get(tx, name), roles=given, epoch=_new_epoch(), changed=now)
    _write(tx, _standing(changed), changed.name)
    logbook.audit(tx, now, "AccountRolesChanged", account=changed.name, roles=sorted(given))
    return changed


def remove(tx: Connection, name: str, now: float) -> None:
    """Nobody logs in as that any more: sessions of the account end. Raises NotFound `account_unknown`."""
    known = _get(tx, name)
    tx.execute(delete(ACCOUNT).where(ACCOUNT.c.name == known.name))
    logbook.audit(tx, now, "AccountRemoved", account=known.name)


def find(tx: Connection, name: str) -> Account | None:
    """One account, or None."""
    row = tx.execute(select(ACCOUNT).where(ACCOUNT.c.name == normal_name(name))).one_or_none()
    return None if row is None else _account(row)


def every(tx: Connection) -> list[Account]:
    """All accounts, by name."""
    return [_account(row) for row in tx.execute(select(ACCOUNT).order_by(ACCOUNT.c.name))]


async def check(database: Database, name: str, password: str) -> Account | None:
    """Whose name and password these are. None: nobody's; that takes as long where there is no such name.

    The account is as it was before the password was hashed; a session that begins with its `epoch` is right even so.
    """
    if len(password) > LONGEST_PASSWORD:
        return None
    row = await database.read(
        lambda tx: tx.execute(select(ACCOUNT).where(ACCOUNT.c.name == normal_name(name))).one_or_none()
    )
    # hashlib lets other threads run while it computes.
    return await asyncio.to_thread(_checked, row, password)


def _checked(row: Row[tuple[object, ...]] | None, password: str) -> Account | None:
    if row is None:
        _scrypt(password, _NOBODY, COST)
        return None
    found = _scrypt(password, bytes.fromhex(row.salt), Cost(row.n, row.r, row.p))
    return _account(row) if compare_digest(found, bytes.fromhex(row.hash)) else None


# --- in the table -----------------------------------------------------------------------------------------------------


def _get(tx: Connection, name: str) -> Account:
    lock_until_commit(tx, "catalog_account")
    known = find(tx, name)
    if known is None:
        raise NotFound(
            "account_unknown",
            f'name: must be that of an account ("{normal_name(name)[:64]}")',
            hint="meetme account list shows them",
            field="name",
        )
    return known


def _write(tx: Connection, values: dict[str, str | int | float], name: str) -> None:
    tx.execute(update(ACCOUNT).where(ACCOUNT.c.name == name).values(values))


def _standing(account: Account) -> dict[str, str | int | float]:
    return {"roles": " ".join(sorted(account.roles)), "epoch": account.epoch, "changed": account.changed}


def _account(row: Row[tuple[object, ...]]) -> Account:
    roles = frozenset(Role(word) for word in row.roles.split())
    return Account(name=row.name, roles=roles, epoch=row.epoch, changed=row.changed)


def _new_epoch() -> int:
    # Not a count: an account that was removed and made anew must not get back to where a session still is.
    return secrets.randbits(62)


def _secret(kept: Verifier) -> dict[str, str | int]:
    cost = kept.cost
    return {"salt": kept.salt.hex(), "n": cost.n, "r": cost.r, "p": cost.p, "hash": kept.hash.hex()}


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    # A browser may send what is no text; nobody has such a password, but it is no reason to fail.
    secret = normal_password(password).encode("utf-8", "surrogatepass")
    memory = 128 * cost.r * (cost.n + cost.p) + 2**20
    return hashlib.scrypt(secret, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=memory, dklen=_HASH_OCTETS)
