"""A peer that is away for days while an agreement is taken back: what stays reserved, how long, and what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from meetme.model.errors import Conflict, NotFound
from meetme.negotiator import store
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import State
from meetme.negotiator.views import NegotiationView, StartRequest
from meetme.runtime.clock import SystemClock

from .pair import Side, pair

DAY = 86_400.0


@dataclass
class Calendar(SystemClock):
    """The clock of the machine, some days ahead."""

    ahead: float = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def parted(a: Side, b: Side, circuit: str | None) -> NegotiationView:
    """Active, then the peer's negotiator is gone, then `a` takes it back."""
    started = await a.client.start(StartRequest("csp-b", circuit=circuit))
    for side in (a, b):
        assert (await side.until(started.id, State.ACTIVE)).state is State.ACTIVE
    await b.service.hang_up(grace=0.0)
    await b.service.kill()
    return await a.client.terminate(started.id)


async def undone(side: Side) -> None:
    async with asyncio.timeout(10):
        while side.router.links:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def pass_days(side: Side, clock: Calendar, days: float) -> None:
    """Let the time pass, and whatever is due then."""
    clock.ahead += days * DAY
    await side.service._loop.commit(lambda _tx: None)
    await asyncio.sleep(0.3)


async def test_a_peer_that_is_away_for_days_keeps_what_is_reserved_and_ends_it_when_it_is_back() -> None:
    clock = Calendar()
    async with pair(clock=clock) as (a, b):
        n = await parted(a, b, None)
        await undone(a)
        held = a.database.run_now(store.claimed_prefixes)
        assert held
        for _ in range(3):
            await pass_days(a, clock, 2.0)
            view = await a.client.negotiation(n.id)
            assert view.state is State.TERMINATING
            assert [due.what for due in view.owed] == ["send terminate"]
            assert a.database.run_now(store.claimed_prefixes) == held
            with pytest.raises(Conflict) as caught:
                await a.client.start(StartRequest("csp-b"))
            assert caught.value.code == "negotiation_exists"
        await b.restart()
        await pass_days(a, clock, 0.01)
        for side in (a, b):
            assert (await side.until(n.id, seconds=40)).state is State.TERMINATED
            assert side.database.run_now(store.claimed_prefixes) == ()
            assert side.router.links == {}


async def test_a_circuit_that_was_given_back_frees_what_was_reserved_a_day_later() -> None:
    clock = Calendar()
    async with pair(clock=clock) as (a, b):
        for side in (a, b):
            await side.client.put_attachment("c1", Attachment("r1", "eth2"))
        n = await parted(a, b, "c1")
        await undone(a)
        held = a.database.run_now(store.claimed_prefixes)
        await a.client.delete_attachment("c1")
        with pytest.raises(NotFound):
            await a.client.attachment("c1")
        await pass_days(a, clock, 0.99)
        assert (await a.client.negotiation(n.id)).state is State.TERMINATING
        assert a.database.run_now(store.claimed_prefixes) == held
        await pass_days(a, clock, 0.02)
        assert (await a.until(n.id)).state is State.TERMINATED
        assert a.database.run_now(store.claimed_prefixes) == ()
        # The peer is told all the same, whenever it is back.
        await b.restart()
        await pass_days(a, clock, 0.01)
        assert (await b.until(n.id, seconds=40)).state is State.TERMINATED
        assert b.router.links == {}


async def test_a_circuit_in_use_is_not_given_back() -> None:
    async with pair() as (a, b):
        for side in (a, b):
            await side.client.put_attachment("c1", Attachment("r1", "eth2"))
        started = await a.client.start(StartRequest("csp-b", circuit="c1"))
        await a.until(started.id, State.ACTIVE)
        with pytest.raises(Conflict) as caught:
            await a.client.delete_attachment("c1")
        assert caught.value.code == "circuit_in_use"
        assert (await a.client.attachment("c1")).port == "eth2"


async def test_neither_side_lets_go_before_both_are_clean() -> None:
    """The side that takes it back has a router that does not obey: the other one keeps its claims, and then hears."""
    async with pair() as (a, b):
        started = await a.client.start(StartRequest("csp-b"))
        for side in (a, b):
            await side.until(started.id, State.ACTIVE)
        stuck = asyncio.Event()
        a.router.fail = lambda verb: stuck.wait() if verb == "remove" else None
        await a.client.terminate(started.id)
        await undone(b)
        assert (await b.client.negotiation(started.id)).state is State.TERMINATING
        assert b.database.run_now(store.claimed_prefixes)
        stuck.set()
        for side in (a, b):
            assert (await side.until(started.id)).state is State.TERMINATED
            assert side.database.run_now(store.claimed_prefixes) == ()
