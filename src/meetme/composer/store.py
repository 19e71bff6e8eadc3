"""The composer's tables, and everything that is asked of them. Each function is part of the caller's transaction.

Migrated by `runtime.database.migrate(database, "meetme.composer")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
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

from meetme.composer import wire
from meetme.composer.capacity import Claim, Kind, Limit, Resource, conflict
from meetme.composer.circuit import Circuit
from meetme.composer.locks import lock_claims
from meetme.composer.views import TakenOffer
from meetme.composer.words import ENDED, State
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict
from meetme.runtime.keys import KeyStore
from meetme.runtime.mailbox import Mailbox

_META = MetaData()
CIRCUIT = Table(
    "composer_circuit",
    _META,
    Column("id", Text, primary_key=True),
    Column("head", Text, nullable=False),
    Column("ordered_by", Text, nullable=False),
    Column("a_member", Text, nullable=False),
    Column("b_member", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("began", Double, nullable=False),
    Column("body", Text, nullable=False),
)
CLAIM = Table(
    "composer_claim",
    _META,
    Column("circuit", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("ports", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("label", Integer),
    Column("bandwidth", Integer, nullable=False),
    Column("firm", Boolean, nullable=False),
)
GIVEN_UP = Table(
    "composer_given_up",
    _META,
    Column("circuit", Text, primary_key=True),
    Column("path", Integer, primary_key=True),
    Column("sender", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("at", Double, nullable=False),
)
TURN = Table(
    "composer_turn",
    _META,
    Column("circuit", Text, primary_key=True),
    Column("since", Double, nullable=False),
    Column("has_it", Boolean, nullable=False),
)
OFFER = Table(
    "composer_offer",
    _META,
    Column("id", Text, primary_key=True),
    Column("expires", Double, nullable=False),
    Column("body", Text, nullable=False),
)
MAILBOX = Mailbox("composer", "circuit", _META)
KEYS = KeyStore("composer", "circuit", _META)

_BY_ID = select(CIRCUIT.c.body).where(CIRCUIT.c.id == bindparam("circuit"))
_STATE = select(CIRCUIT.c.state).where(CIRCUIT.c.id == bindparam("circuit"))
_ADD = insert(CIRCUIT)
_CHANGE = update(CIRCUIT).where(CIRCUIT.c.id == bindparam("circuit"))
_UNCLAIM = delete(CLAIM).where(CLAIM.c.circuit == bindparam("whose"))
_CLAIM = insert(CLAIM)
_OTHERS = select(CLAIM).where(
    CLAIM.c.kind == bindparam("what"), CLAIM.c.ports == bindparam("where"), CLAIM.c.circuit != bindparam("but")
)
_BETWEEN = "\n"
"""What is in no name of a port."""


# --- circuits ---------------------------------------------------------------------------------------------------------


def load(tx: Connection, id: UUID | str) -> Circuit | None:
    """One circuit, or None."""
    body = tx.scalar(_BY_ID, {"circuit": str(id)})
    return None if body is None else wire.load_circuit(body)


def state_of(tx: Connection, id: UUID) -> State | None:
    """In which state one circuit is, or None."""
    found = tx.scalar(_STATE, {"circuit": str(id)})
    return None if found is None else State(found)


def save(tx: Connection, c: Circuit, *, new: bool) -> None:
    """Write the standing state of one circuit."""
    values = {
        "head": c.head,
        "ordered_by": c.ordered_by,
        "a_member": c.request.a.member,
        "b_member": c.request.b.member,
        "state": c.state.value,
        "revision": c.revision,
        "began": c.began,
        "body": wire.store_circuit(c),
    }
    if new:
        tx.execute(_ADD, {"id": str(c.id), **values})
    else:
        tx.execute(_CHANGE, {"circuit": str(c.id), **values})


def circuits(tx: Connection, member: str | None = None, *, live: bool = False) -> list[Circuit]:
    """All of them, the newest first. `member`: only those of which it is an end; `live`: none that have ended."""
    query = select(CIRCUIT.c.body).order_by(CIRCUIT.c.began.desc(), CIRCUIT.c.id)
    if member is not None:
        query = query.where(or_(CIRCUIT.c.a_member == member, CIRCUIT.c.b_member == member))
    if live:
        query = query.where(CIRCUIT.c.state.not_in([state.value for state in ENDED]))
    return [wire.load_circuit(body) for body in tx.scalars(query)]


def begun(tx: Connection, beginning: str) -> list[tuple[str, UUID, State]]:
    """The circuits that have not ended and were begun with a key that begins so: key, circuit, state."""
    key = KEYS.table.c.key
    query = (
        select(key, CIRCUIT.c.id, CIRCUIT.c.state)
        .join(CIRCUIT, CIRCUIT.c.id == KEYS.table.c.circuit)
        .where(key.startswith(beginning, autoescape=True))
        .where(CIRCUIT.c.state.not_in([state.value for state in ENDED]))
        .order_by(key)
    )
    rows = tx.execute(query)  # some databases compare without regard to case
    return [(row.key, UUID(row.id), State(row.state)) for row in rows if row.key.startswith(beginning)]


def count_by_state(tx: Connection) -> dict[State, int]:
    """How many circuits there are in each state."""
    query = select(CIRCUIT.c.state, func.count().label("number")).group_by(CIRCUIT.c.state)
    return {State(row.state): row.number for row in tx.execute(query)}


# --- capacity and labels ----------------------------------------------------------------------------------------------


def held(tx: Connection, resources: Iterable[Resource], but: UUID | None) -> tuple[Claim, ...]:
    """What circuits other than `but` have of these resources. Nobody changes it until the transaction ends."""
    lock_claims(tx)
    found: list[Claim] = []
    for resource in dict.fromkeys(resources):
        where = {"what": resource.kind.value, "where": _BETWEEN.join(resource.ports), "but": str(but)}
        found += [_claim(row) for row in tx.execute(_OTHERS, where)]
    return tuple(found)


def all_held(tx: Connection) -> tuple[Claim, ...]:
    """What all circuits have of everything."""
    return tuple(_claim(row) for row in tx.execute(select(CLAIM)))


def claim(
    tx: Connection, id: UUID, claims: frozenset[Claim], limit: Callable[[Resource], Limit | None], *, checked: bool
) -> None:
    """Let a circuit have exactly `claims`. Raises Conflict `claim_conflict` where another one is in the way.

    `checked`: false where it is as it is (the exchange carries it already), whatever the settings say by now.
    """
    lock_claims(tx)
    if checked:
        for resource in {each.resource for each in claims}:
            beside = held(tx, (resource,), id)
            own = [each for each in claims if each.resource == resource]
            for index, each in enumerate(own):
                broken = conflict(limit(resource), each, (*beside, *own[:index]))
                if broken is not None:
                    raise Conflict("claim_conflict", f"{resource}: {broken}", field=str(resource.kind))
    tx.execute(_UNCLAIM, {"whose": str(id)})
    if claims:
        tx.execute(_CLAIM, [_row(id, each) for each in claims])


def _row(id: UUID, each: Claim) -> dict[str, Any]:
    return {
        "circuit": str(id),
        "kind": each.resource.kind.value,
        "ports": _BETWEEN.join(each.resource.ports),
        "holder": each.holder,
        "label": each.label,
        "bandwidth": each.bandwidth,
        "firm": each.firm,
    }


def _claim(row: Row[Any]) -> Claim:
    resource = Resource(Kind(row.kind), tuple(row.ports.split(_BETWEEN)))
    return Claim(resource, row.holder, row.label, row.bandwidth, row.firm)


# --- what was given up before it began --------------------------------------------------------------------------------


def give_up(tx: Connection, circuit: UUID, path: int, sender: MemberId, attempt: int, now: float) -> None:
    """Remember that `sender` released a leg that is not known: its `hold` may still be on its way."""
    known = given_up(tx, circuit, path, sender)
    key = {"circuit": str(circuit), "path": path, "sender": sender}
    if known is None:
        tx.execute(insert(GIVEN_UP), {**key, "attempt": attempt, "at": now})
    else:
        found = update(GIVEN_UP).where(*(GIVEN_UP.c[name] == value for name, value in key.items()))
        tx.execute(found.values(attempt=max(known, attempt), at=now))


def given_up(tx: Connection, circuit: UUID, path: int, sender: MemberId) -> int | None:
    """The highest attempt at a path that `sender` released before it was held, or None."""
    key = (GIVEN_UP.c.circuit == str(circuit), GIVEN_UP.c.path == path, GIVEN_UP.c.sender == sender)
    found: int | None = tx.scalar(select(GIVEN_UP.c.attempt).where(*key))
    return found


def forget_given_up(tx: Connection, before: float) -> None:
    """Forget what was released so long ago that no message from then is good any more."""
    tx.execute(delete(GIVEN_UP).where(GIVEN_UP.c.at < before))


# --- turns ------------------------------------------------------------------------------------------------------------


def queue(tx: Connection, circuit: str, now: float) -> None:
    """Let a circuit wait for its turn, if it does not yet, and has none."""
    if tx.scalar(select(TURN.c.circuit).where(TURN.c.circuit == circuit)) is None:
        tx.execute(insert(TURN), {"circuit": circuit, "since": now, "has_it": False})


def has_turn(tx: Connection, circuit: str) -> bool:
    """Whether it is its turn."""
    return bool(tx.scalar(select(TURN.c.has_it).where(TURN.c.circuit == circuit)))


def leave_queue(tx: Connection, circuit: UUID) -> None:
    """It has no turn and waits for none."""
    tx.execute(delete(TURN).where(TURN.c.circuit == str(circuit)))


def call_next(tx: Connection, most: int) -> list[str]:
    """Give turns to those that have waited longest, until `most` have one: who got one."""
    room = most - (tx.scalar(select(func.count()).select_from(TURN).where(TURN.c.has_it)) or 0)
    if room <= 0:
        return []
    waiting = select(TURN.c.circuit).where(~TURN.c.has_it).order_by(TURN.c.since, TURN.c.circuit).limit(room)
    found = list(tx.scalars(waiting))
    if found:
        tx.execute(update(TURN).where(TURN.c.circuit.in_(found)).values(has_it=True))
    return found


# --- offers -----------------------------------------------------------------------------------------------------------


def put_offers(tx: Connection, offers: Iterable[TakenOffer], now: float) -> None:
    """Keep offers until they expire; forget those that have."""
    tx.execute(delete(OFFER).where(OFFER.c.expires <= now))
    rows = [
        {"id": str(each.view.id), "expires": each.view.expires.timestamp(), "body": wire.store_offer(each)}
        for each in offers
    ]
    if rows:
        tx.execute(insert(OFFER), rows)


def offer(tx: Connection, id: UUID, now: float) -> TakenOffer | None:
    """An offer that has not expired, or None."""
    body = tx.scalar(select(OFFER.c.body).where(OFFER.c.id == str(id), OFFER.c.expires > now))
    return None if body is None else wire.load_offer(body)
