"""The effects that an order owes, and the outcome of a step. Performed by the shell, at least once.

What is made has a name that the order gives it, so that making it twice makes it once, and so that it can be found and
taken back by whoever does not know whether it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.catalog.events import CompareDue, Deadline, PatienceOver
from meetme.catalog.messages import MessageType
from meetme.catalog.order import Order
from meetme.catalog.words import What


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message of this type to the other side, and again until it is answered."""

    type: MessageType
    message: UUID
    after: float = 0.0
    once: bool = False
    """It is a courtesy: whoever does not hear it asks some day."""

    @property
    def key(self) -> str:
        """`terminate` is owed beside whatever else is said."""
        return f"send:{self.type}" if self.type in (MessageType.TERMINATE, MessageType.QUERY) else "send"


@dataclass(frozen=True, slots=True)
class Make:
    """Have it made. The result says how it stands."""

    what: What

    @property
    def key(self) -> str:
        """One order about each thing: taking it back replaces making it."""
        return self.what


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait until it stands otherwise than it did when this was owed, and say so."""

    what: What

    @property
    def key(self) -> str:
        """In the place of having it made."""
        return self.what


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Find it by the name that the order gave it, take it back, and say when it is gone."""

    what: What
    after: float = 0.0

    @property
    def key(self) -> str:
        """In the place of having it made."""
        return self.what


@dataclass(frozen=True, slots=True)
class Verify:
    """See whether packets reach the service itself."""

    key: str = "verify"


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliver the event after so many seconds, unless replaced or cancelled by its key."""

    event: type[Deadline] | type[PatienceOver] | type[CompareDue]
    after: float

    @property
    def key(self) -> str:
        """One timer of each kind."""
        return f"timer:{self.event.__name__}"


@dataclass(frozen=True, slots=True)
class Cancel:
    """The effect with this key is owed no more."""

    key: str


Effect = Send | Make | Watch | TakeBack | Verify | Wake | Cancel


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made: the new value, and what is owed from now on."""

    order: Order
    effects: tuple[Effect, ...] = ()
