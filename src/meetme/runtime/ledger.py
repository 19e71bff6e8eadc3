"""What is owed: the effects that machines have decided on and nobody has performed yet.

A *machine* is a pure `step(state, event) -> (state, effects)` with a place to keep its states. One transaction loads a
state, steps, saves it and writes down the effects it owes (a transactional outbox). A worker *leases* an effect that is
due, performs it, and *settles*: in one transaction the effect is gone and its result is delivered as the next event.

A lease is good for one token. Replacing, cancelling or leasing an effect again changes the token, so whoever held it
before finds out when it settles, and its result is dropped. `due` is when an effect may be leased next: while it is
leased, that is when the lease runs out. So a worker that died needs no clearing up after it. Oldest due first: an
effect that keeps failing goes behind the others and starves none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection, TextClause, bindparam, text

from meetme.runtime.database import CHANNEL, lock_until_commit

S = TypeVar("S")
E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Owed:
    """An effect that is owed, `after` seconds from now at the earliest. The one with the same key before it is void."""

    key: str
    kind: str
    body: str
    """JSON text."""
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An effect (or timer) that is owed no more. Cancelling what is not owed does nothing."""

    key: str


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """What one event led to. Where two effects have one key, the later one counts."""

    state: S
    effects: tuple[Owed | Cancelled, ...] = ()


class Machine(Protocol[S, E_contra]):
    """Anything durable: negotiations, circuits, orders."""

    name: str

    def load(self, tx: Connection, instance: str) -> S | None:
        """The state as it is stored. None: no such instance yet."""

    def step(self, state: S | None, event: E_contra) -> Step[S]:
        """Decide. Pure; raises MeetMeError when the event is refused, and then nothing is written."""

    def save(self, tx: Connection, before: S | None, after: S, event: E_contra, now: float) -> None:
        """Write the state and all that belongs with it: claims, stored answers, the log of events."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to perform one effect, until it runs out or the effect is replaced."""

    id: int
    token: int
    machine: str
    instance: str
    key: str
    kind: str
    body: str
    attempts: int
    """How often it has been tried in vain."""


@dataclass(frozen=True, slots=True)
class Debt:
    """An owed effect, for a person to look at."""

    key: str
    kind: str
    body: str
    due: float
    """When it is tried next; while it is being tried, when its lease runs out. Seconds since the epoch."""
    owner: str | None
    """Who is trying right now."""
    attempts: int
    note: str
    """Why the last attempt was in vain."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the effects of one kind stand."""

    owed: int
    failing: int
    """Of those: the last attempt was in vain."""
    due: float | None
    """When the first of those that nobody performs right now is to be performed; None: there is none."""


_OWE = text(
    "INSERT INTO runtime_effect (machine, instance, key, kind, body, due, owner, token, attempts, note)"
    " VALUES (:machine, :instance, :key, :kind, :body, :due, NULL, 0, 0, '')"
    " ON CONFLICT (machine, instance, key) DO UPDATE SET kind = excluded.kind, body = excluded.body,"
    " due = excluded.due, owner = NULL, token = runtime_effect.token + 1, attempts = 0, note = ''"
)
_CANCEL = text("DELETE FROM runtime_effect WHERE machine = :machine AND instance = :instance AND key = :key")


def _lease_statement(locking: str) -> TextClause:
    # MATERIALIZED: PostgreSQL may else run the choice again for each row, skip what it has locked, and take too many.
    return text(
        "WITH chosen AS MATERIALIZED (SELECT id FROM runtime_effect WHERE machine = :machine AND due <= :now"
        f" ORDER BY due, id LIMIT :limit{locking})"
        " UPDATE runtime_effect SET due = :until, owner = :owner, token = token + 1"
        " WHERE id IN (SELECT id FROM chosen)"
        " RETURNING id, token, machine, instance, key, kind, body, attempts"
    )


