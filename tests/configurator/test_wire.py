"""Every value comes out of its message as it went in, and what is wrong in a message is named."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from meetme.configurator import action_wire, intent_wire, wire
from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.model.agreement import Role
from meetme.model.errors import Fault, InvalidInput, Problem
from meetme.model.intent import (
    AppliedLink,
    Capabilities,
    LinkAddresses,
    LinkEvent,
    LinkEventKind,
    LinkIntent,
    LinkState,
    Mapping,
    Observation,
    Port,
    ProbeReport,
    ProbeRequest,
    RouteFact,
)
from tests.configurator.device import intent

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
octets = st.integers(0, 2**32 - 1)
counters = st.integers(0, 2**63 - 1)
bits4, bits6 = st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1)
v4 = st.builds(lambda n, length: IPv4Network((n, length), strict=False), bits4, st.integers(1, 32))
v6 = st.builds(lambda n, length: IPv6Network((n, length), strict=False), bits6, st.integers(1, 128))
prefixes = st.one_of(v4, v6)
addresses = st.ip_addresses()
interfaces = st.one_of(
    st.builds(lambda n, length: IPv4Interface((n, length)), bits4, st.integers(0, 32)),
    st.builds(lambda n, length: IPv6Interface((n, length)), bits6, st.integers(0, 128)),
)
some = names.filter(bool)
mappings = st.lists(st.builds(Mapping, prefixes, prefixes), max_size=3).map(tuple)
problems = st.builds(Problem, names, names, names, st.none() | some, st.sampled_from(Fault))
intents = st.builds(
    LinkIntent,
    circuit=names,
    agreement=st.uuids(),
    revision=counters,
    generation=counters,
    role=st.sampled_from(Role),
    port=names,
    mtu=octets,
    local=mappings,
    remote=mappings,
    link=st.none() | st.builds(LinkAddresses, interfaces, interfaces),
    vlan=st.none() | st.integers(1, 4094),
    probe=st.none() | addresses,
    probe_source=st.none() | addresses,
    peer_probe=st.none() | addresses,
)
observations = st.builds(
    Observation,
    ports=st.lists(
        st.builds(
            Port,
            names,
            st.booleans(),
            octets,
            st.none() | some,
            st.lists(interfaces, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    routes=st.lists(
        st.builds(
            RouteFact,
            prefixes | st.just(IPv4Network("0.0.0.0/0")) | st.just(IPv6Network("::/0")),
            st.none() | some,
            st.booleans(),
            st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    links=st.lists(
        st.builds(AppliedLink, intents, st.sampled_from(LinkState), st.booleans(), st.none() | problems), max_size=2
    ).map(tuple),
)


def over_the_wire(message: Message) -> Message:
    return type(message).FromString(message.SerializeToString())


@given(intents)
def test_intent_round_trip(value: LinkIntent) -> None:
    assert intent_wire.read_link(over_the_wire(intent_wire.link_message(value))) == value


@given(observations)
def test_observation_round_trip(value: Observation) -> None:
    assert intent_wire.read_observation(over_the_wire(intent_wire.observation_message(value))) == value


@given(
    st.builds(
        Capabilities,
        names,
        *[st.booleans()] * 8,
        max_prefixes=st.none() | st.integers(1, 2**32 - 1),
        missing=st.lists(problems, max_size=2).map(tuple),
    )
)
def test_capabilities_round_trip(value: Capabilities) -> None:
    assert wire.read_capabilities(over_the_wire(wire.capabilities_message(value))) == value


@given(
    st.builds(ProbeReport, st.lists(octets).map(tuple), octets, octets, st.none() | st.floats(allow_nan=False)),
    st.builds(LinkEvent, names, st.none() | st.uuids(), st.sampled_from(LinkEventKind), names, st.booleans()),
)
def test_report_and_event_round_trip(report: ProbeReport, event: LinkEvent) -> None:
    assert wire.read_report(over_the_wire(wire.report_message(report))) == report
    assert wire.read_event(over_the_wire(wire.event_message(event))) == event


@given(
    addresses,
    st.lists(st.integers(48, 65535), min_size=1, max_size=3).map(tuple),
    st.floats(0, 60),
    st.none() | st.floats(0.001, 60),
)
def test_probe_round_trip(address, sizes: tuple[int, ...], within: float, every: float | None) -> None:
    value = ProbeRequest("c1", address, address, sizes, within, every)
    assert wire.read_probe(over_the_wire(wire.probe_message(value)), most=60) == value


@given(intents, st.data())
def test_a_damaged_intent_is_an_intent_or_one_clear_error(value: LinkIntent, data: st.DataObject) -> None:
    octets = bytearray(intent_wire.link_message(value).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    problem = None
    try:
        message = pb.LinkIntent.FromString(bytes(octets))
        wire.refuse_unknown(message, "intent")
        intent_wire.read_link(message)
    except DecodeError:
        return
    except InvalidInput as error:
        problem = error.problem
    if problem is not None:
        assert problem.field is not None
        assert problem.field.startswith("intent")
        assert problem.text.startswith(problem.field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agreement", "seven"),
        ("role", "boss"),
        ("link_local", "192.168.0.0"),
        ("link_peer", ""),
        ("probe", "10.0.0.0/24"),
    ],
)
def test_the_field_is_named(field: str, value: str) -> None:
    message = intent_wire.link_message(intent())
    setattr(message, field, value)
    with pytest.raises(InvalidInput) as caught:
        intent_wire.read_link(message)
    assert caught.value.field == f"intent.{field}"


def test_an_unknown_field_deep_inside_is_found() -> None:
    inner = pb.PrefixMapping(inside="10.0.0.0/24", wire="10.0.0.0/24").SerializeToString() + bytes([0x78, 1])
    local = bytes([8 << 3 | 2, len(inner)]) + inner
    with pytest.raises(InvalidInput) as caught:
        wire.refuse_unknown(pb.LinkIntent.FromString(local), "intent")
    assert (caught.value.code, caught.value.field) == ("unknown_field", "intent.local")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e9])
def test_durations_are_bounded(seconds: float) -> None:
    with pytest.raises(InvalidInput):
        wire.read_seconds(seconds, field="confirm_seconds", most=60)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("localNetwork", "100.64.0.0/25"),
        ("remoteNetwork", "0.0.0.0/0"),
        ("localInterface", "-j"),
        ("localInterface", "eth1; reboot"),
        ("tableNumber", "254"),
        ("tableNumber", "0x10"),
        ("packetMark", "-1"),
        ("packetMark", "4294967296"),
        ("nextHop", "fe80::1"),
    ],
)
def test_what_no_nat_can_be(field: str, value: str) -> None:
    good = pb.NatConfiguration(
        localNetwork="100.64.0.0/24",
        remoteNetwork="10.0.0.0/24",
        localInterface="eth1",
        tableNumber="100",
        packetMark="100",
        nextHop="192.168.255.1",
    )
    assert action_wire.read_nat(good).table == 100
    setattr(good, field, value)
    with pytest.raises(InvalidInput):
        action_wire.read_nat(good)
