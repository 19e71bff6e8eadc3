"""The server's tables, and everything that is asked of them. Each function is part of the caller's transaction.

Migrated by `runtime.database.migrate(database, "meetme.ixapi")`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
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
    inspect,
    or_,
    select,
    tuple_,
    update,
)

from meetme.ixapi import wire
from meetme.ixapi.bundle import Bundle, Claims, Room
from meetme.ixapi.claims import circuit_place
from meetme.ixapi.objects import Config, Service, State
from meetme.runtime.database import lock_until_commit

_META = MetaData()
BUNDLE = Table(
    "ixapi_bundle",
    _META,
    Column("id", Text, primary_key=True),
    Column("joined", Text),
    Column("body", Text, nullable=False),
)
OBJECT = Table(
    "ixapi_object",
    _META,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("managing", Text, nullable=False),
    Column("consuming", Text, nullable=False),
    Column("joining", Text),
    Column("external_ref", Text),
    Column("service", Text),
    Column("connection", Text),
    Column("body", Text, nullable=False),
)
CLAIM = Table(
    "ixapi_claim",
    _META,
    Column("place", Text, primary_key=True),
    Column("label", Integer, primary_key=True),
    Column("bundle", Text, nullable=False),
)
AMOUNT = Table(
    "ixapi_amount",
    _META,
    Column("place", Text, primary_key=True),
    Column("bundle", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
)
SECRET = Table(
    "ixapi_secret",
    _META,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
SERVICE, CONFIG = "service", "config"
CIRCUIT = circuit_place("")
# Built once: building a statement takes longer than running it.
_BODY = select(BUNDLE.c.body).where(BUNDLE.c.id == bindparam("bundle"))
_OF_OBJECT = select(OBJECT.c.bundle).where(OBJECT.c.id == bindparam("object"), OBJECT.c.kind == bindparam("sort"))
_JOINED = select(BUNDLE.c.id).where(BUNDLE.c.joined == bindparam("key"))
_NAMED = select(CLAIM.c.bundle).where(CLAIM.c.place == bindparam("where"))
_TAKEN = select(CLAIM.c.place, CLAIM.c.label).where(
    CLAIM.c.place.in_(bindparam("places", expanding=True)), CLAIM.c.bundle != bindparam("but")
)
_USED = (
    select(AMOUNT.c.place, func.sum(AMOUNT.c.amount).label("amount"))
    .where(AMOUNT.c.place.in_(bindparam("places", expanding=True)), AMOUNT.c.bundle != bindparam("but"))
    .group_by(AMOUNT.c.place)
)


# --- bundles ----------------------------------------------------------------------------------------------------------


def load(tx: Connection, id: str) -> Bundle | None:
    """One bundle, or None."""
    body = tx.scalar(_BODY, {"bundle": id})
    return None if body is None else wire.load_bundle(body)


def standing(tx: Connection) -> list[Bundle]:
    """The bundles that have, or may have, something on the switches."""
    names = select(CLAIM.c.bundle).where(CLAIM.c.place.startswith(CIRCUIT, autoescape=True))
    return [wire.load_bundle(body) for body in tx.scalars(select(BUNDLE.c.body).where(BUNDLE.c.id.in_(names)))]


def exists(tx: Connection) -> bool:
    """Whether these tables are there: a server has run with this database."""
    return inspect(tx).has_table(BUNDLE.name)


def ids(tx: Connection) -> list[UUID]:
    """All bundles that there ever were."""
    return [UUID(id) for id in tx.scalars(select(BUNDLE.c.id))]


def bundle_of(tx: Connection, kind: str, id: str) -> UUID | None:
    """In which bundle a service or config is; None: there is no such object."""
    found = tx.scalar(_OF_OBJECT, {"object": id, "sort": kind})
    return None if found is None else UUID(found)


def joined(tx: Connection, key: str) -> UUID | None:
    """The bundle that whoever orders under `key` joins; None: there is none that lives."""
    found = tx.scalar(_JOINED, {"key": key})
    return None if found is None else UUID(found)


def named(tx: Connection, place: str) -> bool:
    """Whether a name on the switches is taken."""
    return tx.scalar(_NAMED, {"where": place}) is not None


def save(tx: Connection, before: Bundle | None, after: Bundle, had: Claims, has: Claims) -> None:
    """Write a bundle, its objects, and what it claims."""
    id = str(after.id)
    values = {"joined": None if after.over and after.services else after.key, "body": wire.store_bundle(after)}
    if before is None:
        tx.execute(insert(BUNDLE).values(id=id, **values))
    else:
        tx.execute(update(BUNDLE).where(BUNDLE.c.id == id).values(values))
    known = {each.id: each for each in _objects(before)}
    for each in _objects(after):
        there = known.get(each.id)
        if there is None:
            tx.execute(insert(OBJECT).values(id=each.id, bundle=id, **_columns(each)))
        elif there != each:
            tx.execute(update(OBJECT).where(OBJECT.c.id == each.id).values(**_columns(each)))
    _save_claims(tx, id, had, has)


def _objects(bundle: Bundle | None) -> Iterable[Service | Config]:
    for service in bundle.services if bundle else ():
        yield service
        yield from service.configs


def _columns(each: Service | Config) -> dict[str, object]:
    common = {
        "created": each.created,
        "state": each.state.value,
        "managing": each.owners.managing,
        "consuming": each.owners.consuming,
        "external_ref": each.papers.external_ref,
    }
    if isinstance(each, Service):
        return {**common, "kind": SERVICE, "joining": each.joining, "body": wire.store_service(each)}
    own = {"kind": CONFIG, "service": each.service, "connection": each.connection}
    return {**common, **own, "body": wire.store_config(each)}


# --- what is claimed --------------------------------------------------------------------------------------------------


def _save_claims(tx: Connection, id: str, had: Claims, has: Claims) -> None:
    if gone := had.labels - has.labels:
        tx.execute(delete(CLAIM).where(tuple_(CLAIM.c.place, CLAIM.c.label).in_(gone), CLAIM.c.bundle == id))
    if new := has.labels - had.labels:
        tx.execute(insert(CLAIM), [{"place": place, "label": label, "bundle": id} for place, label in sorted(new)])
    before, after = dict(had.amounts), dict(has.amounts)
    if gone_from := before.keys() - after.keys():
        tx.execute(delete(AMOUNT).where(AMOUNT.c.bundle == id, AMOUNT.c.place.in_(gone_from)))
    for place, amount in after.items():
        if place not in before:
            tx.execute(insert(AMOUNT).values(place=place, bundle=id, amount=amount))
        elif before[place] != amount:
            tx.execute(update(AMOUNT).where(AMOUNT.c.place == place, AMOUNT.c.bundle == id).values(amount=amount))


def lock_places(tx: Connection, places: Iterable[str]) -> None:
    """From here to the commit nobody else gives anything out there."""
    for place in sorted(set(places)):
        lock_until_commit(tx, f"ixapi {place}")


def room(tx: Connection, but: UUID, places: Collection[str]) -> Room:
    """What bundles other than `but` have of some places. Lock the places first."""
    asked = {"places": sorted(places), "but": str(but)}
    taken: dict[str, set[int]] = {}
    for row in tx.execute(_TAKEN, asked):
        taken.setdefault(row.place, set()).add(row.label)
    used = {row.place: int(row.amount) for row in tx.execute(_USED, asked)}
    return Room({place: frozenset(labels) for place, labels in taken.items()}, used)


def amounts(tx: Connection) -> dict[str, int]:
    """What is ordered at each place, Mbit/s."""
    query = select(AMOUNT.c.place, func.sum(AMOUNT.c.amount).label("amount")).group_by(AMOUNT.c.place)
    return {row.place: int(row.amount) for row in tx.execute(query)}


# --- objects ----------------------------------------------------------------------------------------------------------


def _objects_where(
    tx: Connection, kind: str, accounts: Collection[str] | None, equal: Mapping[str, str], *, archived: bool
) -> Iterable[str]:
    query = select(OBJECT.c.body).where(OBJECT.c.kind == kind).order_by(OBJECT.c.created, OBJECT.c.id)
    if accounts is not None:
        columns = (OBJECT.c.managing, OBJECT.c.consuming, OBJECT.c.joining)
        query = query.where(or_(*(column.in_(sorted(accounts)) for column in columns)))
    if not archived:
        query = query.where(OBJECT.c.state != State.ARCHIVED.value)
    for column, value in equal.items():
        query = query.where(OBJECT.c[column] == value)
    return tx.scalars(query)


def services(
    tx: Connection, accounts: Collection[str] | None, equal: Mapping[str, str], *, archived: bool = False
) -> list[Service]:
    """Services that one of `accounts` may see (None: all), the oldest first; `equal`: columns with their values."""
    return [wire.load_service(body) for body in _objects_where(tx, SERVICE, accounts, equal, archived=archived)]


def configs(
    tx: Connection, accounts: Collection[str] | None, equal: Mapping[str, str], *, archived: bool = False
) -> list[Config]:
    """Configs, as `services`."""
    return [wire.load_config(body) for body in _objects_where(tx, CONFIG, accounts, equal, archived=archived)]


def count_by_state(tx: Connection) -> dict[State, int]:
    """How many services there are in each state."""
    query = (
        select(OBJECT.c.state, func.count().label("number")).where(OBJECT.c.kind == SERVICE).group_by(OBJECT.c.state)
    )
    return {State(row.state): row.number for row in tx.execute(query)}


# --- secrets ----------------------------------------------------------------------------------------------------------


def secret(tx: Connection, name: str) -> str:
    """A secret of the server's own, made when first asked for: every replica has the same."""
    lock_until_commit(tx, "ixapi secret")
    found: str | None = tx.scalar(select(SECRET.c.value).where(SECRET.c.name == name))
    if found is None:
        found = secrets.token_urlsafe(48)
        tx.execute(insert(SECRET).values(name=name, value=found))
    return found
