"""The negotiator's tables, and everything that is asked of them. Each function is part of the caller's transaction.

What two negotiations may not both have is in `claim_store`, and asked for here as the rest.
Migrated by `runtime.database.migrate(database, "meetme.negotiator")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Integer,
    Row,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from meetme.model.agreement import MemberId, Role
from meetme.negotiator import wire
from meetme.negotiator.claim_store import CLAIM as CLAIM
from meetme.negotiator.claim_store import META as _META
from meetme.negotiator.claim_store import announced_in_vain as announced_in_vain
from meetme.negotiator.claim_store import at_router as at_router
from meetme.negotiator.claim_store import claim as claim
from meetme.negotiator.claim_store import claimant as claimant
from meetme.negotiator.claim_store import claimed_prefixes as claimed_prefixes
from meetme.negotiator.events import Rival
from meetme.negotiator.negotiation import Attachment, Negotiation
from meetme.negotiator.roll import Listed, Standing, listed
from meetme.negotiator.states import LIVE, State
from meetme.negotiator.views import Terms
from meetme.runtime.keys import KeyStore
from meetme.runtime.mailbox import KEPT_SECONDS as KEPT_SECONDS
from meetme.runtime.mailbox import Mailbox

NEGOTIATION = Table(
    "negotiator_negotiation",
    _META,
    Column("id", Text, primary_key=True),
    Column("peer", Text, nullable=False),
    Column("circuit", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("started", Double, nullable=False),
    Column("order_id", Text),
    Column("body", Text, nullable=False),
    Column("agreed", Integer),
    Column("changes", Integer),
)
REQUEST = Table(
    "negotiator_request",
    _META,
    Column("negotiation", Text, primary_key=True),
    Column("body", Text, nullable=False),
)
MAILBOX = Mailbox("negotiator", "negotiation", _META)
MESSAGE = MAILBOX.table
ATTACHMENT = Table(
    "negotiator_attachment",
    _META,
    Column("circuit", Text, primary_key=True),
    Column("router", Text, nullable=False),
    Column("port", Text, nullable=False),
    Column("vlan", Integer),
    Column("mtu", Integer, nullable=False),
    Column("peer", Text),
)
KEYS = KeyStore("negotiator", "negotiation", _META)
CIRCUIT = Table(
    "negotiator_circuit",
    _META,
    Column("circuit", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
)
_LIVE = [state.value for state in LIVE]
# Built once: building a statement takes longer than running it.
_BY_ID = select(NEGOTIATION.c.body).where(NEGOTIATION.c.id == bindparam("negotiation"))
_STATE = select(NEGOTIATION.c.state).where(NEGOTIATION.c.id == bindparam("negotiation"))
_ACTIVE = select(NEGOTIATION.c.id, NEGOTIATION.c.revision).where(NEGOTIATION.c.state == State.ACTIVE.value)
_STANDINGS = select(*(NEGOTIATION.c[name] for name in ("id", "peer", "role", "agreed", "changes"))).where(
    NEGOTIATION.c.state == State.ACTIVE.value
)
_ADD = insert(NEGOTIATION)
_CHANGE = update(NEGOTIATION).where(NEGOTIATION.c.id == bindparam("negotiation"))
_TERMS = select(REQUEST.c.body).where(REQUEST.c.negotiation == bindparam("negotiation"))
_GENERATION = select(CIRCUIT.c.generation).where(CIRCUIT.c.circuit == bindparam("name"))
_ADD_GENERATION = insert(CIRCUIT)
_RAISE_GENERATION = (
    update(CIRCUIT)
    .where(CIRCUIT.c.circuit == bindparam("name"), CIRCUIT.c.generation < bindparam("highest"))
    .values(generation=bindparam("highest"))
)
_RIVAL = (
    select(NEGOTIATION.c.body)
    .where(
        or_(
            (NEGOTIATION.c.circuit == bindparam("name")) & NEGOTIATION.c.state.in_(_LIVE),
            NEGOTIATION.c.id.in_(
                select(CLAIM.c.negotiation).where(CLAIM.c.kind == "circuit", CLAIM.c.value == bindparam("name"))
            ),
        ),
        NEGOTIATION.c.id != bindparam("but"),
    )
    .order_by(NEGOTIATION.c.started)
    .limit(1)
)
_ATTACHMENT = select(ATTACHMENT).where(ATTACHMENT.c.circuit == bindparam("name"))

_AT_A_TIME = 500


# --- negotiations -----------------------------------------------------------------------------------------------------


def load(tx: Connection, id: UUID | str) -> Negotiation | None:
    """One negotiation, or None."""
    body = tx.scalar(_BY_ID, {"negotiation": str(id)})
    return None if body is None else wire.load_negotiation(body)


def known_of(tx: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these are known, in whatever state."""
    found: set[UUID] = set()
    for part in range(0, len(ids), _AT_A_TIME):
        names = [str(id) for id in ids[part : part + _AT_A_TIME]]
        found.update(map(UUID, tx.scalars(select(NEGOTIATION.c.id).where(NEGOTIATION.c.id.in_(names)))))
    return found


def state_of(tx: Connection, id: UUID) -> State | None:
    """In which state one negotiation is, or None."""
    found = tx.scalar(_STATE, {"negotiation": str(id)})
    return None if found is None else State(found)


