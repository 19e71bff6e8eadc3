"""Whether circuits can be ordered at an exchange: what it can, what it offers, what is there. Orders nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from meetme.ixapi.client import IxApiClient
from meetme.ixapi.requests import OrderRequests
from meetme.ixapi.shown import Implementation
from meetme.model.errors import MeetMeError

NEEDED = (
    "network_services_create",
    "network_services_destroy",
    "network_service_configs_create",
    "network_service_configs_partial_update",
)
USEFUL = {
    "network_service_cancellation_policy_read": "what giving a circuit back costs is not known beforehand",
    "network_service_change_request_create": "another product has to be ordered anew",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `needed`: without it nothing can be ordered."""

    what: str
    ok: bool
    detail: str
    hint: str = ""
    needed: bool = True


async def check(client: IxApiClient, requests: OrderRequests) -> tuple[Finding, ...]:
    """Look at everything that an order needs. Raises what says that the exchange cannot be asked at all."""
    can = await client.implementation()
    version = f"IX-API {can.version or 'of an unknown version'}, {'pages' if can.pagination else 'whole lists'}"
    health = await client.health()
    found = [Finding("exchange", health != "fail", f"{version}{f', health: {health}' if health else ''}")]
    found += _operations(can)
    found += [await _account(requests), await _offerings(requests), await _connections(requests)]
    return tuple(replace(finding, hint="") if finding.ok else finding for finding in found)


def _operations(can: Implementation) -> Iterator[Finding]:
    missing = [name for name in NEEDED if not can.offers(name)]
    detail = ", ".join(missing) if missing else "services, ends, changes" if can.operations else "not said; tried"
    yield Finding("orders", not missing, detail, "the exchange has to offer these operations to us")
    for name, without in USEFUL.items():
        if not can.offers(name):
            yield Finding(name, False, "not offered", without, needed=False)


async def _account(requests: OrderRequests) -> Finding:
    try:
        return Finding("account", True, await requests.own_account())
    except MeetMeError as error:
        return Finding("account", False, error.text, error.hint)


async def _offerings(requests: OrderRequests) -> Finding:
    try:
        offerings = await requests.offerings()
    except MeetMeError as error:
        return Finding("offerings", False, error.text, error.hint)
    ranges = [f"{o.name or o.id} {o.bandwidth_min or 1}-{o.bandwidth_max or 'any'} Mbit/s" for o in offerings[:5]]
    more = f", {len(offerings) - 5} more" if len(offerings) > 5 else ""
    detail = ", ".join(ranges) + more or "none between two connections"
    return Finding("offerings", bool(offerings), detail, "ask the exchange for a product of the type p2p_vc")


async def _connections(requests: OrderRequests) -> Finding:
    try:
        connections = await requests.connections()
    except MeetMeError as error:
        return Finding("connections", False, error.text, error.hint)
    usable = [c for c in connections if c.usable]
    detail = f"{len(connections)} seen, {len(usable)} in production"
    return Finding("connections", bool(usable), detail, "our account has to manage the accounts whose ports are joined")
