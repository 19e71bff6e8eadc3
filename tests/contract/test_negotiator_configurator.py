"""Negotiators and configurators as they run: mutual TLS between members, gRPC to the routers, the memory driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from meetme.configurator.service import ConfiguratorService
from meetme.drivers.memory import MemoryConfig, MemoryDevice, MemoryDriver, Trouble
from meetme.model.intent import LinkState
from meetme.negotiator import events as ev
from meetme.negotiator.settings import Configurator
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.negotiator.pair import Side, pair


@dataclass
class Box:
    """A router: its device, and the configurator in front of it, which can be killed and started again."""

    device: MemoryDevice
    database: Database
    service: ConfiguratorService[MemoryConfig]
    address: str

    async def restart(self) -> None:
        await self.service.stop()
        self.service = ConfiguratorService(MemoryDriver(self.device), self.database, SystemClock())
        await self.service.start(self.address)


@asynccontextmanager
async def box() -> AsyncIterator[Box]:
    device, database = MemoryDevice(), Database.open("sqlite://")
    service = ConfiguratorService(MemoryDriver(device), database, SystemClock())
    made = Box(device, database, service, await service.start("127.0.0.1:0"))
    try:
        yield made
    finally:
        await made.service.stop()
        await database.close()


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Side, Side, Box, Box]]:
    async with box() as one, box() as two:
        targets = {
            letter: {"configurator": (Configurator("r1", each.address),)} for letter, each in (("a", one), ("b", two))
        }
        async with pair(real=True, **targets) as (a, b):
            yield a, b, one, two


async def test_the_whole_way_there_and_back() -> None:
    async with world() as (a, b, one, two):
        plan = await a.client.plan(StartRequest("csp-b"))
        assert plan.plan
        assert one.device.circuits == {}
        started = await a.client.start(StartRequest("csp-b"))
        assert (await a.until(started.id, State.ACTIVE)).state is State.ACTIVE
        assert (await b.until(started.id, State.ACTIVE)).state is State.ACTIVE
        assert one.device.circuits.keys() == two.device.circuits.keys() == {"direct:csp-a:csp-b"}
        await a.client.terminate(started.id)
        assert (await a.until(started.id)).state is State.TERMINATED
        assert (await b.until(started.id)).state is State.TERMINATED
        assert one.device.circuits == two.device.circuits == {}
        assert one.device.applied == two.device.applied == 2


async def test_a_device_that_refuses_undoes_both_sides() -> None:
    async with world() as (a, b, one, two):
        two.device.trouble = Trouble.FAIL
        started = await a.client.start(StartRequest("csp-b"))
        mine = await a.until(started.id)
        assert mine.state is State.FAILED
        assert mine.problem is not None
        assert (await b.until(started.id)).state is State.FAILED
        async with asyncio.timeout(10):
            while one.device.circuits or two.device.circuits:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_configurator_that_was_away_finds_its_link_confirmed() -> None:
    async with world() as (a, b, one, _two):
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.COMMITTED)
        await one.restart()
        assert (await a.until(started.id, State.ACTIVE)).state is State.ACTIVE
        assert (await b.until(started.id, State.ACTIVE)).state is State.ACTIVE
        router = a.service._routers.get("r1")
        async with asyncio.timeout(10):
            while True:
                seen = (await router.look()).observation
                if seen and [link.state for link in seen.links] == [LinkState.CONFIRMED]:
                    break
                await asyncio.sleep(0.02)


def backup(side: Side) -> bytes:
    raw = side.database.run_now(lambda tx: tx.connection.dbapi_connection)
    return bytes(raw.serialize())


async def restore(side: Side, contents: bytes) -> None:
    """Stop the negotiator, put its database back as it was, start it again."""
    await side.service.close()
    side.database.run_now(lambda tx: tx.connection.dbapi_connection).deserialize(contents)
    await side.restart(crash=False)


async def until_confirmed_again(box: Box, generation: int) -> None:
    """Wait until the device carries an order of a higher generation, for good."""
    async with asyncio.timeout(15):
        while True:
            (link,) = (await box.service._keeper.observe()).links
            if link.intent.generation > generation and link.state is LinkState.CONFIRMED:
                return
            await asyncio.sleep(0.02)


async def test_after_a_backup_was_restored_the_device_obeys_again() -> None:
    async with world() as (a, b, one, _two):
        started = await a.client.start(StartRequest("csp-b"))
        await a.until(started.id, State.ACTIVE)
        await b.until(started.id, State.ACTIVE)
        router = a.service._routers.get("r1")
        before = (await router.look()).observation
        assert before is not None
        contents = backup(a)
        generation = before.links[0].intent.generation
        for _ in range(3):  # the device sees orders that the backup knows nothing of
            await a.service._loop.deliver(str(started.id), ev.DeviceLost(time.time()))
            await until_confirmed_again(one, generation)
            (link,) = (await one.service._keeper.observe()).links
            generation = link.intent.generation
        await restore(a, contents)

        await a.service._loop.deliver(str(started.id), ev.DeviceLost(time.time()))
        await until_confirmed_again(one, generation)
        await restore(a, contents)
        await a.client.terminate(started.id)
        assert (await a.until(started.id)).state is State.TERMINATED
        assert (await b.until(started.id)).state is State.TERMINATED
        assert one.device.circuits == {}
