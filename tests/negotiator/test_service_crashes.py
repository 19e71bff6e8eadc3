"""A negotiator that dies at any step, one whose reader comes back, and what cannot be taken back."""

from __future__ import annotations

import asyncio

import pytest

from meetme.model.errors import (
    Conflict,
    DeviceFailed,
)
from meetme.model.intent import LinkState
from meetme.negotiator import store
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import pair, refusing
from .whole import connect, settled


@pytest.mark.parametrize("verb", ["apply", "confirm", "probe"])
@pytest.mark.parametrize("victim", [0, 1])
async def test_a_crash_at_any_step_ends_equal(tmp_path, victim: int, verb: str) -> None:
    async with pair(tmp_path) as sides:
        a, b = sides
        reached, dead = asyncio.Event(), asyncio.Event()

        def crash(seen: str):
            if seen == verb and not dead.is_set():
                reached.set()
                return asyncio.Event().wait()
            return None

        sides[victim].router.fail = crash
        started = await a.client.start(StartRequest("csp-b"))
        async with asyncio.timeout(15):
            await reached.wait()
        dead.set()
        await sides[victim].restart()
        mine = await a.until(started.id, State.ACTIVE, seconds=40)
        theirs = await b.until(started.id, State.ACTIVE, seconds=40)
        assert mine.state is theirs.state is State.ACTIVE, (mine.problem, theirs.problem)
        await settled(a, b)
        assert a.router.links[mine.circuit].intent.agreement == mine.id
        assert b.router.links[mine.circuit].state is LinkState.CONFIRMED
        sides[1 - victim].router.fail = lambda _verb: None
        await sides[victim].client.terminate(mine.id)
        await sides[victim].restart()
        assert (await a.until(mine.id, seconds=40)).state is State.TERMINATED
        assert (await b.until(mine.id, seconds=40)).state is State.TERMINATED
        await settled(a, b)
        assert a.router.links == b.router.links == {}
        for side in sides:
            assert side.database.run_now(store.claimed_prefixes) == ()


async def test_events_can_be_resumed() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await a.client.terminate(mine.id)
        await a.until(mine.id)
        everything = [event async for event in a.client.events(mine.id)]
        states = [event.data["state"] for event in everything if event.kind == "state"]
        assert states == ["proposed", "committed", "confirming", "active", "terminating", "terminated"]
        assert {event.kind for event in everything} >= {"state", "step"}
        middle = everything[3].id
        assert [event async for event in a.client.events(mine.id, middle)] == everything[4:]
        assert b.name == "csp-b"


async def test_what_cannot_be_taken_back_is_shown_until_released() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        with pytest.raises(Conflict):
            await a.client.release(mine.id)
        a.router.fail = refusing(DeviceFailed("busy", "device: busy"), "remove")
        await a.client.terminate(mine.id)
        await b.until(mine.id, State.TERMINATING)
        assert (await a.client.negotiation(mine.id)).state is State.TERMINATING
        with pytest.raises(Conflict) as caught:
            await a.client.start(StartRequest("csp-b"))
        assert caught.value.existing == str(mine.id)
        await a.client.release(mine.id)
        a.router.fail = lambda _verb: None
        assert (await a.until(mine.id)).state is State.TERMINATED
