"""The page that explains signalling shows the table as it is."""

from __future__ import annotations

import runpy
from pathlib import Path

from meetme.composer.diagram import circuit_diagram, leg_diagram, table
from meetme.composer.signalling import OF_LEG, STATES, TRANSITIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "signalling.md"


def test_the_page_is_as_the_rules_are() -> None:
    drawn = runpy.run_path(str(ROOT / "scripts" / "diagram.py"))["drawn"]
    page = PAGE.read_text(encoding="utf-8")
    assert page == drawn(page, PAGE), "python scripts/diagram.py brings it up to date"
    assert all(made in page for made in (leg_diagram(), circuit_diagram(), table()))


def test_every_transition_is_in_the_table_and_every_move_of_a_leg_in_the_diagram() -> None:
    assert len(table().splitlines()) == len(TRANSITIONS) + 2
    picture = leg_diagram()
    for (state, event), targets in TRANSITIONS.items():
        for target in targets:
            assert target is state or event not in OF_LEG or f"{state or '[*]'} --> {target}:" in picture


def test_what_an_event_may_lead_a_circuit_to_is_a_change_that_it_may_make() -> None:
    for (state, event), targets in TRANSITIONS.items():
        if event not in OF_LEG:
            assert set(targets) - {state} <= set(STATES[state])
