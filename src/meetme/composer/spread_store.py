"""The table of advertisements: the newest of each member, kept after it has expired so that no older one comes back.

Each function is part of the caller's transaction. Migrated by `runtime.database.migrate(database, "meetme.composer")`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Double, MetaData, Table, Text, delete, insert, select, update

from meetme.composer.book import Mark, Word
from meetme.model.agreement import MemberId
from meetme.runtime.database import lock_until_commit

ADVERTISEMENT = Table(
    "composer_advertisement",
    MetaData(),
    Column("member", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("expires", Double, nullable=False),
    Column("document", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One row."""

    member: MemberId
    mark: Mark
    expires: float
    document: str


def marks(tx: Connection) -> dict[MemberId, Mark]:
    """Which word of each member is kept."""
    columns = ADVERTISEMENT.c
    rows = tx.execute(select(columns.member, columns.version, columns.fingerprint))
    return {MemberId(row[0]): Mark(row[1], row[2]) for row in rows}


def load(tx: Connection, members: Collection[str] | None = None) -> list[Stored]:
    """All that is kept, or what is kept of some members."""
    query = select(ADVERTISEMENT)
    if members is not None:
        query = query.where(ADVERTISEMENT.c.member.in_(members))
    return [
        Stored(MemberId(row.member), Mark(row.version, row.fingerprint), row.expires, row.document)
        for row in tx.execute(query)
    ]


def save(tx: Connection, words: Iterable[Word]) -> None:
    """Keep these words, where no later one of the same member is kept."""
    # Replicas may bring two words of one member at once.
    lock_until_commit(tx, "composer advertisements")
    known = marks(tx)
    for word in words:
        row = {
            "version": word.mark.version,
            "fingerprint": word.mark.fingerprint,
            "expires": word.advertisement.expires,
            "document": word.document,
        }
        mark = known.get(word.member)
        if mark is None:
            tx.execute(insert(ADVERTISEMENT).values(member=word.member, **row))
        elif mark < word.mark:
            tx.execute(update(ADVERTISEMENT).where(ADVERTISEMENT.c.member == word.member).values(row))
        known[word.member] = max(word.mark, mark or word.mark)


def forget(tx: Connection, strangers: Iterable[str]) -> None:
    """Keep nothing of whoever is not in the roster any more."""
    for member in strangers:
        tx.execute(delete(ADVERTISEMENT).where(ADVERTISEMENT.c.member == member))
