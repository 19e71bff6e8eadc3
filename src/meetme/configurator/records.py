"""What is kept of every circuit, in memory and on disk: the two never differ for longer than a transaction."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from meetme.configurator import store
from meetme.configurator.plan import Kept
from meetme.runtime.database import Database, migrate

T = TypeVar("T")


class Records:
    """The records of one device."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.kept: dict[str, Kept] = {}
        """By circuit; what is gone from the device is not in it."""
        self.seen: dict[str, int] = {}
        """The highest generation seen, of every circuit there ever was."""

    async def load(self) -> None:
        """Read everything, after bringing the tables up to date."""
        await asyncio.to_thread(migrate, self._database, "meetme.configurator")
        kept, seen = await self._database.read(store.load)
        self.kept.update(kept)
        self.seen.update(seen)

    async def keep(self, kept: Kept) -> None:
        """Write down what is kept of a circuit. In memory it is there at once: its port is taken from here on."""
        circuit = kept.intent.circuit
        before, seen = self.kept.get(circuit), self.seen.get(circuit)
        self.kept[circuit] = kept
        self.seen[circuit] = kept.generation
        try:
            await self._database.run(lambda tx: store.save(tx, kept))
        except Exception:
            _restore(self.kept, circuit, before)
            _restore(self.seen, circuit, seen)
            raise

    async def forget(self, circuit: str, generation: int) -> None:
        """Keep nothing of a circuit but the highest generation seen."""
        await self._database.run(lambda tx: store.forget(tx, circuit, generation))
        self.kept.pop(circuit, None)
        self.seen[circuit] = generation


def _restore(table: dict[str, T], key: str, value: T | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