def save(tx: Connection, n: Negotiation, *, new: bool) -> None:
    """Write the standing state of one negotiation."""
    line = listed(n)
    values = {
        "agreed": line.agreed if line else None,
        "changes": line.changes if line else None,
        "peer": n.peer,
        "circuit": n.circuit,
        "role": n.role.value,
        "state": n.state.value,
        "revision": n.revision,
        "started": n.started,
        "order_id": n.order,
        "body": wire.store_negotiation(n),
    }
    if new:
        tx.execute(_ADD, {"id": str(n.id), **values})
    else:
        tx.execute(_CHANGE, {"negotiation": str(n.id), **values})


def negotiations(tx: Connection, circuit: str | None = None) -> list[Negotiation]:
    """All of them, or those over one circuit, the newest first."""
    query = select(NEGOTIATION.c.body).order_by(NEGOTIATION.c.started.desc(), NEGOTIATION.c.id)
    if circuit is not None:
        query = query.where(NEGOTIATION.c.circuit == circuit)
    return [wire.load_negotiation(body) for body in tx.scalars(query)]


def active(tx: Connection) -> dict[UUID, int]:
    """Every active negotiation, and its revision."""
    return {UUID(row.id): row.revision for row in tx.execute(_ACTIVE)}


def standings(tx: Connection, peer: MemberId | None = None) -> list[Standing]:
    """What of every active agreement, or of those with one peer, is compared with the peer."""
    query = _STANDINGS if peer is None else _STANDINGS.where(NEGOTIATION.c.peer == peer)
    return [_standing(row) for row in tx.execute(query)]


def _standing(row: Row[Any]) -> Standing:
    id = UUID(row.id)
    line = None if row.agreed is None else Listed(id, row.agreed, row.changes)
    return Standing(id, MemberId(row.peer), Role(row.role), line)


def count_by_state(tx: Connection) -> dict[State, int]:
    """How many negotiations there are in each state."""
    query = select(NEGOTIATION.c.state, func.count().label("number")).group_by(NEGOTIATION.c.state)
    return {State(row.state): row.number for row in tx.execute(query)}


def live_with(tx: Connection, peer: str) -> int:
    """How many live negotiations there are with this peer."""
    query = select(func.count()).where(
        NEGOTIATION.c.peer == peer, NEGOTIATION.c.state.in_([state.value for state in LIVE])
    )
    return tx.scalar(query) or 0


def rival(tx: Connection, circuit: str, other_than: UUID | None = None) -> Rival | None:
    """Who has this circuit: a live negotiation, or one that has ended and still claims it."""
    body = tx.scalar(_RIVAL, {"name": circuit, "but": str(other_than)})
    if body is None:
        return None
    n = wire.load_negotiation(body)
    return Rival(n.id, n.role, n.state)


def put_terms(tx: Connection, id: UUID, terms: Terms) -> None:
    """Keep what the request overrides, for the later rounds."""
    tx.execute(insert(REQUEST).values(negotiation=str(id), body=wire.store_terms(terms)))


def terms(tx: Connection, id: UUID) -> Terms:
    """What the request overrode; nothing where the peer started."""
    body = tx.scalar(_TERMS, {"negotiation": str(id)})
    return Terms() if body is None else wire.load_terms(body)


def next_generation(tx: Connection, circuit: str, now: float) -> int:
    """A fencing number above every one that was ever used for the circuit.

    Also above the clock's milliseconds: a database that was restored from a backup does not fall behind the devices.
    """
    known = tx.scalar(_GENERATION, {"name": circuit}) or 0
    return max(known + 1, int(now * 1000))


def keep_generation(tx: Connection, circuit: str, generation: int) -> None:
    """Remember the highest number used; it outlives the negotiation."""
    if tx.execute(_RAISE_GENERATION, {"name": circuit, "highest": generation}).rowcount:
        return
    if tx.scalar(_GENERATION, {"name": circuit}) is None:
        tx.execute(_ADD_GENERATION, {"circuit": circuit, "generation": generation})


# --- messages ---------------------------------------------------------------------------------------------------------


def purge_messages(tx: Connection, now: float) -> int:
    """Forget answered messages whose repetition would be refused as expired; how many went."""
    return MAILBOX.purge(tx, now)


# --- attachments ------------------------------------------------------------------------------------------------------


def attachments(tx: Connection) -> dict[str, Attachment]:
    """Every attachment, by circuit."""
    return {row.circuit: _attachment(row) for row in tx.execute(select(ATTACHMENT).order_by(ATTACHMENT.c.circuit))}


def attachment(tx: Connection, circuit: str) -> Attachment | None:
    """Where a circuit lands, if that was registered."""
    row = tx.execute(_ATTACHMENT, {"name": circuit}).one_or_none()
    return None if row is None else _attachment(row)


def _attachment(row: Row[Any]) -> Attachment:
    return Attachment(row.router, row.port, row.vlan, row.mtu, row.peer)


def put_attachment(tx: Connection, circuit: str, a: Attachment) -> bool:
    """Register where a circuit lands, in the place of what was registered. True: it is new."""
    values = {"router": a.router, "port": a.port, "vlan": a.vlan, "mtu": a.mtu, "peer": a.peer}
    if tx.execute(update(ATTACHMENT).where(ATTACHMENT.c.circuit == circuit).values(values)).rowcount:
        return False
    tx.execute(insert(ATTACHMENT).values(circuit=circuit, **values))
    return True


def delete_attachment(tx: Connection, circuit: str) -> bool:
    """Forget where a circuit lands. False: it was not registered."""
    return tx.execute(delete(ATTACHMENT).where(ATTACHMENT.c.circuit == circuit)).rowcount == 1
