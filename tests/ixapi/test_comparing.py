"""The books against the switches: what is lost is ordered again, what is certain goes, what is a stranger's stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import cast
from uuid import UUID, uuid4

import pytest

from meetme.configurator.client import open_configurator
from meetme.configurator.service import ConfiguratorService
from meetme.drivers.memory import MemoryDevice, MemoryDriver
from meetme.ixapi import watching
from meetme.ixapi.strays import StraySearch
from meetme.ixapi.switches import SwitchControl
from meetme.model.errors import NotFound, Unreachable
from meetme.model.intent import LinkState, Port
from meetme.model.segment import AccessEnd, SegmentIntent
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.ixapi.market import WITHIN, FakeSwitch, Market, open_market, opener


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        watching.Watcher.__init__, "__kwdefaults__", {"compare_seconds": 0.05, "reconnect_seconds": 0.02}
    )


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = Database.open("sqlite://")
    yield opened
    await opened.close()


@pytest.fixture
async def market(database: Database) -> AsyncIterator[Market]:
    async with open_market(database) as found:
        yield found


async def until(good: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not good():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def looked_at(market: Market, times: int = 3) -> None:
    """Every switch has been compared again."""
    for switch in market.switches.values():
        before = switch.looks
        await until(lambda switch=switch, before=before: switch.looks >= before + times)


def stranger(name: str = "stranger", service: UUID | None = None, generation: int = 7) -> SegmentIntent:
    a, b = (AccessEnd("swp7"),), (AccessEnd("swp8"),)
    return SegmentIntent(name, service or uuid4(), 1, generation, a, b, 1500)


def put(switch: FakeSwitch, intent: SegmentIntent) -> None:
    switch.applied[intent.circuit] = intent
    switch.confirmed.add(intent.circuit)


def wipe(switch: FakeSwitch) -> None:
    """The configurator's database is lost."""
    switch.applied.clear()
    switch.confirmed.clear()
    switch.seen.clear()


def count(market: Market, name: str) -> float | None:
    return market.service.registry.get_sample_value(name, {"switch": "s1"})


def strays(market: Market) -> dict[str, list[str]]:
    return {door.name: [each.intent.circuit for each in door.strays] for door in market.service._switches}


async def test_a_switch_that_lost_its_database_gets_all_of_it_again(market: Market) -> None:
    services = [
        await market.fed.order(a, b, f"c{n}", capacity=10) for n, (a, b) in enumerate([("a1", "b1"), ("a1", "b2")])
    ]
    for service in services:
        await market.fed.in_production(service)
    switch, other = market.switches["s1"], market.switches["s2"]
    had, orders = dict(switch.in_force), len(other.orders)
    wipe(switch)
    switch.away.set()  # its configurator was restarted
    await until(lambda: switch.in_force.keys() == had.keys())
    for name, intent in switch.in_force.items():
        assert replace(intent, generation=0, revision=0) == replace(had[name], generation=0, revision=0)
        assert intent.generation > had[name].generation
    for service in services:
        await market.fed.in_production(service)
    assert len(other.orders) == orders, "the other switch had everything"
    assert count(market, "meetme_ixapi_pieces_reordered_total") == 2


async def test_what_was_lost_while_the_server_was_down_is_there_again_after_its_start(database: Database) -> None:
    switches = {"s1": FakeSwitch(), "s2": FakeSwitch()}
    async with open_market(database, switches=switches) as market:
        await market.fed.in_production(await market.fed.order("a1", "b1", "c", capacity=10))
    wipe(switches["s1"])
    async with open_market(database, switches=switches):
        await until(lambda: set(switches["s1"].in_force) == {"c"})


