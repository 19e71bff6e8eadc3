"""The tables of the catalogue, on both engines: what is written is read, and no older listing ever comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import inspect

from meetme.catalog import accounts_store, logbook, store, wire
from meetme.catalog import events as ev
from meetme.catalog.machine import OrderMachine, read_effect, write_effect
from meetme.catalog.messages import ApprovedBody, RequestBody
from meetme.catalog.order import Order, Thing
from meetme.catalog.words import Connectivity, Party, State, Wanted
from meetme.model.agreement import MemberId
from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Cancelled, Ledger
from tests.catalog.two import Two

NOW = 1000.0
ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
WANTED = Wanted("backup", 1, Connectivity.L3)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database.open(database_url)
    migrate(database, "meetme.runtime")
    migrate(database, "meetme.catalog")
    yield database
    database.close_now()


def test_the_tables_are_those_of_the_migration(database: Database) -> None:
    assert accounts_store.ACCOUNT.metadata is store.META
    tables = [*store.META.sorted_tables, *logbook.BOOK.metadata.sorted_tables]
    expected = {table.name: {column.name for column in table.columns} for table in tables}

    def shape(tx) -> dict[str, set[str]]:
        return {name: {column["name"] for column in inspect(tx).get_columns(name)} for name in expected}

    assert database.run_now(shape) == expected


def test_one_transaction_holds_the_state_the_answer_what_is_owed_and_what_is_told(database: Database) -> None:
    ledger, machine, id, message = Ledger(), OrderMachine(), UUID(int=1), UUID(int=2)
    asked = wire.Message(id, message, ALFA, BRAVO, NOW + 30, RequestBody(WANTED))

    def receive(tx) -> Order:
        store.MAILBOX.put(tx, ALFA, message, id, body=wire.write_message(asked), expires=NOW + 30, now=NOW)
        event = ev.RequestReceived(NOW, message, id, BRAVO, ALFA, WANTED)
        return ledger.deliver(tx, machine, str(id), event, NOW)

    database.run_now(receive)
    order = database.run_now(lambda tx: store.load(tx, id))
    assert order is not None
    assert (order.party, order.state, order.answers) == (Party.SELLER, State.COMPOSING, ())
    known = database.run_now(lambda tx: store.MAILBOX.known(tx, ALFA, message))
    assert known is not None
    assert known.answer is not None
    answer = wire.read_message(known.answer)
    assert (answer.body, answer.sender, answer.to) == (ApprovedBody(), BRAVO, ALFA)
    (debt,) = database.run_now(lambda tx: ledger.owed(tx, "order", str(id)))
    assert debt.key == "timer:Deadline"
    assert [told.kind for told in database.run_now(lambda tx: logbook.told(tx, id))] == ["step", "state"]
    assert database.run_now(logbook.verify_audit) is None
    assert database.run_now(store.count_by_state) == {State.COMPOSING: 1}


def test_orders_are_listed_by_side_the_newest_first(database: Database) -> None:
    first = Order(UUID(int=1), Party.BUYER, ALFA, BRAVO, WANTED, 1.0)
    second = replace(first, id=UUID(int=2), party=Party.SELLER, began=2.0, state=State.ACTIVE)
    third = replace(first, id=UUID(int=3), began=3.0, state=State.FAILED)

    def write(tx) -> None:
        for order in (first, second, third):
            store.save(tx, order, new=True)
        store.save(tx, replace(first, state=State.COMPOSING), new=False)

    database.run_now(write)
    assert [order.id.int for order in database.run_now(store.orders)] == [3, 2, 1]
    assert [order.id.int for order in database.run_now(lambda tx: store.orders(tx, Party.BUYER, live=True))] == [1]
    kept = database.run_now(lambda tx: store.load(tx, first.id))
    assert kept is not None
    assert kept.state is State.COMPOSING


def test_a_circuit_is_of_another_order_with_the_same_member_as_long_as_that_lives(database: Database) -> None:
    circuit = Thing(id="6f9619ff_8b86")
    order = Order(UUID(int=1), Party.SELLER, ALFA, BRAVO, WANTED, 1.0, circuit=circuit)
    database.run_now(lambda tx: store.save(tx, order, new=True))

    def has(name: str = "6f9619ff_8b86", partner: str = BRAVO, other_than: int = 2) -> bool:
        return database.run_now(lambda tx: store.has_circuit(tx, name, partner, UUID(int=other_than)))

    assert has()
    assert not has(other_than=1)
    assert not has(partner="charlie")
    assert not has("6f9619ff%"), "a part of a name is none"
    assert not has("6f9619ff")
    database.run_now(lambda tx: store.save(tx, replace(order, state=State.FAILED), new=False))
    assert not has()


def test_an_older_listing_never_comes_back(database: Database) -> None:
    newer = store.Kept(BRAVO, 5, NOW + 60, NOW, '"a"', "five")
    assert database.run_now(lambda tx: store.keep_listing(tx, newer))
    assert not database.run_now(lambda tx: store.keep_listing(tx, replace(newer, version=4, document="four")))
    assert database.run_now(store.listings) == [newer]
    assert database.run_now(lambda tx: store.keep_listing(tx, replace(newer, version=6, document="six")))
    database.run_now(lambda tx: store.heard_of(tx, BRAVO, NOW + 9))
    kept = database.run_now(lambda tx: store.listing(tx, BRAVO))
    assert kept is not None
    assert (kept.document, kept.heard) == ("six", NOW + 9)
    database.run_now(lambda tx: store.forget_listing(tx, BRAVO))
    assert database.run_now(store.listings) == []


def test_what_is_owed_is_read_as_it_was_written() -> None:
    """Everything that an order ever owed, on its way to active and back."""
    two = Two(WANTED)
    seen = set()
    two.place()
    for _ in range(40):
        for side in two.sides:
            for effect, _ in side.owed.values():
                owed = write_effect(effect)
                assert not isinstance(owed, Cancelled)
                assert read_effect(owed.kind, owed.body).key == owed.key == effect.key
                seen.add(owed.kind)
        two.live()
        due = two.due()
        moved = any(two.perform(side, key) for side, key in due if key in side.owed)
        if not moved and two.buyer.state is State.ACTIVE:
            two.give(two.buyer, ev.TerminateAsked(two.at))
    assert seen == {"send", "make", "watch", "take back", "verify", "wake"}
