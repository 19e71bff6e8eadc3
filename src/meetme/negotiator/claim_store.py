"""What no two negotiations may both have: a circuit, a port, a shared address. Part of `store`, and asked for there.

Each claim is a row in `negotiator_claim`, rewritten from the rules' `claims` in the transaction that changes the state:
invariant 2 is checked where it would be broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_network
from uuid import UUID

from sqlalchemy import Column, Connection, MetaData, Table, Text, bindparam, delete, func, insert, select

from meetme.model.addresses import Prefix
from meetme.model.errors import Conflict
from meetme.negotiator.locks import lock_claims
from meetme.negotiator.negotiation import Claim

META = MetaData()
CLAIM = Table(
    "negotiator_claim",
    META,
    Column("negotiation", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("first", Text),
    Column("last", Text),
)
_CLASHES = {"prefix": ("prefix", "local"), "local": ("prefix",)}
"""Kinds of prefix that must not overlap one of this kind: announced prefixes are shared among negotiations."""
_OTHERS = select(CLAIM.c.negotiation).where(CLAIM.c.negotiation != bindparam("but"))
_HOLDER = _OTHERS.where(CLAIM.c.kind == bindparam("what"), CLAIM.c.value == bindparam("wanted")).limit(1)
_AT_ROUTER = _OTHERS.where(
    CLAIM.c.kind == "port", func.substr(CLAIM.c.value, 1, bindparam("length")) == bindparam("beginning")
)
# Two prefixes that share an address are nested: the other one begins within this one, or is one around it.
_OVERLAPPING = _OTHERS.where(
    CLAIM.c.kind.in_(bindparam("kinds", expanding=True)),
    CLAIM.c.first.between(bindparam("begin"), bindparam("end"))
    | CLAIM.c.value.in_(bindparam("around", expanding=True)),
).limit(1)
_CLAIMED = (
    select(CLAIM.c.value)
    .where(CLAIM.c.kind.in_(tuple(_CLASHES)), CLAIM.c.negotiation != bindparam("but"))
    .distinct()
    .order_by(CLAIM.c.value)
)
_UNCLAIM = delete(CLAIM).where(CLAIM.c.negotiation == bindparam("who"))
_ADD_CLAIMS = insert(CLAIM)


def claim(tx: Connection, id: UUID, claims: Iterable[Claim]) -> None:
    """Replace everything that one negotiation claims. Raises Conflict `claim_conflict` where another has it."""
    lock_claims(tx)
    tx.execute(_UNCLAIM, {"who": str(id)})
    rows = []
    for item in claims:
        holder = _holder(tx, item, str(id))
        if holder is not None:
            raise Conflict(
                "claim_conflict",
                f'{item.kind}: must not be given out twice ("{item.value}", negotiation {holder} has it)',
                hint="terminate or release that one first",
                field=item.kind,
            )
        first, last = _range(item.prefix) if item.prefix is not None else (None, None)
        rows.append({"negotiation": str(id), "kind": item.kind, "value": item.value, "first": first, "last": last})
    if rows:
        tx.execute(_ADD_CLAIMS, rows)


def _holder(tx: Connection, item: Claim, id: str) -> str | None:
    if item.prefix is None:
        return tx.scalar(_HOLDER, {"what": item.kind, "but": id, "wanted": item.value})
    begin, end = _range(item.prefix)
    around = [str(item.prefix.supernet(new_prefix=length)) for length in range(item.prefix.prefixlen)]
    kinds = _CLASHES[item.kind]
    return tx.scalar(_OVERLAPPING, {"kinds": kinds, "but": id, "begin": begin, "end": end, "around": around})


def _range(prefix: Prefix) -> tuple[str, str]:
    """First and last address as text that sorts as the addresses do, one family after the other."""
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    return f"{prefix.version}:{first:032x}", f"{prefix.version}:{last:032x}"


def claimed_prefixes(tx: Connection, other_than: UUID | None = None) -> tuple[Prefix, ...]:
    """Every prefix that other negotiations claim, those that they announce included."""
    lock_claims(tx)
    return tuple(_prefix(value) for value in tx.scalars(_CLAIMED, {"but": str(other_than)}))


@lru_cache(maxsize=65536)
def _prefix(value: str) -> Prefix:
    return ip_network(value)


def announced_in_vain(tx: Connection, prefixes: Iterable[Prefix], other_than: UUID | None = None) -> Conflict | None:
    """What is wrong with announcing `prefixes`: one is in use for what another negotiation reaches at its peer."""
    for prefix in prefixes:
        holder = _holder(tx, Claim("local", str(prefix), prefix), str(other_than))
        if holder is not None:
            return Conflict(
                "local_subnet_in_use",
                f"local_subnets: must not overlap what is reached at a peer ({prefix}, negotiation {holder})",
                hint="announce other prefixes, or terminate that negotiation first",
                field="local_subnets",
                existing=holder,
            )
    return None


def claimant(tx: Connection, kind: str, value: str, other_than: UUID | None = None) -> UUID | None:
    """Which negotiation has this port or circuit."""
    holder = _holder(tx, Claim(kind, value), str(other_than))
    return None if holder is None else UUID(holder)


def at_router(tx: Connection, router: str, other_than: UUID | None = None) -> tuple[UUID, ...]:
    """Every other negotiation that has a port of this router."""
    beginning = f"{router}/"
    found = tx.scalars(_AT_ROUTER, {"but": str(other_than), "beginning": beginning, "length": len(beginning)})
    return tuple(map(UUID, found))
