"""What every driver promises (`drivers.base`), asked of every driver that is installed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar
from uuid import UUID

import pytest

from meetme.drivers.base import Driver
from meetme.drivers.memory import MemoryDevice, MemoryDriver
from meetme.drivers.registry import driver_names, load_driver
from meetme.model.agreement import Role
from meetme.model.errors import Conflict, InvalidInput, MeetMeError, NotFound
from meetme.model.intent import Intent, LinkIntent, Mapping, ProbeRequest
from meetme.model.segment import AccessEnd, SegmentIntent, TunnelEnd
from tests.live.world import why_not, world

T = TypeVar("T")
Device = Driver[Any]
Work = Callable[[Device], Coroutine[Any, Any, T]]
Run = Callable[[Work[Any]], Any]
"""Runs work with a driver of its own, opened and closed, against one device that stays."""


@dataclass(frozen=True)
class Bench:
    """A device, and what can be asked of its kind."""

    run: Run
    intent: Intent
    more: Intent
    """The same circuit, a little different."""
    at_port: Callable[[str], Intent]
    """The intent at another port."""
    port_field: str
    taken: tuple[tuple[str, str], ...]
    """The ports that the intent takes."""

    def __call__(self, work: Work[Any]) -> Any:
        return self.run(work)


INTENT = LinkIntent(
    circuit="circuit-1",
    agreement=UUID(int=1),
    revision=1,
    generation=1,
    role=Role.INITIATOR,
    port="eth1",
    mtu=1500,
    local=(Mapping(ip_network("10.0.0.0/24"), ip_network("100.64.1.0/24")),),
    remote=(Mapping(ip_network("100.64.2.0/24"), ip_network("10.0.0.0/24")),),
    probe=ip_address("10.0.0.1"),
    probe_source=ip_address("10.0.0.1"),
    peer_probe=ip_address("100.64.2.1"),
)


MORE = replace(INTENT, remote=(*INTENT.remote, Mapping(ip_network("10.9.0.0/24"), ip_network("10.9.0.0/24"))))
SEGMENT = SegmentIntent(
    circuit="circuit-1",
    service=UUID(int=1),
    revision=1,
    generation=1,
    a=(AccessEnd("eth1"),),
    b=(TunnelEnd(ip_address("10.0.0.1"), ip_address("10.0.0.2"), 4711),),
    mtu=1400,
    bandwidth=100,
)
PROTECTED = replace(SEGMENT, b=(*SEGMENT.b, TunnelEnd(ip_address("10.0.0.1"), ip_address("10.0.0.3"), 4712)))


async def opened(driver: Device, work: Work[T]) -> T:
    await driver.open()
    try:
        return await work(driver)
    finally:
        await driver.close()


def of_links(run: Run) -> Bench:
    return Bench(run, INTENT, MORE, lambda port: replace(INTENT, port=port), "port", (("eth1", INTENT.circuit),))


def of_segments(run: Run) -> Bench:
    return Bench(
        run,
        SEGMENT,
        PROTECTED,
        lambda port: replace(SEGMENT, a=(AccessEnd(port),)),
        "a[0].port",
        (("eth1", SEGMENT.circuit),),
    )


def memory_bench() -> Iterator[Bench]:
    device = MemoryDevice()
    yield of_links(lambda work: asyncio.run(opened(MemoryDriver(device), work)))


def memory_switch_bench() -> Iterator[Bench]:
    device = MemoryDevice()
    yield of_segments(lambda work: asyncio.run(opened(MemoryDriver(device), work)))


@contextlib.contextmanager
def device_with_three_ports(name: str) -> Iterator[Run]:
    with world() as w:
        router, other = w.machine("router", forwards=True), w.machine("other")
        w.cable(router, "eth0", other, "eth0")
        for port in ("eth1", "eth2"):
            w.cable(router, port, other, port)
        router.sh("ip addr add 10.0.0.1/24 dev eth0")
        yield lambda work: router.call(lambda: asyncio.run(opened(load_driver(name), work)))


def linux_bench() -> Iterator[Bench]:
    with device_with_three_ports("linux") as run:
        yield of_links(run)


def fabric_bench() -> Iterator[Bench]:
    with device_with_three_ports("fabric") as run:
        yield of_segments(run)


BENCHES = {
    "memory": memory_bench,
    "memory as a switch": memory_switch_bench,
    "linux": linux_bench,
    "fabric": fabric_bench,
}
LIVE = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


@pytest.fixture(
    params=[
        pytest.param(name, marks=[] if name.startswith("memory") else LIVE)
        for name in BENCHES
        if name.partition(" ")[0] in driver_names()
    ]
)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    yield from BENCHES[request.param]()


async def wish(driver: Device, intent: Intent | None, circuit: str = INTENT.circuit) -> tuple[str, ...]:
    """Plan and apply; the commands."""
    want = None if intent is None else driver.render(intent, await driver.facts())
    change = driver.plan(circuit, await driver.read(circuit), want)
    await driver.apply(change)
    return change.commands


def test_applying_twice_changes_nothing(bench: Bench) -> None:
    async def work(driver: Device) -> tuple[tuple[str, ...], ...]:
        return await wish(driver, bench.intent), await wish(driver, bench.intent)

    first, second = bench(work)
    assert first
    assert second == ()


def test_what_was_applied_is_what_is_read(bench: Bench) -> None:
    async def work(driver: Device) -> bool:
        await wish(driver, bench.intent)
        return bool(await driver.read(bench.intent.circuit) == driver.render(bench.intent, await driver.facts()))

    assert bench(work)


def test_planning_touches_nothing(bench: Bench) -> None:
    async def work(driver: Device) -> tuple[object, object]:
        want = driver.render(bench.intent, await driver.facts())
        change = driver.plan(bench.intent.circuit, None, want)
        assert all(isinstance(command, str) and command for command in change.commands)
        return await driver.read(bench.intent.circuit), await driver.circuits()

    assert bench(work) == (None, frozenset())


def test_removal_leaves_nothing_and_may_be_repeated(bench: Bench) -> None:
    async def work(driver: Device) -> tuple[object, ...]:
        before = await driver.facts()
        await wish(driver, bench.intent)
        removed, again = await wish(driver, None), await wish(driver, None)
        after = await driver.facts()
        return (
            bool(removed), again, await driver.read(bench.intent.circuit), await driver.circuits(),
            sorted(p.name for p in after.ports) == sorted(p.name for p in before.ports), after.taken,
        )  # fmt: skip

    assert bench(work) == (True, (), None, frozenset(), True, ())


def test_a_new_process_finds_what_the_old_one_left(bench: Bench) -> None:
    bench(lambda driver: wish(driver, bench.intent))

    async def work(driver: Device) -> tuple[object, ...]:
        return await driver.circuits(), await wish(driver, bench.intent), bool(await wish(driver, None))

    assert bench(work) == ({bench.intent.circuit}, (), True)


def test_a_change_is_the_difference(bench: Bench) -> None:
    async def work(driver: Device) -> tuple[tuple[str, ...], ...]:
        return (
            await wish(driver, bench.intent),
            await wish(driver, bench.more),
            await wish(driver, bench.more),
            await wish(driver, bench.intent),
        )

    whole, added, nothing, back = bench(work)
    assert nothing == ()
    assert added
    assert len(added) < len(whole)
    assert back


def test_ports_of_circuits_stay_listed_and_taken(bench: Bench) -> None:
    async def work(driver: Device) -> tuple[object, ...]:
        before = {p.name: p.mtu for p in (await driver.facts()).ports}
        await wish(driver, bench.intent)
        facts = await driver.facts()
        return before == {p.name: p.mtu for p in facts.ports}, facts.taken

    assert bench(work) == (True, bench.taken)


@pytest.mark.parametrize(
    ("change", "kinds", "code"),
    [
        ("port", (NotFound, InvalidInput), "port_unknown"),
        ("mtu", (InvalidInput,), "mtu_too_large"),
    ],
)
def test_an_intent_that_cannot_be_changes_nothing(
    bench: Bench, change: str, kinds: tuple[type[MeetMeError], ...], code: str
) -> None:
    wrong = bench.at_port("eth9") if change == "port" else replace(bench.intent, mtu=9001)
    with pytest.raises(kinds) as failure:
        bench(lambda driver: wish(driver, wrong))
    assert (failure.value.code, failure.value.field) == (code, bench.port_field if change == "port" else "mtu")
    assert bench(lambda driver: driver.circuits()) == frozenset()


def test_a_port_is_in_one_circuit_only(bench: Bench) -> None:
    bench(lambda driver: wish(driver, bench.intent))
    with pytest.raises(Conflict) as failure:
        bench(lambda driver: wish(driver, replace(bench.intent, circuit="circuit-2"), "circuit-2"))
    assert (failure.value.code, failure.value.field) == ("port_in_use", bench.port_field)
    assert bench(lambda driver: driver.circuits()) == {bench.intent.circuit}


def test_a_probe_without_a_circuit_ends_in_time(bench: Bench) -> None:
    request = ProbeRequest(bench.intent.circuit, ip_address("10.0.0.1"), ip_address("100.64.2.1"), (84,), 0.05)
    report = bench(lambda driver: driver.probe(request))
    assert report.answered == ()
    assert report.lost == report.sent > 0


def test_capabilities_name_the_driver(bench: Bench) -> None:
    async def work(driver: Device) -> tuple[str, str, bool, bool]:
        found = await driver.capabilities()
        return found.driver, driver.name, found.removes, found.segments

    named, name, removes, segments = bench(work)
    assert named == name
    assert removes
    assert segments or isinstance(bench.intent, LinkIntent)


def test_every_installed_driver_has_a_bench() -> None:
    assert {"memory", "linux", "fabric"} <= set(driver_names())
