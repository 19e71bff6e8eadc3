"""Where orders of customers come in: services and configs, changes and cancellations.

An account sees what it manages or consumes, and what the accounts that it manages do; it changes what one of these
manages. What it may not see does not exist for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID, uuid4

from sqlalchemy import Connection

from meetme.ixapi import bundle as ev
from meetme.ixapi import store, wire
from meetme.ixapi.bundle import Bundle, Event, Room
from meetme.ixapi.claims import circuit_place, place_of
from meetme.ixapi.course import terms, today
from meetme.ixapi.machine import BundleMachine
from meetme.ixapi.objects import WHOLE_PORT, Cancellation, Config, Owners, Service
from meetme.ixapi.plant import Plant
from meetme.ixapi.settings import OfferingSetting
from meetme.model.errors import Forbidden, InvalidInput, MeetMeError, NotFound, Problem, Refused, raise_problems
from meetme.runtime.clock import Clock
from meetme.runtime.database import lock_until_commit
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop

_NAME_LENGTH = 64
"""Longest name of a circuit on a switch that is taken from a reference."""


class TooEarly(Refused):
    """A day to end on that the notice period does not allow."""

    def __init__(self, wanted: date, possible: Cancellation) -> None:
        super().__init__(
            "cancellation_too_early",
            f"decommission_at: must not be before {possible.decommission_at} ({wanted})",
            hint="ask the cancellation policy",
            field="decommission_at",
        )
        self.possible = possible


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks: an account, and those that it may act for."""

    account: str
    under: frozenset[str]