@pytest.mark.parametrize(
    "change",
    [
        {"bandwidth": 11},
        {"mtu": 1400},
        {"b": (AccessEnd("swp2", 77),)},
        {"service": UUID(int=5), "generation": 1},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_piece_that_differs_is_ordered_again(market: Market, change: dict[str, object]) -> None:
    await market.fed.in_production(await market.fed.order("a1", "b1", "c", capacity=10))
    switch = market.switches["s1"]
    good = switch.applied["c"]
    switch.applied["c"] = replace(good, **change)  # an older backup of its configurator
    await until(lambda: switch.applied["c"] != replace(good, **change) and "c" in switch.confirmed)
    there = switch.applied["c"]
    assert replace(there, generation=good.generation, revision=good.revision) == good


async def test_a_piece_that_is_not_confirmed_any_more_is_ordered_again(market: Market) -> None:
    await market.fed.in_production(await market.fed.order("a1", "b1", "c", capacity=10))
    market.switches["s1"].confirmed.clear()
    await until(lambda: "c" in market.switches["s1"].confirmed)


async def test_what_is_as_it_should_be_is_not_ordered_again(market: Market) -> None:
    await market.fed.in_production(await market.fed.order("a1", "b2", "c", capacity=10))
    orders = {name: list(switch.orders) for name, switch in market.switches.items()}
    await looked_at(market)
    assert {name: switch.orders for name, switch in market.switches.items()} == orders


async def test_a_piece_of_a_service_that_ended_is_taken_away_again(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    await market.fed.in_production(service)
    switch = market.switches["s1"]
    had = switch.applied["c"]
    await market.fed.send("DELETE", f"network-services/{service['id']}")
    await market.fed.until(f"network-services/{service['id']}", "decommissioned")
    assert not switch.applied
    put(switch, had)  # its configurator's database was restored from a backup
    await until(lambda: not switch.applied)
    assert (await market.fed.get(f"network-services/{service['id']}"))["state"] == "decommissioned"


async def test_a_segment_that_no_book_knows_is_named_and_left_alone(market: Market) -> None:
    put(market.switches["s1"], stranger())
    await until(lambda: strays(market) == {"s1": ["stranger"], "s2": []})
    await looked_at(market)
    assert set(market.switches["s1"].in_force) == {"stranger"}
    assert not market.switches["s1"].orders
    assert count(market, "meetme_ixapi_stray_segments") == 1
    wipe(market.switches["s1"])
    await until(lambda: strays(market) == {"s1": [], "s2": []})


async def test_a_piece_that_was_ordered_later_than_the_books_know_is_left_alone(market: Market) -> None:
    """The store is an older backup: what its bundle has ordered since is nobody's to remove but a person's."""
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    await market.fed.in_production(service)
    switch = market.switches["s1"]
    had = switch.applied["c"]
    await market.fed.send("DELETE", f"network-services/{service['id']}")
    await market.fed.until(f"network-services/{service['id']}", "decommissioned")
    put(switch, replace(had, generation=2**52))
    await until(lambda: strays(market)["s1"] == ["c"])
    await looked_at(market)
    assert set(switch.in_force) == {"c"}


async def test_a_lost_store_removes_nothing(market: Market) -> None:
    await market.fed.in_production(await market.fed.order("a1", "b2", "c", capacity=10))
    empty = Database.open("sqlite://")
    async with open_market(empty, switches=market.switches) as other:
        await until(lambda: strays(other) == {"s1": ["c"], "s2": ["c"]})
        assert all(set(switch.in_force) == {"c"} for switch in market.switches.values())
    await empty.close()


async def test_a_switch_that_cannot_be_looked_at_is_looked_at_when_it_can(market: Market) -> None:
    await market.fed.in_production(await market.fed.order("a1", "b1", "c", capacity=10))
    switch = market.switches["s1"]
    switch.error = Unreachable("configurator_unreachable", "configurator: must be reachable")
    switch.away.set()
    wipe(switch)
    await looked_at(replace(market, switches={"s2": market.switches["s2"]}))
    assert not switch.applied
    switch.error = None
    await until(lambda: set(switch.in_force) == {"c"})


async def test_a_real_configurator_that_lost_its_database_is_told_all_again_and_changes_nothing() -> None:
    """What is on the switch goes on as it is: neither removed as unknown, nor made anew."""
    ports = tuple(Port(f"swp{n}", True, 9000, f"02:00:00:00:00:0{n}") for n in (1, 2))
    driver, books = MemoryDriver(MemoryDevice(ports)), Database.open("sqlite://")
    first, second = Database.open("sqlite://"), Database.open("sqlite://")
    configurator = ConfiguratorService(driver, first, SystemClock(), stray_seconds=60.0)
    address = await configurator.start("127.0.0.1:0")

    async def reach() -> SwitchControl:
        return cast(SwitchControl, await open_configurator(address))

    async with open_market(books, openers={"s1": reach, "s2": opener(FakeSwitch())}) as m:
        await m.fed.in_production(await m.fed.order("a1", "b1", "c", capacity=10))
        had, changes = dict(driver.device.circuits), driver.device.applied
        await configurator.stop()
        configurator = ConfiguratorService(driver, second, SystemClock(), stray_seconds=60.0)
        await configurator.start(address)
        await until(lambda: count(m, "meetme_ixapi_pieces_reordered_total") == 1)
        await m.fed.in_production((await m.fed.get("network-services"))[0])
        client = await open_configurator(address)
        assert [each.state for each in (await client.observe()).segments] == [LinkState.CONFIRMED]
        await client.close()
        assert driver.device.circuits == had
        assert driver.device.applied == changes
    await configurator.stop()
    for database in (books, first, second):
        await database.close()


async def test_a_person_lists_strays_and_takes_one_away(market: Market, database: Database) -> None:
    await market.fed.in_production(await market.fed.order("a1", "b2", "c", capacity=10))
    for switch in market.switches.values():
        put(switch, stranger())
    openers = {name: opener(switch) for name, switch in market.switches.items()}
    search = StraySearch(database, openers, SystemClock())
    found = await search.find()
    assert [(each.switch, each.intent.circuit) for each in found.strays] == [("s1", "stranger"), ("s2", "stranger")]
    with pytest.raises(NotFound, match="must be a stray"):
        await search.remove("c")
    assert len(await search.remove("stranger", "s1")) == 1
    assert {name: set(switch.in_force) for name, switch in market.switches.items()} == {
        "s1": {"c"},
        "s2": {"c", "stranger"},
    }
    market.switches["s1"].error = Unreachable("configurator_unreachable", "configurator: must be reachable")
    found = await search.find()
    assert [each.switch for each in found.strays] == ["s2"]
    assert [name for name, _ in found.silent] == ["s1"]


async def test_without_books_nothing_is_called_a_stray(market: Market) -> None:
    unused = Database.open("sqlite://")
    search = StraySearch(unused, {name: opener(switch) for name, switch in market.switches.items()}, SystemClock())
    with pytest.raises(NotFound, match="must be that of the IX-API server"):
        await search.find()
    await unused.close()
