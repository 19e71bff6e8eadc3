"""Segments of circuits beside links: said, checked, kept, told, and fenced by the same rules."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from meetme.configurator import checks, intent_wire, plan, wire
from meetme.configurator.client import ConfiguratorClient, open_configurator
from meetme.configurator.keeper import Keeper
from meetme.configurator.plan import Kept
from meetme.configurator.service import ConfiguratorService
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.drivers.memory import MemoryDevice, MemoryDriver
from meetme.model.errors import Conflict, InvalidInput, Stale
from meetme.model.intent import AppliedSegment, LinkEventKind, LinkState, Observation
from meetme.model.segment import AccessEnd, SegmentIntent, TunnelEnd, Uplink
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.configurator.device import intent

SERVICE, OTHER = UUID(int=7), UUID(int=8)
FIRST = TunnelEnd(ip_address("10.9.1.1"), ip_address("10.9.1.2"), 4711)
SECOND = TunnelEnd(ip_address("10.9.2.1"), ip_address("10.9.2.2"), 4712)
SEGMENT = SegmentIntent("c1", SERVICE, 1, 1, (AccessEnd("eth1", 100),), (FIRST,), 1500, 200)

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
ends = st.one_of(
    st.builds(AccessEnd, names, st.none() | st.integers(1, 4094)),
    st.builds(TunnelEnd, st.ip_addresses(), st.ip_addresses(), st.integers(0, 2**24)),
)
sides = st.lists(ends, max_size=2).map(tuple)
counters = st.integers(0, 2**63 - 1)
segments = st.builds(
    SegmentIntent,
    names,
    st.uuids(),
    counters,
    counters,
    sides,
    sides,
    st.integers(0, 65535),
    st.none() | st.integers(1, 9),
)


def over_the_wire(message: Message) -> Any:
    return type(message).FromString(message.SerializeToString())


@given(segments)
def test_a_segment_comes_out_of_its_message_as_it_went_in(value: SegmentIntent) -> None:
    assert intent_wire.read_segment(over_the_wire(intent_wire.segment_message(value))) == value
    order = over_the_wire(intent_wire.apply_message(value, confirm_seconds=1, dry_run=True))
    assert intent_wire.read_apply(order) == value
    assert intent_wire.parse_intent(intent_wire.describe_intent(value), segment=True) == value


uplinks = st.lists(st.builds(Uplink, ends, st.booleans(), st.booleans()), max_size=2).map(tuple)


@given(st.builds(AppliedSegment, segments, st.sampled_from(LinkState), st.booleans(), st.none(), uplinks))
def test_an_observation_lists_segments(value: AppliedSegment) -> None:
    observation = Observation((), (), (), (value,))
    assert intent_wire.read_observation(over_the_wire(intent_wire.observation_message(observation))) == observation


def test_an_order_from_before_segments_is_read_as_ever() -> None:
    old = pb.ApplyRequest(intent=intent_wire.link_message(intent()), confirm_seconds=5)
    assert old.SerializeToString()[0] == 0x0A, "field 1, as it always was"
    assert intent_wire.read_apply(old) == intent()


def test_an_order_of_nothing_and_an_end_that_is_none_are_refused() -> None:
    with pytest.raises(InvalidInput) as failure:
        intent_wire.read_apply(pb.ApplyRequest())
    assert failure.value.code == "intent_missing"
    message = intent_wire.segment_message(SEGMENT)
    message.b.add()
    with pytest.raises(InvalidInput) as failure:
        intent_wire.read_segment(message)
    assert (failure.value.code, failure.value.field) == ("end_missing", "segment.b[1]")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"circuit": "a b"}, "name_invalid", "segment.circuit"),
        ({"generation": -1}, "generation_invalid", "segment.generation"),
        ({"mtu": 67}, "mtu_invalid", "segment.mtu"),
        ({"bandwidth": 0}, "bandwidth_invalid", "segment.bandwidth"),
        ({"a": ()}, "ends_invalid", "segment.a"),
        ({"b": (FIRST, SECOND, replace(SECOND, vni=1))}, "ends_invalid", "segment.b"),
        ({"a": (AccessEnd("eth1", 4095),)}, "vlan_invalid", "segment.a[0].vlan"),
        ({"a": (AccessEnd(""),)}, "name_invalid", "segment.a[0].port"),
        ({"b": (replace(FIRST, vni=0),)}, "vni_invalid", "segment.b[0].vni"),
        ({"b": (replace(FIRST, vni=2**24),)}, "vni_invalid", "segment.b[0].vni"),
        ({"b": (replace(FIRST, remote=FIRST.local),)}, "tunnel_addresses_mismatch", "segment.b[0].remote"),
        ({"b": (replace(FIRST, remote=ip_address("fd00::1")),)}, "tunnel_addresses_mismatch", "segment.b[0].remote"),
        ({"b": (replace(FIRST, remote=ip_address("239.1.1.1")),)}, "tunnel_address_invalid", "segment.b[0].remote"),
        ({"b": (FIRST, replace(SECOND, vni=4711))}, "end_twice", "segment.b[1]"),
        ({"b": (AccessEnd("eth1"),)}, "end_twice", "segment.b[0]"),
        ({"a": (FIRST, SECOND), "b": (AccessEnd("x"), AccessEnd("y"))}, "both_sides_protected", "segment.b"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(change: dict[str, Any], code: str, field: str) -> None:
    checks.check(SEGMENT)
    with pytest.raises(InvalidInput) as failure:
        checks.check(replace(SEGMENT, **change))
    assert (failure.value.code, failure.value.field) == (code, field)


@pytest.mark.parametrize(
    ("wish", "code", "field"),
    [
        (replace(SEGMENT, circuit="c2", b=(SECOND,)), "port_in_use", "segment.a[0]"),
        (replace(SEGMENT, circuit="c2", a=(AccessEnd("eth1"),), b=(SECOND,)), "port_in_use", "segment.a[0]"),
        (replace(SEGMENT, circuit="c2", a=(AccessEnd("eth1", 101),)), "vni_in_use", "segment.b[0]"),
        (intent(circuit="c2", port="eth1"), "port_in_use", "intent.port"),
        (replace(SEGMENT, service=OTHER), "circuit_in_use", "segment.circuit"),
        (replace(SEGMENT, mtu=1400), "revision_reused", "segment.revision"),
    ],
)
def test_nothing_is_given_out_twice(wish: Any, code: str, field: str) -> None:
    kept = Kept(SEGMENT, LinkState.CONFIRMED, 1)
    own = kept if wish.circuit == "c1" else None
    with pytest.raises(Conflict) as failure:
        plan.admit(wish, own, () if own else (kept,), seen=1 if own else 0, deadline=None)
    assert (failure.value.code, failure.value.field) == (code, field)
    apart = replace(SEGMENT, circuit="c2", a=(AccessEnd("eth1", 101),), b=(SECOND,))
    assert plan.admit(apart, None, (kept,), seen=0, deadline=None).intent == apart


async def test_the_life_of_a_segment(tmp_path: Path) -> None:
    device, database = MemoryDevice(), Database.open("sqlite://")
    service = ConfiguratorService(MemoryDriver(device), database, SystemClock())
    await service.start(f"unix:{tmp_path / 'switch.sock'}")
    client = await open_configurator(f"unix:{tmp_path / 'switch.sock'}", seconds=5)
    assert isinstance(client, ConfiguratorClient)
    assert (await client.capabilities()).segments
    assert await client.apply(SEGMENT, dry_run=True)
    assert device.circuits == {}
    assert await client.apply(SEGMENT, confirm_seconds=30)
    await client.confirm("c1", SERVICE, 1)
    assert await client.apply(SEGMENT) == ()
    await client.apply(intent(circuit="c2", port="eth2"))
    observed = await client.observe()
    assert [s.intent for s in observed.segments] == [SEGMENT]
    assert [link.intent.circuit for link in observed.links] == ["c2"]
    async for event in client.watch():
        assert event.kind is LinkEventKind.STATE
        assert event.agreement == SERVICE
        break
    with pytest.raises(Stale):
        await client.remove("c1", SERVICE, 0)
    await client.remove("c1", SERVICE, 2)
    assert set(device.circuits) == {"c2"}
    await client.close()
    await service.stop()
    await database.close()


async def test_a_segment_is_kept_through_a_restart(tmp_path: Path) -> None:
    device, url = MemoryDevice(), f"sqlite:///{tmp_path / 'switch.db'}"
    protected = replace(SEGMENT, b=(FIRST, SECOND), bandwidth=None)
    for order in (True, False):
        database = Database.open(url)
        keeper = Keeper(MemoryDriver(device), database, SystemClock())
        await keeper.start()
        if order:
            await keeper.apply(intent(circuit="c2", port="eth2"))
            await keeper.apply(protected)
            device.circuits.clear()  # it is somebody else's hand, or a reboot
        else:
            observed = await keeper.observe()
            assert [(s.intent, s.in_sync) for s in observed.segments] == [(protected, True)]
            assert [link.intent.circuit for link in observed.links] == ["c2"]
            assert set(device.circuits) == {"c1", "c2"}
        await keeper.stop()
        await database.close()


async def test_how_uplinks_do_is_told_and_observed() -> None:
    driver = SwitchDriver()
    database = Database.open("sqlite://")
    keeper = Keeper(driver, database, SystemClock())
    await keeper.start()
    await keeper.apply(replace(SEGMENT, b=(FIRST, SECOND)))
    told = keeper.watch()
    assert (await anext(told)).kind is LinkEventKind.STATE
    driver.say(False, True)
    event = await anext(told)
    assert (event.kind, event.agreement) == (LinkEventKind.DEGRADED, SERVICE)
    assert event.detail == "down: 10.9.1.2 vni 4711; carried by 10.9.2.2 vni 4712"
    assert (await keeper.observe()).segments[0].uplinks == (Uplink(FIRST, False, False), Uplink(SECOND, True, True))
    driver.say(True, True)
    assert (await anext(told)).kind is LinkEventKind.UP
    await keeper.stop()
    await database.close()


class SwitchDriver(MemoryDriver):
    """Says of its uplinks what it is told to say."""

    def __init__(self) -> None:
        super().__init__()
        self._state: tuple[Uplink, ...] = ()
        self._tell: Any = None

    def uplinks(self, circuit: str) -> tuple[Uplink, ...]:
        return self._state

    def follow_uplinks(self, tell: Any) -> None:
        self._tell = tell

    def say(self, first: bool, second: bool) -> None:
        self._state = (Uplink(FIRST, first, first), Uplink(SECOND, second, second and not first))
        self._tell("c1", self._state)


def test_capabilities_say_that_it_is_a_switch() -> None:
    message = pb.CapabilitiesReply(driver="fabric", segments=True)
    assert wire.read_capabilities(over_the_wire(message)).segments
