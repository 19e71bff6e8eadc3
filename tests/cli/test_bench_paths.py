"""`meetme bench paths`: what it prints, that all who are asked agree, and what it says of one that is not there."""

from __future__ import annotations

import json

import pytest

from meetme.cli import bench_paths
from meetme.cli.main import run

SMALL = ["bench", "paths", "--largest", "50", "--count", "3"]


def test_all_who_are_asked_agree_and_each_figure_has_its_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--format", "json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    questions = {(row["question"], row["by"]) for row in figures["rows"]}
    assert {("shortest", "textbook"), ("shortest", "meetme"), ("node-disjoint pair", "meetme")} <= questions
    for row in figures["rows"]:
        assert (row["exchanges"], row["links"]) == (50, 150)
        assert row["milliseconds"] > 0
        assert row["ratio"] > 0
        assert row["agrees"] is (None if row["by"] in ("meetme", "textbook") else True)
    assert {row["by"] for row in figures["rows"]} == {"textbook", "meetme", "rustworkx", "networkx", "HiGHS"}
    assert "Python" in figures["machine"]


def test_a_wrong_answer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_paths, "_programme", lambda *_: 1.0)
    figures = bench_paths.run(1, 2, 50)
    assert {row["agrees"] for row in figures["rows"] if row["by"] == "HiGHS"} == {False}


def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_paths, "LIBRARIES", ("no_such_library",))
    assert run(SMALL) == 0
    said = capsys.readouterr().out
    assert "no_such_library not installed" in said
    assert "rustworkx" not in said


def test_the_same_seed_makes_the_same_graph() -> None:
    one, again, other = (bench_paths.federation(50, 150, seed) for seed in (1, 1, 2))
    assert one.edges == again.edges
    assert one.edges != other.edges
    assert sum(edge.exchange is None for edge in one.edges) == 2 * 150
