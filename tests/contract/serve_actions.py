"""Our own service with the three actions on Linux, for the network namespace it is started in."""

from __future__ import annotations

import asyncio
import sys

from meetme.configurator.keeper import Keeper
from meetme.configurator.service import ConfiguratorService
from meetme.drivers.linux.actions import LinuxActions
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.configurator.device import Device, FakeDriver


async def main(address: str) -> None:
    keeper = Keeper(FakeDriver(Device()), Database.open("sqlite://"), SystemClock())
    service = ConfiguratorService(keeper, driver="fake", actions=LinuxActions())
    print(f"listening on {await service.start(address)}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
