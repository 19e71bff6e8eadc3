"""The service manager is told what it wants to know, in its words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meetme.runtime.notify import Manager


@pytest.fixture(params=["path", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@meetme-test-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        listener.settimeout(5)
        yield address, listener


def test_it_says_what_is_so(told: tuple[str, socket.socket]) -> None:
    address, listener = told
    manager = Manager.of({"NOTIFY_SOCKET": address})
    assert manager.watchdog_seconds is None
    manager.tell(READY="1", STATUS="up")
    assert listener.recv(100) == b"READY=1\nSTATUS=up"


async def test_signs_of_life_stop_with_life(told: tuple[str, socket.socket]) -> None:
    address, listener = told
    manager = Manager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": "7"}, pid=7)
    assert manager.watchdog_seconds == 0.04
    alive = True
    task = asyncio.create_task(manager.show_life(lambda: alive))
    for _ in range(3):
        assert await asyncio.to_thread(listener.recv, 100) == b"WATCHDOG=1"
    alive = False
    listener.setblocking(False)
    with suppress(BlockingIOError):
        while listener.recv(100):
            pass
    await asyncio.sleep(0.1)
    with pytest.raises(BlockingIOError):
        listener.recv(100)
    task.cancel()


@pytest.mark.parametrize(
    "environ", [{"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8"}]
)
async def test_a_watchdog_that_is_not_ours(environ: dict[str, str]) -> None:
    manager = Manager.of(environ, pid=7)
    assert manager.watchdog_seconds is None
    await manager.show_life(lambda: True)


def test_a_manager_that_is_busy_holds_up_nothing(told: tuple[str, socket.socket]) -> None:
    manager = Manager.of({"NOTIFY_SOCKET": told[0]})
    for _ in range(2000):
        manager.tell(WATCHDOG="1")


def test_nobody_there_is_no_reason_to_fail(tmp_path: Path) -> None:
    Manager.of({}).tell(READY="1")
    Manager.of({"NOTIFY_SOCKET": str(tmp_path / "none")}).tell(READY="1")
