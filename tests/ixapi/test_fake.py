"""The exchange in memory behaves as the seam promises."""

from __future__ import annotations

import pytest

from meetme.ixapi.exchange import Exchange
from meetme.ixapi.fake import FakeExchange
from meetme.ixapi.orders import ExchangeConnection, OrderEnd, SegmentOrder, SegmentState
from meetme.model.errors import Conflict, Exhausted, NotFound, Pending, Unreachable


def order(reference: str = "c1", *, a: int | None = None, b: int | None = 100, bandwidth: int = 100) -> SegmentOrder:
    return SegmentOrder(reference, OrderEnd("port-1", a, "csp-a"), OrderEnd("nni-1", b), bandwidth)


@pytest.fixture
def exchange() -> FakeExchange:
    tags = frozenset({"dot1q"})
    return FakeExchange([ExchangeConnection(id, speed=1000, tags=tags) for id in ("port-1", "nni-1")])


async def test_the_same_reference_is_the_same_segment(exchange: FakeExchange) -> None:
    seam: Exchange = exchange
    built = await seam.build(order())
    assert (built.a_vlan, built.b_vlan, built.bandwidth) == (2, 100, 100)
    assert await seam.build(order()) == built
    assert len(exchange.segments) == 1
    with pytest.raises(Conflict, match="another order"):
        await seam.build(order(bandwidth=50))


async def test_an_answer_that_was_lost_left_the_segment(exchange: FakeExchange) -> None:
    exchange.fail(Unreachable("exchange_unreachable", "lost"), after=True)
    with pytest.raises(Unreachable):
        await exchange.build(order())
    assert (await exchange.look("c1")).state is SegmentState.READY
    exchange.fail(Unreachable("exchange_unreachable", "not even sent"))
    with pytest.raises(Unreachable):
        await exchange.remove("c1")
    assert exchange.segments
    await exchange.remove("c1")
    await exchange.remove("c1")
    assert (await exchange.look("c1")).state is SegmentState.ABSENT
    assert not exchange.segments


async def test_neither_vlan_nor_capacity_is_given_twice(exchange: FakeExchange) -> None:
    await exchange.build(order(bandwidth=600))
    with pytest.raises(Conflict):
        await exchange.build(order("c2"))
    with pytest.raises(Exhausted):
        await exchange.build(order("c2", b=101, bandwidth=401))
    assert (await exchange.build(order("c2", b=101, bandwidth=400))).a_vlan == 3
    with pytest.raises(Exhausted):
        await exchange.change("c2", 401)
    assert (await exchange.change("c2", 300)).bandwidth == 300
    assert [c.allocated for c in await exchange.connections()] == [900, 900]
    with pytest.raises(NotFound):
        await exchange.build(SegmentOrder("c3", OrderEnd("port-1"), OrderEnd("port-9"), 1))


async def test_both_paths_of_a_circuit_share_its_access(exchange: FakeExchange) -> None:
    first = await exchange.build(order("c1#1", bandwidth=800))
    second = await exchange.build(order("c1#2", b=101, bandwidth=200))
    assert first.a_vlan == second.a_vlan == 2
    with pytest.raises(Exhausted):
        await exchange.build(order("c2#1", b=102, bandwidth=300))


async def test_it_can_be_slow_and_can_break(exchange: FakeExchange) -> None:
    exchange.delay(2)
    for _ in range(2):
        with pytest.raises(Pending):
            await exchange.build(order())
        assert (await exchange.look("c1")).state is SegmentState.PENDING
    await exchange.build(order())
    exchange.break_down("c1")
    assert (await exchange.look("c1")).state is SegmentState.FAILED
    await exchange.build(order())
    assert (await exchange.look("c1")).state is SegmentState.READY


async def test_a_port_without_tags_is_taken_whole() -> None:
    exchange = FakeExchange([ExchangeConnection(id, tags=frozenset({"port"})) for id in ("p1", "p2")])
    built = await exchange.build(SegmentOrder("c1", OrderEnd("p1"), OrderEnd("p2"), 10))
    assert (built.a_vlan, built.b_vlan) == (None, None)
    with pytest.raises(Conflict):
        await exchange.build(SegmentOrder("c2", OrderEnd("p1"), OrderEnd("p2"), 10))
