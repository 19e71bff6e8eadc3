"""What becomes of a bundle: the one function that decides, and the switches' work that follows. Pure.

Every change goes the same way: the services are changed, the pieces that are wanted now are compared with those that
the switches have (`_replan`), and what differs is owed. What the bundle had before stays its own until every switch has
followed, so that no label is given out that a switch may still use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from meetme.ixapi import bundle as ev
from meetme.ixapi.bundle import NOTHING, Bundle, Effect, Event, Phase, Program, Room, WakeAt, Work
from meetme.ixapi.claims import admit, choose_hop, choose_vlan, claims
from meetme.ixapi.objects import Cancellation, ChangeRequest, Config, Service
from meetme.ixapi.plant import Plant
from meetme.ixapi.segments import Piece, pieces
from meetme.ixapi.states import missing, refresh
from meetme.model.errors import Conflict, NotFound, Refused

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.2, 10.0
ARCHIVE = "archive"
DAY = "day"


@dataclass(frozen=True, slots=True)
class Course:
    """The rules of one exchange."""

    plant: Plant
    archive_seconds: float = 86400.0
    """How long what has ended stays in the lists."""

    def step(self, bundle: Bundle | None, event: Event) -> tuple[Bundle, tuple[Effect, ...]]:
        """What an event leads to. Raises MeetMeError where it is refused; LookupError where there is no such object."""
        if isinstance(event, ev.ServiceOrdered):
            bundle = bundle or event.bundle
            return self._settle(bundle, replace(bundle, services=(*bundle.services, event.service)), event.now)
        if bundle is None:
            raise LookupError("an event for a bundle that was never ordered")
        match event:
            case ev.ConfigOrdered():
                after = self._order_config(bundle, event)
            case ev.ServiceChanged():
                after = _with(bundle, event.service, lambda s: replace(s, owners=event.owners, papers=event.papers))
            case ev.ConfigChanged():
                after = self._change_config(bundle, event)
            case ev.ChangeAsked():
                after = self._ask_change(bundle, event)
            case ev.ChangeWithdrawn():
                after = self._withdraw_change(bundle, event)
            case ev.Cancelled():
                after = _cancel(bundle, event)
            case ev.DayCame():
                after = _end_what_is_due(bundle, event.today)
            case ev.ArchiveDue():
                after = replace(
                    bundle,
                    services=tuple(
                        replace(s, archived=True) if s.ended is not None and s.ended <= event.now else s
                        for s in bundle.services
                    ),
                )
            case ev.Leftover():
                return self._clear(bundle, event)
            case _:
                return self._followed(bundle, event)
        return self._settle(bundle, after, event.now)

    # --- orders -------------------------------------------------------------------------------------------------------

    def _order_config(self, bundle: Bundle, event: ev.ConfigOrdered) -> Bundle:
        config, service = event.config, bundle.service(event.config.service)
        if service.cancelled is not None:
            raise Refused(
                "service_ending",
                f"network_service: must not be cancelled ('{service.id}')",
                hint="order a new service",
                field="network_service",
            )
        if config.owners.consuming not in [account for _, account in missing(service)]:
            raise Refused(
                "end_taken",
                "consuming_account: must be that of a side of the service without a config yet"
                f" ('{config.owners.consuming}')",
                hint="change or cancel the config that is there",
                field="consuming_account",
            )
        vlan = choose_vlan(bundle, config, event.vlan, self.plant, event.room)
        config = replace(config, vlan=vlan)
        after = _with(bundle, service.id, lambda s: replace(s, configs=(*s.configs, config)))
        return self._admitted(after, service.id, event.room)

    def _change_config(self, bundle: Bundle, event: ev.ConfigChanged) -> Bundle:
        service = bundle.service(event.config)
        config = next(each for each in service.configs if each.id == event.config)
        if config.cancelled is not None or service.ending:
            raise Refused("config_ending", "state: must not be cancelled", hint="order a new config", field="state")
        vlan = choose_vlan(bundle, config, event.vlan, self.plant, event.room)
        changed = replace(
            config,
            owners=event.owners,
            papers=event.papers,
            roles=event.roles,
            capacity=event.capacity,
            vlan=vlan,
            ethertype=event.ethertype,
        )
        after = _with(bundle, service.id, lambda s: replace(s, configs=_one_for(s.configs, changed)))
        return self._admitted(after, service.id, event.room)

    def _ask_change(self, bundle: Bundle, event: ev.ChangeAsked) -> Bundle:
        service = bundle.service(event.service)
        if service.cancelled is not None:
            raise Refused("service_ending", "state: must not be cancelled", field="state")
        if service.change is not None:
            raise Conflict(
                "change_pending",
                "change-request: must not be pending already",
                hint="wait for it, or delete it",
                field="product_offering",
            )
        change = ChangeRequest(
            event.offering,
            event.capacity,
            (service.offering, service.capacity),
            tuple((config.id, config.capacity) for config in service.live),
        )
        after = _with(bundle, service.id, lambda s: _resized(s, event.offering, event.capacity, change))
        return self._admitted(after, service.id, event.room)

    def _withdraw_change(self, bundle: Bundle, event: ev.ChangeWithdrawn) -> Bundle:
        service = bundle.service(event.service)
        change = service.change
        if change is None:
            raise NotFound("change_unknown", "change-request: must be pending", field="id")
        capacities = dict(change.configs)
        offering, capacity = change.before

        def back(s: Service) -> Service:
            configs = tuple(replace(c, capacity=capacities.get(c.id, c.capacity)) for c in s.configs)
            return replace(s, offering=offering, capacity=capacity, change=None, configs=configs)

        return self._admitted(_with(bundle, service.id, back), service.id, event.room)

    def _admitted(self, bundle: Bundle, id: str, room: Room) -> Bundle:
        """With a label on the trunk, where the service needs one; checked against what others have."""
        service = bundle.service(id)
        admit(bundle, self.plant, room)
        if service.complete and not self._joins(service):
            hop = choose_hop(bundle, service, self.plant, room)
            bundle = _with(bundle, id, lambda s: replace(s, hop=hop))
            admit(bundle, self.plant, room)
        return bundle

    def _joins(self, service: Service) -> bool:
        """Whether the trunk that the service has is one between the switches of its ends."""
        switches = {self.plant.connection(config.connection).switch for config in service.live}
        trunk = self.plant.trunks.get(service.hop.trunk) if service.hop else None
        return len(switches) == 1 if service.hop is None else trunk is not None and {*trunk.switches} == switches

    # --- the switches -------------------------------------------------------------------------------------------------

    def _settle(self, before: Bundle, after: Bundle, now: float) -> tuple[Bundle, tuple[Effect, ...]]:
        """Owe what the switches have to follow, and say in which states everything is."""
        planned, effects = _replan(after, pieces(after, self.plant), now)
        held = claims(before, self.plant) if planned.pending else NOTHING
        return self._finished(before, replace(planned, held=held), effects, now)

    def _followed(self, bundle: Bundle, event: Event) -> tuple[Bundle, tuple[Effect, ...]]:
        assert isinstance(event, ev.Applied | ev.Confirmed | ev.Lost | ev.Differs | ev.Removed | ev.Failed)
        work = next((each for each in bundle.works if each.place == (event.switch, event.name)), None)
        if work is None or work.generation != event.generation:
            return bundle, ()  # the answer to an order that was replaced meanwhile
        effects: list[Effect] = []
        moved: Work | None = work
        match event:
            case ev.Failed(problem=problem):
                moved = replace(work, problem=problem, attempts=work.attempts + 1)
                after = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(work.attempts, 16))
                effects.append(Program(work.switch, work.name, work.phase, work.generation, after))
            case ev.Applied():
                moved = replace(work, phase=Phase.CONFIRM, problem=None, attempts=0)
            case ev.Confirmed():
                moved = replace(work, phase=Phase.DONE, problem=None, attempts=0, former=())
            case ev.Lost():
                moved = replace(work, phase=Phase.APPLY)
                effects.append(Program(work.switch, work.name, Phase.APPLY, work.generation))
            case ev.Differs():
                if work.phase is not Phase.DONE:
                    return bundle, ()  # it is being seen to
                # A new generation: the switch may have seen later ones than these books, if they are a backup.
                bundle = replace(bundle, generation=max(bundle.generation + 1, int(event.now * 1000)))
                moved = replace(work, phase=Phase.APPLY, generation=bundle.generation)
                effects.append(_program(moved))
            case ev.Removed():
                moved = None
        works = tuple(m for each in bundle.works if (m := moved if each is work else each) is not None)
        after_it = replace(bundle, works=works)
        if not after_it.pending:
            after_it = replace(after_it, held=NOTHING)
        return self._finished(bundle, after_it, effects, event.now)

    def _clear(self, bundle: Bundle, event: ev.Leftover) -> tuple[Bundle, tuple[Effect, ...]]:
        """Take a piece away that nobody wants: unless it is wanted now, or ordered later than these books know."""
        known = any(work.place == (event.switch, event.name) for work in bundle.works)
        if known or event.generation > bundle.generation:
            return bundle, ()
        generation = max(bundle.generation + 1, int(event.now * 1000))
        work = Work(
            switch=event.switch,
            name=event.name,
            phase=Phase.REMOVE,
            a=event.a,
            b=event.b,
            bandwidth=None,
            generation=generation,
            users=(),
        )
        bundle = replace(bundle, works=(*bundle.works, work), generation=generation)
        return bundle, (_program(work),)

    def _finished(
        self, before: Bundle, after: Bundle, effects: list[Effect], now: float
    ) -> tuple[Bundle, tuple[Effect, ...]]:
        known = _confirmable(before)
        effects.extend(_program(work) for work in _confirmable(after) - known)
        after = refresh(after, now)
        if sum(s.ended is not None for s in after.services) > sum(s.ended is not None for s in before.services):
            effects.append(WakeAt(ARCHIVE, self.archive_seconds))
        effects.extend(_next_day(after, now))
        return after, tuple(effects)


def _replan(bundle: Bundle, wanted: tuple[Piece, ...], now: float) -> tuple[Bundle, list[Effect]]:
    """The bundle with what each switch has to do, and those effects."""
    works: list[Work] = []
    effects: list[Effect] = []
    generation = bundle.generation
    have = {work.place: work for work in bundle.works}
    for piece in wanted:
        there = have.pop((piece.switch, piece.name), None)
        if there is not None and there.phase is not Phase.REMOVE and _same(there, piece):
            works.append(
                replace(there, users=piece.users, former=there.former if there.phase is not Phase.DONE else ())
            )
            continue
        generation = max(generation + 1, int(now * 1000))
        former = tuple(dict.fromkeys((*there.users, *there.former))) if there else ()
        work = Work(
            switch=piece.switch,
            name=piece.name,
            phase=Phase.APPLY,
            a=piece.a,
            b=piece.b,
            bandwidth=piece.bandwidth,
            generation=generation,
            users=piece.users,
            former=tuple(each for each in former if each not in piece.users),
        )
        works.append(work)
        effects.append(_program(work))
    for there in have.values():
        if there.phase is Phase.REMOVE:
            works.append(there)
            continue
        generation = max(generation + 1, int(now * 1000))
        former = tuple(dict.fromkeys((*there.users, *there.former)))
        gone = replace(
            there, phase=Phase.REMOVE, generation=generation, users=(), former=former, attempts=0, problem=None
        )
        works.append(gone)
        effects.append(_program(gone))
    return replace(bundle, works=tuple(works), generation=generation), effects


def _confirmable(bundle: Bundle) -> set[Work]:
    """What is tentative and need not be: some service has all of its pieces on the switches."""
    waiting = {user for work in bundle.works if work.phase is Phase.APPLY for user in work.users}
    return {work for work in bundle.works if work.phase is Phase.CONFIRM and not waiting.issuperset(work.users)}


def _same(work: Work, piece: Piece) -> bool:
    return (work.a, work.b, work.bandwidth) == (piece.a, piece.b, piece.bandwidth)


def _program(work: Work) -> Program:
    return Program(work.switch, work.name, work.phase, work.generation)


def _with(bundle: Bundle, id: str, change: Callable[[Service], Service]) -> Bundle:
    bundle.service(id)
    return replace(bundle, services=tuple(change(s) if s.id == id else s for s in bundle.services))


def _one_for(configs: tuple[Config, ...], changed: Config) -> tuple[Config, ...]:
    return tuple(changed if each.id == changed.id else each for each in configs)


def _resized(service: Service, offering: str, capacity: int | None, change: ChangeRequest) -> Service:
    configs = tuple(c if c.ending else replace(c, capacity=capacity) for c in service.configs)
    return replace(service, offering=offering, capacity=capacity, change=change, configs=configs)


# --- endings ----------------------------------------------------------------------------------------------------------


def _cancel(bundle: Bundle, event: ev.Cancelled) -> Bundle:
    now = event.terms.decommission_at <= event.today

    def end(config: Config) -> Config:
        sooner = config.cancelled is None or event.terms.decommission_at < config.cancelled.decommission_at
        terms = event.terms if sooner else config.cancelled
        return replace(config, cancelled=terms, ending=config.ending or now)

    def service_ends(service: Service) -> Service:
        if service.id != event.id:
            return replace(service, configs=tuple(end(c) if c.id == event.id else c for c in service.configs))
        configs = tuple(c if c.ended is not None else end(c) for c in service.configs)
        sooner = service.cancelled is None or event.terms.decommission_at < service.cancelled.decommission_at
        terms = event.terms if sooner else service.cancelled
        return replace(service, cancelled=terms, ending=service.ending or now, configs=configs)

    return _with(bundle, bundle.service(event.id).id, service_ends)


def _end_what_is_due(bundle: Bundle, today: date) -> Bundle:
    def due(thing: Service | Config) -> bool:
        return thing.ending or (thing.cancelled is not None and thing.cancelled.decommission_at <= today)

    def ended(service: Service) -> Service:
        configs = tuple(replace(c, ending=due(c)) for c in service.configs)
        return replace(service, ending=due(service), configs=configs)

    return replace(bundle, services=tuple(ended(s) for s in bundle.services))


def _next_day(bundle: Bundle, now: float) -> Iterator[Effect]:
    """When to look next whether something ends."""
    things: list[Service | Config] = [*bundle.services, *bundle.configs()]
    days = [t.cancelled.decommission_at for t in things if t.cancelled is not None and not t.ending]
    if days:
        begins = datetime.combine(min(days), datetime.min.time(), UTC).timestamp()
        yield WakeAt(DAY, max(0.0, begins - now))


def today(now: float) -> date:
    """The day it is, in UTC."""
    return datetime.fromtimestamp(now, UTC).date()


def terms(wanted: date | None, created: float, now: float, notice_days: int, least_days: int) -> Cancellation:
    """When something can end, and until when it is paid for: as wanted, or as soon as its notice allows."""
    first = today(now) + timedelta(days=notice_days)
    at = first if wanted is None or wanted < first else wanted
    return Cancellation(at, max(at, today(created) + timedelta(days=least_days)))
