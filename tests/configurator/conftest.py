"""A keeper on a device that lives in memory, with its store and a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from meetme.configurator.keeper import Keeper
from meetme.runtime.clock import ManualClock
from meetme.runtime.database import Database
from tests.configurator.device import Device, FakeDriver

Start = Callable[..., Awaitable[Keeper]]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def driver(device: Device) -> FakeDriver:
    return FakeDriver(device)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def start(database_url: str, device: Device, driver: FakeDriver, clock: ManualClock) -> AsyncIterator[Start]:
    """Starts a keeper on the one store and device, as often as it is called: the earlier ones were killed."""
    started: list[Keeper] = []
    databases: list[Database] = []

    async def start(another: FakeDriver | None = None, **options: float) -> Keeper:
        database = Database.open(database_url)
        databases.append(database)
        keeper = Keeper(another or driver, database, clock, **options)
        started.append(keeper)
        await keeper.start()
        return keeper

    yield start
    for keeper in started:
        await keeper.stop()
    for database in databases:
        await database.close()
