"""Where orders of members, people and catalogues come in: offers, circuits, and taking them back."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection

from meetme.composer import events as ev
from meetme.composer import store, wire
from meetme.composer.circuit import Circuit
from meetme.composer.domain import Domain
from meetme.composer.events import Event
from meetme.composer.machine import CircuitMachine
from meetme.composer.planner import Planner
from meetme.composer.views import NEGOTIATE, BegunView, CircuitOrder, OffersView, TakenOffer, is_party, read_order
from meetme.composer.words import ENDED, CircuitRequest, Route, State
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, Forbidden, InvalidInput, NotFound, Problem, Refused, raise_problems
from meetme.model.names import bad_name, is_name
from meetme.runtime.clock import Clock
from meetme.runtime.keys import Keys, Once
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop


@dataclass(frozen=True, slots=True)
class Order:
    """An order that was checked: everything that `Start` needs but for what the transaction reads."""

    request: CircuitRequest
    head: MemberId
    routes: tuple[Route, ...] = ()


class Desk:
    """Takes orders. Whatever cannot be right is said at once, and nothing is written."""

    def __init__(
        self,
        loop: Loop[Circuit, Event],
        ledger: Ledger,
        machine: CircuitMachine,
        domain: Domain,
        planner: Planner,
        clock: Clock,
        *,
        negotiates: Container[MemberId],
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        """`negotiates`: the members at end a whose circuits may say `"then": "negotiate"`."""
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._domain = domain
        self._planner = planner
        self._clock = clock
        self._negotiates = negotiates
        self._new_id = new_id
        self._keys: Keys[Circuit] = Keys(loop.commit, store.KEYS, store.load)

    # --- ordering -----------------------------------------------------------------------------------------------------

    async def offers(self, order: CircuitOrder, by: MemberId | None) -> OffersView:
        """Every way to have it that is better than the others in some respect; nothing is held. `by` None: a person
        at this exchange. Raises InvalidInput, NotFound, Refused, Forbidden.
        """
        wanted = self._checked(order, by)
        found, refused = await self._planner.offers(wanted.request)
        kept = tuple(TakenOffer(view, wanted.request, by or self._domain.me, routes) for view, routes in found)
        await self._loop.commit(lambda tx: store.put_offers(tx, kept, self._clock.now()))
        return OffersView(tuple(each.view for each in kept), refused)

    async def create(self, order: CircuitOrder, key: str | None, by: MemberId | None) -> Circuit:
        """Begin a circuit, or find the one that `key` began. Raises MeetMeError before anything is written."""
        name = None if key is None else self._key(key, by)
        return await self._keys.once(name, wire.order_json(order), lambda once: self._create(order, once, by))

    async def begun_with(self, key: str, by: MemberId | None) -> Circuit | None:
        """The circuit that a request of `by` with this key has begun; None: there is none."""

        def work(tx: Connection) -> Circuit | None:
            done = store.KEYS.done_with(tx, self._key(key, by))
            return None if done is None else store.load(tx, done.about)

        return await self._loop.commit(work)

    async def begun(self, beginning: str, by: MemberId | None) -> list[BegunView]:
        """What has not ended of what requests of `by` have begun, by keys that begin so. Raises InvalidInput."""
        if beginning and not is_name(beginning):
            raise_problems((bad_name("beginning", beginning),))
        whose = self._key("", by)
        found = await self._loop.commit(lambda tx: store.begun(tx, whose + beginning))
        return [BegunView(key.removeprefix(whose), id, state) for key, id, state in found]

    def _key(self, key: str, by: MemberId | None) -> str:
        """One member's keys are none of another's."""
        return f"{by or self._domain.me}:{key}"

    async def _create(self, order: CircuitOrder, once: Once[Circuit], by: MemberId | None) -> Circuit:
        wanted = await self._taken(order.offer, by) if order.offer is not None else self._checked(order, by)
        id, me = self._new_id(), self._domain.me

        def transaction(tx: Connection) -> Circuit:
            # Again in this transaction: another replica may have been quicker.
            if done := once.repeated(tx):
                return done
            now = self._clock.now()
            once.remember(tx, id, now)
            start = ev.Start(now, id, me, wanted.head, wanted.request, by or me, wanted.routes)
            return self._ledger.deliver(tx, self._machine, str(id), start, now)

        return await self._loop.commit(transaction)

    async def _taken(self, id: UUID, by: MemberId | None) -> Order:
        offer = await self._loop.commit(lambda tx: store.offer(tx, id, self._clock.now()))
        if offer is None or offer.asked_by != (by or self._domain.me):
            raise NotFound(
                "offer_unknown",
                f'offer: must be one that was made here and has not expired ("{id}")',
                hint="ask for offers again",
                field="offer",
            )
        head = offer.routes[0].hops[0].exchange
        return Order(offer.request, head, offer.routes if head == self._domain.me else ())

    def _checked(self, order: CircuitOrder, by: MemberId | None) -> Order:
        """Everything that can be said without writing: the ends, who may join them, where each of them is."""
        request = read_order(order)
        if by is not None and by not in (request.a.member, request.b.member):
            raise Forbidden(
                "not_an_end",
                f'a, b: one end must be a port of the member that orders ("{by}")',
                hint="order a circuit from one of your own ports",
                field="a",
            )
        ends = self._planner.locate(request)
        request, me = ends.request, self._domain.me
        for point, end, name in ((ends.a, request.a, "a"), (ends.b, request.b, "b")):
            problem = self._domain.end_problem(end, by or me, name) if point.exchange == me else None
            if problem is not None:
                raise _as_error(problem)
        if request.then == NEGOTIATE and ends.head == me and request.a.member not in self._negotiates:
            raise _as_error(no_negotiator())
        return Order(request, ends.head)

    # --- taking it back -----------------------------------------------------------------------------------------------

    async def release(self, id: UUID, by: MemberId | None) -> Circuit:
        """Take a circuit back; one that has ended stays as it is. Raises NotFound `circuit_unknown`."""
        return await self._deliver(id, by, lambda c, at: None if c.state in ENDED else ev.ReleaseAsked(at))

    async def let_go(self, id: UUID) -> Circuit:
        """End a quarantine on a person's word. Raises NotFound, Conflict `circuit_live`."""

        def event(c: Circuit, at: float) -> Event | None:
            if c.state in ENDED:
                return None
            if c.state is not State.RELEASING:
                raise Conflict(
                    "circuit_live",
                    f"circuit: must have been deleted before it is let go ({c.state})",
                    hint=f"meetme circuit delete {c.id}",
                    field="id",
                )
            return ev.LetGoAsked(at)

        return await self._deliver(id, None, event)

    async def _deliver(self, id: UUID, by: MemberId | None, make: Callable[[Circuit, float], Event | None]) -> Circuit:
        def transaction(tx: Connection) -> Circuit:
            self._ledger.lock(tx, self._machine.name, str(id))
            c = find(tx, id, by)
            now = self._clock.now()
            event = make(c, now)
            return c if event is None else self._ledger.deliver(tx, self._machine, str(id), event, now)

        return await self._loop.commit(transaction)


def find(tx: Connection, id: UUID, by: MemberId | None) -> Circuit:
    """A circuit that `by` may know of (None: whoever runs this exchange). Raises NotFound `circuit_unknown`."""
    c = store.load(tx, id)
    if c is None or (by is not None and not is_party(c, by)):
        raise NotFound(
            "circuit_unknown",
            f'circuit: must be one that is known here ("{id}")',
            hint="meetme circuit list shows them",
            field="id",
        )
    return c


def no_negotiator() -> Problem:
    """That nobody here could start the L3 negotiation."""
    return Problem(
        "negotiator_missing",
        "then: must be left out: this exchange knows no negotiator of end a",
        "set [[composer.negotiator]], or start the negotiation at the members",
        "then",
    )


def _as_error(problem: Problem) -> InvalidInput | Refused | NotFound:
    kinds: dict[str, type[InvalidInput] | type[Refused] | type[NotFound]] = {
        "mandate_missing": Refused,
        "port_unknown": NotFound,
        "port_of_another": NotFound,
    }
    # It is this very exchange that was asked: nobody else has to act.
    return kinds.get(problem.code, InvalidInput)(problem.code, problem.text, hint=problem.hint, field=problem.field)
