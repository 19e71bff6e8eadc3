"""One circuit as one composer knows it (thesis chapter 4). `events` move it, `effects` are what it owes.

A circuit has one *path*, or two disjoint ones (numbers 1 and 2) where redundancy was ordered. A path is tried along one
*route*, a list of hops; when that is refused somewhere, along another one: each try is an *attempt* with a number of
its own. What a composer holds for one attempt is a *leg*. The composer at end a's exchange, the *head*, owns the
circuit: it finds the routes and decides. Every other one does its part of the legs that lead through its exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from meetme.composer.graph import Disjoint
from meetme.composer.messages import Body, MessageType
from meetme.composer.words import (
    ENDED,
    LIVE_LEG,
    CircuitRequest,
    Constraints,
    Element,
    ElementKind,
    End,
    Hop,
    Objective,
    Redundancy,
    Reservation,
    Route,
    Segment,
    State,
    owner,
    reference,
)
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem

__all__ = [
    "ENDED",
    "LIVE_LEG",
    "Answer",
    "Circuit",
    "CircuitRequest",
    "Constraints",
    "Disjoint",
    "Element",
    "ElementKind",
    "End",
    "Hop",
    "Leg",
    "MemberId",
    "Objective",
    "Redundancy",
    "Reservation",
    "Route",
    "Search",
    "Segment",
    "State",
    "owner",
    "reference",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the message `to` of `peer`, written with the state it speaks of."""

    to: UUID
    peer: MemberId
    path: int
    attempt: int
    body: Body


@dataclass(frozen=True, slots=True)
class Leg:
    """What this composer has to do with one attempt at one path."""

    path: int
    attempt: int
    hops: tuple[Hop, ...]
    position: int
    """The index of the own hop; 0 is the head."""
    mtu: int
    began: float
    """When, epoch seconds by the own clock."""
    state: State = State.HELD
    deadline: float | None = None
    """Until when the next move has to come, by the own clock. What comes later, and before the timer, still counts."""
    trace: tuple[Reservation, ...] = ()
    """What the exchanges before this one have reserved, its own entry, and after `commit` everybody's."""
    joined: bool = False
    """The next composer holds its part."""
    segment: Segment = Segment.ABSENT
    ordered: float | None = None
    """When it was last ordered, by the own clock."""
    ready_beyond: bool = False
    """Every segment after this exchange is in production."""
    waiting: tuple[UUID, ...] = ()
    """`activate` messages of the previous composer that are answered when everything from here on is in production."""
    queries: int = 0
    handed: bool = False
    """A neighbour that had lost it was given it back once, since this side last heard that it knows it."""

    # giving it up
    problem: Problem | None = None
    """Why it was given up, or what the exchange said last."""
    element: Element | None = None
    before_done: bool = False
    """Nothing of it is left at the exchanges towards end a."""
    beyond_done: bool = False
    """Nothing of it is left at the exchanges towards end b."""
    before_asks: tuple[UUID, ...] = ()
    """`release` messages of the previous composer that are answered once nothing is left here and beyond."""
    beyond_asks: tuple[UUID, ...] = ()
    """`release` messages of the next composer that are answered once nothing is left here and before."""
    overdue: bool = False
    """It was given up long ago: nobody need wait for what is still kept of it."""
    let_go: bool = False
    """A person has ended the quarantine of what a neighbour never gave back, on own responsibility."""

    @property
    def hop(self) -> Hop:
        """The own hop."""
        return self.hops[self.position]

    @property
    def before(self) -> MemberId | None:
        """The previous composer; None at the head."""
        return self.hops[self.position - 1].exchange if self.position > 0 else None

    @property
    def beyond(self) -> MemberId | None:
        """The next composer; None at the far end."""
        return self.hops[self.position + 1].exchange if self.position + 1 < len(self.hops) else None

    @property
    def own(self) -> Reservation | None:
        """What the own exchange has reserved."""
        return self.trace[self.position] if self.position < len(self.trace) else None

    @property
    def key(self) -> str:
        """Path and attempt, as `1@3`: beside the circuit's id this names the leg."""
        return f"{self.path}@{self.attempt}"

    @property
    def live(self) -> bool:
        """Whether it has not been given up."""
        return self.state in LIVE_LEG


