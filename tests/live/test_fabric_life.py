"""What happens to a circuit on a switch: somebody's hand, the driver's sudden death, a lost note."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from meetme.configurator.keeper import Keeper
from meetme.drivers.fabric.config import PROBE_MAC, bridge_name
from meetme.drivers.fabric.device import FabricDriver
from meetme.drivers.fabric.notes import Note
from meetme.model.errors import MeetMeError
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.live.fabric import (
    Exchange,
    access,
    apply,
    crosses,
    drive,
    remove,
    segment,
    snapshot,
    tunnel,
    two_switches,
    wish,
)
from tests.live.killing import killed, persistently
from tests.live.world import why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

INTENT = segment("x", access("eth1"), tunnel("10.9.1.1", "10.9.1.2", 4711), bandwidth=1000)
OTHER = segment("x", tunnel("10.9.1.2", "10.9.1.1", 4711), access("eth1"), bandwidth=1000)
BRIDGE = bridge_name("x")
BY_HAND = [
    "ip link del mmx-4711",
    f"ip link del {BRIDGE}",
    f"ip link set {BRIDGE} down",
    "ip link set eth1 nomaster",
    "ip link set eth1 mtu 1400",
    "ip link set mmx-4711 down",
    "ip link set eth1 type bridge_slave flood off",
    "ip link set eth1 type bridge_slave learning on",
    "ip link set eth1 type bridge_slave group_fwd_mask 0",
    f"ip link set {BRIDGE} type bridge stp_state 1",
    f"ip link set {BRIDGE} type bridge group_fwd_mask 0",
    f"bridge fdb del {PROBE_MAC} dev {BRIDGE} self",
    "tc qdisc del dev eth1 root",
    f"ip link set eth2 master {BRIDGE}",
    "bridge fdb del 00:00:00:00:00:00 dev mmx-4711",
    "bridge fdb append 00:00:00:00:00:00 dev mmx-4711 dst 10.9.1.9",
    "bridge fdb add 02:00:00:00:00:42 dev mmx-4711 dst 10.9.1.9",
    "rm -r /run/meetme; ip link set eth1 nomaster",
]
MOMENTS = [0.003 * 1.3**n for n in range(12)]
"""Seconds after the start: closer together where more happens."""


@pytest.fixture
def ix() -> Iterator[Exchange]:
    with two_switches() as made:
        yield made


async def _mended() -> list[float]:
    """Seconds from each deed until everything is as ordered again, with a keeper that has had nothing to repair yet."""
    took: list[float] = []
    for deed in BY_HAND:
        database = Database.open("sqlite:////run/keeper.db")
        keeper = Keeper(FabricDriver(), database, SystemClock())
        await keeper.start()
        await keeper.apply(INTENT)
        await asyncio.sleep(0.3)  # the echo of what was done before is over
        begin = time.monotonic()
        done = await asyncio.create_subprocess_shell(deed)
        assert await done.wait() == 0, deed
        took.append(await _until_as_ordered(deed, begin))
        await keeper.stop()
        await database.close()
    return took


async def _until_as_ordered(deed: str, begin: float) -> float:
    driver = FabricDriver()
    while time.monotonic() < begin + 9:
        want, have = driver.render(INTENT, await driver.facts()), await driver.read("x")
        if have == want:
            return time.monotonic() - begin
        await asyncio.sleep(0.005)
    raise AssertionError(f"still not repaired: {deed}: {have.parts ^ want.parts if have else 'nothing'}")


@pytest.mark.slow
def test_what_somebody_does_by_hand_is_undone_at_once(ix: Exchange) -> None:
    s1, s2 = ix.switches["s1"], ix.switches["s2"]
    apply(s2, OTHER)
    took = s1.call(lambda: asyncio.run(_mended()))
    for deed, seconds in zip(BY_HAND, took, strict=True):
        print(f"{seconds * 1000:6.0f} ms  {deed}")
    assert sorted(took)[len(took) * 3 // 4] < 1.0
    assert crosses(ix.customers["a1"], ix.customers["b1"])
    assert "master" not in s1.sh("ip -o link show eth2")


SPOILT = [
    "tc qdisc replace dev {0} root handle 5dc: tbf rate 1mbit burst 16kb limit 64kb",
    "tc qdisc change dev {0} root handle 5dc: tbf rate 1gbit burst 2kb limit 3kb peakrate 2gbit mtu 1514",
    "tc qdisc replace dev {0} root handle 9: pfifo limit 2",
    "tc qdisc add dev {0} parent 5dc:1 handle 7: pfifo limit 1",
    "tc qdisc del dev {0} root",
]


async def _reshaped(port: str) -> list[float]:
    """Seconds from each deed at the queues until `tc` shows again what it showed."""
    database = Database.open("sqlite:////run/keeper.db")
    keeper = Keeper(FabricDriver(), database, SystemClock())
    await keeper.start()
    await keeper.apply(INTENT)
    took: list[float] = []
    ordered = await _says(f"tc qdisc show dev {port}")
    assert "tbf 5dc: root" in ordered
    for deed in SPOILT:
        await asyncio.sleep(0.4)
        begin = time.monotonic()
        await _says(deed.format(port))
        async with asyncio.timeout(10):
            while await _says(f"tc qdisc show dev {port}") != ordered:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        took.append(time.monotonic() - begin)
    await keeper.stop()
    await database.close()
    return took


async def _says(command: str) -> str:
    done = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaint = await done.communicate()
    assert done.returncode == 0, (command, complaint.decode())
    return out.decode()


@pytest.mark.parametrize("port", ["eth1", pytest.param("mmx-4711", marks=pytest.mark.slow)])
def test_a_queue_that_somebody_changes_by_hand_is_as_ordered_again(ix: Exchange, port: str) -> None:
    """Judged by `tc` alone: rate, bursts, another queue in its place, one beneath it, none at all."""
    took = ix.switches["s1"].call(lambda: asyncio.run(_reshaped(port)))
    print("seconds:", " ".join(f"{seconds:.2f}" for seconds in took))
    assert len(took) == len(SPOILT)
    assert sorted(took)[len(took) // 2] < 2.0


@pytest.mark.slow
def test_killed_at_any_moment_the_next_one_completes_or_takes_back(ix: Exchange) -> None:
    s1, s2 = ix.switches["s1"], ix.switches["s2"]
    apply(s2, OTHER)
    s1.sh("ip link set eth1 mtu 9100")
    before = snapshot(s1)
    for after in MOMENTS:
        killed(s1, lambda switch: apply(switch, INTENT), after)
        persistently(lambda: remove(s1, "x"))
        assert snapshot(s1) == before, after
        killed(s1, lambda switch: apply(switch, INTENT), after)
        persistently(lambda: apply(s1, INTENT))
        assert crosses(ix.customers["a1"], ix.customers["b1"]), after
        killed(s1, lambda switch: remove(switch, "x"), after)
        persistently(lambda: remove(s1, "x"))
        assert snapshot(s1) == before, after


def test_a_change_of_something_else_loses_no_frame(ix: Exchange) -> None:
    """The same intent again, another circuit beside it, and a second uplink: frames go on."""
    s1 = ix.switches["s1"]
    apply(s1, INTENT)
    apply(ix.switches["s2"], OTHER)
    a, b = ix.customers["a1"], ix.customers["b1"]
    stop, sent = threading.Event(), 0

    def send() -> None:
        nonlocal sent
        while not stop.wait(0.005):
            a.send(b"number" + sent.to_bytes(8, "big") + bytes(50))
            sent += 1

    b.heard()
    sending = threading.Thread(target=send)
    sending.start()
    try:
        protected = segment("x", access("eth1"), (*INTENT.b, tunnel("10.9.1.1", "10.9.1.3", 4712)), bandwidth=1000)
        for intent in (INTENT, segment("y", access("eth2"), tunnel("10.9.1.1", "10.9.1.2", 4713)), protected, INTENT):
            apply(s1, intent)
        remove(s1, "y")
    finally:
        stop.set()
        sending.join()
    seen = {frame[20:28] for frame in b.heard(0.5) + b.heard(0.1) if frame[14:20] == b"number"}
    assert sent > 20
    assert sent - len(seen) == 0


def test_a_stranger_with_our_names_is_not_ours(ix: Exchange) -> None:
    """No tag, no touch: an interface that only looks like ours stays, and the order is refused."""
    s1 = ix.switches["s1"]
    s1.sh("ip link add mmx-4711 type vxlan id 99 local 10.9.1.1 remote 10.9.1.2 dstport 4789")
    before = snapshot(s1)
    with pytest.raises(MeetMeError):
        apply(s1, INTENT)
    assert snapshot(s1) == before
    assert drive(s1, lambda driver: driver.circuits()) == frozenset()
    assert drive(s1, lambda driver: wish(driver, "x", None)) == ()


HALF = (
    f"ip link add name {BRIDGE} type bridge",
    "ip link add name mmx-4711 type vxlan id 4711 local 10.9.1.1 remote 10.9.1.2 dstport 4789 nolearning df set ttl 64",
)


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_made_and_has_no_tag_yet_is_ours_by_the_note(ix: Exchange, number: int) -> None:
    """Killed between making an interface and giving it its tag: the next one takes it away, or makes it right."""
    s1 = ix.switches["s1"]
    apply(ix.switches["s2"], OTHER)
    before = snapshot(s1)

    def half_way() -> None:
        note = Note("x", ("eth1", BRIDGE, "mmx-4711"), (), (BRIDGE, "mmx-4711"))
        s1.call(lambda: FabricDriver()._notes.write(note))
        s1.sh("; ".join(HALF[:number]))

    half_way()
    remove(s1, "x")
    assert snapshot(s1) == before
    half_way()
    apply(s1, INTENT)
    assert drive(s1, lambda driver: wish(driver, "x", INTENT)) == ()
    assert crosses(ix.customers["a1"], ix.customers["b1"])
    tags = s1.sh("ip -o -d link show")
    assert tags.count("alias") == 2
    remove(s1, "x")
    assert snapshot(s1) == before
