"""What is seen of an active order from near: how its data plane does, who is addressed how, where its circuit runs."""

from __future__ import annotations

from dataclasses import dataclass

from meetme.composer.topology_views import TopologyView
from meetme.model.agreement import AgreedSide, LinkKind, MemberId, Translation
from meetme.model.errors import Problem
from meetme.negotiator.negotiation import Health


@dataclass(frozen=True, slots=True)
class Course:
    """Where the circuit runs, as the own exchange tells it. To the seller it tells its own end alone."""

    state: str
    """In the composer's words."""
    bandwidth: int
    """Mbit/s, each way."""
    path: tuple[MemberId, ...] = ()
    """The exchanges, in order, from the buyer's."""
    second: tuple[MemberId, ...] = ()
    """Of a circuit with redundancy."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the two negotiators have agreed on, from this side."""

    mine: AgreedSide
    theirs: AgreedSide
    link: LinkKind
    translation: Translation
    mtu: int
    """Octets of IP packet."""
    my_address: str | None = None
    """Of the own router on the circuit, where it is numbered."""
    their_address: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """All of it. What could not be seen is None, and `problems` say why."""

    course: Course | None = None
    terms: Terms | None = None
    health: Health | None = None
    federation: TopologyView | None = None
    problems: tuple[Problem, ...] = ()