_LEASE = {"sqlite": _lease_statement(""), "postgresql": _lease_statement(" FOR UPDATE SKIP LOCKED")}
_SETTLE = text("DELETE FROM runtime_effect WHERE id = :id AND token = :token")
_POSTPONE = text(
    "UPDATE runtime_effect SET due = :due, owner = NULL, token = token + 1, attempts = attempts + 1, note = :note"
    " WHERE id = :id AND token = :token"
)
_RELEASE = text(
    "UPDATE runtime_effect SET due = :now, owner = NULL, token = token + 1 WHERE id = :id AND token = :token"
)
_HASTEN = text(
    "UPDATE runtime_effect SET due = :now WHERE machine = :machine AND instance = :instance AND key = :key"
    " AND owner IS NULL"
)
_RENEW = text("UPDATE runtime_effect SET due = :until WHERE id = :id AND token = :token")
_OWED = text(
    "SELECT key, kind, body, due, owner, attempts, note FROM runtime_effect"
    " WHERE machine = :machine AND instance = :instance ORDER BY id"
)
_IN_VAIN = text(
    "SELECT instance, key, kind, body, due, owner, attempts, note FROM runtime_effect"
    " WHERE machine = :machine AND attempts >= :attempts ORDER BY id"
)
_STANDING = text(
    "SELECT kind, count(*) AS owed, sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END) AS failing,"
    " min(CASE WHEN owner IS NULL THEN due END) AS due FROM runtime_effect WHERE machine = :machine GROUP BY kind"
)
_NEXT_DUE = text("SELECT min(due) FROM runtime_effect WHERE machine = :machine")
_OWNERS = text("SELECT DISTINCT owner FROM runtime_effect WHERE owner IS NOT NULL")
_RECLAIM = text(
    "UPDATE runtime_effect SET due = :now, owner = NULL, token = token + 1, attempts = attempts + 1"
    " WHERE owner IN :owners"
).bindparams(bindparam("owners", expanding=True))
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :instance)")
_DELIVERED = "meetme delivered"


