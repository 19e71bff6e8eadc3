"""Between the messages of `v1/configurator.proto` and the model's values. Text becomes a value here and nowhere else.

Intents, and observations that list them, are in `intent_wire`; the thesis's three actions in `action_wire`.

In a request an unknown field is an error: a part of an intent that this program does not understand must not be left
out in silence. In an answer it is ignored, so that a newer configurator can say more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import ip_interface
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.model.addresses import InterfaceAddress, parse_address
from meetme.model.errors import Fault, InvalidInput, Problem
from meetme.model.intent import (
    Capabilities,
    LinkEvent,
    LinkEventKind,
    ProbeReport,
    ProbeRequest,
)

EnumT = TypeVar("EnumT", bound=StrEnum)


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


def read_enum(kind: type[EnumT], text: str, *, field: str) -> EnumT:
    """Read one of the words of `kind`. Raises InvalidInput."""
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


def problem_message(problem: Problem) -> pb.Problem:
    """The message that says `problem`."""
    return pb.Problem(
        code=problem.code,
        text=problem.text,
        hint=problem.hint,
        field=problem.field or "",
        fault=problem.fault.value,
    )


def read_problem(message: pb.Problem) -> Problem:
    """The problem that `message` says; a fault that is not known is the device's."""
    fault = Fault(message.fault) if message.fault in set(Fault) else Fault.DEVICE
    return Problem(message.code, message.text, message.hint, message.field or None, fault)


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
        missing=[problem_message(problem) for problem in capabilities.missing],
        segments=capabilities.segments,
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
        missing=tuple(read_problem(problem) for problem in message.missing),
        segments=message.segments,
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
        kind=read_enum(LinkEventKind, message.kind, field="kind"),
        detail=message.detail,
        in_sync=message.in_sync,
    )
