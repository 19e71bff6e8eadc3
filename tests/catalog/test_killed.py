"""Every process of an order is killed in the middle of each of its steps: it ends active, or wholly undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from meetme.catalog.member_ways import CIRCUITS
from meetme.catalog.words import ENDED, State
from meetme.runtime.identity import load_identity
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.roster import read_roster
from meetme.runtime.tls import Trust
from tests.catalog.serving import World, world
from tests.catalog.tallying import Tally, once

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


async def nothing_twice(all_of_it: World, tally: Tally, id: object, *, was_active: bool) -> None:
    """Once it is over: all that was made since the order before it was made for it, each of it once."""
    folder, first = all_of_it.a.company.folder, all_of_it.exchanges[0].name
    identity = load_identity(key=folder / "key.pem", certificate=folder / "certificate.pem")
    client = PeerClient(Trust(identity, lambda: read_roster(folder / "roster.toml")))
    try:
        begun = (await client.get(first, "composer", f"{CIRCUITS}?ordered_with=order-{id}")).document
    finally:
        await client.close()
    circuit = (await all_of_it.a.client.order(str(id))).circuit
    assert [each["id"] for each in begun] == ([] if circuit is None else [circuit])
    made, each_once = await tally.new(), once(all_of_it)
    if was_active:
        assert made == each_once, f"{made - each_once} too many, {each_once - made} missing"
    else:
        assert made <= each_once, f"{made - each_once} too many"
    for side in (all_of_it.a, all_of_it.b):
        names = [step.name for step in (await side.client.order(str(id))).steps]
        assert len(names) == len(set(names)), names


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", VICTIMS)
async def test_whatever_is_killed_an_order_is_active_or_undone(tmp_path: Path, victim: str) -> None:
    async with world(tmp_path, "ixp-1", "ixp-2") as both:
        a, b, tally = both.a, both.b, Tally(both)
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
            was_active = moment is State.TERMINATING or mine.state is State.ACTIVE
            if mine.state is State.ACTIVE:
                assert theirs.state is State.ACTIVE
                assert [len(await each.services()) for each in both.exchanges] == [1, 1]
                await b.client.terminate(placed.id)
                assert (await a.until(placed.id)).state is State.TERMINATED
            await b.until(placed.id)
            await both.nothing_left()
            await nothing_twice(both, tally, placed.id, was_active=was_active)
