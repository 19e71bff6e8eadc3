"""What the API takes and gives, as values: an order as it was written, and how orders and offers look to people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from meetme.catalog.offers import Entry, Offer
from meetme.catalog.order import End, Order, Reach, StepTime
from meetme.catalog.words import Connectivity, Party, State, What
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, NotFound, Problem, raise_problems

_FORBID: Any = {"extra": "forbid"}
REDUNDANCIES = ("none", "best_effort", "strict")


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """The body of `POST /api/v1/orders`, as text."""

    offer: str
    """`PROVIDER/NAME`, as the catalogue shows it."""
    circuit_offer: UUID | None = None
    """The way over the federation that was chosen; left out: the best one."""
    redundancy: str | None = None
    """Instead of what the offer asks for."""
    __pydantic_config__: ClassVar[Any] = _FORBID


@dataclass(frozen=True, slots=True)
class Offers:
    """The body of `PUT /api/v1/own-offers`."""

    offers: tuple[dict[str, Any], ...]
    """Each as it is put alone."""
    __pydantic_config__: ClassVar[Any] = _FORBID


@dataclass(frozen=True, slots=True)
class Choice:
    """A request that was read: whose offer it is, and what is wanted of it."""

    provider: MemberId
    name: str
    circuit_offer: UUID | None
    redundancy: str | None


def read_request(request: OrderRequest) -> Choice:
    """What is ordered. Raises InvalidInput with every problem found in it."""
    found: list[Problem] = []
    provider, _, name = request.offer.partition("/")
    if not (provider and name):
        text = f'offer: must be PROVIDER/NAME ("{request.offer[:80]}")'
        found.append(Problem("offer_malformed", text, "as the catalogue shows it, for example csp-b/backup", "offer"))
    if request.redundancy not in (None, *REDUNDANCIES):
        text = f'redundancy: must be one of {", ".join(REDUNDANCIES)} ("{str(request.redundancy)[:40]}")'
        found.append(Problem("choice_unknown", text, "leave it out: as the offer asks for", "redundancy"))
    if request.circuit_offer is not None and request.redundancy is not None:
        text = "redundancy: must be left out where a way was chosen"
        found.append(Problem("choice_twice", text, "the way has been found with it", "redundancy"))
    raise_problems(found)
    return Choice(MemberId(provider), name, request.circuit_offer, request.redundancy)


@dataclass(frozen=True, slots=True)
class ThingView:
    """Something that was made for an order."""

    what: What
    presence: str
    id: str | None
    standing: str


@dataclass(frozen=True, slots=True)
class Due:
    """Something that an order still has to do: when it hangs, this says on what."""

    what: str
    attempts: int
    """How often it was tried in vain."""
    note: str
    """Why the last attempt was in vain; empty where there was none."""
    due_in: float
    """Seconds until it is tried next; 0 while it is being tried."""


@dataclass(frozen=True, slots=True)
class OrderView:
    """One order, for people and programs."""

    id: UUID
    offer: str
    """`PROVIDER/NAME`."""
    party: Party
    buyer: MemberId
    seller: MemberId
    connectivity: Connectivity
    state: State
    outcome: State | None
    """While it is taken back: what it ends as."""
    problem: Problem | None
    began: datetime
    deadline: datetime | None
    steps: tuple[StepTime, ...]
    circuit: str | None
    negotiation: str | None
    end: End | None
    reach: Reach | None
    decided_by: str | None
    things: tuple[ThingView, ...] = ()
    """What there is of it at this side, or was."""
    owed: tuple[Due, ...] = ()


def view(n: Order, owed: tuple[Due, ...] = ()) -> OrderView:
    """How an order looks."""
    buyer, seller = (n.me, n.partner) if n.party is Party.BUYER else (n.partner, n.me)
    return OrderView(
        id=n.id,
        offer=f"{seller}/{n.wanted.offer}",
        party=n.party,
        buyer=buyer,
        seller=seller,
        connectivity=n.wanted.connectivity,
        state=n.state,
        outcome=n.outcome if n.state is State.TERMINATING else None,
        problem=n.problem,
        began=datetime.fromtimestamp(n.began, UTC),
        deadline=None if n.deadline is None else datetime.fromtimestamp(n.deadline, UTC),
        steps=n.steps,
        circuit=n.circuit.id,
        negotiation=n.negotiation.id,
        end=n.end,
        reach=n.reach,
        decided_by=n.decided_by,
        things=tuple(
            ThingView(what, thing.presence.value, thing.id, thing.standing)
            for what in What
            if (thing := n.thing(what)).id is not None or not thing.settled
        ),
        owed=owed,
    )


@dataclass(frozen=True, slots=True)
class EntryView:
    """One offer of the catalogue."""

    id: str
    """`PROVIDER/NAME`: what is ordered."""
    provider: MemberId
    stale: bool
    expired: bool
    offer: Offer


def entry_view(entry: Entry) -> EntryView:
    """How an offer looks."""
    return EntryView(f"{entry.provider}/{entry.offer.name}", entry.provider, entry.stale, entry.expired, entry.offer)


@dataclass(frozen=True, slots=True)
class Decision:
    """The body of a decision about an order: who takes it, and what the buyer reads."""

    by: str = "operator"
    why: str = ""
    __pydantic_config__: ClassVar[Any] = _FORBID


def not_listed(provider: str, name: str) -> NotFound:
    """That the catalogue has no such offer."""
    return NotFound(
        "offer_unknown",
        f'offer: must be one of the catalogue ("{provider[:63]}/{name[:63]}")',
        hint="meetme catalog list shows them",
        field="offer",
    )


def not_offered(choice: Choice) -> InvalidInput:
    """That nobody offers that."""
    return InvalidInput(
        "offer_unknown",
        f'offer: must be one of the catalogue ("{choice.provider}/{choice.name}")',
        hint="meetme catalog list shows them",
        field="offer",
    )
