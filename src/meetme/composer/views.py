"""What the API takes and gives, as values: an order as it was written, and how a circuit looks to whom.

Their JSON form is in `wire`. Who may see what: the operator of an exchange everything that it knows; a member the
circuits of which it is an end, of them its own end where it is at this exchange, and the route only if it ordered it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, ClassVar
from uuid import UUID

from meetme.composer.circuit import Circuit, Leg
from meetme.composer.words import (
    CircuitRequest,
    Constraints,
    Disjoint,
    End,
    Hop,
    Objective,
    Redundancy,
    Route,
    State,
)
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, Problem, raise_problems
from meetme.model.members import parse_member_id
from meetme.model.names import bad_name, is_name

MOST_BANDWIDTH = 100_000_000
"""Mbit/s."""
LEAST_MTU, MOST_MTU = 1280, 65535
NEGOTIATE = "negotiate"
_FORBID: Any = {"extra": "forbid"}
_SHORT: Any = {
    "alias_generator": lambda name: name.removesuffix("_port"),
    "validate_by_name": True,
    "validate_by_alias": True,
    "serialize_by_alias": True,
}
"""`in` and `out` in JSON: as words of Python they are taken."""


@dataclass(frozen=True, slots=True)
class EndBody:
    """One end of an order, as text."""

    member: str
    port: str
    vlan: int | None = None
    __pydantic_config__: ClassVar[Any] = _FORBID


@dataclass(frozen=True, slots=True)
class ConstraintsBody:
    """What a route has to keep to, as text."""

    max_latency_ms: float | None = None
    avoid_members: tuple[str, ...] | list[str] = ()
    avoid_countries: tuple[str, ...] | list[str] = ()
    within_countries: tuple[str, ...] | list[str] = ()
    __pydantic_config__: ClassVar[Any] = _FORBID


@dataclass(frozen=True, slots=True)
class CircuitOrder:
    """The body of `POST /api/v1/circuits`, as text: the ends and what is wanted between them, or an offer to take."""

    a: EndBody | None = None
    b: EndBody | None = None
    bandwidth: int | None = None
    """Mbit/s, each way."""
    objective: str = "latency"
    constraints: ConstraintsBody = ConstraintsBody()
    redundancy: str = "none"
    disjoint: str = "link"
    mtu: int | None = None
    """Octets of Ethernet payload that have to fit. Left out: whatever the route carries."""
    then: str | None = None
    """`negotiate`: start the L3 negotiation as soon as the circuit is active."""
    offer: UUID | None = None
    """Instead of everything else."""
    __pydantic_config__: ClassVar[Any] = _FORBID


def read_order(order: CircuitOrder) -> CircuitRequest:
    """What is ordered. Raises InvalidInput with every problem found in it."""
    found: list[Problem] = []
    a, b = _end(order.a, "a", found), _end(order.b, "b", found)
    if order.bandwidth is None:
        found.append(_missing("bandwidth", "Mbit/s each way"))
    elif not 1 <= order.bandwidth <= MOST_BANDWIDTH:
        text = f"bandwidth: must be between 1 and {MOST_BANDWIDTH} Mbit/s ({order.bandwidth})"
        found.append(Problem("bandwidth_invalid", text, "each way", "bandwidth"))
    if order.mtu is not None and not LEAST_MTU <= order.mtu <= MOST_MTU:
        text = f"mtu: must be between {LEAST_MTU} and {MOST_MTU} octets ({order.mtu})"
        found.append(Problem("mtu_invalid", text, "the largest Ethernet payload that has to pass", "mtu"))
    if order.then not in (None, NEGOTIATE):
        text = f'then: must be "{NEGOTIATE}" ("{str(order.then)[:40]}")'
        found.append(Problem("choice_unknown", text, "leave it out: the circuit alone is made", "then"))
    request = CircuitRequest(
        a,
        b,
        order.bandwidth or 0,
        _choice(order.objective, Objective, "objective", found) or Objective.LATENCY,
        _constraints(order.constraints, found),
        _choice(order.redundancy, Redundancy, "redundancy", found) or Redundancy.NONE,
        _choice(order.disjoint, Disjoint, "disjoint", found) or Disjoint.LINK,
        order.mtu,
        order.then,
    )
    if order.a and order.b and (a.member, a.port) == (b.member, b.port):
        hint = "a circuit joins two ports"
        found.append(Problem("ends_same", f"b: must be another port than a ('{b.member}', '{b.port}')", hint, "b"))
    raise_problems(found)
    return request


def _end(body: EndBody | None, name: str, found: list[Problem]) -> End:
    if body is None:
        found.append(_missing(name, 'for example {"member": "csp-a", "port": "p1"}'))
        return End(MemberId(""), "")
    member = _member(body.member, f"{name}.member", found)
    if not is_name(body.port):
        found.append(bad_name(f"{name}.port", body.port))
    if body.vlan is not None and not 2 <= body.vlan <= 4094:
        text = f"{name}.vlan: must be between 2 and 4094 ({body.vlan})"
        found.append(Problem("vlan_invalid", text, "leave it out: the exchange chooses one", f"{name}.vlan"))
    return End(member, body.port, body.vlan)


def _constraints(body: ConstraintsBody, found: list[Problem]) -> Constraints:
    most = body.max_latency_ms
    if most is not None and not (isfinite(most) and 0 < most <= 60_000):
        text = f"constraints.max_latency_ms: must be above 0, at most 60000 ({most:g})"
        found.append(Problem("latency_invalid", text, "milliseconds, one way", "constraints.max_latency_ms"))
    countries: dict[str, tuple[str, ...]] = {}
    for name in ("avoid_countries", "within_countries"):
        countries[name] = tuple(getattr(body, name))
        for index, text in enumerate(countries[name]):
            if not (len(text) == 2 and text.isascii() and text.isupper()):
                where = f"constraints.{name}[{index}]"
                problem = f'{where}: must be two capital letters ("{text[:40]}")'
                found.append(Problem("country_invalid", problem, "ISO 3166-1, for example DE", where))
    members = (
        _member(text, f"constraints.avoid_members[{index}]", found) for index, text in enumerate(body.avoid_members)
    )
    return Constraints(most, tuple(members), countries["avoid_countries"], countries["within_countries"])


def _member(text: str, where: str, found: list[Problem]) -> MemberId:
    try:
        return parse_member_id(text, field=where)
    except InvalidInput as error:
        found.append(error.problem)
        return MemberId("")


def _choice(text: str, choices: Any, name: str, found: list[Problem]) -> Any:
    try:
        return choices(text)
    except ValueError:
        allowed = ", ".join(choices)
        found.append(Problem("choice_unknown", f'{name}: must be one of {allowed} ("{text[:40]}")', "", name))
        return None


def _missing(name: str, hint: str) -> Problem:
    return Problem("field_missing", f"{name}: must be there", hint, name)


# --- what is shown ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HopView:
    """The way through one exchange."""

    exchange: MemberId
    in_port: str
    out_port: str
    __pydantic_config__: ClassVar[Any] = _SHORT


@dataclass(frozen=True, slots=True)
class EndView:
    """One end of a circuit, as its member has to configure it."""

    member: MemberId
    port: str
    vlan: int | None
    """None: not given yet, or the whole port."""
    mtu: int | None
    """Octets of Ethernet payload that the circuit carries; None: not known yet."""
    exchange: MemberId | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Something that this composer still has to do for a circuit: when it hangs, this says on what."""

    what: str
    """`send TYPE to MEMBER`, `find a route`, `build`, `remove` or `look`."""
    attempts: int
    """How often it was tried in vain."""
    note: str
    """Why the last attempt was in vain; empty where there was none."""
    due_in: float
    """Seconds until it is tried next; 0 while it is being tried."""


