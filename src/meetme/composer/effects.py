"""The effects that a circuit owes, and the outcome of a step. Performed by the shell, at least once.

One effect of each `key` is owed at a time: a later one replaces it. Every effect but `Cancel` gives an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.composer.circuit import Circuit, Leg, MemberId
from meetme.composer.events import CompareDue, Deadline, SearchDue, Unanswered
from meetme.composer.messages import MessageType

COMPOSE = "compose"
"""The key of the one search for routes that a circuit may owe."""
Timer = type[Deadline] | type[Unanswered] | type[CompareDue] | type[SearchDue]


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message of this type, and again until it is answered. Its body follows from the state (`bodies`).

    Answers become `HeldReceived`, `ActivatedReceived`, `RefusedReceived`, `ReleasedReceived`, `StateReceived` or, where
    path is 0, `AcceptedReceived`; `committed` is no news.
    """

    type: MessageType
    to: MemberId
    message: UUID
    path: int
    attempt: int
    after: float = 0.0

    @property
    def key(self) -> str:
        """One message of each type to each neighbour for each leg."""
        return f"send:{self.type}:{self.to}:{self.path}@{self.attempt}"


@dataclass(frozen=True, slots=True)
class Compose:
    """Find routes for these paths. The other paths keep the routes they have, and are to be kept apart from.

    What has refused is in the circuit's `searches`. Gives `Composed` or `ComposeFailed`.
    """

    paths: tuple[int, ...]
    after: float = 0.0

    @property
    def key(self) -> str:
        """One search at a time."""
        return COMPOSE


@dataclass(frozen=True, slots=True)
class Build:
    """Have the own exchange build the segment of this leg, and wait until it is in production.

    Idempotent by `reference`. Gives `Built`, or `BuildFailed` where the exchange refuses for good; else tried again.
    """

    path: int
    attempt: int
    reference: str

    @property
    def key(self) -> str:
        """Building and removing replace each other."""
        return f"segment:{self.path}@{self.attempt}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Have the own exchange take it down, and wait until it is gone (or was not there). Tried for ever: `Removed`."""

    path: int
    attempt: int
    reference: str
    after: float = 0.0

    @property
    def key(self) -> str:
        """Building and removing replace each other."""
        return f"segment:{self.path}@{self.attempt}"


@dataclass(frozen=True, slots=True)
class Look:
    """See whether the exchange still has the segment in production. Gives `Seen`."""

    path: int
    attempt: int
    reference: str

    @property
    def key(self) -> str:
        """One look at each segment."""
        return f"look:{self.path}@{self.attempt}"


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliver the event after so many seconds, unless replaced or cancelled. Path 0: it is about the circuit."""

    event: Timer
    after: float
    path: int = 0
    attempt: int = 0

    @property
    def key(self) -> str:
        """One timer of each kind for each leg."""
        return f"timer:{self.event.__name__}:{self.path}@{self.attempt}"


@dataclass(frozen=True, slots=True)
class Cancel:
    """The effect with this key is owed no more."""

    key: str


Effect = Send | Compose | Build | Remove | Look | Wake | Cancel


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made: the new value, and what is owed from now on."""

    circuit: Circuit
    effects: tuple[Effect, ...] = ()


Move = tuple[Circuit, tuple[Effect, ...]]
"""The next value, and what is owed."""
LegMove = tuple[Leg, tuple[Effect, ...]]
"""The same of one leg."""
