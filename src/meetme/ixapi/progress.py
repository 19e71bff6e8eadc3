"""What to do next about an order, given what the exchange shows of it. Pure: the shell in `ordering` looks, asks here,
acts, and looks again, so that it may be killed between any two requests.

Rules of this file:

1. What counts is what the exchange shows, never what it answered: an answer may be lost, or early.
2. Nothing is created before it was looked for under its reference, and nothing while an attempt to create it may still
   be under way. Where there are two all the same, one is kept and the other is cancelled.
3. An object is mended once. If that did not help, everything is cancelled and the caller hears why.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from meetme.ixapi import refusals
from meetme.ixapi.orders import BuiltSegment, OrderEnd, SegmentOrder, SegmentState, SegmentView, Terms
from meetme.ixapi.shown import Shown, ShownConfig, ShownService, Standing
from meetme.ixapi.steps import (
    Cancel,
    CreateConfigs,
    CreateService,
    Done,
    Enlarge,
    GiveUp,
    Mend,
    Past,
    ReadTerms,
    Side,
    Step,
    Wait,
    config_reference,
)
from meetme.model.errors import Conflict, Fault, MeetMeError, NotFound, Refused

LOSSES = 2
"""How many times an object may be lost and made again, within one attempt."""


# --- a segment that is wanted -----------------------------------------------------------------------------------------


def next_step(order: SegmentOrder, shown: Shown, past: Past, *, today: date, charged_days: int | None = None) -> Step:
    """What brings the exchange nearer to `order`.

    `charged_days`: for how many days we would pay at most for what is given back at once; None: any number.
    """
    if past.refusal is not None:
        return GiveUp(past.refusal)
    live = [service for service in shown.services if service.standing is not Standing.LEAVING]
    if not live:
        return _without_service(order, shown, past)
    stale = [s.id for s in live if s.standing is Standing.FAILED and s.id not in past.created]
    kept = min((s for s in live if s.id not in stale), key=_rank, default=None)
    extra = [service.id for service in live if kept is None or service.id != kept.id]
    if (step := _cancel_extra(past, services=extra)) is not None:
        return step
    if kept is None:
        return Wait("a former order is being cancelled")
    if kept.standing is Standing.FAILED:
        return GiveUp(refusals.failed(f"service '{kept.id}'", kept.says))
    if kept.reference != order.reference:
        return GiveUp(refusals.forgets(order.reference))
    if kept.joining_account is not None and order.b.account not in (None, kept.joining_account):
        return _in_use(order, kept)
    # What it costs counts before it is used; what is in use is not given up for it.
    unused = not any(config.service == kept.id for config in shown.configs)
    if (step := _terms(kept, past, today, charged_days if unused else None)) is not None:
        return step
    known = {service.id for service in shown.services}
    orphans = [c.id for c in shown.configs if c.service not in (None, *known) and c.standing is not Standing.LEAVING]
    if (step := _cancel_extra(past, configs=orphans)) is not None:
        return step
    return _with_service(order, kept, [c for c in shown.configs if c.service in (kept.id, None)], past)


def _without_service(order: SegmentOrder, shown: Shown, past: Past) -> Step:
    leaving = [service for service in shown.services if service.standing is Standing.LEAVING]
    if leaving:
        return Wait("a former order is leaving", until=_latest(leaving))
    orphans = [config.id for config in shown.configs if config.standing is not Standing.LEAVING]
    if (step := _cancel_extra(past, configs=orphans)) is not None:
        return step
    if shown.configs:
        return Wait("an end of a former order is leaving", until=_latest(shown.configs))
    if order.reference in past.uncertain:
        return Wait("the exchange may still be making the service")
    if len(past.created) > LOSSES * 3:
        return GiveUp(refusals.loses("the service"))
    return CreateService()


def _with_service(order: SegmentOrder, service: ShownService, configs: list[ShownConfig], past: Past) -> Step:
    strangers = [c.connection for c in configs if c.connection not in (order.a.connection, order.b.connection, None)]
    if strangers:
        return _in_use(order, service)
    ends: dict[Side, ShownConfig] = {}
    missing: list[Side] = []
    extra: list[str] = []
    leaving: list[ShownConfig] = []
    for side in Side:
        mine = [config for config in configs if _side(order, config) is side]
        leaving += [config for config in mine if config.standing is Standing.LEAVING]
        live = [config for config in mine if config.standing is not Standing.LEAVING]
        stale = [c.id for c in live if c.standing is Standing.FAILED and c.id not in past.created]
        best = min((config for config in live if config.id not in stale), key=_rank, default=None)
        extra += [config.id for config in live if best is None or config.id != best.id]
        if best is None:
            missing.append(side)
        else:
            ends[side] = best
    if (step := _cancel_extra(past, configs=extra)) is not None:
        return step
    if missing:
        if leaving:
            return Wait("an end of a former order is leaving", until=_latest(leaving))
        if any(config_reference(order.reference, side) in past.uncertain for side in missing):
            return Wait("the exchange may still be making an end")
        if len(past.created) > LOSSES * 3:
            return GiveUp(refusals.loses(f"end {missing[0].value}"))
        return CreateConfigs(service, tuple(missing))
    for side, config in ends.items():
        if (step := _end(_of(order, side), side, config, order.bandwidth, past)) is not None:
            return step
    if service.capacity is not None and service.capacity < order.bandwidth:
        if service.id not in past.mended:
            return Enlarge(service)
        if service.standing is Standing.READY and past.settled:
            return GiveUp(refusals.too_small("the service", order.bandwidth, service.capacity))
        return Wait("the service is being enlarged")
    return _ready(order, service, ends, past)


def _ready(order: SegmentOrder, service: ShownService, ends: dict[Side, ShownConfig], past: Past) -> Step:
    every: list[ShownService | ShownConfig] = [service, *ends.values()]
    unready = [each for each in every if each.standing is not Standing.READY]
    if unready:
        says = next((each.says for each in unready if each.says), "")
        states = ", ".join(sorted({each.state for each in unready}))
        person = any(each.standing is Standing.PERSON for each in unready)
        return Wait(f"{states}{': ' if says else ''}{says}", person=person, built=True)
    a, b = ends[Side.A], ends[Side.B]
    terms = past.terms or Terms()
    return Done(BuiltSegment(order.reference, service.id, a.vlan, b.vlan, order.bandwidth, terms))


def _end(end: OrderEnd, side: Side, config: ShownConfig, bandwidth: int, past: Past) -> Step | None:
    """What is wrong with one end, or None."""
    name = f"end {side.value}"
    if config.standing is Standing.FAILED:
        return GiveUp(refusals.failed(name, config.says))
    settled = config.standing is Standing.READY and past.settled
    error: MeetMeError | None = None
    if _other_tagging(end, config):
        error = refusals.other_vlan(name, end, config)
    elif config.capacity is not None and config.capacity < bandwidth:
        error = refusals.too_small(name, bandwidth, config.capacity)
    if error is None:
        return None
    if config.id not in past.mended:
        return Mend(config.id, side)
    return GiveUp(error) if settled else Wait(f"{name} is being mended")


def _other_tagging(end: OrderEnd, config: ShownConfig) -> bool:
    if config.vlan is None and not config.whole:
        return config.standing is Standing.READY  # until then it may still be choosing
    if end.vlan is not None:
        return config.vlan != end.vlan
    return end.whole and not config.whole


def _terms(service: ShownService, past: Past, today: date, charged_days: int | None) -> Step | None:
    if past.terms is None:
        return ReadTerms(service.id)
    end = past.terms.charged_until or past.terms.decommission_at
    if charged_days is None:
        return None
    if end is None:
        return GiveUp(refusals.terms_unknown())
    return GiveUp(refusals.costs_too_long(end, charged_days)) if (end - today).days > charged_days else None


def _cancel_extra(past: Past, *, services: Iterable[str] = (), configs: Iterable[str] = ()) -> Step | None:
    services, configs = tuple(services), tuple(configs)
    refused = [id for id in (*services, *configs) if id in past.kept]
    if refused:
        return GiveUp(
            Refused(
                "exchange_keeps_double",
                f"order: must be there once (the exchange does not cancel '{refused[0]}')",
                hint="ask the exchange to cancel it",
                fault=Fault.REMOTE,
                existing=refused[0],
            )
        )
    done = _cancelled(past)
    left = Cancel(tuple(id for id in services if id not in done), tuple(id for id in configs if id not in done))
    if left.services or left.configs:
        return left
    # Accepted, and still shown as before: a replacement must not be ordered beside it.
    return Wait("what is there twice is being cancelled") if services or configs else None


# --- a segment that is not wanted any more ----------------------------------------------------------------------------


def next_removal(shown: Shown, past: Past) -> Step:
    """What brings the exchange nearer to having nothing of an order."""
    if shown.nothing:
        return Wait("the exchange may still be making it") if past.uncertain else Done()
    done = _cancelled(past)
    services = [s.id for s in shown.services if s.standing is not Standing.LEAVING and s.id not in done]
    configs = [c.id for c in shown.configs if c.standing is not Standing.LEAVING and c.id not in done]
    refused = [id for id in (*services, *configs) if id in past.kept]
    # As a rule they go with their service.
    if not (past.settled or refused or all(service.id in past.kept for service in shown.services)):
        configs = []
    services = [id for id in services if id not in past.kept]
    configs = [id for id in configs if id not in past.kept]
    if services or configs:
        return Cancel(tuple(services), tuple(configs))
    every: tuple[ShownService | ShownConfig, ...] = (*shown.services, *shown.configs)
    if refused and not any(each.standing is Standing.LEAVING or each.id in done for each in every):
        return GiveUp(past.refusal or refusals.keeps(refused[0]))
    person = any(each.standing is Standing.PERSON for each in every)
    return Wait("it is leaving", person=person, until=_latest(every))


# --- a segment that is to have another bandwidth ----------------------------------------------------------------------


def next_change(reference: str, bandwidth: int, shown: Shown, past: Past) -> Step:
    """What brings a segment that is there nearer to `bandwidth` (Mbit/s)."""
    live = [service for service in shown.services if service.standing is not Standing.LEAVING]
    ends = [c for c in shown.configs if c.standing is not Standing.LEAVING]
    if len(live) != 1 or len(ends) != 2:
        error = NotFound(
            "segment_unknown", f"reference: must be that of a whole segment ('{reference}')", field="reference"
        )
        return GiveUp(error)
    if past.refusal is not None:
        return GiveUp(past.refusal)
    service, (a, b) = live[0], _in_order(reference, ends)
    # The service is the wider of both while they change: enlarged before its ends, and reduced after them.
    narrow = [c for c in (a, b) if c.capacity != bandwidth]
    service_differs = service.capacity is not None and service.capacity != bandwidth
    service_first = service.capacity is not None and service.capacity < bandwidth
    if service_differs and service.id not in past.mended and (service_first or not narrow):
        return Enlarge(service)
    for side, config in ((Side.A, a), (Side.B, b)):
        if config in narrow and config.id not in past.mended:
            return Mend(config.id, side)
    unready = [each for each in (service, a, b) if each.standing is not Standing.READY]
    failed = next((each for each in unready if each.standing is Standing.FAILED), None)
    if failed is not None:
        return GiveUp(refusals.failed(f"'{failed.id}'", failed.says))
    if not unready and not narrow and not service_differs:
        return Done(BuiltSegment(reference, service.id, a.vlan, b.vlan, bandwidth))
    if not unready and past.settled:
        return GiveUp(refusals.too_small("the segment", bandwidth, min(c.capacity or 0 for c in (a, b))))
    person = any(each.standing is Standing.PERSON for each in unready)
    return Wait("the change is on its way", person=person)


# --- how it stands ----------------------------------------------------------------------------------------------------


def view(reference: str, shown: Shown) -> SegmentView:
    """How a segment stands, for somebody who does not know what was ordered."""
    if shown.nothing:
        return SegmentView(reference, SegmentState.ABSENT)
    live = [service for service in shown.services if service.standing is not Standing.LEAVING]
    if not live:
        return SegmentView(reference, SegmentState.LEAVING)
    service = min(live, key=_rank)
    mine = [c for c in shown.configs if c.service in (service.id, None) and c.standing is not Standing.LEAVING]
    a = min((c for c in mine if c.reference == config_reference(reference, Side.A)), key=_rank, default=None)
    b = min((c for c in mine if c.reference == config_reference(reference, Side.B)), key=_rank, default=None)
    if (a is None or b is None) and len(mine) == 2:
        a, b = _in_order(reference, mine)
    every = [each for each in (service, a, b) if each is not None]
    problem: MeetMeError | None = None
    state = SegmentState.PENDING
    failed = next((each for each in every if each.standing is Standing.FAILED), None)
    if failed is not None:
        state, problem = SegmentState.FAILED, refusals.failed(f"'{failed.id}'", failed.says)
    elif len(live) > 1 or len(mine) > 2:
        problem = Refused("segment_doubled", f"segment '{reference}': must be there once", fault=Fault.REMOTE)
    elif a is None or b is None:
        problem = Refused("segment_incomplete", f"segment '{reference}': must have two ends", fault=Fault.REMOTE)
    elif all(each.standing is Standing.READY for each in every):
        state = SegmentState.READY
    limits = [c.capacity for c in (a, b) if c is not None and c.capacity is not None]
    return SegmentView(
        reference,
        state,
        service.id,
        a.vlan if a is not None else None,
        b.vlan if b is not None else None,
        min(limits) if limits else None,
        problem.problem if problem is not None else None,
    )


# --- inside -----------------------------------------------------------------------------------------------------------


def _cancelled(past: Past) -> frozenset[str]:
    # What is still shown as if nothing had happened is cancelled once more.
    return frozenset() if past.settled else past.cancelled


def _rank(each: ShownService | ShownConfig) -> tuple[bool, bool, str]:
    # Whoever looks keeps the same one of two: what carries frames, else what has the lower id.
    return (each.standing is Standing.FAILED, each.standing not in (Standing.READY, Standing.CHANGING), each.id)


def _of(order: SegmentOrder, side: Side) -> OrderEnd:
    return order.a if side is Side.A else order.b


def _side(order: SegmentOrder, config: ShownConfig) -> Side:
    for side in Side:
        if config.reference == config_reference(order.reference, side):
            return side
    return Side.B if config.connection == order.b.connection != order.a.connection else Side.A


def _in_order(reference: str, ends: list[ShownConfig]) -> tuple[ShownConfig, ShownConfig]:
    """End a first. Where the exchange has lost the references, the lower id: a was ordered first."""
    a, b = sorted(ends, key=lambda c: (c.reference != config_reference(reference, Side.A), c.id))
    return a, b


def _latest(every: Iterable[ShownService | ShownConfig]) -> date | None:
    return max((each.decommission_at for each in every if each.decommission_at is not None), default=None)


def _in_use(order: SegmentOrder, service: ShownService) -> GiveUp:
    error = Conflict(
        "reference_in_use",
        f"reference: must not be that of another order ('{order.reference}')",
        hint="remove that order first, or give this one another reference",
        field="reference",
        existing=service.id,
    )
    return GiveUp(error, ours=False)
