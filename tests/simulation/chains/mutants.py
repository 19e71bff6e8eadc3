"""Faults seeded into the rules: the ordinary run has to find each of them."""

from __future__ import annotations

from tests.simulation.chains.rules import Rules

MUTANTS: dict[str, type[Rules]] = {}
