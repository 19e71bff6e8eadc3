"""Our own service with the three actions on Linux, for the network namespace it is started in."""

from __future__ import annotations

import asyncio
import sys

from meetme.configurator.service import ConfiguratorService
from meetme.drivers.linux.actions import LinuxActions
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.configurator.device import Device, FakeDriver


async def main(address: str) -> None:
    driver = FakeDriver(Device())
    driver.actions = LinuxActions()  # type: ignore[attr-defined]
    service = ConfiguratorService(driver, Database.open("sqlite://"), SystemClock())
    print(f"listening on {await service.start(address)}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