class Desk:
    """Takes orders. Whatever cannot be right is said at once, and nothing is written."""

    def __init__(
        self,
        loop: Loop[Bundle, Event],
        ledger: Ledger,
        machine: BundleMachine,
        offerings: Mapping[str, OfferingSetting],
        roles: frozenset[str],
        clock: Clock,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        """`roles`: ids of the role assignments that there are."""
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._plant: Plant = machine.course.plant
        self._offerings = offerings
        self._roles = roles
        self._clock = clock
        self._new_id = new_id

    # --- services -----------------------------------------------------------------------------------------------------

    async def order_service(self, who: Who, request: wire.ServiceRequest) -> Service:
        """A new service, without configs yet."""
        raise_problems(self._service_problems(who, request))
        now = self._clock.now()
        service = Service(
            id=str(self._new_id()),
            owners=request.owners,
            papers=request.papers,
            joining=request.joining_member_account,
            offering=request.product_offering,
            capacity=request.capacity,
            created=now,
        )
        self._check_capacity(service.offering, service.capacity)
        reference = request.external_ref or ""
        base, hash, _ = reference.partition("#")
        key = f"{service.owners.managing}/{base}" if hash and base else None

        def transaction(tx: Connection) -> Service:
            found = None
            if key is not None:
                lock_until_commit(tx, f"ixapi key {key}")
                found = store.joined(tx, key)
            id = found or self._new_id()
            self._ledger.lock(tx, self._machine.name, str(id))
            name = _circuit_name(base, service.id)
            store.lock_places(tx, [circuit_place(name)])
            if found is None and store.named(tx, circuit_place(name)):
                name = service.id
            new = Bundle(id=id, circuit=name, key=key)
            bundle = self._ledger.deliver(tx, self._machine, str(id), ev.ServiceOrdered(new, service, now), now)
            return bundle.service(service.id)

        return await self._loop.commit(transaction)

    async def change_service(self, who: Who, id: str, change: Callable[[Service], wire.ServiceRequest]) -> Service:
        """A service as `change` makes it: its accounts and references; anything else is ordered anew."""

        def transaction(tx: Connection) -> Service:
            bundle, service = self._own_service(tx, who, id)
            request = change(service)
            found = [*self._service_problems(who, request)]
            found += _fixed("joining_member_account", service.joining, request.joining_member_account)
            found += _fixed("product_offering", service.offering, request.product_offering)
            found += _fixed("consuming_account", service.owners.consuming, request.consuming_account)
            found += _fixed("capacity", service.capacity, request.capacity)
            raise_problems(found)
            now = self._clock.now()
            event = ev.ServiceChanged(id, request.owners, request.papers, now)
            return self._deliver(tx, bundle, event).service(id)

        return await self._loop.commit(transaction)

    async def ask_change(self, who: Who, id: str, body: wire.ChangeBody) -> Service:
        """Another capacity or product offering."""
        if body.product_offering not in self._offerings:
            raise _unknown("product_offering", "must be one of the exchange", body.product_offering)
        self._check_capacity(body.product_offering, body.capacity)

        def transaction(tx: Connection) -> Service:
            bundle, service = self._own_service(tx, who, id)
            self._check_direction(service, body)
            room = self._room(tx, bundle, service)
            event = ev.ChangeAsked(id, body.product_offering, body.capacity, room, self._clock.now())
            return self._deliver(tx, bundle, event).service(id)

        return await self._loop.commit(transaction)

    async def withdraw_change(self, who: Who, id: str) -> Service:
        """Take a change request back; the service as it was before, with its request."""

        def transaction(tx: Connection) -> Service:
            bundle, service = self._own_service(tx, who, id)
            event = ev.ChangeWithdrawn(id, self._room(tx, bundle, service), self._clock.now())
            self._deliver(tx, bundle, event)
            return service

        return await self._loop.commit(transaction)

    # --- configs ------------------------------------------------------------------------------------------------------

    async def order_config(self, who: Who, request: wire.ConfigRequest) -> Config:
        """One end of a service."""
        raise_problems(self._config_problems(who, request))
        config = Config(
            id=str(self._new_id()),
            service=request.network_service,
            owners=request.owners,
            papers=request.papers,
            connection=request.connection,
            vlan=WHOLE_PORT,
            ethertype=_ethertype(request),
            capacity=request.capacity,
            roles=request.role_assignments,
            created=self._clock.now(),
        )

        def transaction(tx: Connection) -> Config:
            bundle, service = self._seen_service(tx, who, request.network_service)
            self._check_capacity(service.offering, request.capacity)
            room = self._room(tx, bundle, service, request.connection)
            event = ev.ConfigOrdered(config, _asked(request), room, self._clock.now())
            return _config(self._deliver(tx, bundle, event), config.id)

        try:
            return await self._loop.commit(transaction)
        except NotFound as error:
            raise InvalidInput(error.code, error.text, hint=error.hint, field="network_service") from None

    async def change_config(self, who: Who, id: str, change: Callable[[Config], wire.ConfigRequest]) -> Config:
        """A config as `change` makes it: capacity, VLAN, accounts, references. It stays on its connection."""

        def transaction(tx: Connection) -> Config:
            bundle, config = self._own_config(tx, who, id)
            request = change(config)
            found = [*self._config_problems(who, request)]
            found += _fixed("connection", config.connection, request.connection)
            found += _fixed("network_service", config.service, request.network_service)
            found += _fixed("consuming_account", config.owners.consuming, request.consuming_account)
            raise_problems(found)
            service = bundle.service(id)
            self._check_capacity(service.offering, request.capacity)
            asked = _asked(request)
            event = ev.ConfigChanged(
                config=id,
                owners=request.owners,
                papers=request.papers,
                roles=request.role_assignments,
                capacity=request.capacity,
                vlan=config.vlan if asked is None and config.vlan != WHOLE_PORT else asked,
                ethertype=_ethertype(request),
                room=self._room(tx, bundle, service),
                now=self._clock.now(),
            )
            return _config(self._deliver(tx, bundle, event), id)

        return await self._loop.commit(transaction)

    # --- endings ------------------------------------------------------------------------------------------------------

    async def policy(self, who: Who, kind: str, id: str, wanted: date | None) -> Cancellation:
        """What ending it on a day would mean; a day that is too early counts as the first that is possible."""
        service, thing = await self._loop.commit(lambda tx: self._thing(tx, who, kind, id)[1:])
        return thing.cancelled or self._terms(service, thing, wanted)

    async def cancel(self, who: Who, kind: str, id: str, wanted: date | None) -> Service | Config:
        """End it, on the day that is wanted or as soon as possible. Again: it stays as it is, or ends sooner."""

        def transaction(tx: Connection) -> Service | Config:
            bundle, service, thing = self._thing(tx, who, kind, id)
            self._check_manager(who, thing.owners)
            if thing.ended is not None:
                return thing
            possible = self._terms(service, thing, wanted)
            if wanted is not None and wanted < possible.decommission_at:
                raise TooEarly(wanted, possible)
            now = self._clock.now()
            after = self._deliver(tx, bundle, ev.Cancelled(id, possible, today(now), now))
            return after.service(id) if kind == store.SERVICE else _config(after, id)

        return await self._loop.commit(transaction)

    def _terms(self, service: Service, thing: Service | Config, wanted: date | None) -> Cancellation:
        offering = self._offerings.get(service.offering, OfferingSetting(service.offering))
        # What never came into production costs nothing.
        notice, least = (offering.notice_days, offering.least_days) if service.produced else (0, 0)
        return terms(wanted, thing.created, self._clock.now(), notice, least)

    # --- who may what -------------------------------------------------------------------------------------------------

    def _thing(self, tx: Connection, who: Who, kind: str, id: str) -> tuple[Bundle, Service, Service | Config]:
        if kind == store.SERVICE:
            bundle, service = self._seen_service(tx, who, id)
            return bundle, service, service
        bundle, config = self._seen_config(tx, who, id)
        return bundle, bundle.service(id), config

    def _locked(self, tx: Connection, kind: str, id: str) -> Bundle | None:
        found = store.bundle_of(tx, kind, id)
        if found is None:
            return None
        self._ledger.lock(tx, self._machine.name, str(found))
        return store.load(tx, str(found))

    def _seen_service(self, tx: Connection, who: Who, id: str) -> tuple[Bundle, Service]:
        bundle = self._locked(tx, store.SERVICE, id)
        if bundle is None or not sees_service(who, service := bundle.service(id)):
            raise _absent("network_service", id)
        return bundle, service

    def _own_service(self, tx: Connection, who: Who, id: str) -> tuple[Bundle, Service]:
        bundle, service = self._seen_service(tx, who, id)
        self._check_manager(who, service.owners)
        return bundle, service

    def _seen_config(self, tx: Connection, who: Who, id: str) -> tuple[Bundle, Config]:
        bundle = self._locked(tx, store.CONFIG, id)
        if bundle is None or not sees(who, (config := _config(bundle, id)).owners):
            raise _absent("network_service_config", id)
        return bundle, config

    def _own_config(self, tx: Connection, who: Who, id: str) -> tuple[Bundle, Config]:
        bundle, config = self._seen_config(tx, who, id)
        self._check_manager(who, config.owners)
        return bundle, config

    def _check_manager(self, who: Who, owners: Owners) -> None:
        if owners.managing not in who.under:
            raise Forbidden(
                "account_not_manager",
                f"managing_account: must be the own one, or one of those that it manages ('{owners.managing}')",
                field="managing_account",
            )

    # --- what is wrong with a request ---------------------------------------------------------------------------------

    def _service_problems(self, who: Who, request: wire.ServiceRequest) -> list[Problem]:
        found = self._owner_problems(who, request.owners)
        if request.joining_member_account not in self._plant.accounts:
            found.append(_problem("joining_member_account", "must be an account", request.joining_member_account))
        if request.product_offering not in self._offerings:
            found.append(_problem("product_offering", "must be one of the exchange", request.product_offering))
        return found

    def _config_problems(self, who: Who, request: wire.ConfigRequest) -> list[Problem]:
        found = self._owner_problems(who, request.owners)
        connection = self._plant.connections.get(request.connection)
        if connection is None or connection.account != request.consuming_account or connection.account not in who.under:
            found.append(_problem("connection", "must be one of the consuming account", request.connection))
        elif request.vlan_config.vlan_type not in list(connection.vlan_types):
            allowed = " or ".join(connection.vlan_types)
            found.append(_problem("vlan_config.vlan_type", f"must be {allowed} here", request.vlan_config.vlan_type))
        for role in request.role_assignments:
            if role not in self._roles:
                found.append(_problem("role_assignments", "must be role assignments", role))
        return found

    def _owner_problems(self, who: Who, owners: Owners) -> list[Problem]:
        named = {
            "managing_account": owners.managing,
            "consuming_account": owners.consuming,
            "billing_account": owners.billing,
        }
        rule = "must be the own account, or one that it manages"
        return [_problem(field, rule, account) for field, account in named.items() if account not in who.under]

    def _check_capacity(self, offering: str, capacity: int | None) -> None:
        product = self._offerings.get(offering)
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

    def _check_direction(self, service: Service, body: wire.ChangeBody) -> None:
        product = self._offerings[body.product_offering]
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

    # --- within a transaction -----------------------------------------------------------------------------------------

    def _deliver(self, tx: Connection, bundle: Bundle, event: Event) -> Bundle:
        return self._ledger.deliver(tx, self._machine, str(bundle.id), event, self._clock.now())

    def _room(self, tx: Connection, bundle: Bundle, service: Service, *more: str) -> Room:
        """What others have of every place that the service may want. Locks them."""
        names = {*(config.connection for each in bundle.services for config in each.live), *more}
        connections = [self._plant.connections[name] for name in names if name in self._plant.connections]
        places = {place_of(connection) for connection in connections}
        places |= {place_of(trunk) for trunk in self._plant.trunks.values()}
        store.lock_places(tx, places)
        return store.room(tx, bundle.id, places)


def sees(who: Who, owners: Owners) -> bool:
    """Whether an account may see what belongs to these."""
    return owners.managing in who.under or owners.consuming in who.under


def sees_service(who: Who, service: Service) -> bool:
    """Whether an account may see a service: also the B side, which has to order its end."""
    return sees(who, service.owners) or service.joining in who.under


def _config(bundle: Bundle, id: str) -> Config:
    return next(config for config in bundle.configs() if config.id == id)


def _asked(request: wire.ConfigRequest) -> int | None:
    return request.vlan_config.vlan if isinstance(request.vlan_config, wire.Dot1qTagging) else WHOLE_PORT


def _ethertype(request: wire.ConfigRequest) -> str:
    tagging = request.vlan_config
    return (tagging.vlan_ethertype or "0x8100") if isinstance(tagging, wire.Dot1qTagging) else "0x8100"


def _circuit_name(base: str, id: str) -> str:
    """What a circuit is called on the switches: as its customer calls it, where that can be a name."""
    good = base.isascii() and base[:1].isalnum() and all(c.isalnum() or c in "-._:" for c in base)
    return base if good and len(base) <= _NAME_LENGTH else id


def _problem(field: str, rule: str, seen: str) -> Problem:
    return Problem("order_invalid", f"{field}: {rule} ('{seen}')", "", field)


def _fixed(field: str, old: object, new: object) -> list[Problem]:
    text = f"{field}: must stay as it is ('{old}', '{new}')"
    return [] if old == new else [Problem("order_fixed", text, "order anew, or ask for a change request", field)]


def _unknown(field: str, rule: str, seen: str) -> MeetMeError:
    problem = _problem(field, rule, seen)
    return InvalidInput(problem.code, problem.text, field=field)


def _absent(what: str, id: str) -> MeetMeError:
    return NotFound(f"{what}_unknown", f"{what}: must be one that this account sees ('{id}')", field="id")
