"""What can be done about an order, and what an attempt has done so far: the words of `progress`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from meetme.ixapi.orders import BuiltSegment, Terms
from meetme.ixapi.shown import ShownService
from meetme.model.errors import MeetMeError


class Side(StrEnum):
    """Which end of a segment."""

    A = "a"
    B = "b"


def config_reference(reference: str, side: Side) -> str:
    """The `external_ref` of the config at one end."""
    return f"{reference}/{side.value}"


@dataclass(frozen=True, slots=True)
class CreateService:
    """Order the network service."""


@dataclass(frozen=True, slots=True)
class ReadTerms:
    """Ask what giving it back would cost, before it is used."""

    service: str


@dataclass(frozen=True, slots=True)
class CreateConfigs:
    """Order the ends that are missing."""

    service: ShownService
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Mend:
    """Have a config be as it was ordered."""

    config: str
    side: Side


@dataclass(frozen=True, slots=True)
class Enlarge:
    """Have the service carry what was ordered."""

    service: ShownService


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel services and configs; on the first day that the exchange allows, if not at once."""

    services: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done but look again."""

    why: str
    person: bool = False
    """Whether somebody at the exchange has to act, so that waiting may be for ever."""
    until: date | None = None
    """The day before which nothing will happen."""
    built: bool = False
    """Whether it is over as soon as the service is in production."""


@dataclass(frozen=True, slots=True)
class Done:
    """It is as it should be."""

    built: BuiltSegment | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It cannot be had."""

    error: MeetMeError
    ours: bool = True
    """Whether what is there is ours to cancel."""


Step = CreateService | ReadTerms | CreateConfigs | Mend | Enlarge | Cancel | Wait | Done | GiveUp


@dataclass(frozen=True, slots=True)
class Past:
    """What this attempt has done so far. It is lost in a crash, and nothing but patience with it."""

    created: frozenset[str] = frozenset()
    """Objects that the exchange says it made."""
    uncertain: frozenset[str] = frozenset()
    """References of objects that it may still be making: the answer is missing, and it has not been waited for yet."""
    mended: frozenset[str] = frozenset()
    cancelled: frozenset[str] = frozenset()
    """Objects whose cancellation the exchange has accepted."""
    kept: frozenset[str] = frozenset()
    """Objects that it refused to cancel."""
    settled: bool = False
    """Whether what was done last has had its time to show."""
    terms: Terms | None = None
    refusal: MeetMeError | None = None
    """What it refused for good."""
