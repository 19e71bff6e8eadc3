"""`meetme doctor` and `meetme audit` before running members, one thing after another made wrong."""

from __future__ import annotations

import sqlite3
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from .serving import Running, running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    with running(tmp_path_factory.mktemp("members")) as members:
        members[0].member.json("negotiate", "csp-b")
        yield members


def findings(one: Running, status: int = 0) -> dict[str, dict[str, Any]]:
    report = one.member.json("doctor", "--only", "member", status=status)
    assert report["ok"] == (status == 0)
    assert all(f["hint"] for f in report["findings"] if not f["ok"]), "each says what to do"
    return {f["what"]: f for f in report["findings"]}


def test_a_member_that_is_well(up: list[Running]) -> None:
    found = findings(up[0])
    assert {
        "own certificate", "certificate of csp-b", "database", "disk", "durable loop", "peer csp-b", "clock of csp-b",
        "router r1",
    } <= found.keys()  # fmt: skip
    assert all(f["ok"] for f in found.values() if f["needed"])
    assert found["clock of csp-b"]["detail"] == "agrees with ours"
    assert "pinned key" in found["peer csp-b"]["detail"]
    table = up[0].member.run("doctor", "--only", "member")
    assert "peer csp-b" in table


def test_the_audit_log_is_whole(up: list[Running]) -> None:
    member = up[0].member
    entries = member.json("audit", "list")
    assert [e["sequence"] for e in entries] == list(range(1, len(entries) + 1))
    assert [e["after"] for e in entries][-1] == "active"
    assert member.json("audit", "list", "--last", "1") == entries[-1:]
    id = entries[-1]["negotiation"]
    assert member.json("audit", "list", "--negotiation", id) == [e for e in entries if e.get("negotiation") == id]
    report = member.json("audit", "verify", "--known", entries[0]["hash"])
    assert report == {
        "ok": True, "entries": len(entries), "head": entries[-1]["hash"], "first_broken": None, "known_found": True
    }  # fmt: skip
    assert entries[-1]["hash"] in member.run("audit", "verify")
    assert id in member.run("audit", "list")


def test_nobody_looks_without_a_token(up: list[Running]) -> None:
    for path in ("diagnosis", "audit"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{up[0].member.local}/api/v1/{path}", timeout=5)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE negotiator_audit SET entry = replace(entry, 'csp-b', 'csp-c') WHERE sequence = 2", 2),
        ("DELETE FROM negotiator_audit WHERE sequence = 1", 1),
        ("UPDATE negotiator_audit SET hash = hash || '0' WHERE sequence = 3", 3),
    ],
)
def test_tampering_shows(up: list[Running], change: str, broken: int) -> None:
    member = up[0].member
    with sqlite3.connect(member.folder / "negotiator.db") as database:
        before = database.execute("SELECT * FROM negotiator_audit").fetchall()
        database.execute(change)
    try:
        report = member.json("audit", "verify", status=1)
        assert (report["ok"], report["first_broken"]) == (False, broken)
    finally:
        with sqlite3.connect(member.folder / "negotiator.db") as database:
            database.execute("DELETE FROM negotiator_audit")
            database.executemany("INSERT INTO negotiator_audit VALUES (?, ?, ?)", before)
    assert member.json("audit", "verify")["ok"]


def test_an_end_that_was_cut_off_shows_to_who_knows_the_hash(up: list[Running]) -> None:
    member = up[0].member
    head = member.json("audit", "verify")["head"]
    with sqlite3.connect(member.folder / "negotiator.db") as database:
        last = database.execute("SELECT * FROM negotiator_audit ORDER BY sequence DESC LIMIT 1").fetchall()
        database.execute("DELETE FROM negotiator_audit WHERE sequence = ?", last[0][:1])
    try:
        assert member.json("audit", "verify")["ok"], "by itself it cannot be told"
        report = member.json("audit", "verify", "--known", head, status=1)
        assert (report["first_broken"], report["known_found"]) == (None, False)
    finally:
        with sqlite3.connect(member.folder / "negotiator.db") as database:
            database.executemany("INSERT INTO negotiator_audit VALUES (?, ?, ?)", last)


def test_what_is_away_is_named(up: list[Running]) -> None:
    """Last: nothing is put right again."""
    a, b = up
    b.negotiator.stop()
    a.configurator.stop()
    found = findings(a, status=1)
    assert not found["peer csp-b"]["ok"]
    assert not found["router r1"]["ok"]
    assert found["database"]["ok"]
    a.negotiator.stop()
    a.member.run("doctor", "--only", "member", status=4)
