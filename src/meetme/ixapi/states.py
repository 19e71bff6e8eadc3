"""In which state services and configs are, and what they say about it: read off the facts, never set. Pure.

    requested -> allocated -> testing -> production <-> production_change_pending
    -> decommission_requested -> decommissioned -> archived; error: from any, while a switch cannot be made to follow

A service is `requested` until it has both ends, `allocated` while its pieces are brought to the switches, `testing`
while they are there tentatively, and in `production` once every switch has confirmed its own. Its configs follow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from meetme.ixapi.bundle import Bundle, Phase, Work
from meetme.ixapi.objects import Config, Service, Severity, State, Status

UNREACHABLE = "configurator_"
"""How codes of errors begin that say only that a switch cannot be asked just now."""


def refresh(bundle: Bundle, now: float) -> Bundle:
    """The bundle with the states and statuses that follow from it."""
    return replace(bundle, services=tuple(_refreshed(bundle, service, now) for service in bundle.services))


def _refreshed(bundle: Bundle, service: Service, now: float) -> Service:
    works = [work for work in bundle.works if work.concerns(service.id)]
    pending = [work for work in works if work.phase is not Phase.DONE]
    if service.ending and service.ended is None and not pending:
        service = replace(service, ended=now, hop=None)
    configs = tuple(
        replace(config, ended=now)
        if config.ended is None and (service.ended is not None or (config.ending and not pending))
        else config
        for config in service.configs
    )
    service = replace(service, configs=configs)
    if service.hop is not None and not service.complete and not pending:
        service = replace(service, hop=None)
    if service.complete and works and not pending:
        service = replace(service, produced=True, change=None)
    elif not service.complete:
        service = replace(service, produced=False, change=service.change if pending else None)
    state = _state(service, works)
    status = tuple(_status(service, works, state))
    configs = tuple(_config(service, config, works, state, now) for config in service.configs)
    return replace(service, state=state, status=_dated(status, service.status, now), configs=configs)


def _state(service: Service, works: list[Work]) -> State:
    if service.archived:
        return State.ARCHIVED
    if service.ended is not None:
        return State.DECOMMISSIONED
    if any(work.problem is not None and not work.problem.code.startswith(UNREACHABLE) for work in works):
        return State.ERROR
    if service.cancelled is not None:
        return State.DECOMMISSION_REQUESTED
    if not service.complete:
        return State.REQUESTED
    phases = {work.phase for work in works}
    if phases <= {Phase.DONE} and phases:
        return State.PRODUCTION
    if service.produced:
        return State.PRODUCTION_CHANGE_PENDING
    return State.TESTING if phases == {Phase.CONFIRM} or phases == {Phase.CONFIRM, Phase.DONE} else State.ALLOCATED


def _config(service: Service, config: Config, works: list[Work], state: State, now: float) -> Config:
    if service.archived:
        own = State.ARCHIVED
    elif config.ended is not None:
        own = State.DECOMMISSIONED
    elif config.cancelled is not None and state is not State.ERROR:
        own = State.DECOMMISSION_REQUESTED
    else:
        own = state
    status = tuple(_of_works(works)) if config.ended is None else ()
    if own is State.REQUESTED:
        status = (
            *status,
            Status(
                Severity.NOTICE,
                "other_end_missing",
                "the service is built once its other end is ordered",
                (("network_service", service.id),),
            ),
        )
    return replace(config, state=own, status=_dated(status, config.status, now))


def _status(service: Service, works: list[Work], state: State) -> Iterator[Status]:
    """What has to happen before it is in production, or out of it."""
    if state is State.REQUESTED:
        for side, account in missing(service):
            yield Status(
                Severity.NOTICE,
                "network_service_config_missing",
                f"account '{account}' has to order a network service config",
                (("account", account), ("side", side)),
            )
    yield from _of_works(works)
    if service.ended is None and service.cancelled is not None and not service.ending:
        day = service.cancelled.decommission_at.isoformat()
        yield Status(Severity.NOTICE, "decommission_scheduled", f"ends on {day}", (("decommission_at", day),))


def missing(service: Service) -> Iterator[tuple[str, str]]:
    """The sides without a config, and whose they are."""
    have = [config.owners.consuming for config in service.live]
    for side, account in (("a", service.owners.consuming), ("b", service.joining)):
        if account in have:
            have.remove(account)
        else:
            yield side, account


def _of_works(works: list[Work]) -> Iterator[Status]:
    for work in works:
        if work.problem is None:
            continue
        away = work.problem.code.startswith(UNREACHABLE)
        yield Status(
            Severity.WARNING if away else Severity.ERROR,
            "switch_unreachable" if away else work.problem.code,
            f"{work.problem.text}; it is tried again",
            (("device", work.switch),),
        )


def _dated(status: tuple[Status, ...], before: tuple[Status, ...], now: float) -> tuple[Status, ...]:
    """What was said before keeps its time."""
    known = {(each.tag, each.message, each.attrs): each.at for each in before}
    return tuple(replace(each, at=known.get((each.tag, each.message, each.attrs), now)) for each in status)
