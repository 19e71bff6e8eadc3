"""Where people order, decide, and take back. Whatever cannot be right is said at once, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

from sqlalchemy import Connection

from meetme.catalog import events as ev
from meetme.catalog import store
from meetme.catalog.events import Event
from meetme.catalog.machine import OrderMachine
from meetme.catalog.offers import Entry
from meetme.catalog.order import Order
from meetme.catalog.views import Choice, OrderRequest, not_offered, read_request
from meetme.catalog.words import ENDED, Connectivity, Party, State, Wanted
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, InvalidInput, NotFound, Problem, Stale
from meetme.runtime.clock import Clock
from meetme.runtime.keys import Keys, Once
from meetme.runtime.ledger import Ledger
from meetme.runtime.loop import Loop

Known = Callable[[Connection], list[Entry]]
"""Every offer there is, as of the transaction."""


class Desk:
    """Takes orders of this member's people, and their decisions about those of others."""

    def __init__(
        self,
        loop: Loop[Order, Event],
        ledger: Ledger,
        machine: OrderMachine,
        me: MemberId,
        known: Known,
        clock: Clock,
        *,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._machine = machine
        self._me = me
        self._known = known
        self._clock = clock
        self._new_id = new_id
        self._keys: Keys[Order] = Keys(loop.commit, store.KEYS, store.load)

    # --- buying -------------------------------------------------------------------------------------------------------

    async def place(self, request: OrderRequest, key: str | None = None) -> Order:
        """Order, or find what `key` has ordered. Raises MeetMeError before anything is written."""
        choice = read_request(request)
        body = {
            "offer": request.offer,
            "circuit_offer": str(request.circuit_offer),
            "redundancy": request.redundancy,
        }
        return await self._keys.once(key, body, lambda once: self._place(choice, once))

    async def _place(self, choice: Choice, once: Once[Order]) -> Order:
        id = self._new_id()

        def transaction(tx: Connection) -> Order:
            # Again in this transaction: another replica may have been quicker.
            if done := once.repeated(tx):
                return done
            now = self._clock.now()
            entry = self._offered(tx, choice)
            once.remember(tx, id, now)
            event = ev.Placed(now, id, self._me, entry.provider, _wanted(entry, choice), entry.offer)
            return self._ledger.deliver(tx, self._machine, str(id), event, now)

        return await self._loop.commit(transaction)

    def _offered(self, tx: Connection, choice: Choice) -> Entry:
        found = next((e for e in self._known(tx) if (e.provider, e.offer.name) == (choice.provider, choice.name)), None)
        if found is None:
            raise not_offered(choice)
        if found.provider == self._me:
            raise InvalidInput(
                "offer_own",
                f'offer: must be another member\'s ("{choice.provider}/{choice.name}")',
                hint="nobody buys from itself",
                field="offer",
            )
        if found.expired:
            raise Stale(
                "offer_expired",
                f'offer: must be known to be good ("{choice.provider}/{choice.name}" has expired)',
                hint="its provider was not heard of for long; it can be ordered when it is back",
                field="offer",
            )
        return found

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def approve(self, id: UUID, by: str) -> Order:
        """Let a buyer have it. Raises NotFound `order_unknown`, Conflict `order_decided`."""
        return await self._decide(id, lambda at: ev.Decided(at, by))

    async def decline(self, id: UUID, by: str, why: str = "") -> Order:
        """Do not. `why` is what the buyer reads. Raises NotFound `order_unknown`, Conflict `order_decided`."""
        said = f": {why.strip()[:200]}" if why.strip() else ""
        problem = Problem("order_declined", f"order: a person at the seller has declined it{said}", "ask its operator")
        return await self._decide(id, lambda at: ev.Decided(at, by, problem))

    async def _decide(self, id: UUID, make: Callable[[float], ev.Decided]) -> Order:
        def event(n: Order, at: float) -> Event:
            if (n.party, n.state) != (Party.SELLER, State.APPROVING):
                raise Conflict(
                    "order_decided",
                    f"order: must wait for a decision of this member ({n.state})",
                    hint="meetme orders shows which ones do",
                    field="id",
                )
            return make(at)

        return await self._deliver(id, event)

    # --- taking it back -----------------------------------------------------------------------------------------------

    async def terminate(self, id: UUID) -> Order:
        """Take an order back, at any moment; one that has ended stays as it is. Raises NotFound `order_unknown`."""
        return await self._deliver(id, lambda n, at: None if n.state in ENDED else ev.TerminateAsked(at))

    async def _deliver(self, id: UUID, make: Callable[[Order, float], Event | None]) -> Order:
        def transaction(tx: Connection) -> Order:
            self._ledger.lock(tx, self._machine.name, str(id))
            n = find(tx, id)
            now = self._clock.now()
            event = make(n, now)
            return n if event is None else self._ledger.deliver(tx, self._machine, str(id), event, now)

        return await self._loop.commit(transaction)


def find(tx: Connection, id: UUID) -> Order:
    """An order that is known here. Raises NotFound `order_unknown`."""
    n = store.load(tx, id)
    if n is None:
        raise NotFound(
            "order_unknown",
            f'order: must be one that is known here ("{id}")',
            hint="meetme orders shows them",
            field="id",
        )
    return n


def _wanted(entry: Entry, choice: Choice) -> Wanted:
    offer = entry.offer
    none = offer.connectivity is Connectivity.NONE
    return Wanted(
        offer=offer.name,
        version=entry.version,
        connectivity=offer.connectivity,
        circuit_offer=None if none else choice.circuit_offer,
        redundancy="none" if none else choice.redundancy or offer.needs.redundancy,
        approval=offer.approval,
        words=offer.instructions if none else "",
    )
