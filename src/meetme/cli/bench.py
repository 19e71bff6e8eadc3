"""`meetme bench`: how long things take, each figure beside a baseline measured in the same run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.member import DEFAULT_URL, read_token
from meetme.cli.output import format_option

if TYPE_CHECKING:
    from meetme.negotiator.client import NegotiatorClient
    from meetme.negotiator.views import NegotiationView


@click.group()
def bench() -> None:
    """Measure on this machine. Shared machines are noisy: read medians and ratios, not single figures."""


@bench.command()
@click.option("--count", type=click.IntRange(1), default=50, show_default=True, help="How many agreements, in turn.")
@click.option("--inside", is_flag=True, hidden=True)
@format_option
def negotiation(count: int, inside: bool, form: str) -> int:
    """From start_negotiation to active: durable, both routers programmed for real, packets seen to cross.

    Builds the lab `thesis`, makes and takes back COUNT agreements one after another, and takes the lab down. The
    baseline is what the kernel needs for a namespace, a veth pair and a translation, made by forked commands.
    """
    import asyncio

    from meetme.cli.output import print_json
    from meetme.lab import host
    from meetme.lab.source import find_lab, read_lab
    from meetme.model.errors import DeviceFailed, Fault

    if inside:
        print_json(asyncio.run(_agreements(count)))
        return 0
    source = read_lab(find_lab("thesis"))
    click.echo("building the lab ...", err=True)
    lab = host.up(source)
    try:
        click.echo(f"{count} agreements ...", err=True)
        done = lab.run("router1", ["meetme", "bench", "negotiation", "--inside", "--count", str(count)])
        if done.returncode != 0:
            raise DeviceFailed("bench_failed", f"bench: {done.stderr.strip()}", fault=Fault.LOCAL)
    finally:
        host.down(source.directory)
    return _print(json.loads(done.stdout), form)


@bench.command()
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many agreements at a time.")
@click.option("--inside", type=click.Choice(["attach", "measure"]), hidden=True)
@format_option
def links(count: int, inside: str | None, form: str) -> int:
    """One border router with COUNT agreements at once: how many a second, in how much memory, healed how fast.

    Builds the lab `thesis` with COUNT links more between its two routers, makes an agreement over each, has one router
    lose everything but its configurator's database, waits until all of it is back, and takes the lab down.
    """
    import asyncio

    from meetme.cli import bench_links
    from meetme.cli.output import print_json

    if inside:
        work = bench_links.attach(count) if inside == "attach" else bench_links.measure(count)
        print_json(asyncio.run(work))
        return 0
    figures = bench_links.run(count)
    if form == "json":
        print_json(figures)
        return 0
    _print_spreads(figures["milliseconds"])
    memory = figures["memory_mib"]
    for service in memory["empty"]:
        empty, full = memory["empty"][service], memory["full"][service]
        click.echo(f"{service}: {empty:.0f} MiB with no agreement, {full:.0f} MiB with {count}")
    made, undone = figures["agreements_per_second"], figures["terminations_per_second"]
    click.echo(f"{made:.1f} agreements a second made, {undone:.1f} taken back")
    healed, crossing = figures["seconds_to_heal"], figures["seconds_until_packets_cross_again"]
    click.echo(f"after a reboot of the router all are in force in {healed:.1f} s, packets cross in {crossing:.1f} s")
    click.echo(figures["machine"])
    return 0


@bench.command()
@click.option("--count", type=click.IntRange(2), default=50, show_default=True, help="How many pairs of ends.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the graphs.")
@click.option("--largest", type=click.IntRange(50), default=10_000, show_default=True, help="Exchanges, at most.")
@format_option
def paths(count: int, seed: int, largest: int, form: str) -> int:
    """Paths over 50, 1,000 and 10,000 exchanges: shortest, constrained, disjoint pairs.

    The baseline is a textbook Dijkstra with one node per exchange. rustworkx, networkx and HiGHS (an exact solver) are
    asked the same, where they are installed and take no more than seconds, and what they answer is compared.
    """
    from meetme.cli import bench_paths
    from meetme.cli.output import print_json

    figures = bench_paths.run(seed, count, largest)
    if form == "json":
        print_json(figures)
    else:
        bench_paths.show(figures)
    return 0


@bench.command()
@click.option("--count", type=click.IntRange(2), default=1000, show_default=True, help="How many exchanges.")
@click.option("--circuits", type=click.IntRange(0), default=1000, show_default=True, help="How many circuits to order.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes up the same federation.")
@format_option
def federation(count: int, circuits: int, seed: int, form: str) -> int:
    """COUNT composers in one process: how long, and in how much, until all know all; how many circuits a second.

    No sockets, virtual time, the rules and messages of the service. Everything is measured once more after exchanges
    and lines have failed, before and after others know of it.
    """
    from meetme.cli import bench_federation
    from meetme.cli.output import print_json

    figures = bench_federation.run(count, seed, circuits, lambda text: click.echo(text, err=True))
    if form == "json":
        print_json(figures)
    else:
        bench_federation.show(figures)
    return 0


@bench.command()
@click.option("--count", type=click.IntRange(1), default=30, show_default=True, help="How many orders, in turn.")
@format_option
def order(count: int, form: str) -> int:
    """From the click in the catalogue to the first packet of the service, over three exchanges.

    Builds the lab `federation`, orders a service two exchanges away COUNT times, each time sends from the buyer's
    network until the service answers, gives it back, and takes the lab down. Says what each step has taken. One order
    more comes first, which opens every connection and is not counted. The baseline is what the kernel needs for a
    namespace, a veth pair and a translation, made by forked commands.
    """
    from meetme.cli import bench_order
    from meetme.cli.output import print_json

    figures = bench_order.run(count, lambda text: click.echo(text, err=True))
    if form == "json":
        print_json(figures)
    else:
        bench_order.show(figures)
    return 0


async def _agreements(count: int) -> dict[str, Any]:
    """Run in a border router of the lab: agreements with csp-b in turn, the baseline between them."""
    from uuid import uuid4

    from meetme.negotiator.client import NegotiatorClient
    from meetme.negotiator.views import StartRequest

    times: dict[str, list[float]] = {
        "start to active": [],
        "until packets crossed": [],
        "terminate": [],
        "baseline": [],
    }
    async with NegotiatorClient(DEFAULT_URL, read_token(None)) as client:
        for number in range(count):
            started = await client.start(StartRequest(peer="csp-b"), idempotency_key=str(uuid4()))
            view = await until(client, started, "active")
            seconds = {step.name: step.seconds for step in view.steps}
            times["start to active"].append(seconds["active"])
            times["until packets crossed"].append(seconds["probe"])
            began = time.monotonic()
            await client.terminate(view.id)
            await until(client, view, "terminated")
            times["terminate"].append(time.monotonic() - began)
            times["baseline"].append(baseline(number))
    milliseconds = {name: spread(values) for name, values in times.items()}
    return {
        "count": count,
        "milliseconds": milliseconds,
        "ratio": milliseconds["start to active"]["median"] / milliseconds["baseline"]["median"],
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
    }


async def until(client: NegotiatorClient, view: NegotiationView, state: str) -> NegotiationView:
    """Follow a negotiation until it is in `state`. Raises DeviceFailed `bench_failed` where it ends otherwise."""
    from contextlib import aclosing

    from meetme.model.errors import DeviceFailed, Fault

    async with aclosing(client.follow(view.id)) as states:
        async for now in states:
            if now.state == state:
                return now
            view = now
    text = view.problem.text if view.problem else ""
    raise DeviceFailed("bench_failed", f"bench: {view.id} is {view.state} ({text})", fault=Fault.LOCAL)


BASELINE_RULES = "add table ip t; add chain ip t c { type nat hook prerouting priority 0; }"


def baseline(number: int = 0) -> float:
    """Seconds for a namespace with a veth pair and a prefix translation, by the commands a person would type.

    `number` keeps one apart from the next: the kernel takes a namespace down in its own time.
    """
    name = f"base{number}"
    began = time.monotonic()
    for command in (
        ("ip", "netns", "add", name),
        ("ip", "link", "add", name, "type", "veth", "peer", "name", "inside", "netns", name),
        ("ip", "-n", name, "link", "set", "inside", "up"),
        ("ip", "netns", "exec", name, "nft", BASELINE_RULES),
        ("ip", "netns", "delete", name),
    ):
        subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile, least and most, in milliseconds."""
    ordered = sorted(value * 1000 for value in seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return {"median": median(ordered), "p99": p99, "least": ordered[0], "most": ordered[-1]}


def _print(figures: dict[str, Any], form: str) -> int:
    from meetme.cli.output import print_json

    if form == "json":
        print_json(figures)
        return 0
    _print_spreads(figures["milliseconds"])
    click.echo(f"{figures['count']} agreements; start to active takes {figures['ratio']:.1f} times the baseline")
    click.echo(figures["machine"])
    return 0


def _print_spreads(milliseconds: Mapping[str, Mapping[str, float]]) -> None:
    from meetme.cli.output import print_table

    rows = [(name, *(f"{value:.1f}" for value in figures.values())) for name, figures in milliseconds.items()]
    print_table(("milliseconds", "median", "p99", "least", "most"), rows, empty="nothing was measured")
