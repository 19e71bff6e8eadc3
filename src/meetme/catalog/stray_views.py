"""What orders have made that no order knows any more, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.model.agreement import MemberId


@dataclass(frozen=True, slots=True)
class Made:
    """Everything that this member has of one circuit, and that was made for an order; or for nobody, as far as is
    known.
    """

    circuit: str
    order: UUID | None = None
    """None: it is known of no order; an attachment may be registered for a circuit that is gone."""
    partner: MemberId | None = None
    exchange: MemberId | None = None
    """Where this member has ordered the circuit. None: it has not, or the circuit is gone."""
    standing: str = ""
    """How the circuit stands there."""
    negotiation: str | None = None
    agreed: str = ""
    """How the negotiation stands."""
    attached: bool = False
    """The own negotiator knows where the circuit lands."""


@dataclass(frozen=True, slots=True)
class Stray:
    """The same, where no order that is under way or active has it."""

    made: Made
    state: str
    """`unknown`: there is no record of the order; else the state in which it has ended."""

    def __str__(self) -> str:
        """What there is, in words."""
        made = self.made
        there = [f"circuit {made.standing} at {made.exchange}"] if made.exchange is not None else []
        if made.negotiation is not None:
            there.append(f"negotiation {made.agreed}")
        if made.attached:
            there.append("attachment")
        return ", ".join(there)


@dataclass(frozen=True, slots=True)
class StrayRemoval:
    """What became of the order to take one back."""

    circuit: str
    gone: bool
    """False: it is under way."""
