"""A configurator whose database was lost: what stands on the device waits for the negotiator's word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from meetme.configurator.keeper import Keeper
from meetme.runtime.clock import ManualClock
from meetme.runtime.database import Database

from .device import AGREEMENT, Device, FakeDriver, intent

GRACE = 60.0


@pytest.fixture
async def lost(tmp_path: Path, device: Device, clock: ManualClock) -> AsyncIterator[Keeper]:
    """A keeper with an empty database before a device that carries two links."""
    databases = [Database.open(f"sqlite:///{tmp_path / name}.db") for name in ("before", "after")]
    earlier = Keeper(FakeDriver(device), databases[0], clock)
    await earlier.start()
    await earlier.apply(intent())
    await earlier.apply(intent(circuit="c2", port="eth2"))
    await earlier.stop()
    keeper = Keeper(FakeDriver(device), databases[1], clock, stray_seconds=GRACE)
    with capture_logs() as lines:
        await keeper.start()
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert (warning["number"], warning["circuits"]) == (2, ["c1", "c2"])
    yield keeper
    await keeper.stop()
    for database in databases:
        await database.close()


async def later(keeper: Keeper, clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
    await keeper.tend()


async def test_nobody_has_spoken_so_nothing_is_removed(lost: Keeper, device: Device, clock: ManualClock) -> None:
    await later(lost, clock, 100 * GRACE)
    assert device.lines.keys() == {"c1", "c2"}
    assert lost.strays.circuits == {"c1", "c2"}


async def test_what_is_ordered_again_is_taken_over_and_the_rest_goes(
    lost: Keeper, device: Device, clock: ManualClock
) -> None:
    lost.strays.heard()
    await later(lost, clock, GRACE - 1)
    before, writes = dict(device.lines), device.writes
    assert before.keys() == {"c1", "c2"}
    assert await lost.apply(intent(generation=2)) == (), "it is as it was ordered: not touched"
    assert (device.lines, device.writes) == (before, writes)
    assert lost.strays.circuits == {"c2"}
    lost.strays.heard()
    await later(lost, clock, 2)
    assert device.lines == {"c1": before["c1"]}, "asking again gives no more time"
    assert lost.strays.circuits == frozenset()
    assert sum(lost.standing().values()) == 1


async def test_the_negotiator_s_word_is_not_waited_for_once_it_is_there(lost: Keeper, device: Device) -> None:
    await lost.remove("c1", AGREEMENT, 5)
    assert device.lines.keys() == {"c2"}


async def test_what_was_known_once_is_no_stray(lost: Keeper, device: Device, clock: ManualClock) -> None:
    await lost.apply(intent(generation=2))
    lines = device.lines["c1"]
    await lost.remove("c1", AGREEMENT, 3)
    device.lines["c1"] = lines
    await later(lost, clock, 1)
    assert device.lines.keys() == {"c2"}, "its removal was ordered: it comes back for nobody"


async def test_a_stray_is_not_told_twice(lost: Keeper, clock: ManualClock) -> None:
    with capture_logs() as lines:
        await later(lost, clock, 1)
        await later(lost, clock, 1)
    assert [line for line in lines if line["log_level"] == "warning"] == []


async def test_without_patience_it_goes_at_once(tmp_path: Path, device: Device, driver: FakeDriver, start) -> None:
    device.lines["c9"] = ("port eth1",)
    await start()
    assert device.lines == {}
