"""What an exchange can do wrong with an order, as errors. Pure."""

from __future__ import annotations

from datetime import date

from meetme.ixapi.orders import OrderEnd
from meetme.ixapi.shown import ShownConfig
from meetme.model.errors import Conflict, Exhausted, Fault, MeetMeError, Refused


def costs_too_long(end: date, days: int) -> MeetMeError:
    """It would have to be paid for, for longer than we want."""
    return Refused(
        "exchange_costs_too_long",
        f"charged_until: must be within {days} days of giving it back ({end.isoformat()})",
        hint="order another product offering, or allow more with charged_days",
        field="charged_until",
    )


def terms_unknown() -> MeetMeError:
    """It does not say for how long it would have to be paid for."""
    return Refused(
        "exchange_terms_unknown",
        "cancellation policy: must be known before anything is ordered",
        hint="the exchange does not tell it; order all the same without charged_days",
        field="charged_days",
    )


def forgets(reference: str) -> MeetMeError:
    """It does not keep our reference."""
    return Refused(
        "exchange_forgets_reference",
        f"external_ref: must stay with what was ordered under it ('{reference}')",
        hint="without it nothing can be ordered here without the risk of ordering it twice",
        field="external_ref",
        fault=Fault.REMOTE,
    )


def failed(what: str, says: str) -> MeetMeError:
    """It says itself that it failed."""
    return Refused(
        "exchange_order_failed",
        f"{what}: failed at the exchange ({says or 'it does not say why'})",
        hint="ask the exchange; another path may do",
        fault=Fault.REMOTE,
    )


def loses(what: str) -> MeetMeError:
    """What was ordered disappears again and again."""
    return Refused(
        "exchange_loses_objects",
        f"{what}: must stay once it was ordered (lost several times)",
        hint="ask the exchange who cancels it",
        fault=Fault.REMOTE,
    )


def keeps(id: str) -> MeetMeError:
    """It does not cancel what was ordered."""
    return Refused(
        "exchange_keeps_order",
        f"order: must be cancelled (the exchange refuses to cancel '{id}')",
        hint="ask the exchange to cancel it",
        fault=Fault.REMOTE,
        existing=id,
    )


def other_vlan(name: str, end: OrderEnd, config: ShownConfig) -> MeetMeError:
    """An end has another VLAN than the one that was ordered."""
    wanted = "the whole port" if end.whole else end.vlan if end.vlan is not None else "a number"
    return Conflict(
        "exchange_vlan_other",
        f"{name}: must have the VLAN that was ordered, {wanted} ({'the whole port' if config.whole else config.vlan})",
        hint="ask the exchange why; another path may do",
        field="vlan",
        fault=Fault.REMOTE,
    )


def too_small(name: str, wanted: int, seen: int) -> MeetMeError:
    """It carries less than what was ordered (Mbit/s)."""
    return Exhausted(
        "exchange_capacity_smaller",
        f"{name}: must carry what was ordered, {wanted} Mbit/s ({seen})",
        hint="ask for less, or take another path",
        field="bandwidth",
        fault=Fault.REMOTE,
    )
