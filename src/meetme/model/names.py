"""Names that people and other programs give to things: circuits, ports, orders."""

from __future__ import annotations

from meetme.model.errors import Problem


def is_name(text: str) -> bool:
    """Whether `text` can name a circuit, a port or an order."""
    return 0 < len(text) <= 200 and text.isprintable() and not any(c.isspace() for c in text)


def bad_name(field: str, seen: str) -> Problem:
    """What is wrong with a name that is none."""
    return Problem(
        "name_invalid",
        f'{field}: must be 1 to 200 printable characters without blanks ("{seen[:40]}")',
        "use the name that the order or the router has for it",
        field,
    )
