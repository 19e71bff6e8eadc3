"""The whole configurator over the memory driver, killed at every statement of an order and started again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meetme.configurator.client import ConfiguratorClient, open_configurator
from meetme.configurator.keeper import Keeper
from meetme.configurator.service import ConfiguratorService
from meetme.drivers.memory import Died, MemoryDevice, MemoryDriver, Trouble
from meetme.model.errors import DeviceFailed
from meetme.model.intent import LinkState, ProbeRequest
from meetme.runtime.clock import ManualClock, SystemClock
from meetme.runtime.database import Database
from tests.configurator.device import AGREEMENT, intent, until


async def test_the_life_of_a_link(tmp_path: Path) -> None:
    device, database = MemoryDevice(), Database.open("sqlite://")
    service = ConfiguratorService(MemoryDriver(device), database, SystemClock())
    await service.start(f"unix:{tmp_path / 'memory.sock'}")
    client = await open_configurator(f"unix:{tmp_path / 'memory.sock'}", seconds=5)
    assert isinstance(client, ConfiguratorClient)
    device.trouble = Trouble.FAIL
    device.trouble_after = 2
    with pytest.raises(DeviceFailed, match="nothing of it is left"):
        await client.apply(intent())
    assert device.circuits == {}
    commands = await client.apply(intent(), confirm_seconds=30)
    await client.confirm("c1", AGREEMENT, 1)
    source, target = intent().local[0].inside[1], intent().remote[0].inside[1]
    assert (await client.probe(ProbeRequest("c1", source, target, (84, 1500)))).answered == (84, 1500)
    before = device.circuits["c1"]
    device.drift("c1", gone=commands[0])
    await until(lambda: device.circuits["c1"] == before)
    await client.remove("c1", AGREEMENT, 2)
    assert device.circuits == {}
    await client.close()
    await service.stop()
    await database.close()


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("removing", [False, True])
async def test_killed_at_every_statement(tmp_path: Path, removing: bool, after: int) -> None:
    device, clock, url = MemoryDevice(), ManualClock(), f"sqlite:///{tmp_path / 'configurator.db'}"
    first, second = Database.open(url), Database.open(url)
    keeper = Keeper(MemoryDriver(device), first, clock)
    await keeper.start()
    if removing:
        await keeper.apply(intent())
    device.trouble, device.trouble_after = Trouble.DIE, after
    order = keeper.remove("c1", AGREEMENT, 2) if removing else keeper.apply(intent(), confirm_seconds=60)
    with pytest.raises(Died):
        await order
    again = Keeper(MemoryDriver(device), second, clock)
    await again.start()
    links = (await again.observe()).links
    if removing:
        assert (links, device.circuits) == ((), {})
    else:
        assert [(link.intent, link.state, link.in_sync) for link in links] == [(intent(), LinkState.TENTATIVE, True)]
        assert await again.apply(replace(intent(), generation=2)) == ()
    for each, database in ((keeper, first), (again, second)):
        await each.stop()
        await database.close()
