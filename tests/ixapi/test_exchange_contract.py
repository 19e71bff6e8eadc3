"""Whatever stands behind the seam behaves alike: in memory, a foreign IX-API, and the exchange that we serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meetme.ixapi.exchange import Exchange
from meetme.ixapi.fake import FakeExchange
from meetme.ixapi.opening import ExchangeAccess, open_exchange
from meetme.ixapi.orders import ExchangeConnection, OrderEnd, SegmentOrder, SegmentState
from meetme.model.errors import Conflict, Exhausted, MeetMeError, NotFound
from meetme.runtime.database import Database
from meetme.runtime.listener import listening, open_listener
from tests.ixapi.market import SECRET, open_market
from tests.ixapi.misbehaving import KEY, Manners, Misbehaving, app
from tests.ixapi.misbehaving import SECRET as OTHER_SECRET

PORTS = ("a1", "b1", "n1", "n3")
"""Two members' ports, a wide connection to another exchange, and one of 600 Mbit/s."""


@dataclass
class Behind:
    """An exchange, and whether anything of an order is left in what stands behind it."""

    exchange: Exchange
    empty: Callable[[], bool]
    capacity: bool = True
    """Whether it counts what its connections carry."""


@asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[Behind]:
    speeds = dict(zip(PORTS, (1000, 1000, 10_000, 600), strict=True))
    exchange = FakeExchange(
        [ExchangeConnection(id, speed=speed, tags=frozenset({"dot1q"})) for id, speed in speeds.items()]
    )
    yield Behind(exchange, lambda: not exchange.segments)


@asynccontextmanager
async def foreign(folder: Path) -> AsyncIterator[Behind]:
    there = Misbehaving(Manners(looks=1))
    there.speed = dict(zip(PORTS, (1000, 1000, 10_000, 600), strict=True))
    listener = await open_listener(app(there), "127.0.0.1:0")
    async with listening(listener):
        secret = folder / "secret"
        secret.write_text(OTHER_SECRET)
        exchange = open_exchange(ExchangeAccess(listener.url, KEY, secret))
        yield Behind(exchange, lambda: not there.live())
        await exchange.close()


@asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[Behind]:
    database = Database.open("sqlite://")
    async with open_market(database) as market:
        secret = folder / "secret"
        secret.write_text(SECRET)
        exchange = open_exchange(ExchangeAccess(market.service.url, "fed-key".ljust(16, "x"), secret))
        yield Behind(exchange, lambda: not any(switch.applied for switch in market.switches.values()))
        await exchange.close()
    await database.close()


@pytest.fixture(params=[memory, foreign, ours], ids=lambda kind: kind.__name__)
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Behind]:
    async with request.param(tmp_path) as found:
        yield found


def order(
    reference: str, *, a: int | None = None, b: int | None = None, nni: str = "n1", bandwidth: int = 100
) -> SegmentOrder:
    return SegmentOrder(reference, OrderEnd("a1", a, "csp-a"), OrderEnd(nni, b), bandwidth)


async def test_the_same_reference_is_the_same_segment(behind: Behind) -> None:
    built = await behind.exchange.build(order("c1", b=100))
    assert built.a_vlan is not None
    assert (built.b_vlan, built.bandwidth) == (100, 100)
    assert (await behind.exchange.build(order("c1", b=100))).service == built.service
    seen = await behind.exchange.look("c1")
    assert (seen.state, seen.a_vlan, seen.b_vlan, seen.bandwidth) == (SegmentState.READY, built.a_vlan, 100, 100)
    assert (await behind.exchange.look("c2")).state is SegmentState.ABSENT


async def test_it_is_taken_back_and_can_be_had_again(behind: Behind) -> None:
    for _ in range(2):
        await behind.exchange.build(order("c1", b=100))
        assert not behind.empty()
        await behind.exchange.remove("c1")
        assert behind.empty()
        assert (await behind.exchange.look("c1")).state is SegmentState.ABSENT
    await behind.exchange.remove("c1")


async def test_what_was_ordered_is_listed_until_it_is_gone(behind: Behind) -> None:
    assert await behind.exchange.references() == ()
    for reference, vlan in (("c1", 101), ("c2", 102)):
        await behind.exchange.build(order(reference, b=vlan))
    assert sorted(await behind.exchange.references()) == ["c1", "c2"]
    await behind.exchange.remove("c1")
    assert await behind.exchange.references() == ("c2",)
    await behind.exchange.remove("c2")


async def test_two_at_once_are_one(behind: Behind) -> None:
    built = await asyncio.gather(*(behind.exchange.build(order("c1", b=100)) for _ in range(3)))
    assert len({each.service for each in built}) == 1
    await behind.exchange.remove("c1")
    assert behind.empty()


async def test_no_vlan_is_given_twice(behind: Behind) -> None:
    first = await behind.exchange.build(order("c1", b=100))
    with pytest.raises(Conflict):
        await behind.exchange.build(order("c2", b=100))
    assert (await behind.exchange.look("c2")).state is SegmentState.ABSENT
    second = await behind.exchange.build(order("c2", b=101))
    assert first.a_vlan != second.a_vlan


async def test_capacity_that_is_not_there_is_refused_and_nothing_is_left(behind: Behind) -> None:
    await behind.exchange.build(order("c1", b=100, nni="n3", bandwidth=400))
    with pytest.raises(Exhausted):
        await behind.exchange.build(order("c2", b=101, nni="n3", bandwidth=300))
    assert (await behind.exchange.look("c2")).state is SegmentState.ABSENT
    await behind.exchange.remove("c1")
    assert behind.empty()


async def test_the_bandwidth_is_changed_or_stays(behind: Behind) -> None:
    await behind.exchange.build(order("c1", b=100, nni="n3", bandwidth=400))
    assert (await behind.exchange.change("c1", 500)).bandwidth == 500
    assert (await behind.exchange.look("c1")).bandwidth == 500
    with pytest.raises((Exhausted, Conflict)):
        await behind.exchange.change("c1", 700)
    seen = await behind.exchange.look("c1")
    assert (seen.state, seen.bandwidth) == (SegmentState.READY, 500)
    with pytest.raises(NotFound):
        await behind.exchange.change("c9", 10)


async def test_a_connection_that_is_not_there_is_an_error(behind: Behind) -> None:
    with pytest.raises(MeetMeError) as refused:
        await behind.exchange.build(order("c1", b=100, nni="n9"))
    assert "connection" in f"{refused.value.field} {refused.value.text}"
    assert behind.empty()
    assert (await behind.exchange.look("c1")).state is SegmentState.ABSENT


async def test_the_connections_are_listed(behind: Behind) -> None:
    found = {connection.id: connection for connection in await behind.exchange.connections()}
    assert set(PORTS) <= found.keys()
    assert found["n3"].speed == 600
    assert found["a1"].usable


@pytest.mark.parametrize("kind", [foreign, ours], ids=lambda kind: kind.__name__)
async def test_what_an_order_needs_is_looked_over(kind: Callable[..., Any], tmp_path: Path) -> None:
    async with kind(tmp_path) as behind:
        findings = {finding.what: finding for finding in await behind.exchange.check()}
        assert all(finding.ok for finding in findings.values()), findings
        assert {"exchange", "orders", "account", "offerings", "connections"} <= findings.keys()
        assert not any(finding.hint for finding in findings.values())
