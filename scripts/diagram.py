"""Write the diagram and the table of the negotiation's states into the page that explains the protocol."""

from __future__ import annotations

from pathlib import Path

from meetme.negotiator.diagram import diagram, table

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "protocol.md"


def drawn(page: str) -> str:
    """The page with both as the rules have them now. Raises ValueError where it lacks the marks around them."""
    for name, text in (("diagram", f"```mermaid\n{diagram()}```\n"), ("table", table())):
        begin, end = f"<!-- {name}: made by scripts/diagram.py -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"{PAGE.name}: must have the marks of the {name}")
        page = before + begin + text + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
