"""Killed at every point of every order, and started again: the device is what the store says, and nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from meetme.configurator.keeper import Keeper
from meetme.model.intent import LinkState
from meetme.runtime.clock import ManualClock
from tests.configurator.conftest import Start
from tests.configurator.device import AGREEMENT, OTHER, Device, FakeDriver, Killed, intent

FIRST, CHANGED = intent(), intent(revision=2, generation=2, mtu=1400, port="eth2")


async def apply(keeper: Keeper, clock: ManualClock) -> None:
    await keeper.apply(FIRST, confirm_seconds=60)


async def change(keeper: Keeper, clock: ManualClock) -> None:
    await keeper.apply(CHANGED, confirm_seconds=60)


async def remove(keeper: Keeper, clock: ManualClock) -> None:
    await keeper.remove("c1", AGREEMENT, 3)


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("order", "prepared"), [(apply, False), (change, True), (remove, True)])
async def test_killed_anywhere(
    start: Start,
    device: Device,
    driver: FakeDriver,
    clock: ManualClock,
    order: Callable[[Keeper, ManualClock], Awaitable[None]],
    prepared: bool,
    side: str,
    step: int,
) -> None:
    keeper = await start()
    bystander = intent(circuit="c2", agreement=OTHER, port="eth7")
    await keeper.apply(bystander)
    if prepared:
        await keeper.apply(FIRST)
    untouched = device.lines["c2"]

    def die_at(n: int) -> None:
        if n == step:
            raise Killed

    setattr(driver, side, die_at)
    killed = False
    try:
        await order(keeper, clock)
    except Killed:
        killed = True
    again = await start(FakeDriver(device))
    links = {link.intent.circuit: link for link in (await again.observe()).links}
    wanted = {apply: FIRST, change: CHANGED, remove: None}[order]
    if wanted is None:
        assert "c1" not in links
        assert "c1" not in device.lines
    else:
        assert (links["c1"].intent, links["c1"].state) == (wanted, LinkState.TENTATIVE)
        assert set(device.lines["c1"]) == set(driver.render(wanted, await driver.facts()))
        clock.advance(61)
        third = await start(FakeDriver(device))
        base = FIRST if prepared else None
        assert [link.intent for link in (await third.observe()).links] == ([base, bystander] if base else [bystander])
        assert ("c1" in device.lines) == prepared
        if base:
            assert set(device.lines["c1"]) == set(driver.render(base, await driver.facts()))
    assert device.lines["c2"] == untouched
    assert killed or step >= 4, "every change has at least four lines"
