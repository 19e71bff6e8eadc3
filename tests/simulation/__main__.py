"""`python -m tests.simulation SEED`: one run, told in full. `--seeds N`: as many, with what they reached.

A run that fails is shrunk. `--mutant NAME` seeds a fault.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.coverage import Coverage
from tests.simulation.draw import PLOTS, draw, plot_of
from tests.simulation.member import Parts
from tests.simulation.mutants import MUTANTS
from tests.simulation.shrink import report, shrink
from tests.simulation.world import simulate


def main() -> int:
    """Exit status 1 when something did not hold."""
    reader = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    reader.add_argument("seed", type=int, nargs="?", default=0, help="the seed, or the first of them")
    reader.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds")
    reader.add_argument("--mutant", choices=sorted(MUTANTS), help="seed this fault into every member")
    reader.add_argument("--plot", choices=[plot.__name__ for plot in PLOTS], help="only the seeds of this plot")
    reader.add_argument("--whole", action="store_true", help="do not shrink")
    given = reader.parse_args()
    parts = MUTANTS[given.mutant].parts if given.mutant else Parts()
    coverage, begun = Coverage(), time.perf_counter()
    for seed in range(given.seed, given.seed + given.seeds):
        if given.plot and plot_of(seed) != given.plot:
            continue
        result = simulate(draw(seed), parts)
        coverage.add(result)
        if result.violation is not None:
            print(f"seed {seed} fails: {result.violation}", file=sys.stderr)
            print(report(result if given.whole else shrink(result, parts)))
            return 1
        if given.seeds == 1:
            print(report(result))
    seconds = time.perf_counter() - begun
    print(f"{given.seeds} seeds held, {given.seeds / seconds:.1f} a second")
    if given.seeds > 1:
        print(coverage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
