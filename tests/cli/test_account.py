"""`meetme account`: what an operator sees, where passwords come from, and that none is ever an argument."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from meetme.catalog import accounts_store
from meetme.catalog.accounts import Account, Role
from meetme.catalog.accounts_store import Cost
from meetme.cli.account import account
from meetme.cli.main import cli, run
from meetme.runtime.database import Database

GOOD = "correct horse battery"


class Operator:
    """Somebody at a terminal, or not."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database = f"sqlite:///{folder}/catalog.db"
        self.file = folder / "password"
        self.file.write_text(GOOD + "\n")
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        status = run(["account", *arguments, "--database", self.database])
        said = self.capsys.readouterr()
        return status, said.out, said.err

    def json(self, *arguments: str) -> Any:
        status, out, err = self(*arguments, "--format", "json")
        assert status == 0, err
        return json.loads(out)

    def check(self, name: str, password: str) -> Account | None:
        database = Database.open(self.database)
        try:
            return asyncio.run(accounts_store.check(database, name, password))
        finally:
            database.close_now()


@pytest.fixture
def meetme(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    cheap = Cost(n=2**4, r=8, p=1)
    of = accounts_store.Verifier.of
    monkeypatch.setattr(accounts_store, "COST", cheap)
    monkeypatch.setattr(accounts_store.Verifier, "of", lambda name, password: of(name, password, cheap))
    return Operator(tmp_path, capsys)


def test_an_account_from_its_first_day_to_its_last(meetme: Operator) -> None:
    status, out, err = meetme("list")
    assert (status, out) == (0, "")
    assert "meetme account add NAME" in err
    status, out, _ = meetme("add", "Anna", "--role", "order", "--password-file", str(meetme.file))
    assert (status, out) == (0, "anna may log in: read, order\n")
    found = meetme.check("anna", GOOD)
    assert found is not None
    assert found.roles == {Role.ORDER}
    made = meetme.json("add", "bert", "--role", "read", "--generate")
    assert (made["name"], made["roles"]) == ("bert", ["read"])
    assert meetme.check("bert", made["password"])
    status, out, err = meetme("password", "anna", "--generate")
    assert (status, err) == (0, "anna has another password\n")
    assert meetme.check("anna", GOOD) is None
    assert meetme.check("anna", out.strip())
    status, out, _ = meetme("roles", "anna", "--role", "read", "--role", "approve")
    assert (status, out) == (0, "anna may: read, approve\n")
    assert [each["name"] for each in meetme.json("list")] == ["anna", "bert"]
    status, out, _ = meetme("list")
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [["anna", "read,"], ["bert", "read"]]
    assert meetme("remove", "anna")[:2] == (0, "anna may log in no more\n")
    assert [each["name"] for each in meetme.json("list")] == ["bert"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("add", "anna", "--role", "read", "--generate"), 1, "account_exists"),
        (("add", "a b", "--role", "read", "--generate"), 2, "account_name_invalid"),
        (("add", "bert", "--generate"), 2, "Missing option '--role'"),
        (("add", "bert", "--role", "all", "--generate"), 2, "'all' is not one of"),
        (("add", "bert", "--role", "read"), 2, "no terminal to ask"),
        (("add", "bert", "--role", "read", "--generate", "--password-file", "-"), 2, "exclude each other"),
        (("add", "bert", "--role", "read", "--password-file", "/nowhere/x"), 2, "password_unreadable"),
        (("add", "bert", "--role", "read", "--password-file", "/dev/null"), 2, "password_length"),
        (("password", "bert", "--generate"), 2, "account_unknown"),
        (("roles", "bert", "--role", "read"), 2, "account_unknown"),
        (("remove", "bert"), 2, "meetme account list shows them"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    meetme: Operator, arguments: tuple[str, ...], status: int, said: str
) -> None:
    before = meetme.json("add", "anna", "--role", "read", "--password-file", str(meetme.file))
    found, out, err = meetme(*arguments)
    assert (found, out, said in err) == (status, "", True), err
    assert meetme.json("list") == [before]
    assert meetme.check("anna", GOOD)


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ([GOOD, GOOD], 0, ""),
        ([GOOD, GOOD + "x"], 2, "not the same"),
        (["short"], 2, "password_length"),
    ],
)
def test_at_a_terminal_it_is_asked_twice(
    meetme: Operator, monkeypatch: pytest.MonkeyPatch, typed: list[str], status: int, said: str
) -> None:
    answers = iter(typed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", lambda text, *, hide_input, err: next(answers) if hide_input else None)
    found, _, err = meetme("add", "anna", "--role", "read")
    assert (found, said in err) == (status, True)
    assert list(answers) == []
    assert [each["name"] for each in meetme.json("list")] == (["anna"] if status == 0 else [])


def test_from_the_standard_input(meetme: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(GOOD + "\nmore\n"))
    assert meetme("add", "anna", "--role", "read", "--password-file", "-")[0] == 0
    assert meetme.check("anna", GOOD)


def test_no_password_is_an_argument() -> None:
    for command in account.commands.values():
        assert not [p.name for p in command.params if p.name == "password"]


def test_names_are_completed_and_nothing_is_made(meetme: Operator) -> None:
    def completed(database: str) -> list[str]:
        complete = ShellComplete(cli, {}, "meetme", "_MEETME_COMPLETE")
        return [c.value for c in complete.get_completions(["account", "remove", "--database", database], "a")]

    assert completed(meetme.database) == []
    assert not Path(meetme.database.removeprefix("sqlite:///")).exists()
    meetme("add", "anna", "--role", "read", "--password-file", str(meetme.file))
    meetme("add", "bert", "--role", "read", "--password-file", str(meetme.file))
    assert completed(meetme.database) == ["anna"]
