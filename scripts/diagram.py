"""Write the diagrams and tables of the rules into the pages that explain them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from meetme.composer import diagram as circuits
from meetme.negotiator import diagram as negotiations

EXPLAINED = Path(__file__).parent.parent / "docs" / "explanation"
PAGE = EXPLAINED / "protocol.md"


def _mermaid(picture: str) -> str:
    return f"```mermaid\n{picture}```\n"


def pages() -> dict[Path, Mapping[str, str]]:
    """What is made for each page: a text for each pair of marks."""
    return {
        PAGE: {"diagram": _mermaid(negotiations.diagram()), "table": negotiations.table()},
        EXPLAINED / "signalling.md": {
            "leg": _mermaid(circuits.leg_diagram()),
            "circuit": _mermaid(circuits.circuit_diagram()),
            "table": circuits.table(),
        },
    }


def drawn(page: str, at: Path = PAGE) -> str:
    """The page with all of it as the rules have it now. Raises ValueError where it lacks the marks around one."""
    for name, text in pages()[at].items():
        begin, end = f"<!-- {name}: made by scripts/diagram.py -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"{at.name}: must have the marks of the {name}")
        page = before + begin + text + end + after
    return page


if __name__ == "__main__":
    for path in pages():
        path.write_text(drawn(path.read_text(encoding="utf-8"), path), encoding="utf-8")
