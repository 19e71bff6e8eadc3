"""Who sees what: an account its own objects, and those of the accounts that it manages. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from meetme.ixapi.objects import Owners, Service
from meetme.model.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks: an account, and those that it may act for."""

    account: str
    under: frozenset[str]


def sees(who: Who, owners: Owners) -> bool:
    """Whether an account may see what belongs to these."""
    return owners.managing in who.under or owners.consuming in who.under


def sees_service(who: Who, service: Service) -> bool:
    """Whether an account may see a service: also the B side, which has to order its end."""
    return sees(who, service.owners) or service.joining in who.under


def check_manager(who: Who, owners: Owners) -> None:
    """Only who manages an object changes it. Raises Forbidden `account_not_manager`."""
    if owners.managing not in who.under:
        raise Forbidden(
            "account_not_manager",
            f"managing_account: must be the own one, or one of those that it manages ('{owners.managing}')",
            field="managing_account",
        )
