"""Circuits over whole composers: there and back, refused, around what refuses, with two paths."""

from __future__ import annotations

import asyncio

import pytest

from meetme.composer.views import CircuitOrder
from meetme.composer.words import State
from meetme.model.errors import Conflict, Exhausted, Fault, InvalidInput, NotFound, Refused, Unreachable

from .federation import access, chain, federation, nni, order, settings, triangle


@pytest.mark.parametrize("names", [("ixp-1",), ("ixp-1", "ixp-2"), ("ixp-1", "ixp-2", "ixp-3")])
async def test_there_and_back(names: tuple[str, ...]) -> None:
    async with federation(chain(*names)) as fed:
        first, last = fed[names[0]], fed[names[-1]]
        started = await first.client.create(order("csp-a/a1", "csp-b/b1"), idempotency_key="one")
        again = await first.client.create(order("csp-a/a1", "csp-b/b1"), idempotency_key="one")
        assert again.id == started.id
        with pytest.raises(InvalidInput) as caught:
            await first.client.create(order("csp-a/a1", "csp-b/b1", 20), idempotency_key="one")
        assert caught.value.code == "idempotency_key_reused"
        found = await first.client.begun_with("one")
        assert found is not None
        assert found.id == started.id
        assert await first.client.begun_with("two") is None
        # One member's keys are none of another's.
        others = await fed.as_member("csp-a", first.name, "GET", "/api/v1/circuits?ordered_with=one")
        assert (others.status_code, others.json()) == (200, [])
        mine = await first.until(started.id, State.ACTIVE)
        assert mine.state is State.ACTIVE, mine.problem
        assert [hop.exchange for hop in mine.path] == list(names)
        theirs = await last.until(started.id, State.ACTIVE)
        assert (theirs.state, theirs.ends, theirs.path) == (State.ACTIVE, mine.ends, mine.path)
        assert [end.mtu for end in mine.ends] == [1500, 1500]
        for index, name in enumerate(names):
            (segment,) = fed[name].exchange.segments.values()
            if index == 0:
                assert segment.a_vlan == mine.ends[0].vlan
            if index == len(names) - 1:
                assert segment.b_vlan == mine.ends[1].vlan
        await last.client.delete(started.id)
        assert (await first.until(started.id)).state is State.RELEASED
        assert (await last.until(started.id)).state is State.RELEASED
        await fed.empty()
        states = [event.data["state"] async for event in first.client.events(started.id)]
        assert states[0] == "held"
        assert states[-1] == "released"
        assert "active" in states


async def test_what_cannot_be_had_is_refused_with_its_reason() -> None:
    layout = chain("ixp-1", "ixp-2", mandates=("csp-a",))
    async with federation(layout) as fed:
        first = fed["ixp-1"]
        ask = first.client.create

        started = await ask(order("csp-a/a1", "csp-b/b1"))
        refused = await first.until(started.id)
        assert refused.state is State.FAILED
        assert refused.problem is not None
        assert (refused.problem.code, refused.problem.fault) == ("mandate_missing", Fault.REMOTE)

        with pytest.raises(NotFound) as unknown:
            await ask(order("csp-a/a1", "csp-b/nowhere"))
        assert (unknown.value.code, unknown.value.field) == ("end_unknown", "b.port")
        assert "ixp-2/b1" in unknown.value.hint
        with pytest.raises(NotFound):
            await ask(order("csp-a/b1", "csp-b/a1"))
        with pytest.raises(InvalidInput) as wrong:
            await ask(CircuitOrder(objective="speed"))
        assert wrong.value.field == "a"
        with pytest.raises(InvalidInput) as then:
            await ask(order("csp-a/a1", "csp-b/b1", then="negotiate"))
        assert then.value.code == "negotiator_missing"

        tight = await first.client.offers(order("csp-a/a1", "csp-b/b1", 5000))
        assert not tight.offers
        assert ("bandwidth", 5000, 1000) in {(r.constraint, r.asked, r.nearest) for r in tight.refused}
        await fed.empty()


async def test_an_end_that_refuses_ends_it_and_nothing_is_left() -> None:
    async with federation(triangle()) as fed:
        first, third = fed["ixp-1"], fed["ixp-3"]
        full = Exhausted("exchange_capacity", "bandwidth: must fit", fault=Fault.REMOTE)
        third.exchange.fail(full)
        started = await first.client.create(order("csp-a/a1", "csp-b/b1"))
        ended = await first.until(started.id, State.ACTIVE)
        # The last exchange itself has refused: no way leads around an end.
        assert ended.state is State.FAILED
        await fed.empty()


