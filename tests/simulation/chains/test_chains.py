"""The ordinary run of chains of composers: every invariant after every event, and the proof that it finds faults.

`python -m tests.simulation.chains SEED` replays one seed and tells what happens in it.
"""

from __future__ import annotations

import time

import pytest

from tests.simulation.chains.coverage import Coverage
from tests.simulation.chains.draw import PLOTS, draw
from tests.simulation.chains.mutants import MUTANTS
from tests.simulation.chains.shrink import report, shrink
from tests.simulation.chains.world import World

ORDINARY = 78
SECONDS = 8.0
THOROUGH = 4000
EACH = 60
"""How many seeds of its plot find a mutant."""


def hold(first: int, seeds: int, seconds: float = float("inf")) -> Coverage:
    """Run seeds; fail with the smallest schedule that shows what does not hold."""
    coverage, begun, done = Coverage(), time.perf_counter(), 0
    for seed in range(first, first + seeds):
        result = World(draw(seed)).run()
        coverage.add(result)
        done += 1
        if result.violation is not None:
            told = report(shrink(result))
            pytest.fail(f"seed {seed} fails; python -m tests.simulation.chains {seed}\n\n{told}", pytrace=False)
        if time.perf_counter() - begun > seconds:
            break
    print(f"\n{done} seeds, {done / (time.perf_counter() - begun):.1f} a second; {coverage}")
    return coverage


def test_the_invariants_hold() -> None:
    hold(0, ORDINARY, SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_invariants_hold_for_many_more_seeds_and_every_row_is_reached() -> None:
    assert hold(ORDINARY, THOROUGH).missing == []


@pytest.mark.parametrize("seed", [1, 7, 9])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    assert World(draw(seed)).run().trace == World(draw(seed)).run().trace


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_the_run_finds_the_mutant(name: str) -> None:
    mutant = MUTANTS[name]
    first = [plot.__name__ for plot in PLOTS].index(mutant.plot)
    rounds = sorted(range(EACH), key=lambda turn: turn != mutant.likely)
    seeds = (first + turn * len(PLOTS) for turn in rounds)
    assert any(World(draw(seed), mutant.rules).run().violation for seed in seeds), name
