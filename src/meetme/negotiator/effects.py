"""The effects that a negotiation owes, and the outcome of a step. Performed by the shell, at least once."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from meetme.negotiator.events import ChangeDue, CompareDue, Deadline, QuarantineOver
from meetme.negotiator.messages import MessageType
from meetme.negotiator.negotiation import Negotiation


class Verb(StrEnum):
    """What the device is told."""

    APPLY = "apply"
    CONFIRM = "confirm"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message of this type to the peer, and again until it is answered. Its body follows from the state."""

    type: MessageType
    message: UUID
    key: str = "send"
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Program:
    """Tell the device. A later one replaces it: `generation` makes the device refuse the earlier one."""

    verb: Verb
    generation: int
    confirm_seconds: float | None = None
    after: float = 0.0
    key: str = field(default="device", init=False)


@dataclass(frozen=True, slots=True)
class Probe:
    """See whether packets cross, for at most `within` seconds."""

    within: float
    key: str = field(default="probe", init=False)


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliver the event after so many seconds, unless replaced or cancelled by its key."""

    event: type[Deadline] | type[CompareDue] | type[ChangeDue] | type[QuarantineOver]
    after: float

    @property
    def key(self) -> str:
        """One timer of each kind."""
        return f"timer:{self.event.__name__}"


@dataclass(frozen=True, slots=True)
class Cancel:
    """The effect with this key is owed no more."""

    key: str


@dataclass(frozen=True, slots=True)
class ForChange:
    """An effect of the change that is under way, with a key of its own beside the negotiation's."""

    effect: Send | Program | Probe | Wake | Cancel

    @property
    def key(self) -> str:
        """The key of the effect, as one of a change."""
        return f"{CHANGE_KEY}{self.effect.key}"


CHANGE_KEY = "change:"
Effect = Send | Program | Probe | Wake | Cancel | ForChange


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made: the new value, and what is owed from now on."""

    negotiation: Negotiation
    effects: tuple[Effect, ...] = ()
