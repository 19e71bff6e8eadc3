"""From a failing run to the smallest one that still fails: actions and strokes are taken out, as many as will go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tests.simulation.world import simulate

T = TypeVar("T")
MOST_RUNS = 150


def shrink(failed: Any, parts: Any = None, most_runs: int = MOST_RUNS, run: Callable[..., Any] = simulate) -> Any:
    """A run of the same seed with fewer actions and fewer strokes of fate that still violates something.

    `run`: what makes a result of a schedule and the parts; negotiations, where nothing else is said.
    """
    best, runs = failed, 0

    def still_fails(schedule: Any) -> bool:
        nonlocal best, runs
        runs += 1
        result = run(schedule, parts)
        if result.violation is not None:
            best = result
        return result.violation is not None

    def actions_left(actions: Sequence[object]) -> bool:
        return still_fails(replace(best.schedule, actions=tuple(actions)))

    def strokes_left(sites: Sequence[str]) -> bool:
        gone = {stroke.site for stroke in best.strokes} - set(sites)
        return still_fails(replace(best.schedule, dropped=best.schedule.dropped | gone))

    _fewest(best.schedule.actions, actions_left, lambda: runs < most_runs / 2)
    _fewest([stroke.site for stroke in best.strokes], strokes_left, lambda: runs < most_runs)
    return best


def _fewest(items: Sequence[T], fails: Callable[[Sequence[T]], bool], more: Callable[[], bool]) -> None:
    """Take out large parts first, then smaller ones, then single items."""
    left, size = list(items), len(items)
    while size >= 1:
        at = 0
        while at < len(left) and more():
            fewer = left[:at] + left[at + size :]
            if fails(fewer):
                left = fewer
            else:
                at += size
        size //= 2


def report(result: Any) -> str:
    """A failed run, to be read by a person."""
    schedule = result.schedule
    lines = [f"seed {schedule.seed}: {result.violation}", "", "what was done:"]
    lines += [f"  {action}" for action in schedule.actions]
    lines += ["", "what went wrong by itself:"]
    lines += [f"  {stroke.at:7.3f}  {stroke.site}" for stroke in result.strokes] or ["  nothing"]
    lines += ["", "what happened:"]
    lines += [f"  {line}" for line in result.trace]
    return "\n".join(lines)
