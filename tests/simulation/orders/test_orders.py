"""The ordinary run of orders: every invariant after every transaction, and the proof that it finds faults.

`python -m tests.simulation.orders SEED` replays one seed and tells what happens in it.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.simulation.orders.coverage import Coverage
from tests.simulation.orders.mutants import MUTANTS
from tests.simulation.orders.schedule import PLOTS, draw
from tests.simulation.orders.world import simulate
from tests.simulation.shrink import report, shrink

ORDINARY = len(PLOTS)
SECONDS = 5.0
THOROUGH = 1200
AT_ONCE = frozenset({"AllAtOnce", "AttachmentIsLeft", "CircuitIsLeft", "DoesNotVerify", "SaysTerminatedAtOnce"})
"""The mutants of the ordinary run: those that a seed shows at its very beginning, from rules and shells alike."""


def hold(first: int, seeds: int, seconds: float = float("inf")) -> Coverage:
    """Run seeds; fail with the smallest schedule that shows what does not hold."""
    coverage, begun, done = Coverage(), time.perf_counter(), 0
    for seed in range(first, first + seeds):
        result = simulate(draw(seed))
        coverage.add(result)
        done += 1
        if result.violation is not None:
            told = report(shrink(result, run=simulate))
            pytest.fail(f"seed {seed} fails; python -m tests.simulation.orders {seed}\n\n{told}", pytrace=False)
        if time.perf_counter() - begun > seconds:
            break
    print(f"\n{done} seeds, {done / (time.perf_counter() - begun):.1f} a second; {coverage}")
    return coverage


def test_the_invariants_hold() -> None:
    hold(0, ORDINARY, SECONDS)


def test_a_late_order_for_a_circuit_that_arrives_after_a_refusal_leaves_nothing() -> None:
    assert simulate(draw(213)).violation is None


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_invariants_hold_for_many_more_seeds_and_every_row_is_reached() -> None:
    coverage = hold(ORDINARY, THOROUGH)
    crook = draw(178)
    # What the others hardly ever reach.
    late = replace(crook, rates=crook.rates | {"underlay late": 0.4, "lie": 0.5})
    for schedule in (draw(6), draw(1484), draw(1704), late):
        result = simulate(schedule)
        assert result.violation is None
        coverage.add(result)
    assert coverage.missing == []


def test_the_same_seed_is_the_same_run() -> None:
    assert simulate(draw(3)).trace == simulate(draw(3)).trace


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in AT_ONCE else pytest.mark.slow) for name in sorted(MUTANTS)]
)
def test_the_run_finds_the_mutant(name: str) -> None:
    mutant = MUTANTS[name]
    assert simulate(draw(mutant.seed), mutant.parts).violation is not None