class Ledger:
    """The table `runtime_effect`. Every method is part of the caller's transaction; times are epoch seconds."""

    def lock(self, tx: Connection, machine_name: str, instance: str) -> None:
        """From here to the commit nobody else delivers to the instance. `deliver` and `settle` do it by themselves.

        Who locks more in one transaction locks the instances first: whoever comes in another order waits in a circle.
        """
        lock_until_commit(tx, f"{machine_name} {instance}")

    def deliver(self, tx: Connection, machine: Machine[S, E], instance: str, event: E, now: float) -> S:
        """Load, step, save, and write down what is owed. Returns the new state; what `step` raises passes through."""
        self.lock(tx, machine.name, instance)
        before = machine.load(tx, instance)
        step = machine.step(before, event)
        machine.save(tx, before, step.state, event, now)
        self._owe(tx, machine.name, instance, step.effects, now)
        tx.info.setdefault(_DELIVERED, set()).add(instance)
        if tx.dialect.name == "postgresql":
            tx.execute(_NOTIFY, {"instance": instance})
        return step.state

    def delivered(self, tx: Connection) -> frozenset[str]:
        """To which instances events were delivered on this connection since this was asked last."""
        return frozenset(tx.info.pop(_DELIVERED, ()))

    def lease(
        self, tx: Connection, machine_name: str, owner: str, now: float, limit: int, seconds: float
    ) -> list[Lease]:
        """Take up to `limit` effects that are due and that nobody else holds, for `seconds`."""
        rows = tx.execute(
            _LEASE[tx.dialect.name],
            {"machine": machine_name, "owner": owner, "now": now, "until": now + seconds, "limit": limit},
        )
        # RETURNING promises no order; ids grow with age.
        return sorted((Lease(*row) for row in rows), key=lambda lease: lease.id)

    def settle(self, tx: Connection, machine: Machine[S, E], lease: Lease, event: E | None, now: float) -> bool:
        """Performed: the effect is gone and `event`, where there is one, delivered. False: lease lost, nothing done."""
        self.lock(tx, lease.machine, lease.instance)
        if tx.execute(_SETTLE, {"id": lease.id, "token": lease.token}).rowcount != 1:
            return False
        if event is not None:
            self.deliver(tx, machine, lease.instance, event, now)
        return True

    def postpone(self, tx: Connection, lease: Lease, now: float, after: float, note: str) -> bool:
        """In vain: owed again `after` seconds from now. False: lease lost, nothing done."""
        values = {"id": lease.id, "token": lease.token, "due": now + after, "note": note}
        return tx.execute(_POSTPONE, values).rowcount == 1

    def hasten(self, tx: Connection, machine_name: str, instance: str, key: str, now: float) -> None:
        """What was put off is due at once. Does nothing where somebody is at it, or it is not owed."""
        tx.execute(_HASTEN, {"machine": machine_name, "instance": instance, "key": key, "now": now})
        if tx.dialect.name == "postgresql":
            tx.execute(_NOTIFY, {"instance": instance})

    def renew(self, tx: Connection, lease: Lease, now: float, seconds: float) -> bool:
        """Still at it: the lease runs out `seconds` from now. False: it is lost already."""
        values = {"id": lease.id, "token": lease.token, "until": now + seconds}
        return tx.execute(_RENEW, values).rowcount == 1

    def release(self, tx: Connection, lease: Lease, now: float) -> bool:
        """Give back what was not performed: due at once, not counted as an attempt. False: it is lost already."""
        return tx.execute(_RELEASE, {"id": lease.id, "token": lease.token, "now": now}).rowcount == 1

    def owners(self, tx: Connection) -> list[str]:
        """Who holds a lease, of any machine."""
        return list(tx.scalars(_OWNERS))

    def reclaim(self, tx: Connection, owners: Iterable[str], now: float) -> int:
        """Take back whatever `owners`, who are dead, have leased: due at once. How many.

        It counts as an attempt: what they had begun may still arrive wherever it was sent.
        """
        return tx.execute(_RECLAIM, {"owners": list(owners), "now": now}).rowcount

    def owed(self, tx: Connection, machine_name: str, instance: str) -> list[Debt]:
        """Everything one instance owes, oldest first."""
        return [Debt(*row) for row in tx.execute(_OWED, {"machine": machine_name, "instance": instance})]

    def in_vain(self, tx: Connection, machine_name: str, attempts: int) -> list[tuple[str, Debt]]:
        """What was tried so often without success, with the instance that owes it."""
        rows = tx.execute(_IN_VAIN, {"machine": machine_name, "attempts": attempts})
        return [(row[0], Debt(*row[1:])) for row in rows]

    def standing(self, tx: Connection, machine_name: str) -> dict[str, Standing]:
        """How what is owed stands, by kind of effect."""
        rows = tx.execute(_STANDING, {"machine": machine_name})
        return {row.kind: Standing(row.owed, row.failing, row.due) for row in rows}

    def next_due(self, tx: Connection, machine_name: str, now: float) -> float | None:
        """When there is something to lease: `now` if there already is, None if nothing is owed at all."""
        due: float | None = tx.scalar(_NEXT_DUE, {"machine": machine_name})
        return None if due is None else max(due, now)

    def _owe(
        self, tx: Connection, machine: str, instance: str, effects: Sequence[Owed | Cancelled], now: float
    ) -> None:
        last = {effect.key: effect for effect in effects}
        place = {"machine": machine, "instance": instance}
        cancelled = [{**place, "key": key} for key, effect in last.items() if isinstance(effect, Cancelled)]
        owed = [
            {**place, "key": key, "kind": effect.kind, "body": effect.body, "due": now + effect.after}
            for key, effect in last.items()
            if isinstance(effect, Owed)
        ]
        if cancelled:
            tx.execute(_CANCEL, cancelled)
        if owed:
            tx.execute(_OWE, owed)
