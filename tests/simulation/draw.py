"""From a seed to what happens in its run."""

from __future__ import annotations

from random import Random

from tests.simulation import plots, plots_change, plots_many
from tests.simulation.schedule import Schedule, two_members

PLOTS = (
    plots.storm,
    plots.glare,
    plots.last_words,
    plots.crashes,
    plots.device_trouble,
    plots.nobody_home,
    plots.lost_database,
    plots.regret,
    plots.silence,
    plots.too_late,
    plots.routers,
    plots_many.hub,
    plots_many.crook,
    plots_many.replicas,
    plots_many.clocks,
    plots_change.change,
    plots_change.change_crashes,
    plots_change.backups,
)


def draw(seed: int) -> Schedule:
    """The schedule of a seed. Plots take turns, so that a few seeds already meet every kind of trouble."""
    random = Random(seed)
    plot = PLOTS[seed % len(PLOTS)](random, seed // len(PLOTS))
    return Schedule(
        seed,
        tuple(sorted(plot.actions, key=lambda action: action.at)),
        plot.rates,
        plot.layout or two_members(random),
        plot.skews,
        plot.quiet,
        seconds=max(action.at for action in plot.actions) + plot.longer,
    )


def plot_of(seed: int) -> str:
    """The name of the plot that a seed has."""
    return PLOTS[seed % len(PLOTS)].__name__
