"""The composer's client at our own exchange: every promise of the seam `Exchange`, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey, ClientCredentials
from meetme.ixapi.ordering import IxApiExchange, Patience
from meetme.ixapi.orders import OrderEnd, SegmentOrder, SegmentState
from meetme.model.errors import Conflict, Exhausted, MeetMeError, Refused
from meetme.runtime.database import Database
from tests.ixapi.market import SECRET, Market, open_market

KEY = "fed-key".ljust(16, "x")
A, B, N = OrderEnd("a1", account="csp-a"), OrderEnd("b2", account="csp-b"), OrderEnd("n1", account="fed")


@asynccontextmanager
async def composer(market: Market, *, oauth: bool = False) -> AsyncIterator[IxApiExchange]:
    url = f"{market.service.url}/api/v2"
    credentials = ClientCredentials(KEY, SECRET, f"{url}/oauth2/token", ()) if oauth else ApiKey(KEY, SECRET)
    exchange = IxApiExchange(IxApiClient(url, credentials), patience=Patience(first_look=0.01))
    try:
        yield exchange
    finally:
        await exchange.close()


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    database = Database.open("sqlite://")
    async with open_market(database) as found:
        yield found
    await database.close()


@pytest.mark.parametrize("oauth", [False, True])
async def test_a_segment_is_built_seen_changed_and_removed(market: Market, oauth: bool) -> None:
    async with composer(market, oauth=oauth) as exchange:
        assert (await exchange.look("c#1")).state is SegmentState.ABSENT
        built = await exchange.build(SegmentOrder("c#1", A, B, 100))
        assert (built.a_vlan, built.b_vlan, built.bandwidth) == (2, 2, 100)
        assert await exchange.build(SegmentOrder("c#1", A, B, 100)) == built, "the same again is the same"
        assert len(await market.fed.get("network-services")) == 1
        assert (await exchange.look("c#1")).state is SegmentState.READY
        assert (await exchange.change("c#1", 50)).bandwidth == 50
        assert market.switches["s1"].in_force["c"].bandwidth == 50
        connections = {each.id: each for each in await exchange.connections()}
        assert (connections["a1"].allocated, connections["a1"].limit) == (50, 1000)
        assert connections["a1"].account == "csp-a"
        await exchange.remove("c#1")
        await exchange.remove("c#1")
        assert (await exchange.look("c#1")).state is SegmentState.ABSENT
        assert not market.switches["s1"].applied
        assert not market.switches["s2"].applied
        again = await exchange.build(SegmentOrder("c#1", A, B, 100))
        assert again.service != built.service


async def test_the_label_that_was_agreed_is_what_the_nni_has(market: Market) -> None:
    async with composer(market) as exchange:
        built = await exchange.build(SegmentOrder("c", A, OrderEnd("n1", 1234, "fed"), 100))
        assert built.b_vlan == 1234


@pytest.mark.parametrize(
    ("a", "bandwidth", "error"),
    [
        (OrderEnd("n1", 77, "fed"), 10, Conflict),
        (OrderEnd("n3", 78, "fed"), 601, Exhausted),
        (OrderEnd("nowhere", 78, "fed"), 10, Refused),
    ],
)
async def test_what_the_exchange_refuses_leaves_nothing(
    market: Market, a: OrderEnd, bandwidth: int, error: type[MeetMeError]
) -> None:
    async with composer(market) as exchange:
        await exchange.build(SegmentOrder("first", OrderEnd("n1", 77, "fed"), OrderEnd("n2", 77, "fed"), 10))
        with pytest.raises(error):
            await exchange.build(SegmentOrder("c", a, B, bandwidth))
        assert (await exchange.look("c")).state is SegmentState.ABSENT
        assert (await market.fed.get("connections/b2"))["capacity_allocated"] == 0
        assert set(market.switches["s1"].applied) == {"first"}


async def test_a_pair_ordered_at_once_shares_the_access(market: Market) -> None:
    async with composer(market) as exchange:
        one, two = await asyncio.gather(
            exchange.build(SegmentOrder("c#1", A, OrderEnd("n1", 5, "fed"), 100)),
            exchange.build(SegmentOrder("c#2", A, OrderEnd("n2", 6, "fed"), 100)),
        )
        assert one.a_vlan == two.a_vlan
        intent = market.switches["s1"].in_force["c"]
        assert (len(intent.a), len(intent.b)) == (1, 2)
        await exchange.remove("c#1")
        await exchange.remove("c#2")
        assert not market.switches["s1"].applied


async def test_more_orders_than_a_page(market: Market) -> None:
    async with composer(market) as exchange:
        for number in range(3):
            await market.fed.order_service(f"other-{number}")
        await asyncio.gather(*(exchange.build(SegmentOrder(f"c{n}", A, B, 10)) for n in range(8)))
        labels = {(await exchange.look(f"c{n}")).a_vlan for n in range(8)}
        assert len(labels) == 8