@dataclass(frozen=True, slots=True)
class CircuitView:
    """One circuit, for people and for catalogues."""

    id: UUID
    state: State
    ordered_by: MemberId
    bandwidth: int
    """Mbit/s, each way."""
    path: tuple[HopView, ...]
    second_path: tuple[HopView, ...]
    """Of a circuit with redundancy."""
    ends: tuple[EndView, ...]
    problem: Problem | None
    began: datetime
    revision: int = 0
    owed: tuple[Due, ...] = ()
    """What it still has to do here; in a list of circuits, what of it was tried in vain."""

    @property
    def document(self) -> dict[str, Any]:
        """The same as a JSON value."""
        from meetme.composer.wire import view_json  # pydantic is for those who need it

        return view_json(self)


CIRCUIT_KEYS = "/api/v1/circuit-keys"
"""Where a composer says what was begun with which key."""


@dataclass(frozen=True, slots=True)
class BegunView:
    """A circuit that has not ended, and the Idempotency-Key of the request that began it."""

    key: str
    circuit: UUID
    state: State


def view(c: Circuit, owed: tuple[Due, ...] = ()) -> CircuitView:
    """How `c` looks to the operator of this exchange."""
    first, second = _shown_leg(c, 1), _shown_leg(c, 2)
    return CircuitView(
        id=c.id,
        state=_state(c),
        ordered_by=c.ordered_by,
        bandwidth=c.request.bandwidth,
        path=_hops(first),
        second_path=_hops(second),
        ends=_ends(c, tuple(leg for leg in (first, second) if leg is not None)),
        problem=c.problem,
        began=datetime.fromtimestamp(c.began, UTC),
        revision=c.revision,
        owed=owed,
    )


