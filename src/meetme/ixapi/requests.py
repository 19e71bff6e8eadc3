"""What is asked of an exchange for one order: finding, creating, changing and cancelling its objects (IX-API 2.x)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar
from urllib.parse import quote

from meetme.ixapi.client import IxApiClient
from meetme.ixapi.faults import TOO_EARLY
from meetme.ixapi.offerings import Wanted, choose, replacement
from meetme.ixapi.orders import VLAN_MAX, ExchangeConnection, OrderEnd, SegmentOrder, Terms
from meetme.ixapi.shown import (
    P2P,
    Offering,
    Shown,
    ShownConfig,
    ShownService,
    Standing,
    read_all,
    read_config,
    read_connection,
    read_offering,
    read_service,
    read_terms,
)
from meetme.ixapi.steps import Side, config_reference
from meetme.model.errors import Conflict, Forbidden, MeetMeError, NotFound, Refused, Unsupported
from meetme.runtime.clock import Clock

T = TypeVar("T")
CATALOGUE_SECONDS = 300.0
"""For how long offerings, connections and accounts are taken to be as they were."""
PRODUCTION = "production"
FIRST_VLAN = 2
VLAN_TRIES = 8
SERVICES, CONFIGS = "/network-services", "/network-service-configs"


@dataclass(frozen=True, slots=True)
class Account:
    """As whom we order."""

    account: str | None = None
    """The exchange's id of our account; None: the one that the exchange shows as ours."""
    billing_account: str | None = None
    """Who pays; None: our account."""
    product: str | None = None
    """Id or name of the product offering to take; None: the one that fits best."""
    role_assignments: tuple[str, ...] = ()
    """Whom a config names where the exchange wants somebody; empty: found by their roles."""
    charged_days: int | None = None
    """For how many days we would pay at most for what is given back at once; None: any number."""


