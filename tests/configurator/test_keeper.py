"""The keeper: what it is told stays so on the device, whatever happens to the device or to itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from meetme.configurator.keeper import Keeper
from meetme.configurator.watchers import Watchers
from meetme.drivers.base import Change, Disturbance
from meetme.model.errors import (
    Conflict,
    DeviceFailed,
    Exhausted,
    InvalidInput,
    MeetMeError,
    NotFound,
    Stale,
    Unsupported,
)
from meetme.model.intent import LinkEvent, LinkEventKind, LinkState
from meetme.runtime.clock import ManualClock, SystemClock
from meetme.runtime.database import Database
from tests.configurator.conftest import Start
from tests.configurator.device import AGREEMENT, OTHER, Device, FakeDriver, Killed, Lines, die, intent, refuse, until


async def test_apply_is_idempotent(start: Start, device: Device) -> None:
    keeper = await start()
    assert await keeper.apply(intent())
    assert device.lines["c1"][0] == "port eth1"
    writes = device.writes
    assert await keeper.apply(intent()) == ()
    assert device.writes == writes


async def test_dry_run_touches_neither_device_nor_store(start: Start, device: Device) -> None:
    keeper = await start()
    assert await keeper.apply(intent(), dry_run=True)
    assert device.applied == 0
    assert (await keeper.observe()).links == ()
    assert (await (await start(FakeDriver(device))).observe()).links == ()


async def test_remove_verifies_and_is_idempotent(start: Start, device: Device) -> None:
    keeper = await start()
    await keeper.apply(intent())
    await keeper.remove("c1", AGREEMENT, 1)
    assert device.lines == {}
    assert (await keeper.observe()).links == ()
    await keeper.remove("c1", AGREEMENT, 1)
    await keeper.remove("never-heard-of", AGREEMENT, 1)


async def test_removing_an_agreement_that_was_replaced_leaves_its_successor(start: Start, device: Device) -> None:
    keeper = await start()
    await keeper.apply(intent(agreement=OTHER))
    await keeper.remove("c1", OTHER, 1)
    await keeper.apply(intent(generation=2))
    await keeper.remove("c1", OTHER, 1)
    assert "c1" in device.lines


async def test_a_removal_that_the_device_ignores_is_not_called_done(
    start: Start, device: Device, driver, clock
) -> None:
    keeper = await start()
    await keeper.apply(intent())
    works = FakeDriver.apply

    async def ignore(change) -> None:
        device.applied += 1

    driver.apply = ignore
    with pytest.raises(DeviceFailed, match="tried again") as caught:
        await keeper.remove("c1", AGREEMENT, 1)
    assert caught.value.code == "removal_incomplete"
    (link,) = (await keeper.observe()).links
    assert link.state is LinkState.REMOVING
    assert link.problem is not None
    with pytest.raises(Conflict, match="must be free"):
        await keeper.apply(intent(agreement=OTHER, generation=2))
    driver.apply = lambda change: works(driver, change)
    clock.advance(60)
    await keeper.tend()
    await until(lambda: not device.lines)
    await keeper.remove("c1", AGREEMENT, 1)
    assert (await keeper.observe()).links == ()


async def test_a_lower_generation_is_stale_even_after_removal_and_restart(start: Start, device: Device) -> None:
    keeper = await start()
    await keeper.apply(intent(generation=5))
    for order in (
        keeper.apply(intent(generation=4, revision=9)),
        keeper.confirm("c1", AGREEMENT, 4),
        keeper.remove("c1", AGREEMENT, 4),
    ):
        with pytest.raises(Stale) as caught:
            await order
        assert caught.value.code == "stale_generation"
    await keeper.remove("c1", AGREEMENT, 6)
    again = await start(FakeDriver(device))
    with pytest.raises(Stale):
        await again.apply(intent(generation=5))
    assert device.lines == {}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"agreement": OTHER, "generation": 9}, "circuit_in_use"),
        ({"circuit": "c2"}, "port_in_use"),
        ({"circuit": "c2", "vlan": 7}, "port_in_use"),
    ],
)
async def test_what_is_taken_stays_taken(start: Start, device: Device, changes: dict, code: str) -> None:
    keeper = await start()
    await keeper.apply(intent())
    before = dict(device.lines)
    with pytest.raises(Conflict) as caught:
        await keeper.apply(intent(**changes))
    assert caught.value.code == code
    assert device.lines == before


async def test_two_vlans_share_a_port(start: Start, device: Device) -> None:
    keeper = await start()
    await keeper.apply(intent(vlan=7))
    await keeper.apply(intent(circuit="c2", vlan=8))
    assert set(device.lines) == {"c1", "c2"}


async def test_of_two_orders_for_one_port_at_once_one_wins(start: Start, device: Device) -> None:
    keeper = await start()
    results = await asyncio.gather(
        keeper.apply(intent()), keeper.apply(intent(circuit="c2", agreement=OTHER)), return_exceptions=True
    )
    assert sorted(isinstance(result, Conflict) for result in results) == [False, True]
    assert len(device.lines) == 1


async def test_a_refused_order_leaves_nothing(start: Start, device: Device, driver: FakeDriver) -> None:
    keeper = await start()
    driver.after = refuse
    with pytest.raises(DeviceFailed, match="nothing of it is left") as caught:
        await keeper.apply(intent())
    assert caught.value.code == "device_refused"
    assert device.lines == {}
    assert (await keeper.observe()).links == ()


async def test_a_refused_change_brings_the_earlier_intent_back(
    start: Start, device: Device, driver: FakeDriver
) -> None:
    keeper = await start()
    await keeper.apply(intent())
    before = dict(device.lines)
    failed = []

    def once(n: int) -> None:
        if n == 1 and not failed:
            failed.append(n)
            refuse(n)

    driver.all_or_nothing = False
    driver.after = once
    with pytest.raises(DeviceFailed, match="what was there before is back"):
        await keeper.apply(intent(revision=2, mtu=1400))
    assert {c: set(lines) for c, lines in device.lines.items()} == {c: set(lines) for c, lines in before.items()}
    (link,) = (await keeper.observe()).links
    assert (link.intent, link.in_sync, link.problem) == (intent(), True, None)


async def test_what_the_driver_cannot_express_changes_nothing(start: Start, device: Device) -> None:
    keeper = await start()
    with pytest.raises(Unsupported):
        await keeper.apply(intent(mtu=9999))
    assert device.applied == 0
    assert (await keeper.observe()).links == ()


async def test_impossible_orders_are_refused_before_anything_else(start: Start, device: Device) -> None:
    keeper = await start()
    for changes, field in (
        ({"circuit": ""}, "intent.circuit"),
        ({"port": "a b"}, "intent.port"),
        ({"mtu": 20}, "intent.mtu"),
        ({"vlan": 4095}, "intent.vlan"),
        ({"local": ()}, "intent.local"),
        ({"generation": 2**63}, "intent.generation"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await keeper.apply(intent(**changes))
        assert caught.value.field == field
    with pytest.raises(InvalidInput):
        await keeper.remove("c1", AGREEMENT, 2**63)
    assert device.applied == 0


async def test_unconfirmed_is_rolled_back_confirmed_is_not(start: Start, device: Device, clock: ManualClock) -> None:
    keeper = await start()
    await keeper.apply(intent(), confirm_seconds=10)
    await keeper.apply(intent(circuit="c2", port="eth2", agreement=OTHER), confirm_seconds=10)
    await keeper.confirm("c2", OTHER, 1)
    await keeper.confirm("c2", OTHER, 1)
    clock.advance(9)
    await keeper.tend()
    assert set(device.lines) == {"c1", "c2"}
    clock.advance(2)
    with pytest.raises(NotFound) as caught:
        await keeper.confirm("c1", AGREEMENT, 1)
    assert caught.value.code == "link_unknown"
    await until(lambda: set(device.lines) == {"c2"})


async def test_the_timer_runs_by_itself(device: Device, driver: FakeDriver) -> None:
    database = Database.open("sqlite://")
    keeper = Keeper(driver, database, SystemClock())
    await keeper.start()
    await keeper.apply(intent(), confirm_seconds=0.2)
    assert "c1" in device.lines
    await until(lambda: not device.lines, 2.0)
    await keeper.stop()
    await database.close()


async def test_an_unconfirmed_change_goes_back_to_what_was_confirmed(
    start: Start, device: Device, clock: ManualClock
) -> None:
    keeper = await start()
    await keeper.apply(intent())
    await keeper.apply(intent(revision=2, mtu=1400), confirm_seconds=10)
    await keeper.apply(intent(revision=3, mtu=1300), confirm_seconds=10)
    assert "mtu 1300" in device.lines["c1"]
    clock.advance(11)
    again = await start(FakeDriver(device))
    assert "mtu 1500" in device.lines["c1"]
    (link,) = (await again.observe()).links
    assert (link.intent, link.state) == (intent(), LinkState.CONFIRMED)


async def test_an_older_revision_is_stale(start: Start) -> None:
    keeper = await start()
    await keeper.apply(intent(revision=3))
    with pytest.raises(Stale) as caught:
        await keeper.apply(intent(revision=2, mtu=1400))
    assert caught.value.code == "stale_revision"
    with pytest.raises(Conflict) as clash:
        await keeper.apply(intent(revision=3, mtu=1400))
    assert clash.value.code == "revision_reused"
    await keeper.apply(intent(revision=2, generation=2, mtu=1400))


def arm(driver: FakeDriver, where: str) -> None:
    """Let the process die while it carries out its next order."""
    if where == "before the device":
        driver.before = die
    elif where == "half-way":
        driver.after = lambda n: die(n) if n == 1 else None
    else:
        finish = driver.apply

        async def finish_and_die(change: Change[Lines]) -> None:
            await finish(change)
            raise Killed

        driver.apply = finish_and_die  # type: ignore[method-assign]


POINTS = ["before the device", "half-way", "after the device"]


@pytest.mark.parametrize("where", POINTS)
async def test_killed_during_apply(start: Start, device: Device, driver: FakeDriver, where: str) -> None:
    keeper = await start()
    arm(driver, where)
    with pytest.raises(Killed):
        await keeper.apply(intent(), confirm_seconds=60)
    again = await start(FakeDriver(device))
    assert device.lines["c1"] == FakeDriver(device).render(intent(), await driver.facts())
    (link,) = (await again.observe()).links
    assert (link.state, link.in_sync) == (LinkState.TENTATIVE, True)
    await again.confirm("c1", AGREEMENT, 1)


@pytest.mark.parametrize("where", POINTS)
async def test_killed_during_apply_and_back_after_the_deadline(
    start: Start, device: Device, driver: FakeDriver, clock: ManualClock, where: str
) -> None:
    keeper = await start()
    arm(driver, where)
    with pytest.raises(Killed):
        await keeper.apply(intent(), confirm_seconds=60)
    clock.advance(61)
    again = await start(FakeDriver(device))
    assert device.lines == {}
    assert (await again.observe()).links == ()


@pytest.mark.parametrize("where", POINTS)
async def test_killed_during_remove(start: Start, device: Device, driver: FakeDriver, where: str) -> None:
    keeper = await start()
    await keeper.apply(intent())
    arm(driver, where)
    with pytest.raises(Killed):
        await keeper.remove("c1", AGREEMENT, 1)
    again = await start(FakeDriver(device))
    assert device.lines == {}
    assert (await again.observe()).links == ()
    await again.remove("c1", AGREEMENT, 1)


async def test_what_no_intent_knows_is_cleared(start: Start, device: Device) -> None:
    device.lines["ghost"] = ("port eth7",)
    await start()
    assert device.lines == {}


async def test_drift_is_repaired_at_once_and_told(
    start: Start, device: Device, driver: FakeDriver, clock: ManualClock
) -> None:
    keeper = await start()
    await keeper.apply(intent())
    clock.advance(1)
    told: list[LinkEvent] = []

    async def listen() -> None:
        async for event in keeper.watch():
            told.append(event)  # noqa: PERF401, it is read while it grows

    listener = asyncio.create_task(listen())
    await until(lambda: told)
    device.disturb("c1", ("port eth1",))
    await until(lambda: told[-1].kind is LinkEventKind.REPAIRED)
    assert [event.kind for event in told] == [LinkEventKind.STATE, LinkEventKind.DRIFT, LinkEventKind.REPAIRED]
    assert [event.in_sync for event in told] == [True, False, True]
    assert set(device.lines["c1"]) == set(driver.render(intent(), await driver.facts()))
    listener.cancel()


async def test_drift_without_an_event_is_found_by_the_poll(start: Start, device: Device, clock: ManualClock) -> None:
    keeper = await start(poll_seconds=0.05)
    await keeper.apply(intent())
    device.lines.clear()
    clock.advance(1)
    await until(lambda: "c1" in device.lines)


async def test_a_device_that_refuses_repairs_is_left_in_peace(
    start: Start, device: Device, driver: FakeDriver, clock: ManualClock
) -> None:
    keeper = await start()
    await keeper.apply(intent())
    clock.advance(1)
    driver.before = refuse
    applied = device.applied
    for _ in range(20):
        device.disturb("c1", None)
        await asyncio.sleep(0.005)
    assert device.applied == applied + 1
    (link,) = (await keeper.observe()).links
    assert not link.in_sync
    assert link.problem is not None
    assert link.problem.code == "device_refused"
    driver.before = lambda n: None
    clock.advance(60)
    device.disturb("c1", None)
    await until(lambda: "c1" in device.lines)
    await keeper.apply(intent())
    assert (await keeper.observe()).links[0].in_sync


async def test_a_fight_over_the_device_is_no_tight_loop(start: Start, device: Device, clock: ManualClock) -> None:
    keeper = await start()
    await keeper.apply(intent())
    applied = device.applied
    for _ in range(100):
        clock.advance(0.05)
        device.disturb("c1", None)
        await asyncio.sleep(0.002)
    assert 2 <= device.applied - applied <= 8
    clock.advance(5)
    device.disturb("c1", None)
    await until(lambda: "c1" in device.lines)


async def test_the_echo_of_our_own_change_costs_one_look(
    start: Start, device: Device, driver: FakeDriver, clock: ManualClock
) -> None:
    keeper = await start()
    await keeper.apply(intent())
    reads = device.reads
    for _ in range(10):
        device.disturb("c1", device.lines["c1"])
        await asyncio.sleep(0.002)
    assert device.reads == reads
    clock.advance(1)
    device.disturb("c1", device.lines["c1"])
    await until(lambda: device.reads == reads + 1)


async def test_events_about_everything_cost_one_survey(start: Start, device: Device, clock: ManualClock) -> None:
    keeper = await start()
    await keeper.apply(intent())
    clock.advance(1)
    reads = device.reads
    for _ in range(10):
        device.events.put_nowait(Disturbance(None, "a port went down"))
        await asyncio.sleep(0.002)
    assert device.reads == reads + 1
    device.lines.clear()
    clock.advance(1)
    await until(lambda: "c1" in device.lines)


async def test_a_driver_that_loses_its_events_is_followed_again(
    start: Start, device: Device, driver: FakeDriver, clock: ManualClock
) -> None:
    follow, lost = driver.watch, []

    def fail_once() -> AsyncIterator[Disturbance]:
        if not lost:
            lost.append(True)
            raise OSError("no buffer space available")
        return follow()

    driver.watch = fail_once  # type: ignore[method-assign]
    keeper = await start(poll_seconds=0.05)
    await keeper.apply(intent())
    clock.advance(0.3)
    device.disturb("c1", None)
    await until(lambda: "c1" in device.lines)
    assert lost


async def test_a_caller_that_leaves_does_not_stop_the_device_half_way(
    start: Start, device: Device, driver: FakeDriver
) -> None:
    keeper = await start()
    driver.gate = asyncio.Event()
    first = asyncio.create_task(keeper.apply(intent()))
    await until(lambda: device.applied == 1)
    waiting = asyncio.create_task(keeper.apply(intent(revision=2, mtu=1400)))
    await asyncio.sleep(0.01)
    first.cancel()
    waiting.cancel()
    driver.gate.set()
    await until(lambda: len(device.lines.get("c1", ())) == 4)
    (link,) = (await keeper.observe()).links
    assert link.intent == intent()


async def test_a_device_that_hangs_fails_in_time(start: Start, device: Device, driver: FakeDriver) -> None:
    keeper = await start(device_seconds=0.1)
    await keeper.apply(intent(circuit="c2", port="eth2", agreement=OTHER))
    driver.gate = asyncio.Event()
    with pytest.raises(MeetMeError) as caught:
        await keeper.apply(intent())
    assert caught.value.code == "device_timeout"
    assert "tried again" not in caught.value.text
    driver.gate.set()
    await keeper.remove("c2", OTHER, 1)
    assert device.lines == {}


async def test_a_slow_reader_is_sent_away_and_nobody_waits_for_it() -> None:
    watchers = Watchers(waiting=2)
    stream = watchers.watch(lambda: ())
    event = LinkEvent("c1", AGREEMENT, LinkEventKind.STATE, "", True)
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    for _ in range(10):
        watchers.tell(event)
    assert await first == event
    with pytest.raises(Exhausted):
        async for _ in stream:
            pass
