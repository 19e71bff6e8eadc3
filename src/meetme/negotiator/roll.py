"""What two sides compare of agreements that both hold to be settled: many of them in one message."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.model.agreement import MemberId, Role
from meetme.negotiator.changing import under_way
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.states import State


@dataclass(frozen=True, slots=True)
class Listed:
    """One settled agreement in a roll."""

    negotiation: UUID
    agreed: int
    """The revision in force."""
    changes: int
    """The number of the last change that was tried."""


@dataclass(frozen=True, slots=True)
class Roll:
    """What one side holds to be settled with the other."""

    sender: MemberId
    to: MemberId
    expires: float
    """Epoch seconds."""
    agreements: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class RollAnswer:
    """Which of those are not so at the other side."""

    sender: MemberId
    to: MemberId
    differ: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """An active agreement, as far as it is compared with the peer."""

    negotiation: UUID
    peer: MemberId
    role: Role
    listed: Listed | None
    """None: something about it is not settled."""


def listed(n: Negotiation) -> Listed | None:
    """The line of `n` in a roll. None: it is not active, or something about it is still to be settled."""
    if n.state is not State.ACTIVE or n.agreement is None:
        return None
    if n.peer_lost or n.peer_wants or n.wanted is not None or under_way(n):
        return None
    return Listed(n.id, n.agreement.revision, n.changes)


def differs(ours: Listed, theirs: Listed, role: Role) -> bool:
    """Whether the two have something to tell each other; `role` is ours.

    The initiator numbers the changes: it has to know of every number that the responder has seen, not the other way.
    """
    initiator, responder = (ours, theirs) if role is Role.INITIATOR else (theirs, ours)
    return ours.agreed != theirs.agreed or initiator.changes < responder.changes
