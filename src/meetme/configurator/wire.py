"""Between the messages of `v1/configurator.proto` and the model's values. Text becomes a value here and nowhere else.

In a request an unknown field is an error: a part of an intent that this program does not understand must not be left
out in silence. In an answer it is ignored, so that a newer configurator can say more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_interface
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.model.addresses import Address, InterfaceAddress, Prefix, parse_address, parse_prefix
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

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=StrEnum)

_LINES = 8192
"""Ports, routes and links of observations that are remembered."""


def refuse_unknown(message: Message, field: str) -> None:
    """Raise InvalidInput `unknown_field` if `message`, or one inside it, carries a field that the contract lacks."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise InvalidInput(
            "unknown_field",
            f"{field}: must not carry fields that this configurator does not know (number {unknown[0].field_number})",
            field=field,
            hint="the caller is newer than the configurator; update the configurator",
        )
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            inner: Iterable[Message] = (value,) if isinstance(value, Message) else value
            for each in inner:
                refuse_unknown(each, f"{field}.{descriptor.name}")


def read_seconds(value: float, *, field: str, most: float) -> float:
    """Check a duration. Raises InvalidInput `duration_invalid`."""
    if not math.isfinite(value) or not 0 <= value <= most:
        raise InvalidInput(
            "duration_invalid",
            f"{field}: must be between 0 and {most:g} seconds ({value:g})",
            field=field,
            hint="0 means none",
        )
    return value


def read_agreement(text: str, *, field: str) -> UUID:
    """Read the id of an agreement. Raises InvalidInput `agreement_malformed`."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(
            "agreement_malformed", f'{field}: must be a UUID ("{text}")', field=field, hint="the id of the negotiation"
        ) from None


def read_reference(message: pb.LinkRef) -> UUID:
    """The agreement that `message` names. Raises InvalidInput."""
    refuse_unknown(message, "request")
    return read_agreement(message.agreement, field="agreement")


def _enum(kind: type[EnumT], text: str, *, field: str) -> EnumT:
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput(
            f"{field.rpartition('.')[2]}_unknown",
            f'{field}: must be one of {", ".join(kind)} ("{text}")',
            field=field,
        ) from None


def read_interface_address(text: str, *, field: str) -> InterfaceAddress:
    """Read an address with the length of its link's prefix. Raises InvalidInput `address_malformed`."""
    try:
        if "/" in text:
            return ip_interface(text)
    except ValueError:
        pass
    raise InvalidInput(
        "address_malformed",
        f'{field}: must be an address with the length of its link ("{text}")',
        field=field,
        hint="for example 192.168.255.0/31",
    )


def _mapping(message: pb.PrefixMapping, *, field: str) -> Mapping:
    return Mapping(
        inside=parse_prefix(message.inside, field=f"{field}.inside"),
        wire=parse_prefix(message.wire, field=f"{field}.wire"),
    )


def _optional(text: str, *, field: str) -> Address | None:
    return parse_address(text, field=field) if text else None


def intent_message(intent: LinkIntent) -> pb.LinkIntent:
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
    )


def read_intent(message: pb.LinkIntent, *, field: str = "intent") -> LinkIntent:
    """The intent that `message` says. Raises InvalidInput; whether its parts fit each other asks `plan.check`."""
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
        role=_enum(Role, message.role, field=f"{field}.role"),
        port=message.port,
        mtu=message.mtu,
        local=tuple(_mapping(each, field=f"{field}.local[{i}]") for i, each in enumerate(message.local)),
        remote=tuple(_mapping(each, field=f"{field}.remote[{i}]") for i, each in enumerate(message.remote)),
        link=link,
        vlan=message.vlan or None,
        probe=_optional(message.probe, field=f"{field}.probe"),
        probe_source=_optional(message.probe_source, field=f"{field}.probe_source"),
        peer_probe=_optional(message.peer_probe, field=f"{field}.peer_probe"),
    )


def _problem_message(problem: Problem) -> pb.Problem:
    return pb.Problem(
        code=problem.code,
        text=problem.text,
        hint=problem.hint,
        field=problem.field or "",
        fault=problem.fault.value,
    )


def _read_problem(message: pb.Problem) -> Problem:
    fault = Fault(message.fault) if message.fault in set(Fault) else Fault.DEVICE
    return Problem(message.code, message.text, message.hint, message.field or None, fault)


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
                problem=_problem_message(link.problem) if link.problem else None,
            )
            for link in observation.links
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


