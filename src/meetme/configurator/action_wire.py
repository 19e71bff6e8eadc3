"""The messages of the thesis's three actions as values: strings are checked here, before any command sees them."""

from __future__ import annotations

from meetme.configurator.v1 import configurator_pb2 as pb
from meetme.configurator.wire import read_interface_address
from meetme.drivers.actions import Nat
from meetme.model.addresses import Address, InterfaceAddress, Prefix, parse_address, parse_prefix
from meetme.model.errors import InvalidInput


def read_assignment(message: pb.IPAssignment) -> tuple[InterfaceAddress, str]:
    """Address and interface of the thesis's first action. Raises InvalidInput."""
    return read_interface_address(message.ip, field="ip"), _interface_name(message.interface, field="interface")


def read_route(message: pb.Route) -> tuple[Prefix, Address]:
    """Prefix and next hop of the thesis's second action. Raises InvalidInput."""
    prefix = parse_prefix(message.destinationNetwork, field="destinationNetwork")
    return prefix, _next_hop(message.nextHop, prefix)


def read_nat(message: pb.NatConfiguration) -> Nat:
    """The thesis's third action. Raises InvalidInput."""
    alias = parse_prefix(message.localNetwork, field="localNetwork")
    real = parse_prefix(message.remoteNetwork, field="remoteNetwork")
    if (alias.version, alias.prefixlen) != (real.version, real.prefixlen):
        raise InvalidInput(
            "mapping_lengths_differ",
            f"remoteNetwork: must be as long as localNetwork ({real} and {alias})",
            field="remoteNetwork",
            hint="translation is one-to-one on whole prefixes",
        )
    return Nat(
        alias=alias,
        real=real,
        port=_interface_name(message.localInterface, field="localInterface"),
        table=_number(message.tableNumber, field="tableNumber", reserved=frozenset({253, 254, 255})),
        mark=_number(message.packetMark, field="packetMark"),
        next_hop=_next_hop(message.nextHop, alias),
    )


def _interface_name(text: str, *, field: str) -> str:
    # IFNAMSIZ leaves 15 characters; a leading dash would be read as an option by the commands it is given to.
    if not 0 < len(text) <= 15 or text.startswith("-") or not text.isprintable() or set(text) & set(" /"):
        raise InvalidInput("interface_invalid", f'{field}: must be the name of an interface ("{text}")', field=field)
    return text


def _number(text: str, *, field: str, reserved: frozenset[int] = frozenset()) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0
    if not 0 < number < 2**32 or number in reserved:
        raise InvalidInput(
            "number_invalid",
            f'{field}: must be a decimal number from 1 to {2**32 - 1}, and not one that the kernel uses ("{text}")',
            field=field,
        )
    return number


def _next_hop(text: str, prefix: Prefix) -> Address:
    address = parse_address(text, field="nextHop")
    if address.version != prefix.version:
        raise InvalidInput(
            "families_differ", f"nextHop: must have the family of the network ({address} for {prefix})", field="nextHop"
        )
    return address
