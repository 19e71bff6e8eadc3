"""A small machine for the tests of the ledger and the loop: its state is the list of events it has seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from meetme.model.errors import Conflict
from meetme.runtime.ledger import Cancelled, Owed, Step

State = tuple[str, ...]


@dataclass
class Notebook:
    """Writes down every event. `reaction` says which effects an event leads to; 'refuse' is refused."""

    reaction: Callable[[State, str], tuple[Owed | Cancelled, ...]] = lambda _state, _event: ()
    name: str = "notebook"
    crash_in_save: bool = field(default=False)

    def load(self, tx: Connection, instance: str) -> State | None:
        row = tx.scalar(text("SELECT seen FROM notebook WHERE instance = :i"), {"i": instance})
        return None if row is None else tuple(json.loads(row))

    def step(self, state: State | None, event: str) -> Step[State]:
        if event == "refuse":
            raise Conflict("notebook_full", "notebook: must have room ('refuse')")
        after = (*(state or ()), event)
        return Step(after, self.reaction(after, event))

    def save(self, tx: Connection, before: State | None, after: State, event: str, now: float) -> None:
        tx.execute(
            text("INSERT INTO notebook VALUES (:i, :s) ON CONFLICT (instance) DO UPDATE SET seen = excluded.seen"),
            {"i": self.instance_of(after), "s": json.dumps(after)},
        )
        if self.crash_in_save:
            raise RuntimeError("crashed while saving")

    def instance_of(self, state: State) -> str:
        """Events are 'instance/what': the state knows where it belongs."""
        return state[0].partition("/")[0]


CREATE = text("CREATE TABLE notebook (instance TEXT PRIMARY KEY, seen TEXT NOT NULL)")
