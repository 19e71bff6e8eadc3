"""`python -m tests.simulation.orders SEED`: one run, told in full. `--seeds N`: as many, with what they reached."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from meetme.catalog.words import State
from tests.simulation.orders.coverage import Coverage
from tests.simulation.orders.member import Parts
from tests.simulation.orders.mutants import MUTANTS
from tests.simulation.orders.schedule import PLOTS, draw, plot_of
from tests.simulation.orders.world import simulate
from tests.simulation.shrink import report, shrink


def main() -> int:
    """Exit status 1 when something did not hold."""
    reader = argparse.ArgumentParser(prog="python -m tests.simulation.orders", description=__doc__)
    reader.add_argument("seed", type=int, nargs="?", default=0, help="the seed, or the first of them")
    reader.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds")
    reader.add_argument("--mutant", choices=sorted(MUTANTS), help="seed this fault into every catalog")
    reader.add_argument("--plot", choices=[plot.__name__ for plot in PLOTS], help="only the seeds of this plot")
    reader.add_argument("--whole", action="store_true", help="do not shrink")
    given = reader.parse_args()
    parts = MUTANTS[given.mutant].parts if given.mutant else Parts()
    coverage, begun, states = Coverage(), time.perf_counter(), Counter[State]()
    for seed in range(given.seed, given.seed + given.seeds):
        if given.plot and plot_of(seed) != given.plot:
            continue
        result = simulate(draw(seed), parts)
        coverage.add(result)
        states.update(result.states)
        if result.violation is not None:
            print(f"seed {seed} fails: {result.violation}", file=sys.stderr)
            print(report(result if given.whole else shrink(result, parts, run=simulate)))
            return 1
        if given.seeds == 1:
            print(report(result))
    print(f"{given.seeds} seeds held, {given.seeds / (time.perf_counter() - begun):.1f} a second; {dict(states)}")
    if given.seeds > 1:
        print(coverage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
