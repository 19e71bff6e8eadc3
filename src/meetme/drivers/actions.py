"""The thesis's three actions (section 7.2.2) as a driver may offer them: an attribute `actions` beside the six verbs.

They only add. Who wants more (a link as a whole, a confirm timer, an exact removal) uses the driver itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from meetme.model.addresses import Address, InterfaceAddress, Prefix


@dataclass(frozen=True, slots=True)
class Nat:
    """Single-side NAT of one link (thesis 7.3.3): both sides use `real`, each reaches the other under `alias`."""

    alias: Prefix
    real: Prefix
    port: str
    """The link's port."""
    table: int
    """Of the virtual routing table that leads to the peer."""
    mark: int
    next_hop: Address


class RouterActions(Protocol):
    """Each does nothing where what it adds is there already, and raises MeetMeError where it fails."""

    async def add_address(self, address: InterfaceAddress, port: str) -> None:
        """Assign an address to an interface."""

    async def add_route(self, prefix: Prefix, next_hop: Address) -> None:
        """Route a prefix to a next hop."""

    async def configure_nat(self, nat: Nat) -> None:
        """Translate one prefix to one alias, both ways."""


@runtime_checkable
class OffersActions(Protocol):
    """A driver that offers them."""

    actions: RouterActions
