"""Intents and observations, between their messages and the model's values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_interface
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.wire import (
    problem_message,
    read_agreement,
    read_enum,
    read_interface_address,
    read_problem,
)
from meetme.model.addresses import Address, InterfaceAddress, Prefix, parse_address, parse_prefix
from meetme.model.agreement import Role
from meetme.model.errors import InvalidInput
from meetme.model.intent import (
    AppliedLink,
    AppliedSegment,
    Intent,
    LinkAddresses,
    LinkIntent,
    LinkState,
    Mapping,
    Observation,
    Port,
    RouteFact,
)
from meetme.model.segment import AccessEnd, SegmentEnd, SegmentIntent, TunnelEnd, Uplink

T = TypeVar("T")

_LINES = 8192
"""Ports, routes and links of observations that are remembered."""


def _mapping(message: pb.PrefixMapping, *, field: str) -> Mapping:
    return Mapping(
        inside=parse_prefix(message.inside, field=f"{field}.inside"),
        wire=parse_prefix(message.wire, field=f"{field}.wire"),
    )


def _optional(text: str, *, field: str) -> Address | None:
    return parse_address(text, field=field) if text else None


def link_message(intent: LinkIntent) -> pb.LinkIntent:
    """The message that says `intent`."""

    def text(value: Address | InterfaceAddress | None) -> str:
        return "" if value is None else str(value)

    def mappings(values: tuple[Mapping, ...]) -> list[pb.PrefixMapping]:
        return [pb.PrefixMapping(inside=str(value.inside), wire=str(value.wire)) for value in values]

    return pb.LinkIntent(
        circuit=intent.circuit,
        agreement=str(intent.agreement),
        revision=intent.revision,
        generation=intent.generation,
        role=intent.role.value,
        port=intent.port,
        mtu=intent.mtu,
        local=mappings(intent.local),
        remote=mappings(intent.remote),
        link_local=text(intent.link.local if intent.link else None),
        link_peer=text(intent.link.peer if intent.link else None),
        vlan=intent.vlan or 0,
        probe=text(intent.probe),
        probe_source=text(intent.probe_source),
        peer_probe=text(intent.peer_probe),
        second_probe=text(intent.second_probe),
        second_peer_probe=text(intent.second_peer_probe),
    )


def read_link(message: pb.LinkIntent, *, field: str = "intent") -> LinkIntent:
    """The link that `message` says. Raises InvalidInput; whether its parts fit each other asks `plan.check`."""
    link = None
    if message.link_local or message.link_peer:
        link = LinkAddresses(
            local=read_interface_address(message.link_local, field=f"{field}.link_local"),
            peer=read_interface_address(message.link_peer, field=f"{field}.link_peer"),
        )
    return LinkIntent(
        circuit=message.circuit,
        agreement=read_agreement(message.agreement, field=f"{field}.agreement"),
        revision=message.revision,
        generation=message.generation,
        role=read_enum(Role, message.role, field=f"{field}.role"),
        port=message.port,
        mtu=message.mtu,
        local=tuple(_mapping(each, field=f"{field}.local[{i}]") for i, each in enumerate(message.local)),
        remote=tuple(_mapping(each, field=f"{field}.remote[{i}]") for i, each in enumerate(message.remote)),
        link=link,
        vlan=message.vlan or None,
        probe=_optional(message.probe, field=f"{field}.probe"),
        probe_source=_optional(message.probe_source, field=f"{field}.probe_source"),
        peer_probe=_optional(message.peer_probe, field=f"{field}.peer_probe"),
        second_probe=_optional(message.second_probe, field=f"{field}.second_probe"),
        second_peer_probe=_optional(message.second_peer_probe, field=f"{field}.second_peer_probe"),
    )


def segment_message(intent: SegmentIntent) -> pb.SegmentIntent:
    """The message that says `intent`."""
    return pb.SegmentIntent(
        circuit=intent.circuit,
        service=str(intent.service),
        revision=intent.revision,
        generation=intent.generation,
        a=[_end_message(end) for end in intent.a],
        b=[_end_message(end) for end in intent.b],
        mtu=intent.mtu,
        bandwidth=intent.bandwidth or 0,
    )


def _end_message(end: SegmentEnd) -> pb.SegmentEnd:
    if isinstance(end, AccessEnd):
        return pb.SegmentEnd(access=pb.AccessEnd(port=end.port, vlan=end.vlan or 0))
    return pb.SegmentEnd(tunnel=pb.TunnelEnd(local=str(end.local), remote=str(end.remote), vni=end.vni))


def read_segment(message: pb.SegmentIntent, *, field: str = "segment") -> SegmentIntent:
    """The segment that `message` says. Raises InvalidInput; whether its parts fit each other asks `plan.check`."""
    return SegmentIntent(
        circuit=message.circuit,
        service=read_agreement(message.service, field=f"{field}.service"),
        revision=message.revision,
        generation=message.generation,
        a=tuple(_read_end(end, field=f"{field}.a[{i}]") for i, end in enumerate(message.a)),
        b=tuple(_read_end(end, field=f"{field}.b[{i}]") for i, end in enumerate(message.b)),
        mtu=message.mtu,
        bandwidth=message.bandwidth or None,
    )


def _read_end(message: pb.SegmentEnd, *, field: str) -> SegmentEnd:
    match message.WhichOneof("end"):
        case "access":
            return AccessEnd(port=message.access.port, vlan=message.access.vlan or None)
        case "tunnel":
            tunnel = message.tunnel
            return TunnelEnd(
                local=parse_address(tunnel.local, field=f"{field}.local"),
                remote=parse_address(tunnel.remote, field=f"{field}.remote"),
                vni=tunnel.vni,
            )
    raise InvalidInput("end_missing", f"{field}: must be a port or a tunnel (neither)", field=field)


def apply_message(intent: Intent, *, confirm_seconds: float, dry_run: bool) -> pb.ApplyRequest:
    """The order to bring `intent` into force."""
    request = pb.ApplyRequest(confirm_seconds=confirm_seconds, dry_run=dry_run)
    if isinstance(intent, SegmentIntent):
        request.segment.CopyFrom(segment_message(intent))
    else:
        request.intent.CopyFrom(link_message(intent))
    return request


def read_apply(request: pb.ApplyRequest) -> Intent:
    """What is to be brought into force. Raises InvalidInput `intent_missing`, and where the intent cannot be read."""
    match request.WhichOneof("what"):
        case "intent":
            return read_link(request.intent)
        case "segment":
            return read_segment(request.segment)
    raise InvalidInput("intent_missing", "intent: must be given", field="intent", hint="or a segment, to a switch")


def describe_intent(intent: Intent) -> str:
    """As JSON, to be kept and to be read by a person."""
    message = segment_message(intent) if isinstance(intent, SegmentIntent) else link_message(intent)
    return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)


def parse_intent(text: str, *, segment: bool) -> Intent:
    """Back from JSON. A field that a newer version wrote is ignored: what is in force must stop no start."""
    if segment:
        return read_segment(json_format.Parse(text, pb.SegmentIntent(), ignore_unknown_fields=True))
    return read_link(json_format.Parse(text, pb.LinkIntent(), ignore_unknown_fields=True))


def observation_message(observation: Observation) -> pb.Observation:
    """The message that says `observation`."""
    return pb.Observation(
        ports=[_port_message(port) for port in observation.ports],
        routes=[_route_message(route) for route in observation.routes],
        links=[
            pb.AppliedLink(
                intent=_applied_message(link.intent),
                state=link.state.value,
                in_sync=link.in_sync,
                problem=problem_message(link.problem) if link.problem else None,
            )
            for link in observation.links
        ],
        segments=[
            pb.AppliedSegment(
                intent=segment_message(segment.intent),
                state=segment.state.value,
                in_sync=segment.in_sync,
                problem=problem_message(segment.problem) if segment.problem else None,
                uplinks=[pb.Uplink(end=_end_message(u.end), up=u.up, carrying=u.carrying) for u in segment.uplinks],
            )
            for segment in observation.segments
        ],
    )


# A router of a thousand circuits is observed many times between two changes of a line: each is worked out once.


@lru_cache(_LINES)
def _port_message(port: Port) -> pb.Port:
    return pb.Port(
        name=port.name, up=port.up, mtu=port.mtu, mac=port.mac or "", addresses=[str(a) for a in port.addresses]
    )


@lru_cache(_LINES)
def _route_message(route: RouteFact) -> pb.RouterRoute:
    return pb.RouterRoute(prefix=str(route.prefix), port=route.port or "", ours=route.ours, connected=route.connected)


_applied_message = lru_cache(_LINES)(link_message)


def read_observation(message: pb.Observation) -> Observation:
    """The observation that `message` says. A default route is a fact too, though it can never be negotiated."""
    return Observation(
        ports=tuple(_known(_read_port, port, f"ports[{i}]") for i, port in enumerate(message.ports)),
        routes=tuple(
            RouteFact(
                prefix=_route_prefix(route.prefix, field=f"routes[{i}].prefix"),
                port=route.port or None,
                ours=route.ours,
                connected=route.connected,
            )
            for i, route in enumerate(message.routes)
        ),
        links=tuple(
            AppliedLink(
                intent=_known(_read_applied, link.intent, f"links[{i}].intent"),
                state=read_enum(LinkState, link.state, field=f"links[{i}].state"),
                in_sync=link.in_sync,
                problem=read_problem(link.problem) if link.HasField("problem") else None,
            )
            for i, link in enumerate(message.links)
        ),
        segments=tuple(_read_applied_segment(each, f"segments[{i}]") for i, each in enumerate(message.segments)),
    )


def _read_applied_segment(message: pb.AppliedSegment, field: str) -> AppliedSegment:
    return AppliedSegment(
        intent=read_segment(message.intent, field=f"{field}.intent"),
        state=read_enum(LinkState, message.state, field=f"{field}.state"),
        in_sync=message.in_sync,
        problem=read_problem(message.problem) if message.HasField("problem") else None,
        uplinks=tuple(
            Uplink(_read_end(u.end, field=f"{field}.uplinks[{j}].end"), u.up, u.carrying)
            for j, u in enumerate(message.uplinks)
        ),
    )


def _known(read: Callable[[bytes, str], T], message: Message, field: str) -> T:
    """What `message` says. Its place, which changes when others come and go, matters only where it says nonsense."""
    said = message.SerializeToString()
    try:
        return read(said, "")
    except InvalidInput:
        return read(said, field)


@lru_cache(_LINES)
def _read_port(said: bytes, field: str) -> Port:
    port = pb.Port.FromString(said)
    return Port(
        name=port.name,
        up=port.up,
        mtu=port.mtu,
        mac=port.mac or None,
        addresses=tuple(
            read_interface_address(text, field=f"{field}.addresses[{j}]") for j, text in enumerate(port.addresses)
        ),
    )


@lru_cache(_LINES)
def _read_applied(said: bytes, field: str) -> LinkIntent:
    return read_link(pb.LinkIntent.FromString(said), field=field)


def _route_prefix(text: str, *, field: str) -> Prefix:
    try:
        return _prefix(text)
    except InvalidInput:
        return parse_prefix(text, field=field)


@lru_cache(_LINES)
def _prefix(text: str) -> Prefix:
    if text in ("0.0.0.0/0", "::/0"):
        return ip_interface(text).network
    return parse_prefix(text, field="")
