"""Orders that the device refuses as too old: who may go beyond them, and who may not."""

from __future__ import annotations

import asyncio

from meetme.model.errors import DeviceFailed
from meetme.negotiator import store
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import pair, refusing

CIRCUIT = "direct:csp-a:csp-b"


async def test_without_a_number_from_the_device_the_clock_is_above_all_it_saw() -> None:
    async with pair() as (a, b):
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.ACTIVE)
        await b.until(started.id, State.ACTIVE)
        a.router.seen[CIRCUIT] += 20  # within the 20 ms and more since the start
        await a.client.terminate(started.id)
        assert (await a.until(started.id)).state is State.TERMINATED
        assert a.router.links == {}


async def test_what_gave_the_circuit_away_never_goes_beyond_who_has_it_now() -> None:
    async with pair() as (a, b):
        refused = DeviceFailed("nft_failed", "nft: device is busy")
        a.router.fail = refusing(refused, "remove")
        b.router.fail = refusing(refused, "apply")
        first = await a.client.start(StartRequest("csp-b"))
        assert (await a.until(first.id)).state is State.FAILED
        await a.client.release(first.id)
        b.router.fail = lambda _verb: None
        a.router.links.clear()  # somebody took it back by hand
        second = await a.client.start(StartRequest("csp-b"))
        assert (await a.until(second.id, State.ACTIVE)).state is State.ACTIVE
        a.router.fail = lambda _verb: None
        kept = a.database.run_now(lambda tx: store.load(tx, first.id))
        async with asyncio.timeout(40):
            while True:
                owed = (await a.client.negotiation(first.id)).owed
                if [due for due in owed if due.note.startswith("stale_generation") and due.attempts > 3]:
                    break
                await asyncio.sleep(0.05)
        after = a.database.run_now(lambda tx: store.load(tx, first.id))
        assert kept is not None
        assert after is not None
        assert after.generation == kept.generation
        assert CIRCUIT in a.router.links, "it is the second one's"
