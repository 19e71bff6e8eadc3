"""Accounts in the database, on both engines: who logs in and who does not, and what a change does to sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from meetme.catalog import accounts_store, logbook
from meetme.catalog.accounts import Account, Role
from meetme.catalog.accounts_store import Cost, Verifier, generated_password
from meetme.model.errors import Conflict, InvalidInput, NotFound
from meetme.runtime.database import Database, migrate

CHEAP = Cost(n=2**4, r=8, p=1)
GOOD, OTHER = "correct horse battery", "another staple entirely"


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(accounts_store, "COST", CHEAP)
    database = Database.open(database_url)
    migrate(database, "meetme.catalog")
    yield database
    database.close_now()


def made(name: str, password: str = GOOD) -> Verifier:
    return Verifier.of(name, password, CHEAP)


def added(database: Database, name: str = "anna", *roles: Role) -> Account:
    return database.run_now(lambda tx: accounts_store.add(tx, name, made(name), roles or (Role.ORDER,), 5.0))


def check(database: Database, name: str, password: str) -> Account | None:
    return asyncio.run(accounts_store.check(database, name, password))


def test_the_right_password_and_no_other_one(database: Database) -> None:
    account = added(database, "Anna", Role.ORDER, Role.APPROVE)
    assert (account.name, account.roles, account.changed) == ("anna", {Role.ORDER, Role.APPROVE}, 5.0)
    assert check(database, "anna", GOOD) == account
    assert check(database, " ANNA ", GOOD) == account
    for name, password in [
        ("anna", GOOD + "x"), ("anna", ""), ("anna", GOOD.upper()), ("bert", GOOD), ("", GOOD), ("anna' --", GOOD),
        ("anna", "\udcff" * 12), ("anna", "x" * 10_000_000),
    ]:  # fmt: skip
        assert check(database, name, password) is None, (name, password[:20])


def test_nothing_that_is_kept_is_the_password_and_no_two_are_alike(database: Database) -> None:
    added(database, "anna")
    added(database, "bert")
    rows = database.run_now(lambda tx: tx.execute(text("SELECT * FROM catalog_account")).mappings().all())
    assert GOOD not in str(rows)
    assert rows[0]["salt"] != rows[1]["salt"]
    assert rows[0]["hash"] != rows[1]["hash"]
    assert (rows[0]["n"], rows[0]["r"], rows[0]["p"]) == (16, 8, 1)
    assert made("anna").hash.hex() not in repr(made("anna"))


def test_a_name_that_nobody_has_costs_as_much(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    paid: list[Cost] = []
    dear = Cost(n=2**14, r=8, p=2)
    monkeypatch.setattr(accounts_store, "COST", dear)
    scrypt = accounts_store._scrypt

    def counted(password: str, salt: bytes, cost: Cost) -> bytes:
        paid.append(cost)
        return scrypt(password, salt, CHEAP)

    monkeypatch.setattr(accounts_store, "_scrypt", counted)
    database.run_now(lambda tx: accounts_store.add(tx, "anna", Verifier.of("anna", GOOD, dear), [Role.READ], 0.0))
    paid.clear()
    assert check(database, "anna", GOOD)
    assert check(database, "anna", OTHER) is None
    assert check(database, "nobody", GOOD) is None
    assert paid == [dear] * 3


def test_every_change_ends_sessions_also_to_the_same_and_also_made_anew(database: Database) -> None:
    epochs = [added(database).epoch]

    def do(change: Any) -> None:
        account = database.run_now(change)
        assert database.run_now(lambda tx: accounts_store.find(tx, "anna")) == account
        epochs.append(account.epoch)

    do(lambda tx: accounts_store.set_password(tx, "Anna", made("anna", OTHER), 6.0))
    assert check(database, "anna", GOOD) is None
    found = check(database, "anna", OTHER)
    assert found is not None
    assert (found.roles, found.changed) == ({Role.ORDER}, 6.0)
    do(lambda tx: accounts_store.set_roles(tx, "anna", [Role.APPROVE], 7.0))
    do(lambda tx: accounts_store.set_roles(tx, "anna", [Role.APPROVE], 8.0))
    found = check(database, "anna", OTHER)
    assert found is not None
    assert found.roles == {Role.APPROVE}, "the password stays"
    database.run_now(lambda tx: accounts_store.remove(tx, "anna", 9.0))
    assert database.run_now(lambda tx: accounts_store.find(tx, "anna")) is None
    assert check(database, "anna", OTHER) is None
    epochs.append(added(database).epoch)
    assert len(set(epochs)) == len(epochs)


def test_what_cannot_be_changes_nothing(database: Database) -> None:
    account = added(database)

    def refused(error: type[Exception], change: Any) -> None:
        with pytest.raises(error):
            database.run_now(change)
        assert database.run_now(accounts_store.every) == [account]

    refused(Conflict, lambda tx: accounts_store.add(tx, "ANNA", made("anna"), [Role.READ], 0.0))
    refused(InvalidInput, lambda tx: accounts_store.add(tx, "a b", made("a b"), [Role.READ], 0.0))
    refused(InvalidInput, lambda tx: accounts_store.add(tx, "bert", made("bert"), [], 0.0))
    refused(InvalidInput, lambda tx: accounts_store.set_roles(tx, "anna", [], 0.0))
    for change in (
        lambda tx: accounts_store.set_password(tx, "bert", made("bert"), 0.0),
        lambda tx: accounts_store.set_roles(tx, "bert", [Role.READ], 0.0),
        lambda tx: accounts_store.remove(tx, "bert", 0.0),
    ):
        refused(NotFound, change)
    with pytest.raises(InvalidInput, match="password"):
        made("anna", "short")
    with pytest.raises(InvalidInput, match="guess"):
        made("Horse", GOOD)


def test_changes_are_in_the_audit_log_without_a_secret(database: Database) -> None:
    added(database, "bert", Role.READ)
    added(database)
    database.run_now(lambda tx: accounts_store.set_password(tx, "anna", made("anna", OTHER), 6.0))
    database.run_now(lambda tx: accounts_store.set_roles(tx, "anna", [Role.READ], 7.0))
    database.run_now(lambda tx: accounts_store.remove(tx, "anna", 8.0))
    entries = [entry.entry for entry in database.run_now(logbook.audit_entries)]
    assert [word for entry in entries for word in entry.split('"') if word.startswith("Account")] == [
        "AccountAdded", "AccountAdded", "AccountPasswordChanged", "AccountRolesChanged", "AccountRemoved",
    ]  # fmt: skip
    assert not any(OTHER in entry or "hash" in entry for entry in entries)
    assert database.run_now(logbook.verify_audit) is None
    assert [account.name for account in database.run_now(accounts_store.every)] == ["bert"]


def test_generated_passwords_are_good_and_differ() -> None:
    made_up = {generated_password() for _ in range(50)}
    assert len(made_up) == 50
    for password in made_up:
        assert Verifier.of("anna", password, CHEAP)
