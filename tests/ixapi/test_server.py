"""The exchange as its customers use it: orders, states, changes, cancellations."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from meetme.runtime.database import Database
from tests.ixapi.market import Market, open_market


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    database = Database.open("sqlite://")
    async with open_market(database) as found:
        yield found
    await database.close()


async def test_a_service_is_in_production_once_its_switches_have_it(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "circuit-7", capacity=100)
    done = await market.fed.in_production(service)
    assert done["status"] == []
    (intent,) = market.switches["s1"].in_force.values()
    assert (intent.circuit, intent.bandwidth, intent.mtu) == ("circuit-7", 100, 1500)
    assert not market.switches["s2"].applied