class OrderRequests:
    """Asks for orders of one account at one exchange."""

    def __init__(self, client: IxApiClient, account: Account, clock: Clock) -> None:
        self._client = client
        self._account = account
        self._clock = clock
        self._kept: dict[str, tuple[float, Any]] = {}

    # --- looking -----------------------------------------------------------------------------------------------------

    async def shown(self, reference: str, known: Iterable[str] = (), services: frozenset[str] = frozenset()) -> Shown:
        """All that is there under a reference.

        `known` objects are asked for by id where a list leaves them out. With `services`, which are known to be those
        of the order, only their configs are looked for: fewer requests, and what belongs to no service is not seen.
        """
        references = [config_reference(reference, side) for side in Side]
        filters = [{"network_service": id} for id in services] or [{"external_ref": each} for each in references]
        raws = await _together(
            self._client.list(SERVICES, {"external_ref": reference}), *(self._client.list(CONFIGS, f) for f in filters)
        )
        # Exchanges ignore filters that they do not know.
        found = {s.id: s for s in read_all(read_service, raws[0]) if s.reference == reference}
        every: list[ShownConfig] = [c for raw in raws[1:] for c in read_all(read_config, raw)]
        configs = {c.id: c for c in every if c.reference in references or c.service in services}
        for id in [id for id in known if id not in found and id not in configs]:
            if (service := read_service(await self._find(SERVICES, id))) is not None:
                found[id] = service
            elif (config := read_config(await self._find(CONFIGS, id))) is not None:
                configs[id] = config
        strange = found.keys() - services
        if strange and len(configs) != 2 * len(found):
            for raw in await _together(*(self._client.list(CONFIGS, {"network_service": id}) for id in strange)):
                configs.update({c.id: c for c in read_all(read_config, raw) if c.service in found})
        return Shown(
            tuple(s for s in found.values() if s.standing is not Standing.GONE),
            tuple(c for c in configs.values() if c.standing is not Standing.GONE),
        )

    async def in_production(self, reference: str, seconds: int) -> bool:
        """Wait until the service is in production, or `seconds` are over. False: the exchange does not do that."""
        return await self._client.wait_for(SERVICES, {"external_ref": reference, "state": PRODUCTION}, seconds)

    async def references(self) -> tuple[str, ...]:
        """Those of all services that our account manages and that are not gone."""
        own = await self.own_account()
        raws = await self._client.list(SERVICES, {"managing_account": own, "type": P2P})
        # Exchanges ignore filters that they do not know.
        mine = [raw for raw in raws if isinstance(raw, Mapping) and raw.get("managing_account") == own]
        shown = read_all(read_service, mine)
        return tuple(dict.fromkeys(s.reference for s in shown if s.reference and s.standing is not Standing.GONE))

    async def connections(self) -> tuple[ExchangeConnection, ...]:
        """Every connection that we may see."""
        return read_all(read_connection, await self._client.list("/connections"))

    async def terms(self, service: str) -> Terms:
        """What giving it back would cost, if the exchange tells."""
        try:
            return read_terms(await self._client.get(f"{SERVICES}/{_part(service)}/cancellation-policy"))
        except (NotFound, Unsupported, Refused, Forbidden):
            return Terms()

    # --- ordering ----------------------------------------------------------------------------------------------------

    async def create_service(self, order: SegmentOrder, today: date) -> ShownService | None:
        """Order the service; as the exchange shows it in its answer, or None where that makes no sense."""
        offering = choose(await self.offerings(), await self._wanted(order, today))
        own = await self.own_account()
        return read_service(
            await self._client.post(
                SERVICES,
                {
                    "type": P2P,
                    "product_offering": offering.id,
                    "managing_account": own,
                    "consuming_account": order.a.account or own,
                    "billing_account": self._account.billing_account or own,
                    "joining_member_account": order.b.account or own,
                    "external_ref": order.reference,
                },
            )
        )

    async def create_config(self, order: SegmentOrder, side: Side, service: ShownService) -> ShownConfig | None:
        """Order one end; as `create_service`."""
        end = order.a if side is Side.A else order.b
        own = await self.own_account()
        body = {
            "type": P2P,
            "network_service": service.id,
            "connection": end.connection,
            "managing_account": own,
            "consuming_account": end.account or own,
            "billing_account": self._account.billing_account or own,
            "external_ref": config_reference(order.reference, side),
            "role_assignments": await self._roles(service, end.account or own),
            "capacity": order.bandwidth,
        }
        if service.config_offerings:
            body["product_offering"] = service.config_offerings[0]
        if await self._is_whole(end):
            return read_config(await self._client.post(CONFIGS, {**body, "vlan_config": {"vlan_type": "port"}}))
        if end.vlan is not None:
            return read_config(await self._client.post(CONFIGS, {**body, "vlan_config": _dot1q(end.vlan)}))
        return await self._create_with_any_vlan(end, body)

    async def mend(self, config: str, end: OrderEnd, bandwidth: int, *, tagging: bool = True) -> None:
        """Have an end be as it was ordered."""
        body: dict[str, Any] = {"type": P2P, "capacity": bandwidth}
        if tagging and end.whole:
            body["vlan_config"] = {"vlan_type": "port"}
        elif tagging and end.vlan is not None:
            body["vlan_config"] = _dot1q(end.vlan)
        await self._client.patch(f"{CONFIGS}/{_part(config)}", body)

    async def set_capacity(self, config: str, capacity: int | None) -> None:
        """Another capacity for an end; None: not limited."""
        await self._client.patch(f"{CONFIGS}/{_part(config)}", {"type": P2P, "capacity": capacity})

    async def resize(self, service: ShownService, bandwidth: int) -> None:
        """Have a service carry another bandwidth: within its offering, or by moving to another one of its kind."""
        offerings = await self.offerings()
        current = next((o for o in offerings if o.id == service.offering), Offering(service.offering or ""))
        body = {"product_offering": replacement(current, offerings, bandwidth).id, "capacity": bandwidth}
        await self._client.post(f"{SERVICES}/{_part(service.id)}/change-request", body)

    async def admits(self, service: ShownService, bandwidth: int) -> None:
        """Whether its offering can be had with `bandwidth`. Raises Exhausted or Conflict where it cannot."""
        offerings = await self.offerings()
        current = next((o for o in offerings if o.id == service.offering), None)
        if current is not None:
            replacement(current, offerings, bandwidth)

    async def cancel_service(self, id: str) -> None:
        """Cancel a service, for the first day that the exchange allows; fine where it is not there any more."""
        await self._cancel(f"{SERVICES}/{_part(id)}")

    async def cancel_config(self, id: str) -> None:
        """Cancel an end."""
        await self._cancel(f"{CONFIGS}/{_part(id)}")

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _find(self, path: str, id: str) -> Any:
        try:
            return await self._client.get(f"{path}/{_part(id)}")
        except NotFound:
            return None

    async def _cancel(self, path: str) -> None:
        try:
            try:
                await self._client.delete(path)
            except Refused as error:
                if error.code != TOO_EARLY or (day := error.existing or await self._first_day(path)) is None:
                    raise
                await self._client.delete(path, {"decommission_at": day})
        except NotFound:
            pass

    async def _first_day(self, path: str) -> str | None:
        try:
            day = read_terms(await self._client.get(f"{path}/cancellation-policy")).decommission_at
        except (NotFound, Unsupported, Refused):
            return None
        return day.isoformat() if day is not None else None

    async def _create_with_any_vlan(self, end: OrderEnd, body: dict[str, Any]) -> ShownConfig | None:
        try:
            return read_config(await self._client.post(CONFIGS, {**body, "vlan_config": _dot1q(None)}))
        except (Conflict, Refused) as error:
            refusal: MeetMeError = error
        # Before 2.4 a number has to be named: the lowest that we see free. Others may have it without our seeing that.
        shown = read_all(read_config, await self._client.list(CONFIGS, {"connection": end.connection}))
        taken = {c.vlan for c in shown if c.connection == end.connection and c.standing is not Standing.GONE}
        free = [vlan for vlan in range(FIRST_VLAN, VLAN_MAX + 1) if vlan not in taken]
        for vlan in free[:VLAN_TRIES]:
            try:
                return read_config(await self._client.post(CONFIGS, {**body, "vlan_config": _dot1q(vlan)}))
            except Conflict as error:
                refusal = error
        raise refusal

    async def _is_whole(self, end: OrderEnd) -> bool:
        if end.whole or end.vlan is not None:
            return end.whole
        connection = await self._connection(end.connection)
        return connection is not None and connection.tags == frozenset({"port"})

    async def _connection(self, id: str) -> ExchangeConnection | None:
        found: ExchangeConnection | None = await self._remembered(f"connection {id}", self._read_connection, id)
        return found

    async def _read_connection(self, id: str) -> ExchangeConnection | None:
        return read_connection(await self._find("/connections", id))

    async def _wanted(self, order: SegmentOrder, today: date) -> Wanted:
        offerings = await self.offerings()
        areas: list[str | None] = [None, None]
        if len({(o.handover_area, o.service_area) for o in offerings}) > 1:
            ends = await _together(self._connection(order.a.connection), self._connection(order.b.connection))
            areas = [end.metro_area if end is not None else None for end in ends]
        return Wanted(
            bandwidth=order.bandwidth,
            today=today,
            a_area=areas[0],
            b_area=areas[1],
            product=self._account.product,
            notice_days=self._account.charged_days,
        )

    async def offerings(self) -> tuple[Offering, ...]:
        """What can be ordered between two connections."""

        async def read() -> tuple[Offering, ...]:
            return read_all(read_offering, await self._client.list("/product-offerings", {"type": P2P}))

        found: tuple[Offering, ...] = await self._remembered("offerings", read)
        return found

    async def own_account(self) -> str:
        """The exchange's id of our account. Raises Refused `exchange_account_ambiguous`."""
        return self._account.account or await self._remembered("account", self._find_account)

    async def _find_account(self) -> str:
        try:
            found = await self._client.get("/account")  # later versions
            if isinstance(found, dict) and found.get("id"):
                return str(found["id"])
        except (NotFound, Unsupported):
            pass
        accounts = [raw for raw in await self._client.list("/accounts") if isinstance(raw, dict) and raw.get("id")]
        ids = {str(raw["id"]) for raw in accounts}
        # Ours is the one that manages the others, and that nobody manages.
        managing = {str(raw.get("managing_account")) for raw in accounts} & ids
        top = {str(raw["id"]) for raw in accounts if str(raw.get("managing_account")) in ("None", str(raw["id"]))}
        for candidates in (top & managing, top, ids):
            if len(candidates) == 1:
                return candidates.pop()
        raise Refused(
            "exchange_account_ambiguous",
            f"account: must be one that the exchange shows ({', '.join(sorted(ids)[:5]) or 'none'})",
            hint="name our account at the exchange in the settings",
            field="account",
        )

    async def _roles(self, service: ShownService, account: str) -> list[str]:
        if self._account.role_assignments or not service.required_roles:
            return list(self._account.role_assignments)
        assigned, contacts = await self._remembered("roles", self._assigned)
        chosen: list[str] = []
        for role in service.required_roles:
            fitting = [a for a in assigned if a.get("role") == role]
            own = [a for a in fitting if contacts.get(a.get("contact")) == account]
            if not fitting:
                raise Refused(
                    "exchange_wants_role",
                    f"role_assignments: must name somebody for role '{role}'",
                    hint="assign the role to a contact at the exchange, or name the assignment in the settings",
                    field="role_assignments",
                )
            chosen.append(str((own or fitting)[0].get("id")))
        return chosen

    async def _assigned(self) -> tuple[list[dict[str, Any]], dict[Any, Any]]:
        assigned, contacts = await _together(self._client.list("/role-assignments"), self._client.list("/contacts"))
        rows = [raw for raw in assigned if isinstance(raw, dict)]
        return rows, {raw.get("id"): raw.get("consuming_account") for raw in contacts if isinstance(raw, dict)}

    async def _remembered(self, key: str, read: Any, *arguments: Any) -> Any:
        now = self._clock.monotonic()
        known = self._kept.get(key)
        if known is not None and now - known[0] < CATALOGUE_SECONDS:
            return known[1]
        found = await read(*arguments)
        self._kept[key] = (now, found)
        return found


async def _together(*requests: Awaitable[T]) -> list[T]:
    """All of them side by side. None is left behind when one fails."""
    results = await asyncio.gather(*requests, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _dot1q(vlan: int | None) -> dict[str, Any]:
    return {"vlan_type": "dot1q", "vlan": vlan}


def _part(text: str) -> str:
    return quote(text, safe="")
