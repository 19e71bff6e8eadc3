"""What an order must be like: accounts, connections, products. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meetme.ixapi import wire
from meetme.ixapi.access import Who
from meetme.ixapi.objects import Owners, Service
from meetme.ixapi.plant import Plant
from meetme.ixapi.settings import OfferingSetting
from meetme.model.errors import InvalidInput, Problem, Refused


@dataclass(frozen=True, slots=True)
class OrderingRules:
    """Those of one exchange."""

    plant: Plant
    offerings: Mapping[str, OfferingSetting]
    roles: frozenset[str]
    """Ids of the role assignments that there are."""

    def service_problems(self, who: Who, request: wire.ServiceRequest) -> list[Problem]:
        """What is wrong with an order of a service."""
        found = self._owner_problems(who, request.owners)
        if request.joining_member_account not in self.plant.accounts:
            found.append(wrong("joining_member_account", "must be an account", request.joining_member_account))
        if request.product_offering not in self.offerings:
            found.append(wrong("product_offering", "must be one of the exchange", request.product_offering))
        return found

    def config_problems(self, who: Who, request: wire.ConfigRequest) -> list[Problem]:
        """What is wrong with an order of a config."""
        found = self._owner_problems(who, request.owners)
        connection = self.plant.connections.get(request.connection)
        if connection is None or connection.account != request.consuming_account or connection.account not in who.under:
            found.append(wrong("connection", "must be one of the consuming account", request.connection))
        elif request.vlan_config.vlan_type not in list(connection.vlan_types):
            allowed = " or ".join(connection.vlan_types)
            found.append(wrong("vlan_config.vlan_type", f"must be {allowed} here", request.vlan_config.vlan_type))
        for role in request.role_assignments:
            if role not in self.roles:
                found.append(wrong("role_assignments", "must be role assignments", role))
        return found

    def _owner_problems(self, who: Who, owners: Owners) -> list[Problem]:
        named = {
            "managing_account": owners.managing,
            "consuming_account": owners.consuming,
            "billing_account": owners.billing,
        }
        rule = "must be the own account, or one that it manages"
        return [wrong(field, rule, account) for field, account in named.items() if account not in who.under]

    def check_capacity(self, offering: str, capacity: int | None) -> None:
        """Raises InvalidInput `capacity_invalid` where the product offering does not have this capacity."""
        product = self.offerings.get(offering)
        if product is None or capacity is None:
            return
        least, most = product.bandwidth_min or 1, product.bandwidth_max
        if capacity < least or (most is not None and capacity > most):
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            raise InvalidInput(
                "capacity_invalid",
                f"capacity: must be {limits} Mbit/s in this product offering ({capacity})",
                hint="see product-offerings",
                field="capacity",
            )

    def check_direction(self, service: Service, body: wire.ChangeBody) -> None:
        """Raises Refused `change_not_allowed` where the product offering does not go up, or down."""
        product = self.offerings[body.product_offering]
        old, new = service.capacity, body.capacity
        up = new is None if old is not None else False
        up = up or (old is not None and new is not None and new > old)
        down = (old is None and new is not None) or (old is not None and new is not None and new < old)
        if (up and not product.upgrade_allowed) or (down and not product.downgrade_allowed):
            raise Refused(
                "change_not_allowed",
                f"capacity: must not be {'raised' if up else 'lowered'} in this product offering",
                hint="see product-offerings",
                field="capacity",
            )


def wrong(field: str, rule: str, seen: str) -> Problem:
    """A field that cannot be right."""
    return Problem("order_invalid", f"{field}: {rule} ('{seen}')", "", field)


def fixed(field: str, old: object, new: object) -> list[Problem]:
    """A field that must stay as it is."""
    text = f"{field}: must stay as it is ('{old}', '{new}')"
    return [] if old == new else [Problem("order_fixed", text, "order anew, or ask for a change request", field)]