@dataclass(frozen=True, slots=True)
class Search:
    """At the head: the search for a route of one path."""

    path: int
    attempt: int = 0
    """The number of the last attempt."""
    since: float | None = None
    """When its first attempt was refused, or the path broke, by the own clock."""
    tries: int = 0
    """How many attempts were refused for good since the search began or began anew."""
    detours: int = 0
    """How many were refused since then, or since it has last waited, by what others held for the moment."""
    waits: int = 0
    """How often it has waited for that."""
    due: float | None = None
    """Until when it waits, by the own clock: it looks for no route before."""
    excluded: tuple[Element, ...] = ()
    """What has refused since then."""
    over: Problem | None = None
    """No route was found: why."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """One circuit, as one composer knows it."""

    id: UUID
    me: MemberId
    head: MemberId
    request: CircuitRequest
    ordered_by: MemberId
    """Who ordered it: a member at one of its ends, or an exchange for itself."""
    began: float
    state: State = State.HELD
    revision: int = 0
    """Grows with each change of the state."""
    legs: tuple[Leg, ...] = ()
    ending: bool = False
    """It is taken back as a whole, for good."""
    established: bool = False
    """It was active once."""
    problem: Problem | None = None
    told: State | None = None
    """What the previous composer said last of the circuit as a whole, which only the head can know."""
    answers: tuple[Answer, ...] = ()
    """What the last event made this composer answer. Not part of the standing state."""

    # at the head
    wanted: int = 0
    """How many paths it is to have."""
    searches: tuple[Search, ...] = ()
    heals: int = 0
    """How many searches for a broken path have had to pause since all was last well for a while."""
    breaks: int = 0
    """How often a path that was active has broken since then."""
    asked_by: MemberId | None = None
    """The composer that was asked and has passed the request on."""
    restored: bool = False
    """The store had lost it, and a neighbour has given it back: who had passed the request on is not known any more."""
    offered: tuple[Route, ...] = ()
    """The routes of the offer that was taken, until they are tried."""
    composing: bool = False
    """Routes are to be found: it waits for its turn, or it has it."""
    turn: float | None = None
    """When its turn came first, by the own clock: setting it up may take so long from then on."""

    # at a composer that was asked and is not the head
    passed: bool = False
    """The request was passed on to the head."""
    accepted: bool = False
    """The head has taken it on."""
    parted: bool = False
    """The head has nothing of it any more."""
    lost_since: float | None = None
    """Since when the head says that it knows nothing of it, by the own clock."""
    queries: int = 0

    @property
    def is_head(self) -> bool:
        """Whether this composer owns it."""
        return self.me == self.head

    @property
    def searching(self) -> bool:
        """Whether it is among those whose number is limited (`turns`): routes are to be found, or are being reserved.

        One that has to wait for what others hold for the moment is not, unless it holds something itself.
        """
        if not self.is_head or self.ending:
            return False
        live = [leg for leg in self.legs if leg.live]
        part = not self.established and 0 < len(live) < self.wanted
        return self.composing or part or any(leg.state is State.HELD for leg in live)

    def leg(self, path: int, attempt: int) -> Leg | None:
        """The leg of this path and attempt."""
        return next((leg for leg in self.legs if (leg.path, leg.attempt) == (path, attempt)), None)

    def live_leg(self, path: int) -> Leg | None:
        """The leg of this path that has not been given up."""
        return next((leg for leg in self.legs if leg.path == path and leg.live), None)

    def search(self, path: int) -> Search:
        """The search for a route of this path."""
        return next((search for search in self.searches if search.path == path), Search(path))

    def message(self, kind: MessageType, to: MemberId, leg: Leg | None) -> UUID:
        """The id of an own message: the same for every repetition, so that the receiver can tell them."""
        if leg is None:
            return uuid5(self.id, f"{self.me}>{to} {kind} {self.queries if kind == 'query' else int(self.ending)}")
        count = {"query": leg.queries, "release": int(self.ending)}.get(kind, 0)
        return uuid5(self.id, f"{self.me}>{to} {kind} {leg.key} {count}")
