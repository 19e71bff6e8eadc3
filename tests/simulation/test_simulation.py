"""The ordinary run: many seeds, every invariant after every event; and the proof that it finds what is broken.

`make simulate SEED=n` (or `python -m tests.simulation n`) replays one seed and tells what happens in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.simulation.coverage import CRASH_POINTS, Coverage
from tests.simulation.draw import draw, plot_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.shrink import report, shrink
from tests.simulation.world import simulate

ORDINARY = 180
"""Seeds of the ordinary run."""
RARE = (52, 56, 57, 61, 68, 72, 104, 146, 169, 176)
"""Seeds that reach what few others do: they come first, so that a slow machine, too, reaches everything in time."""
SECONDS = 25.0
"""After this long on a slow machine the ordinary run ends early, once it has reached everything."""
THOROUGH = 1000


def hold(seeds: Sequence[int], seconds: float = float("inf")) -> Coverage:
    """Run seeds; fail with the smallest schedule that shows what does not hold."""
    coverage, begun, done = Coverage(), time.perf_counter(), 0
    for seed in seeds:
        result = simulate(draw(seed))
        coverage.add(result)
        done += 1
        if result.violation is not None:
            pytest.fail(f"seed {seed} fails; make simulate SEED={seed}\n\n{report(shrink(result))}", pytrace=False)
        if time.perf_counter() - begun > seconds and not coverage.missing:
            break
    print(f"\n{done} seeds, {done / (time.perf_counter() - begun):.1f} a second; {coverage}")
    return coverage


@pytest.mark.timeout(300)
def test_the_invariants_hold_and_everything_is_reached() -> None:
    seeds = dict.fromkeys([*RARE, *range(ORDINARY)])
    assert hold(list(seeds), SECONDS).missing == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_invariants_hold_for_many_more_seeds() -> None:
    hold(range(ORDINARY, ORDINARY + THOROUGH))


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    first, second = simulate(draw(seed)), simulate(draw(seed))
    assert first.trace == second.trace
    assert first.trace != simulate(draw(seed + 1000)).trace


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_the_ordinary_run_finds_the_mutant(name: str) -> None:
    mutant = MUTANTS[name]
    listed = [] if mutant.seed is None else [mutant.seed]
    seeds = [*listed, *sorted(range(ORDINARY), key=lambda seed: plot_of(seed) != mutant.plot)]
    assert any(simulate(draw(seed), mutant.parts).violation for seed in seeds), name


def test_a_failing_run_is_shrunk_to_what_it_needs() -> None:
    parts = MUTANTS["ProbeSkipped"].parts
    failed = next(r for seed in range(ORDINARY) if (r := simulate(draw(seed), parts)).violation)
    least = shrink(failed, parts)
    assert least.violation is not None
    assert len(least.schedule.actions) <= 1
    assert len(least.strokes) == 0
    assert "what was done" in report(least)


def test_every_crash_point_has_a_name_that_is_known() -> None:
    passed = set[str]()
    for seed in range(8):
        passed |= simulate(draw(seed)).reached
    assert passed <= CRASH_POINTS
