"""Every process of an order is killed in the middle of each of its steps: it ends active, or wholly undone."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from meetme.catalog.words import ENDED, State
from tests.catalog.serving import World, world

STEPS = (State.PLACED, State.COMPOSING, State.LINKING, State.NEGOTIATING, State.VERIFYING, State.TERMINATING)
VICTIMS = ("buyer's catalog", "seller's catalog", "buyer's negotiator", "seller's negotiator", "first", "last")


async def killed(all_of_it: World, victim: str) -> None:
    """`kill -9`, and a start with what is on the disk."""
    processes = {
        "buyer's catalog": all_of_it.a.catalog,
        "seller's catalog": all_of_it.b.catalog,
        "buyer's negotiator": all_of_it.a.negotiator,
        "seller's negotiator": all_of_it.b.negotiator,
        "first": all_of_it.exchanges[0].composer,
        "last": all_of_it.exchanges[-1].composer,
    }
    await processes[victim].kill()
    await processes[victim].start()


async def made_once(all_of_it: World, id: object) -> None:
    """One circuit and one negotiation at most were ever made for it, and no step was finished twice."""
    async with all_of_it.exchanges[0].client() as composer:
        circuits = [each for each in await composer.circuits() if each.state not in ("released", "failed")]
    assert len(circuits) <= 1, circuits
    async with all_of_it.a.company.replicas[0].client() as negotiator:
        assert len([n for n in await negotiator.negotiations() if n.state == "active"]) <= 1
    for side in (all_of_it.a, all_of_it.b):
        with contextlib.suppress(LookupError):
            names = [step.name for step in (await side.client.order(str(id))).steps]
            assert len(names) == len(set(names)), names


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", VICTIMS)
async def test_whatever_is_killed_an_order_is_active_or_undone(tmp_path: Path, victim: str) -> None:
    async with world(tmp_path, "ixp-1", "ixp-2") as both:
        a, b = both.a, both.b
        for moment in STEPS:
            placed = await a.client.place("csp-b/vault")
            if moment is State.TERMINATING:
                assert (await a.until(placed.id, State.ACTIVE)).state is State.ACTIVE
                await a.client.terminate(placed.id)
            else:
                await a.until(placed.id, moment, State.ACTIVE)
            await killed(both, victim)
            ends = ENDED if moment is State.TERMINATING else {State.ACTIVE, *ENDED}
            mine = await a.until(placed.id, *ends)
            assert mine.state in ends
            theirs = await b.until(placed.id, *ends)
            print(f"{victim} killed while {moment}: {mine.state} / {theirs.state} {mine.problem}")
            await made_once(both, placed.id)
            if mine.state is State.ACTIVE:
                assert theirs.state is State.ACTIVE
                assert [len(await each.services()) for each in both.exchanges] == [1, 1]
                await b.client.terminate(placed.id)
                assert (await a.until(placed.id)).state is State.TERMINATED
            await b.until(placed.id)
        await both.nothing_left()
