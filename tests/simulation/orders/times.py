"""How long things take in the simulation: as in earnest, but for what would only make a run long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meetme.catalog import performer, reactions, undoing

PATIENCE = undoing.PATIENCE_SECONDS
LINK, NEGOTIATE, APPROVAL, COMPARE, FAREWELL, LOOK = 60.0, 45.0, 120.0, 20.0, 240.0, 6.0
CALM = reactions.COMPOSE_SECONDS + LINK + APPROVAL + 2 * COMPARE + FAREWELL
"""Everything that can still come to an end by itself does so within this."""
_INSTEAD = (
    (reactions, "LINK_SECONDS", LINK),
    (reactions, "ATTACH_SECONDS", reactions.COMPOSE_SECONDS + LINK),
    (reactions, "NEGOTIATE_SECONDS", NEGOTIATE),
    (reactions, "APPROVAL_SECONDS", APPROVAL),
    (reactions, "COMPARE_SECONDS", COMPARE),
    (undoing, "FAREWELL_SECONDS", FAREWELL),
    (performer, "LOOK_SECONDS", LOOK),
)


@contextmanager
def shorter() -> Iterator[None]:
    """As long as a run lasts."""
    before = [(module, name, getattr(module, name)) for module, name, _ in _INSTEAD]
    for module, name, seconds in _INSTEAD:
        setattr(module, name, seconds)
    try:
        yield
    finally:
        for module, name, seconds in before:
            setattr(module, name, seconds)
