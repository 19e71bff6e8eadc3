"""The memory driver's troubles: they are what other tests rely on."""

from __future__ import annotations

import asyncio

import pytest

from meetme.drivers.memory import Died, MemoryDevice, MemoryDriver, Trouble
from meetme.model.errors import DeviceFailed
from tests.contract.test_drivers import INTENT, wish


async def test_a_refused_change_is_put_back() -> None:
    device = MemoryDevice(trouble=Trouble.FAIL, trouble_after=2)
    with pytest.raises(DeviceFailed):
        await wish(MemoryDriver(device), INTENT)
    assert device.circuits == {}
    assert await wish(MemoryDriver(device), INTENT)


async def test_a_death_half_way_leaves_half() -> None:
    device = MemoryDevice(trouble=Trouble.DIE, trouble_after=2)
    with pytest.raises(Died):
        await wish(MemoryDriver(device), INTENT)
    assert len(device.circuits[INTENT.circuit].statements) == 2
    driver = MemoryDriver(device)
    assert len(await wish(driver, INTENT)) == len(device.circuits[INTENT.circuit].statements) - 2


async def test_a_hanging_device_goes_on_when_told() -> None:
    device = MemoryDevice(trouble=Trouble.HANG, trouble_after=1)
    applying = asyncio.ensure_future(wish(MemoryDriver(device), INTENT))
    done, _ = await asyncio.wait([applying], timeout=0.02)
    assert not done
    device.resume.set()
    assert await applying
    assert device.applied == 1


async def test_drift_is_told_and_found() -> None:
    device = MemoryDevice()
    driver = MemoryDriver(device)
    await wish(driver, INTENT)
    events = driver.watch()
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    lost = sorted(device.circuits[INTENT.circuit].statements)[0]
    device.drift(INTENT.circuit, gone=lost)
    assert (await following).circuit == INTENT.circuit
    assert await wish(driver, INTENT) == (lost,)
    device.drift(INTENT.circuit, extra="somebody's")
    assert await wish(driver, INTENT) == ("no somebody's",)
