"""How segments are shown that no circuit knows."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Stray:
    """A segment at the own exchange that no circuit knows."""

    reference: str
    """As the exchange has it: `external_ref`."""
    circuit: UUID
    state: str
    """`unknown`: there is no record of the circuit; else the state in which it has ended."""


@dataclass(frozen=True, slots=True)
class StrayRemoval:
    """What became of the order to take one away."""

    reference: str
    gone: bool
    """False: the exchange is at it."""
