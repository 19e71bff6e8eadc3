"""From a failing run to a smaller one that still fails: actions are taken out, and kinds of trouble."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.chains.rules import Rules
from tests.simulation.chains.world import Result, Schedule, World

MOST_RUNS = 150


def shrink(failed: Result, rules: type[Rules] = Rules) -> Result:
    """A run of the same federation with less in it that still violates something."""
    best, progress, runs = failed, True, 0

    def tried(schedule: Schedule) -> bool:
        nonlocal best, runs
        runs += 1
        if runs > MOST_RUNS:
            return False
        result = World(schedule, rules).run()
        if result.violation is not None:
            best = result
        return result.violation is not None

    while progress:
        progress = False
        for action in best.schedule.actions:
            left = tuple(x for x in best.schedule.actions if x is not action)
            progress |= tried(replace(best.schedule, actions=left))
        for kind in tuple(best.schedule.rates):
            rates = {name: rate for name, rate in best.schedule.rates.items() if name != kind}
            progress |= tried(replace(best.schedule, rates=rates))
    return best


def report(result: Result) -> str:
    """A run, to be read by a person."""
    schedule = result.schedule
    lines = [f"seed {schedule.seed} ({schedule.plot}): {result.violation}", "", "links:"]
    lines += [f"  {x.a} {x.a_port} - {x.b} {x.b_port}" for x in schedule.federation.links]
    lines += ["", "what was done:", *(f"  {action}" for action in schedule.actions), "", "what happened:"]
    return "\n".join([*lines, *(f"  {line}" for line in result.trace)])
