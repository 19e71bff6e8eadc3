"""Where orders of customers come in: services and configs, changes and cancellations.

An account sees what it manages or consumes, and what the accounts that it manages do; it changes what one of these
manages. What it may not see does not exist for it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from uuid import UUID, uuid4

from sqlalchemy import Connection

from meetme.ixapi import bundle as ev
from meetme.ixapi import store, wire
from meetme.ixapi.access import Who, check_manager, sees, sees_service
from meetme.ixapi.bundle import Bundle, Event, Room
from meetme.ixapi.claims import circuit_place, place_of
from meetme.ixapi.course import terms, today
from meetme.ixapi.endings import TooEarly
from meetme.ixapi.machine import BundleMachine
from meetme.ixapi.objects import WHOLE_PORT, Cancellation, Config, Service
from meetme.ixapi.ordering_rules import OrderingRules, fixed, wrong
from meetme.ixapi.settings import OfferingSetting
from meetme.model.errors import InvalidInput, MeetMeError, NotFound, raise_problems
from meetme.runtime.clock import Clock
from meetme.runtime.database import lock_until_commit
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop

_NAME_LENGTH = 64
"""Longest name of a circuit on a switch that is taken from a reference."""


class Desk:
    """Takes orders. Whatever cannot be right is said at once, and nothing is written."""

    def __init__(
        self,
        loop: Loop[Bundle, Event],
        ledger: Ledger,
        machine: BundleMachine,
        rules: OrderingRules,
        clock: Clock,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._plant = rules.plant
        self._offerings = rules.offerings
        self._rules = rules
        self._clock = clock
        self._new_id = new_id

    # --- services -----------------------------------------------------------------------------------------------------

    async def order_service(self, who: Who, request: wire.ServiceRequest) -> Service:
        """A new service, without configs yet."""
        raise_problems(self._rules.service_problems(who, request))
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
        self._rules.check_capacity(service.offering, service.capacity)
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
            found = [*self._rules.service_problems(who, request)]
            found += fixed("joining_member_account", service.joining, request.joining_member_account)
            found += fixed("product_offering", service.offering, request.product_offering)
            found += fixed("consuming_account", service.owners.consuming, request.consuming_account)
            found += fixed("capacity", service.capacity, request.capacity)
            raise_problems(found)
            now = self._clock.now()
            event = ev.ServiceChanged(id, request.owners, request.papers, now)
            return self._deliver(tx, bundle, event).service(id)

        return await self._loop.commit(transaction)

    async def ask_change(self, who: Who, id: str, body: wire.ChangeBody) -> Service:
        """Another capacity or product offering."""
        if body.product_offering not in self._offerings:
            raise _unknown("product_offering", "must be one of the exchange", body.product_offering)
        self._rules.check_capacity(body.product_offering, body.capacity)

        def transaction(tx: Connection) -> Service:
            bundle, service = self._own_service(tx, who, id)
            self._rules.check_direction(service, body)
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
        raise_problems(self._rules.config_problems(who, request))
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
            self._rules.check_capacity(service.offering, request.capacity)
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
            found = [*self._rules.config_problems(who, request)]
            found += fixed("connection", config.connection, request.connection)
            found += fixed("network_service", config.service, request.network_service)
            found += fixed("consuming_account", config.owners.consuming, request.consuming_account)
            raise_problems(found)
            service = bundle.service(id)
            self._rules.check_capacity(service.offering, request.capacity)
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
            check_manager(who, thing.owners)
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
        check_manager(who, service.owners)
        return bundle, service

    def _seen_config(self, tx: Connection, who: Who, id: str) -> tuple[Bundle, Config]:
        bundle = self._locked(tx, store.CONFIG, id)
        if bundle is None or not sees(who, (config := _config(bundle, id)).owners):
            raise _absent("network_service_config", id)
        return bundle, config

    def _own_config(self, tx: Connection, who: Who, id: str) -> tuple[Bundle, Config]:
        bundle, config = self._seen_config(tx, who, id)
        check_manager(who, config.owners)
        return bundle, config

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


def _unknown(field: str, rule: str, seen: str) -> MeetMeError:
    problem = wrong(field, rule, seen)
    return InvalidInput(problem.code, problem.text, field=field)


def _absent(what: str, id: str) -> MeetMeError:
    return NotFound(f"{what}_unknown", f"{what}: must be one that this account sees ('{id}')", field="id")