def is_party(c: Circuit, member: MemberId) -> bool:
    """Whether `member` may know of the circuit at all."""
    return member in (c.request.a.member, c.request.b.member)


def seen_by(shown: CircuitView, member: MemberId, me: MemberId) -> CircuitView:
    """What of it `member`, an end of it, gets to see at the exchange `me`."""
    hops: tuple[HopView, ...] = shown.path if shown.ordered_by == member else ()
    second: tuple[HopView, ...] = shown.second_path if shown.ordered_by == member else ()
    ends = tuple(end for end in shown.ends if end.member == member and end.exchange in (me, None))
    return replace(shown, path=hops, second_path=second, ends=ends, owed=())


def _state(c: Circuit) -> State:
    """A composer on the way knows its own part; what is said of the whole counts as soon as that part is there."""
    if not c.is_head and c.state is State.ACTIVE and c.told in (State.ACTIVE, State.DEGRADED):
        return c.told
    return c.state


def _shown_leg(c: Circuit, path: int) -> Leg | None:
    """The leg that is in use, else the newest one: where it led says why it failed."""
    legs = sorted((leg for leg in c.legs if leg.path == path), key=lambda leg: leg.attempt)
    return c.live_leg(path) or (legs[-1] if legs else None)


def _hops(leg: Leg | None) -> tuple[HopView, ...]:
    return () if leg is None else tuple(HopView(hop.exchange, hop.in_port, hop.out_port) for hop in leg.hops)


def _ends(c: Circuit, legs: tuple[Leg, ...]) -> tuple[EndView, ...]:
    live = [leg for leg in legs if leg.live]
    mtu = min((each.mtu for leg in live for each in leg.trace), default=None)
    whole = all(len(leg.trace) == len(leg.hops) for leg in live)
    first = next((leg.trace[0] for leg in live if leg.trace), None)
    last = next((leg.trace[-1] for leg in live if len(leg.trace) == len(leg.hops)), None)
    hops: tuple[Hop, ...] = legs[0].hops if legs else ()
    return (
        EndView(
            c.request.a.member,
            c.request.a.port,
            first.in_label if first else c.request.a.vlan,
            mtu if whole else None,
            hops[0].exchange if hops else c.head,
        ),
        EndView(
            c.request.b.member,
            c.request.b.port,
            last.out_label if last else c.request.b.vlan,
            mtu if whole else None,
            hops[-1].exchange if hops else None,
        ),
    )


# --- offers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SharedView:
    """What both paths of an offer depend on although they should not."""

    kind: str
    """`link`, `exchange` or `risk`."""
    name: str


@dataclass(frozen=True, slots=True)
class OfferView:
    """One way to have what was asked for. Nothing is held for it."""

    id: UUID
    expires: datetime
    path: tuple[HopView, ...]
    latency_ms: float
    """Of the longer path, one way."""
    bandwidth: int
    """Mbit/s that are free along it."""
    hops: int
    price: float
    """A month, for the bandwidth that was asked for."""
    mtu: int
    availability: float
    second_path: tuple[HopView, ...] = ()
    shared: tuple[SharedView, ...] = ()
    """Empty: the two paths are as disjoint as was asked."""
    optimal: bool = True
    """False: the best that was found within the time for it."""


@dataclass(frozen=True, slots=True)
class RefusalView:
    """A constraint that stands in the way, and the nearest value of it that would pass, all others unchanged."""

    constraint: str
    asked: float | int | str | tuple[str, ...] | None
    nearest: float | int | str | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class OffersView:
    """The answer to `?offers=true`."""

    offers: tuple[OfferView, ...] = ()
    refused: tuple[RefusalView, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The same as a JSON value."""
        from meetme.composer.wire import offers_json

        return offers_json(self)


def hop_views(hops: Iterable[Hop]) -> tuple[HopView, ...]:
    """Hops as they are shown."""
    return tuple(HopView(hop.exchange, hop.in_port, hop.out_port) for hop in hops)


@dataclass(frozen=True, slots=True)
class TakenOffer:
    """An offer as it is kept until it expires: what was asked for, and the routes that it promised."""

    view: OfferView
    request: CircuitRequest
    asked_by: MemberId
    routes: tuple[Route, ...] = ()
