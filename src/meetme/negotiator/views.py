"""What the local API takes and gives, as values: a request as it was written, and how a negotiation looks to people.

Their JSON form is in `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from meetme.model.addresses import Address, Prefix, parse_address, parse_prefix
from meetme.model.agreement import AgreedPrefix, Agreement, MemberId, Role
from meetme.model.errors import InvalidInput, Problem, raise_problems
from meetme.model.names import bad_name, is_name
from meetme.negotiator.addressing import LinkWish, TranslationWish
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import Health, Negotiation, StepTime, Wish
from meetme.negotiator.states import ENDED, State

LEAST_MTU, MOST_MTU = 576, 65535


@dataclass(frozen=True, slots=True)
class StartRequest:
    """The body of `start_negotiation`, as text. Only `peer` is required; what is None comes from the settings."""

    peer: str
    circuit: str | None = None
    port: str | None = None
    order: str | None = None
    local_subnets: tuple[str, ...] | list[str] | None = None
    private_networks: tuple[str, ...] | list[str] | None = None
    negotiated_networks: tuple[str, ...] | list[str] | None = None
    translation: str | None = None
    link: str | None = None
    mtu: int | None = None
    probe_target: str | None = None
    dry_run: bool = False
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - a typo is told, not ignored


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """The body of a PATCH, as text: what an active agreement is to have. What is None stays as it is."""

    local_subnets: tuple[str, ...] | list[str] | None = None
    private_networks: tuple[str, ...] | list[str] | None = None
    mtu: int | None = None
    dry_run: bool = False
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - a typo is told, not ignored


@dataclass(frozen=True, slots=True)
class Terms:
    """What one request overrides; None: as the settings say."""

    local_subnets: tuple[Prefix, ...] | None = None
    private_networks: tuple[Prefix, ...] | None = None
    negotiated_networks: tuple[Prefix, ...] | None = None
    translation: TranslationWish | None = None
    link: LinkWish | None = None
    mtu: int | None = None
    probe_target: Address | None = None


def read_terms(request: StartRequest) -> Terms:
    """The overrides of a request. Raises InvalidInput with every problem found in it."""
    found: list[Problem] = []
    prefixes = {
        name: _prefixes(getattr(request, name), name, found)
        for name in ("local_subnets", "private_networks", "negotiated_networks")
    }
    translation = _choice(request.translation, TranslationWish, "translation", found)
    link = _choice(request.link, LinkWish, "link", found)
    _check_mtu(request.mtu, found)
    for name in ("circuit", "port", "order"):
        value = getattr(request, name)
        if value is not None and not is_name(value):
            found.append(bad_name(name, value))
    target = None
    if request.probe_target is not None:
        try:
            target = parse_address(request.probe_target, field="probe_target")
        except InvalidInput as error:
            found.append(error.problem)
    raise_problems(found)
    return Terms(**prefixes, translation=translation, link=link, mtu=request.mtu, probe_target=target)


def read_wish(request: ChangeRequest) -> Wish:
    """What a change is to lead to. Raises InvalidInput with every problem found in it."""
    found: list[Problem] = []
    local = _prefixes(request.local_subnets, "local_subnets", found)
    pools = _prefixes(request.private_networks, "private_networks", found)
    _check_mtu(request.mtu, found)
    raise_problems(found)
    return Wish(local, pools, request.mtu)


def _check_mtu(mtu: int | None, found: list[Problem]) -> None:
    if mtu is not None and not LEAST_MTU <= mtu <= MOST_MTU:
        text = f"mtu: must be between {LEAST_MTU} and {MOST_MTU} octets ({mtu})"
        found.append(Problem("mtu_invalid", text, "the largest IP packet that the circuit carries", "mtu"))


def _prefixes(texts: Iterable[str] | None, field_name: str, found: list[Problem]) -> tuple[Prefix, ...] | None:
    if texts is None:
        return None
    prefixes = []
    for index, text in enumerate(texts):
        try:
            prefixes.append(parse_prefix(text, field=f"{field_name}[{index}]"))
        except InvalidInput as error:
            found.append(error.problem)
    return tuple(prefixes)


def _choice(text: str | None, choices: Any, name: str, found: list[Problem]) -> Any:
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        allowed = ", ".join(choices)
        found.append(
            Problem("choice_unknown", f'{name}: must be one of {allowed} ("{text[:40]}")', "leave it at auto", name)
        )
        return None


@dataclass(frozen=True, slots=True)
class Due:
    """Something that a negotiation still has to do: when it hangs, this says on what."""

    what: str
    """`send TYPE`, `router VERB`, `probe`, or `compare`: the peer of an active agreement does not answer."""
    attempts: int
    """How often it was tried in vain."""
    note: str
    """Why the last attempt was in vain; empty where there was none."""
    due_in: float
    """Seconds until it is tried next; 0 while it is being tried."""


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change of an active agreement that is under way, or the last one that failed."""

    number: int
    state: State
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class NegotiationView:
    """One negotiation, for people and for catalogues."""

    id: UUID
    role: Role
    peer: MemberId
    circuit: str
    state: State
    health: Health | None
    verified: Verified | None
    superseded_by: UUID | None
    problem: Problem | None
    agreement: Agreement | None
    started: datetime
    """When it began at this side; the steps count from here."""
    steps: tuple[StepTime, ...] = ()
    left_on_device: tuple[str, ...] = ()
    owed: tuple[Due, ...] = ()
    """What it still has to do; in a list of negotiations, what of it was tried in vain."""
    change: ChangeView | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The same as a JSON value."""
        from meetme.negotiator.wire import view_json  # pydantic is for those who need it

        return view_json(self)

    @property
    def me(self) -> MemberId | None:
        """Which member this is the view of, as far as an agreement says it."""
        return self.agreement.side(self.role).member if self.agreement else None

    @property
    def peer_prefixes(self) -> tuple[AgreedPrefix, ...]:
        """What is reached at the peer, by the agreement."""
        return self.agreement.side(self.role.other).prefixes if self.agreement else ()


def view(n: Negotiation, owed: tuple[Due, ...] = (), *, health: Health | None = None) -> NegotiationView:
    """How `n` looks to people. `health`: what is known of it by now, if not what is stored."""
    return NegotiationView(
        id=n.id,
        role=n.role,
        peer=n.peer,
        circuit=n.circuit,
        state=n.state,
        health=(health or n.health) if n.state is State.ACTIVE else None,
        verified=n.verified or n.peer_verified,
        superseded_by=n.superseded_by,
        problem=n.problem,
        agreement=n.agreement,
        started=datetime.fromtimestamp(n.started, UTC),
        steps=n.steps,
        left_on_device=n.left_on_device,
        owed=owed,
        change=change_view(n),
    )


def change_view(n: Negotiation) -> ChangeView | None:
    """How a change of `n` looks to people. What only this side wants so far is proposed."""
    c = n.change
    if n.wanted is not None and (c is None or c.state in ENDED):
        return ChangeView(n.changes + 1, State.PROPOSED, None)
    return None if c is None else ChangeView(c.number, c.state, c.problem)


@dataclass(frozen=True, slots=True)
class Plan:
    """A dry run: what would be agreed, and the commands that the own router would be told."""

    agreement: Agreement
    plan: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The same as a JSON value."""
        from meetme.negotiator.wire import plan_json

        return plan_json(self)

    @property
    def me(self) -> MemberId:
        """Who asked."""
        return self.agreement.initiator.member


@dataclass(frozen=True, slots=True)
class SignedAgreement:
    """The agreement as both keep it. `signers` are those it names; who checks a signature needs their certificates."""

    agreement: Agreement
    signers: tuple[str, ...]
    document: dict[str, Any]