_applied_message = lru_cache(_LINES)(intent_message)


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
                state=_enum(LinkState, link.state, field=f"links[{i}].state"),
                in_sync=link.in_sync,
                problem=_read_problem(link.problem) if link.HasField("problem") else None,
            )
            for i, link in enumerate(message.links)
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
    return read_intent(pb.LinkIntent.FromString(said), field=field)


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


def probe_message(request: ProbeRequest) -> pb.ProbeRequest:
    """The message that says `request`."""
    return pb.ProbeRequest(
        circuit=request.circuit,
        source=str(request.source),
        target=str(request.target),
        sizes=request.sizes,
        within=request.within,
        every=request.every or 0.0,
    )


def read_probe(message: pb.ProbeRequest, *, most: float) -> ProbeRequest:
    """The request that `message` says. Raises InvalidInput; `most` is the longest that may be waited, in seconds."""
    refuse_unknown(message, "request")
    source = parse_address(message.source, field="source")
    target = parse_address(message.target, field="target")
    if source.version != target.version:
        raise InvalidInput(
            "probe_families_differ",
            f"target: must have the family of the source ({source} to {target})",
            field="target",
            hint="probe IPv4 from IPv4 and IPv6 from IPv6",
        )
    least = 28 if source.version == 4 else 48  # an IP header and an ICMP header
    for i, size in enumerate(message.sizes):
        if not least <= size <= 65535:
            raise InvalidInput(
                "probe_size_invalid",
                f"sizes[{i}]: must be between {least} and 65535 octets of IP packet ({size})",
                field=f"sizes[{i}]",
            )
    return ProbeRequest(
        circuit=message.circuit,
        source=source,
        target=target,
        sizes=tuple(message.sizes) or (84,),
        within=read_seconds(message.within, field="within", most=most),
        every=read_seconds(message.every, field="every", most=most) or None,
    )


def report_message(report: ProbeReport) -> pb.ProbeReport:
    """The message that says `report`."""
    return pb.ProbeReport(
        answered=report.answered,
        lost=report.lost,
        sent=report.sent,
        rtt_ms=report.rtt_ms or 0.0,
        has_rtt=report.rtt_ms is not None,
    )


def read_report(message: pb.ProbeReport) -> ProbeReport:
    """The report that `message` says."""
    return ProbeReport(
        answered=tuple(message.answered),
        lost=message.lost,
        sent=message.sent,
        rtt_ms=message.rtt_ms if message.has_rtt else None,
    )


def capabilities_message(capabilities: Capabilities) -> pb.CapabilitiesReply:
    """The message that says `capabilities`."""
    return pb.CapabilitiesReply(
        driver=capabilities.driver,
        unnumbered=capabilities.unnumbered,
        translate=capabilities.translate,
        translate_identical_only=capabilities.translate_identical_only,
        ipv6=capabilities.ipv6,
        vlan=capabilities.vlan,
        confirm_timer=capabilities.confirm_timer,
        probe=capabilities.probe,
        removes=capabilities.removes,
        max_prefixes=capabilities.max_prefixes or 0,
        missing=[_problem_message(problem) for problem in capabilities.missing],
    )


def read_capabilities(message: pb.CapabilitiesReply) -> Capabilities:
    """The capabilities that `message` says."""
    return Capabilities(
        driver=message.driver,
        unnumbered=message.unnumbered,
        translate=message.translate,
        translate_identical_only=message.translate_identical_only,
        ipv6=message.ipv6,
        vlan=message.vlan,
        confirm_timer=message.confirm_timer,
        probe=message.probe,
        removes=message.removes,
        max_prefixes=message.max_prefixes or None,
        missing=tuple(_read_problem(problem) for problem in message.missing),
    )


def event_message(event: LinkEvent) -> pb.LinkEvent:
    """The message that says `event`."""
    return pb.LinkEvent(
        circuit=event.circuit,
        agreement="" if event.agreement is None else str(event.agreement),
        kind=event.kind.value,
        detail=event.detail,
        in_sync=event.in_sync,
    )


def read_event(message: pb.LinkEvent) -> LinkEvent:
    """The event that `message` says."""
    return LinkEvent(
        circuit=message.circuit,
        agreement=read_agreement(message.agreement, field="agreement") if message.agreement else None,
        kind=_enum(LinkEventKind, message.kind, field="kind"),
        detail=message.detail,
        in_sync=message.in_sync,
    )
