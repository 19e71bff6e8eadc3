"""The page that explains the protocol shows the table as it is."""

from __future__ import annotations

import runpy
from pathlib import Path

from meetme.negotiator.diagram import diagram, table
from meetme.negotiator.protocol import TRANSITIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "protocol.md"


def test_the_page_is_as_the_rules_are() -> None:
    drawn = runpy.run_path(str(ROOT / "scripts" / "diagram.py"))["drawn"]
    page = PAGE.read_text(encoding="utf-8")
    assert page == drawn(page), "python scripts/diagram.py brings it up to date"
    assert diagram() in page
    assert table() in page


def test_every_transition_is_in_the_table_and_every_move_in_the_diagram() -> None:
    assert len(table().splitlines()) == len(TRANSITIONS) + 2
    picture = diagram()
    for (state, _), targets in TRANSITIONS.items():
        for target in targets:
            assert target is state or f"{state or '[*]'} --> {target}:" in picture
