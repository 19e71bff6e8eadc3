"""The measurement of a large federation, on a small one: that what it says is so."""

from __future__ import annotations

import json

import pytest

from meetme.cli.federation_model import generate, kilometres
from meetme.cli.main import run
from meetme.composer.advertisement import check
from meetme.composer.topology import links
from meetme.model.errors import Fault
from tests.composer.advertisements import NOW


def test_a_made_up_federation_is_whole_valid_and_the_same_for_the_same_seed() -> None:
    model = generate(120, 7)
    assert model == generate(120, 7)
    assert model != generate(120, 8)
    ads = [model.advertisement(index, near, now=NOW, version=1) for index, near in enumerate(model.lines_of())]
    for ad in ads:
        check(ad, Fault.LOCAL)
    agreed, alone = links(ads)
    assert (len(agreed), alone) == (len(model.lines), ())
    seen, stack = {0}, [0]
    while stack:
        index = stack.pop()
        near = {line.b if line.a == index else line.a for line in model.lines_of()[index]} - seen
        seen |= near
        stack += near
    assert len(seen) == 120, "everybody can be reached"
    assert kilometres(model.sites[0], model.sites[1]) == pytest.approx(362, abs=15), "Amsterdam to Frankfurt"


def test_all_learn_all_and_nothing_is_oversold(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "federation", "--count", "16", "--circuits", "24", "--format", "json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    moments = figures["spreading"]["moments"]
    told = {name: each for name, each in moments.items() if name != "a round without news"}
    assert all(each["all_know"] for each in told.values())
    assert all(0 < each["seconds"] < 60 for each in told.values())
    assert moments["a round without news"]["copies_of_documents"] == 0
    assert moments["from nothing"]["copies_of_documents"] >= 16 * 15
    assert figures["spreading"]["ratios"]["seconds_to_the_longest_way"] >= 1
    for each in figures["circuits"].values():
        assert each["oversold"] == 0
        assert each["active"] + each["refused"] == each["ordered"]
    assert figures["circuits"]["all is well"]["active"] >= 16
    blind = figures["circuits"]["a tenth of the lines is cut, nobody knows"]
    assert blind["crank_backs"] > 0


def test_the_figures_are_shown_to_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "federation", "--count", "5", "--circuits", "0"]) == 0
    shown = capsys.readouterr().out
    assert "from nothing" in shown
    assert "of memory" in shown
