"""Accounts: what makes a good name and password, which role includes which."""

from __future__ import annotations

import pytest

from meetme.catalog.accounts import (
    Account,
    Role,
    name_problems,
    normal_name,
    normal_password,
    password_problems,
    role_problems,
)


def account(*roles: Role) -> Account:
    return Account(name="anna", roles=frozenset(roles), epoch=1, changed=0.0)


@pytest.mark.parametrize(
    ("given", "may"),
    [
        ({Role.READ}, {Role.READ}),
        ({Role.ORDER}, {Role.READ, Role.ORDER}),
        ({Role.APPROVE}, {Role.READ, Role.APPROVE}),
        ({Role.ORDER, Role.APPROVE}, set(Role)),
        (set(), set()),
    ],
)
def test_whoever_orders_or_approves_reads_too_and_nothing_else(given: set[Role], may: set[Role]) -> None:
    assert {role for role in Role if account(*given).may(role)} == may


@pytest.mark.parametrize("name", ["anna", "a", "anna.berg", "anna@example.org", "ops-2", "7", "a" * 64])
def test_good_names(name: str) -> None:
    assert not list(name_problems(name))


@pytest.mark.parametrize("name", ["", "Anna", "an na", "-anna", "anna.", "a" * 65, "änna", "anna\n", "a/b", "<b>"])
def test_bad_names(name: str) -> None:
    (problem,) = name_problems(name)
    assert (problem.code, problem.field) == ("account_name_invalid", "name")
    assert problem.hint


def test_names_are_the_same_however_they_are_typed() -> None:
    assert normal_name("  Anna ") == "anna"


@pytest.mark.parametrize("password", ["correct horse battery", "ünïcödé pässwörter", "abcde" * 40, "12345 67890 x"])
def test_good_passwords(password: str) -> None:
    assert not list(password_problems("anna", normal_password(password)))


@pytest.mark.parametrize(
    ("password", "codes"),
    [
        ("short", ["password_length"]),
        ("x" * 11, ["password_length"]),
        ("abcde" * 40 + "f", ["password_length"]),
        ("aaaaaaaaaaaaaa", ["password_guessable"]),
        ("my name is ANNA really", ["password_guessable"]),
        ("good but for\ta tab", ["password_unprintable"]),
    ],
)
def test_bad_passwords_are_told_why_and_never_repeated(password: str, codes: list[str]) -> None:
    problems = list(password_problems("anna", password))
    assert [problem.code for problem in problems] == codes
    assert all(password not in problem.text + problem.hint for problem in problems)


def test_the_same_letter_composed_or_not_is_the_same_password() -> None:
    assert normal_password("a\u0308hnlich wie") == normal_password("\u00e4hnlich wie")


def test_an_account_without_a_role_is_none() -> None:
    assert [problem.code for problem in role_problems([])] == ["account_roles_missing"]
    assert not list(role_problems([Role.READ]))