async def test_a_link_without_room_is_led_around() -> None:
    layout = triangle()
    narrow = settings(access("b1", "csp-b"), nni("ixp-3", "ixp-1", 5, latency_ms=1.0), nni("ixp-3", "ixp-2"))
    async with federation({**layout, "ixp-3": narrow}) as fed:
        first = fed["ixp-1"]
        # What is advertised says so: the longer way is taken at once.
        started = await first.client.create(order("csp-a/a1", "csp-b/b1", 10))
        mine = await first.until(started.id, State.ACTIVE)
        assert mine.state is State.ACTIVE, mine.problem
        assert [hop.exchange for hop in mine.path] == ["ixp-1", "ixp-2", "ixp-3"]
        # What fits takes the short one.
        other = await first.client.create(order("csp-a/a1", "csp-b/b1", 5))
        short = await first.until(other.id, State.ACTIVE)
        assert [hop.exchange for hop in short.path] == ["ixp-1", "ixp-3"]
        for view in (mine, short):
            await first.client.delete(view.id)
        await fed.empty()


async def test_an_exchange_in_the_middle_that_refuses_is_led_around() -> None:
    layout = {
        "ixp-1": settings(access("a1", "csp-a"), nni("ixp-1", "ixp-2"), nni("ixp-1", "ixp-3", latency_ms=9.0)),
        "ixp-2": settings(nni("ixp-2", "ixp-1"), nni("ixp-2", "ixp-4")),
        "ixp-3": settings(nni("ixp-3", "ixp-1", latency_ms=9.0), nni("ixp-3", "ixp-4", latency_ms=9.0)),
        "ixp-4": settings(access("b1", "csp-b"), nni("ixp-4", "ixp-2"), nni("ixp-4", "ixp-3", latency_ms=9.0)),
    }
    async with federation(layout) as fed:
        first = fed["ixp-1"]
        fed["ixp-2"].exchange.fail(Refused("exchange_refused", "service: not here", fault=Fault.REMOTE))
        started = await first.client.create(order("csp-a/a1", "csp-b/b1"))
        mine = await first.until(started.id, State.ACTIVE)
        assert mine.state is State.ACTIVE, mine.problem
        assert [hop.exchange for hop in mine.path] == ["ixp-1", "ixp-3", "ixp-4"]
        assert not fed["ixp-2"].exchange.segments
        async with asyncio.timeout(20):
            while fed["ixp-2"].claims():  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.02)
        await first.client.delete(started.id)
        await fed.empty()


async def test_an_exchange_that_is_slow_or_away_for_a_while_is_waited_for() -> None:
    async with federation(chain("ixp-1", "ixp-2")) as fed:
        first, last = fed["ixp-1"], fed["ixp-2"]
        first.exchange.delay(3)
        last.exchange.fail(Unreachable("exchange_unreachable", "exchange: must answer"))
        last.exchange.fail(Unreachable("exchange_unreachable", "exchange: must answer"), after=True)
        started = await first.client.create(order("csp-a/a1", "csp-b/b1"))
        assert (await first.until(started.id, State.ACTIVE)).state is State.ACTIVE
        assert len(last.exchange.segments) == 1, "built once, however often it was ordered"


async def test_two_paths_that_share_no_link_and_an_offer_that_is_taken() -> None:
    async with federation(triangle()) as fed:
        first = fed["ixp-1"]
        found = await first.client.offers(order("csp-a/a1", "csp-b/b1", redundancy="strict"))
        best = found.offers[0]
        assert (len(best.path), len(best.second_path), best.shared) == (2, 3, ())
        started = await first.client.create(CircuitOrder(offer=best.id))
        mine = await first.until(started.id, State.ACTIVE)
        assert mine.state is State.ACTIVE, mine.problem
        assert (mine.path, mine.second_path) == (best.path, best.second_path)
        # The ends are held once for both.
        assert len([claim for claim in first.claims() if "a1" in claim and "ACCESS" in claim]) == 1
        assert len(first.exchange.segments) == len(fed["ixp-3"].exchange.segments) == 2
        await first.client.delete(started.id)
        assert (await first.until(started.id)).state is State.RELEASED
        await fed.empty()
        with pytest.raises(NotFound) as gone:
            await first.client.create(CircuitOrder(offer=started.id))
        assert gone.value.code == "offer_unknown"


async def test_an_order_to_the_composer_of_another_exchange_is_passed_on() -> None:
    async with federation(chain("ixp-1", "ixp-2", "ixp-3")) as fed:
        second = fed["ixp-2"]
        started = await second.client.create(order("csp-a/a1", "csp-b/b1"))
        mine = await second.until(started.id, State.ACTIVE)
        assert mine.state is State.ACTIVE, mine.problem
        assert (await fed["ixp-1"].client.circuit(started.id)).state is State.ACTIVE
        with pytest.raises(Conflict) as live:
            await second.client.release(started.id)
        assert live.value.code == "circuit_live"
        await second.client.delete(started.id)
        assert (await second.until(started.id)).state is State.RELEASED
        await fed.empty()
