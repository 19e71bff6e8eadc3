"""The catalogue's tables, and everything that is asked of them. Each function is part of the caller's transaction.

Migrated by `runtime.database.migrate(database, "meetme.catalog")`.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from meetme.catalog import wire
from meetme.catalog.order import Order
from meetme.catalog.words import ENDED, Party, State
from meetme.model.agreement import MemberId
from meetme.runtime.database import lock_until_commit
from meetme.runtime.keys import KeyStore
from meetme.runtime.mailbox import Mailbox

META = MetaData()
LISTING = Table(
    "catalog_listing",
    META,
    Column("provider", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("expires", Double, nullable=False),
    Column("heard", Double, nullable=False),
    Column("etag", Text, nullable=False),
    Column("document", Text, nullable=False),
)
ORDER = Table(
    "catalog_order",
    META,
    Column("id", Text, primary_key=True),
    Column("party", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("offer", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("began", Double, nullable=False),
    Column("body", Text, nullable=False),
)
MAILBOX = Mailbox("catalog", "about", META)
KEYS = KeyStore("catalog", "about", META)

# Built once: building a statement takes longer than running it.
_BY_ID = select(ORDER.c.body).where(ORDER.c.id == bindparam("order"))
_ADD = insert(ORDER)
_CHANGE = update(ORDER).where(ORDER.c.id == bindparam("order"))


# --- orders -----------------------------------------------------------------------------------------------------------


def load(tx: Connection, id: UUID | str) -> Order | None:
    """One order, or None."""
    body = tx.scalar(_BY_ID, {"order": str(id)})
    return None if body is None else wire.load_order(body)


def save(tx: Connection, order: Order, *, new: bool) -> None:
    """Write the standing state of one order."""
    values = {
        "party": order.party.value,
        "partner": order.partner,
        "offer": order.wanted.offer,
        "state": order.state.value,
        "revision": order.revision,
        "began": order.began,
        "body": wire.store_order(order),
    }
    if new:
        tx.execute(_ADD, {"id": str(order.id), **values})
    else:
        tx.execute(_CHANGE, {"order": str(order.id), **values})


def orders(tx: Connection, party: Party | None = None, *, live: bool = False) -> list[Order]:
    """All of them, the newest first. `party`: on that side alone; `live`: none that have ended."""
    query = select(ORDER.c.body).order_by(ORDER.c.began.desc(), ORDER.c.id)
    if party is not None:
        query = query.where(ORDER.c.party == party.value)
    if live:
        query = query.where(ORDER.c.state.not_in([state.value for state in ENDED]))
    return [wire.load_order(body) for body in tx.scalars(query)]


def has_circuit(tx: Connection, circuit: str, partner: str, other_than: UUID) -> bool:
    """Whether another order with this member, on either side, is over this circuit and has not ended."""
    query = select(ORDER.c.body).where(
        ORDER.c.partner == partner,
        ORDER.c.id != str(other_than),
        ORDER.c.state.not_in([state.value for state in ENDED]),
        # Few are read for their own sake: one that names it anywhere.
        ORDER.c.body.contains(circuit, autoescape=True),
    )
    return any(wire.load_order(body).circuit.id == circuit for body in tx.scalars(query))


def count_by_state(tx: Connection) -> dict[State, int]:
    """How many orders there are in each state."""
    query = select(ORDER.c.state, func.count().label("number")).group_by(ORDER.c.state)
    return {State(row.state): row.number for row in tx.execute(query)}


# --- listings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """The last good listing of a member, as it was signed."""

    provider: MemberId
    version: int
    expires: float
    heard: float
    """When that member was heard of last, epoch seconds."""
    etag: str
    """What that member called this listing; empty: it has no name for it."""
    document: str


def listings(tx: Connection) -> list[Kept]:
    """Those of everybody, the own one too."""
    rows = tx.execute(select(LISTING).order_by(LISTING.c.provider))
    return [Kept(MemberId(row.provider), row.version, row.expires, row.heard, row.etag, row.document) for row in rows]


def listing(tx: Connection, provider: str) -> Kept | None:
    """That of one member, or None."""
    return next((kept for kept in listings(tx) if kept.provider == provider), None)


def keep_listing(tx: Connection, kept: Kept) -> bool:
    """Keep this listing, where no later one of the same member is kept. False: there is one."""
    # Replicas may bring two of one member at once.
    lock_until_commit(tx, "catalog_listing")
    known = tx.scalar(select(LISTING.c.version).where(LISTING.c.provider == kept.provider))
    if known is not None and known > kept.version:
        return False
    values = {
        "version": kept.version,
        "expires": kept.expires,
        "heard": kept.heard,
        "etag": kept.etag,
        "document": kept.document,
    }
    if known is None:
        tx.execute(insert(LISTING).values(provider=kept.provider, **values))
    else:
        tx.execute(update(LISTING).where(LISTING.c.provider == kept.provider).values(values))
    return True


def heard_of(tx: Connection, provider: str, now: float) -> None:
    """That member was reached, and what is kept of it still is what it says."""
    tx.execute(update(LISTING).where(LISTING.c.provider == provider).values(heard=now))


def forget_listing(tx: Connection, provider: str) -> None:
    """Keep nothing of a member that is not in the roster any more."""
    tx.execute(delete(LISTING).where(LISTING.c.provider == provider))
