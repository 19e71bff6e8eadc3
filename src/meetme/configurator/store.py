"""What the configurator keeps: one row for each circuit it ever had, with the intent while there is one.

The row stays when the circuit is gone, for the generation that fences late orders. Intents are the JSON form of their
message, so that a person can read them. Migrated by `runtime.database.migrate(database, "meetme.configurator")`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Double, MetaData, Table, Text, delete, insert, select

from meetme.configurator.intent_wire import describe_intent, parse_intent
from meetme.configurator.plan import Kept
from meetme.model.intent import Intent, LinkState
from meetme.model.segment import SegmentIntent

LINK = Table(
    "configurator_link",
    MetaData(),
    Column("circuit", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("state", Text),
    Column("intent", Text),
    Column("deadline", Double),
    Column("base", Text),
    Column("kind", Text),
)
SEGMENT = "segment"
"""A row's kind where its intents are of segments; of links where it has none."""


def load(tx: Connection) -> tuple[dict[str, Kept], dict[str, int]]:
    """Everything: what is kept, and the highest generation seen, by circuit."""
    kept: dict[str, Kept] = {}
    seen: dict[str, int] = {}
    for row in tx.execute(select(LINK)):
        seen[row.circuit] = row.generation
        segment = row.kind == SEGMENT
        intent, base = (parse_intent(text, segment=segment) if text else None for text in (row.intent, row.base))
        if intent is not None:
            kept[row.circuit] = Kept(intent, LinkState(row.state), row.generation, row.deadline, base)
    return kept, seen


def save(tx: Connection, kept: Kept) -> None:
    """Write down what is kept of a circuit, in the place of what was."""
    _put(
        tx,
        kept.intent.circuit,
        generation=kept.generation,
        state=kept.state.value,
        intent=_text(kept.intent),
        deadline=kept.deadline,
        base=_text(kept.base),
        kind=SEGMENT if isinstance(kept.intent, SegmentIntent) else None,
    )


def forget(tx: Connection, circuit: str, generation: int) -> None:
    """Keep nothing of a circuit but the highest generation seen."""
    _put(tx, circuit, generation=generation)


def _put(tx: Connection, circuit: str, **values: Any) -> None:
    tx.execute(delete(LINK).where(LINK.c.circuit == circuit))
    tx.execute(insert(LINK).values(circuit=circuit, **values))


def _text(intent: Intent | None) -> str | None:
    return None if intent is None else describe_intent(intent)
