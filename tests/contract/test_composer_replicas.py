"""What two replicas of a composer share on one PostgreSQL: turns, and what was released before it was held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from meetme.composer import store
from meetme.composer.turns import Turns
from meetme.model.agreement import MemberId
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Lease, Ledger, Owed

MOST, CIRCUITS = 3, 24
PEER = MemberId("ixp-2")


def owe(tx: Connection, ledger: Ledger, circuit: UUID) -> None:
    """A search that is owed for a circuit."""
    ledger._owe(tx, "circuit", str(circuit), (Owed("compose", "compose", "{}"),), 0.0)


def test_no_more_circuits_have_a_turn_than_may(new_postgresql: Callable[[str], str]) -> None:
    url = new_postgresql("turns")
    replicas = [Database.open(url) for _ in range(2)]
    ledger = Ledger()
    turns = Turns(ledger, MOST)
    for room in ("meetme.runtime", "meetme.composer"):
        migrate(replicas[0], room)
    circuits = [uuid4() for _ in range(CIRCUITS)]
    replicas[0].run_now(lambda tx: [owe(tx, ledger, circuit) for circuit in circuits])
    had: list[str] = []
    most: list[int] = []
    lock = threading.Lock()

    def leased(tx: Connection, owner: str) -> list[tuple[Lease, bool]]:
        return [(lease, turns.take(tx, lease, 1.0)) for lease in ledger.lease(tx, "circuit", owner, 1.0, 2, 30.0)]

    def works(database: Database, owner: str) -> None:
        while len(had) < CIRCUITS:
            for lease, has_turn in database.run_now(lambda tx: leased(tx, owner)):
                if not has_turn:
                    continue
                with lock:
                    had.append(lease.instance)
                    most.append(database.run_now(having_a_turn))
                database.run_now(lambda tx, lease=lease: over(tx, lease))  # type: ignore[misc]

    def having_a_turn(tx: Connection) -> int:
        # In one statement: between two, turns go from one to another.
        return int(tx.scalar(text("SELECT count(*) FROM composer_turn WHERE has_it")) or 0)

    def over(tx: Connection, lease: Lease) -> None:
        ledger.settle(tx, None, lease, None, 1.0)  # type: ignore[arg-type]
        turns.leave(tx, "circuit", UUID(lease.instance), 1.0)

    threads = [threading.Thread(target=works, args=(each, f"replica {n}")) for n, each in enumerate(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(had) == sorted(map(str, circuits)), "each had its turn, once"
    assert max(most) <= MOST
    assert replicas[1].run_now(having_a_turn) == 0
    for database in replicas:
        database.close_now()


def test_what_one_replica_was_told_the_other_one_knows(new_postgresql: Callable[[str], str]) -> None:
    url = new_postgresql("releases")
    one, other = Database.open(url), Database.open(url)
    for room in ("meetme.runtime", "meetme.composer"):
        migrate(one, room)
    circuit = uuid4()
    one.run_now(lambda tx: store.give_up(tx, circuit, 1, PEER, 2, 5.0))
    assert other.run_now(lambda tx: store.given_up(tx, circuit, 1, PEER)) == 2
    other.run_now(lambda tx: store.give_up(tx, circuit, 1, PEER, 1, 6.0))
    assert one.run_now(lambda tx: store.given_up(tx, circuit, 1, PEER)) == 2, "the highest attempt counts"
    other.run_now(lambda tx: store.forget_given_up(tx, 7.0))
    assert one.run_now(lambda tx: store.given_up(tx, circuit, 1, PEER)) is None
    for database in (one, other):
        database.close_now()
