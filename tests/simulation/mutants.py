"""Faults seeded into the rules, the loop, the inbox and the configurator: the ordinary run has to find each of them.

A mutant is a class that takes the place of the real one in `member.Parts`; no source is changed. The rules' are in
`mutated_rules`, those around them in `mutated_shell`, those of many members and
processes in `mutated_many`, those of changes in `mutated_change`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.member import Parts


@dataclass(frozen=True)
class Mutant:
    """A fault, and the plot that is likeliest to show it: its seeds are tried first."""

    parts: Parts
    plot: str
    seed: int | None = None
    """Where no seed of the ordinary run shows it: one that does."""


MUTANTS: dict[str, Mutant] = {}


def mutant(part: str, plot: str = "storm", seed: int | None = None) -> Callable[[type], type]:
    """Register a class as a mutant of one part, under its name."""

    def register(cls: type) -> type:
        MUTANTS[cls.__name__] = Mutant(Parts(**{part: cls}), plot, seed)
        return cls

    return register


from tests.simulation import mutated_change, mutated_many, mutated_rules, mutated_shell  # noqa: E402

__all__ = ["MUTANTS", "Mutant", "mutant", "mutated_change", "mutated_many", "mutated_rules", "mutated_shell"]
