"""The events that ask for a change of an active agreement. To be imported from `events`, like all the others."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.model.errors import Problem
from meetme.negotiator.addressing import Own
from meetme.negotiator.negotiation import Wish


@dataclass(frozen=True, slots=True)
class ChangeAsked:
    """A person or a catalogue wants the agreement changed. `own` has the wish in it."""

    at: float
    wish: Wish
    own: Own


@dataclass(frozen=True, slots=True)
class ChangeWanted:
    """The responder's side wants it changed, and asks the initiator to begin."""

    at: float
    message: UUID
    own: Own


@dataclass(frozen=True, slots=True)
class ChangeRefused:
    """The initiator will not begin."""

    at: float
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class ChangeDue:
    """Time to begin what the responder's side has asked for, if nothing else is under way."""

    at: float
    own: Own
