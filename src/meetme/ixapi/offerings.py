"""Which product to order: the offering that fits a bandwidth, a place and a day. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from meetme.ixapi.shown import Offering
from meetme.model.errors import Conflict, Exhausted, Fault, MeetMeError, NotFound, Refused


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an offering has to fit."""

    bandwidth: int
    """Mbit/s."""
    today: date
    a_area: str | None = None
    """Metro area of end a; None: not known, and not compared."""
    b_area: str | None = None
    product: str | None = None
    """The one that has to be taken."""
    notice_days: int | None = None
    """For how long it may bind us at most; None: any time."""


def choose(offerings: Iterable[Offering], wanted: Wanted) -> Offering:
    """The offering to take: of those that fit, what binds for the shortest time, then what fits most closely.

    Raises NotFound `offering_missing`, Exhausted `offering_too_small`, Refused `offering_binds_too_long`.
    """
    here = [offering for offering in offerings if _here(offering, wanted)]
    if not here:
        raise NotFound(
            "offering_missing",
            f"product_offering: must be one of the exchange's for a service between two connections"
            f"{f' ({wanted.product!r})' if wanted.product else ' (none)'}",
            hint="ask the exchange what it offers to this account",
            field="product_offering",
            fault=Fault.REMOTE,
        )
    wide = [offering for offering in here if carries(offering, wanted.bandwidth)]
    if not wide:
        raise _too_small(here, wanted.bandwidth)
    days = wanted.notice_days
    free = [o for o in wide if days is None or o.notice_days is None or o.notice_days <= days]
    if not free:
        shortest = min(o.notice_days or 0 for o in wide)
        raise Refused(
            "offering_binds_too_long",
            f"product_offering: must not bind for more than {days} days ({shortest})",
            hint="allow more with charged_days",
            field="product_offering",
        )
    return min(free, key=lambda o: (o.notice_days or 0, not o.upgrade_allowed, _width(o), o.id))


def carries(offering: Offering, bandwidth: int) -> bool:
    """Whether `bandwidth` (Mbit/s) can be ordered of it."""
    return (offering.bandwidth_min or 0) <= bandwidth and (
        offering.bandwidth_max is None or bandwidth <= offering.bandwidth_max
    )


def replacement(current: Offering, offerings: Iterable[Offering], bandwidth: int) -> Offering:
    """What a service of `current` has to become to carry `bandwidth`: the same product, if it can.

    Raises Conflict `offering_stays` where it may not be left, Exhausted `offering_too_small` where nothing carries it.
    """
    if carries(current, bandwidth):
        return current
    up = current.bandwidth_max is not None and bandwidth > current.bandwidth_max
    if not (current.upgrade_allowed if up else current.downgrade_allowed):
        raise Conflict(
            "offering_stays",
            f"product_offering: must allow to be {'up' if up else 'down'}graded ('{current.name or current.id}')",
            hint="order anew",
            field="product_offering",
            fault=Fault.REMOTE,
        )
    same = (current.handover_area, current.service_area)
    fitting = [o for o in offerings if (o.handover_area, o.service_area) == same and carries(o, bandwidth)]
    if not fitting:
        raise _too_small([current, *offerings], bandwidth)
    return min(fitting, key=lambda o: (o.notice_days or 0, _width(o), o.id))


def _here(offering: Offering, wanted: Wanted) -> bool:
    if wanted.product is not None and wanted.product not in (offering.id, offering.name):
        return False
    if wanted.a_area is not None and offering.handover_area not in (wanted.a_area, None):
        return False
    if wanted.b_area is not None and offering.service_area not in (wanted.b_area, None):
        return False
    begun = offering.orderable_from is None or offering.orderable_from <= wanted.today
    return begun and (offering.orderable_until is None or wanted.today <= offering.orderable_until)


def _width(offering: Offering) -> int:
    most = 2**31 if offering.bandwidth_max is None else offering.bandwidth_max
    return most - (offering.bandwidth_min or 0)


def _too_small(offerings: Iterable[Offering], bandwidth: int) -> MeetMeError:
    bounds = [b for o in offerings for b in (o.bandwidth_min or 1, o.bandwidth_max) if b is not None]
    nearest = min(bounds, key=lambda bound: abs(bound - bandwidth))
    return Exhausted(
        "offering_too_small",
        f"bandwidth: must be one that the exchange offers ({bandwidth} Mbit/s, the nearest is {nearest})",
        hint=f"ask for {nearest} Mbit/s",
        field="bandwidth",
        fault=Fault.REMOTE,
    )
