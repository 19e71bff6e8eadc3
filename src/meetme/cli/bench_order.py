"""`meetme bench order`: from the click in the catalogue to the first packet of the service, over three exchanges."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from meetme.cli import demo_federation as federation
from meetme.cli.bench import spread
from meetme.cli.ordering import Bought, buy, give_back, listed
from meetme.cli.output import print_table
from meetme.model.errors import DeviceFailed, Fault

if TYPE_CHECKING:
    from meetme.catalog.order import StepTime
    from meetme.lab.host import Lab

LAB = "federation"
BUILD_SECONDS = 300.0
PACKET = "click to first packet"
"""Of the provider's machine, answered by the seller's."""
BACK = "given back"
BASELINE = "baseline"


def run(count: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Build the lab, order and give back `count` times, take the lab down; times in milliseconds.

    Raises DeviceFailed where an order ends otherwise, MeetMeError.
    """
    from meetme.lab import host
    from meetme.lab.source import find_lab, read_lab

    source = read_lab(find_lab(LAB))
    told("building the lab ...")
    lab = host.up(source, timeout=BUILD_SECONDS)
    try:
        told(f"{count} orders ...")
        return _figures(asyncio.run(_orders(lab, count)))
    finally:
        host.down(source.directory)


async def _orders(lab: Lab, count: int) -> list[dict[str, float]]:
    """Each order's times in seconds; the first one, which opens all connections, is left out."""
    from meetme.lab.door import doors

    times = []
    with ExitStack() as held:
        catalog, negotiator = held.enter_context(doors(lab, federation.ROUTER, federation.PORTS))
        buyer = federation.buyer(lab, catalog, negotiator)
        async with buyer.catalog, buyer.negotiator:
            await listed(buyer, federation.OFFER)
            for number in range(count + 1):
                bought = await buy(buyer, federation.OFFER, federation.SERVICE)
                began = asyncio.get_running_loop().time()
                await give_back(buyer, bought.order)
                took = asyncio.get_running_loop().time() - began
                if number:
                    times.append({**_times(bought), BACK: took, BASELINE: _baseline(lab, number)})
    return times


def _baseline(lab: Lab, number: int) -> float:
    """In a machine of the lab: whoever runs this may not be allowed to do it outside."""
    script = f"from meetme.cli.bench import baseline; print(baseline({number}))"
    done = lab.run(federation.MACHINE, [sys.executable, "-P", "-c", script])
    if done.returncode != 0:
        raise DeviceFailed("bench_failed", f"bench: {done.stderr.strip()}", fault=Fault.LOCAL)
    return float(done.stdout)


def _times(bought: Bought) -> dict[str, float]:
    steps = bought.order.steps
    shares = {step.name: step.seconds - before for step, before in zip(steps, _began(steps), strict=True)}
    shares.pop("active", None)
    active = next(step.seconds for step in steps if step.name == "active")
    return {PACKET: bought.seconds_to_first_packet, "click to active": active, **shares}


def _began(steps: tuple[StepTime, ...]) -> list[float]:
    return [0.0, *(step.seconds for step in steps[:-1])]


def _figures(times: list[dict[str, float]]) -> dict[str, Any]:
    milliseconds = {name: spread([each[name] for each in times]) for name in times[0]}
    return {
        "count": len(times),
        "milliseconds": milliseconds,
        "ratio": median(each[PACKET] / each[BASELINE] for each in times),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
    }


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    whole = figures["milliseconds"]["click to active"]["median"]
    rows = []
    for name, of in figures["milliseconds"].items():
        share = "" if name in (PACKET, "click to active", BACK, BASELINE) else f"{of['median'] / whole:.0%}"
        rows.append((name, *(f"{value:.0f}" for value in of.values()), share))
    columns = ("milliseconds", "median", "p99", "least", "most", "share of active")
    print_table(columns, rows, empty="nothing was measured")
    click.echo(f"{figures['count']} orders; the first packet takes {figures['ratio']:.1f} times the baseline")
    click.echo(figures["machine"])
