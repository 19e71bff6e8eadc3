"""What the store keeps, and what it lets nobody have twice."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import inspect

from meetme.composer import logbook, spread_store, store
from meetme.composer.capacity import Claim, Limit, Resource, access, link
from meetme.model.errors import Conflict
from meetme.runtime.database import Database, migrate

ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest):
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("new_postgresql")("composer_store")
    database = Database.open(url)
    migrate(database, "meetme.runtime")
    migrate(database, "meetme.composer")
    yield database
    database.close_now()


def limit(_resource: Resource) -> Limit:
    return Limit(10, ((2, 100),))


def test_the_tables_are_those_of_the_migrations(database: Database) -> None:
    tables = [*store.CIRCUIT.metadata.sorted_tables, *logbook.BOOK.metadata.sorted_tables, spread_store.ADVERTISEMENT]

    def shape(tx):
        return {t.name: {column["name"] for column in inspect(tx).get_columns(t.name)} for t in tables}

    assert database.run_now(shape) == {t.name: {c.name for c in t.columns} for t in tables}


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (Claim(link("n1"), "1@1", 7, 1, firm=False), "VLAN 7 is taken"),
        (Claim(link("n1"), "1@1", 8, 6, firm=False), "5 Mbit/s are free"),
        (Claim(access("n1"), "", None, 11, firm=False), "10 Mbit/s are free"),
    ],
)
def test_what_one_claims_no_other_can(database: Database, second: Claim, why: str) -> None:
    first = Claim(link("n1"), "1@1", 7, 5, firm=True)
    database.run_now(lambda tx: store.claim(tx, ONE, frozenset({first}), limit, checked=True))
    with pytest.raises(Conflict) as caught:
        database.run_now(lambda tx: store.claim(tx, OTHER, frozenset({second}), limit, checked=True))
    assert (caught.value.code, why in caught.value.text) == ("claim_conflict", True), caught.value.text
    assert database.run_now(store.all_held) == (first,)
    fitting = Claim(link("n1"), "1@1", 8, 5, firm=False)
    database.run_now(lambda tx: store.claim(tx, OTHER, frozenset({fitting}), limit, checked=True))
    assert database.run_now(lambda tx: store.held(tx, (link("n1"),), ONE)) == (fitting,)
    database.run_now(lambda tx: store.claim(tx, ONE, frozenset(), limit, checked=True))
    assert database.run_now(store.all_held) == (fitting,)
