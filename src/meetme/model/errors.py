"""Everything that can go wrong, as one tree.

    MeetMeError                 HTTP  gRPC                 exit  meaning
    |- InvalidInput              422  INVALID_ARGUMENT        2  what a person, peer or file said cannot be right
    |- Unauthenticated           401  UNAUTHENTICATED         2  no token or certificate, or not a known one
    |- Forbidden                 403  PERMISSION_DENIED       3  known, but not allowed
    |- NotFound                  404  NOT_FOUND               2  the thing named does not exist
    |- TooLarge                  413  INVALID_ARGUMENT        2  a body above the limit
    |- Conflict                  409  ALREADY_EXISTS          1  it clashes with what is there
    |- Refused                   409  FAILED_PRECONDITION     3  the peer or a policy said no
    |- Exhausted                 409  RESOURCE_EXHAUSTED      1  a pool, table or capacity has nothing left
    |- Stale                     409  ABORTED                 1  an older generation, revision or message
    |- Unsupported               501  UNIMPLEMENTED           1  this device, kernel or configurator cannot do it
    |- Unreachable               503  UNAVAILABLE             4  the other side does not answer
    |  `- Pending                503  UNAVAILABLE             4  it answers, and has not finished yet
    `- DeviceFailed              502  INTERNAL                1  the device refused or died half-way

Each carries a stable `code` (lower_snake_case), the fact (`text`), the offending `field` where there is one, the next
step (`hint`) and whose `fault` it is. Texts read `<path>: <rule> (<what was seen>)`: lower case, names in quotes, no
full stop. The mappings live in `runtime.http`, `runtime.grpc` and `cli.main`, one each: the table above in code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Who has to act: in a federation the first question is whose fault it is."""

    LOCAL = "local"
    """This member: its input, its settings, its policy, its machine."""
    REMOTE = "remote"
    """The other member."""
    DEVICE = "device"
    """The router or switch, or the configurator in front of it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a value: what is stored with a negotiation and crosses the wire (RFC 9457 carries the same facts)."""

    code: str
    text: str
    hint: str = ""
    field: str | None = None
    fault: Fault = Fault.LOCAL


class MeetMeError(Exception):
    """The root. Raise one of the subclasses: the class says how the error maps to HTTP, gRPC and exit status."""

    default_fault = Fault.LOCAL

    def __init__(
        self,
        code: str,
        text: str,
        *,
        hint: str = "",
        field: str | None = None,
        fault: Fault | None = None,
        problems: tuple[Problem, ...] = (),
        existing: str | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint
        self.field = field
        self.fault = fault if fault is not None else self.default_fault
        self.problems = problems
        """Every problem, where several were found at once; the error itself is the first of them."""
        self.existing = existing
        """What is there already, where it clashes with one thing: its id, or the number that was seen."""

    @property
    def problem(self) -> Problem:
        """The same facts as a frozen value."""
        return Problem(self.code, self.text, self.hint, self.field, self.fault)

    def __str__(self) -> str:
        return self.text


class InvalidInput(MeetMeError):
    """What was said cannot be right."""


class Unauthenticated(MeetMeError):
    """No token or certificate, or one that nobody knows."""


class Forbidden(MeetMeError):
    """Known, but not allowed."""


class NotFound(MeetMeError):
    """The thing named does not exist."""


class TooLarge(MeetMeError):
    """A body above the limit."""


class Conflict(MeetMeError):
    """It clashes with what is there already."""


class Refused(MeetMeError):
    """The peer, or a policy, said no."""


class Exhausted(MeetMeError):
    """A pool, a table or a capacity has nothing left."""


class Stale(MeetMeError):
    """An older generation, revision or message than the one already known."""


class Unsupported(MeetMeError):
    """This device, kernel or configurator cannot do it."""

    default_fault = Fault.DEVICE


class Unreachable(MeetMeError):
    """The other side does not answer."""

    default_fault = Fault.REMOTE


class Pending(Unreachable):
    """The other side answers, and has not finished what it was asked for: ask again later."""


class DeviceFailed(MeetMeError):
    """The device refused, or died half-way."""

    default_fault = Fault.DEVICE


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise InvalidInput for the first of `problems`, carrying all of them. Does nothing where there is none."""
    found = tuple(problems)
    if found:
        first = found[0]
        raise InvalidInput(
            first.code, first.text, hint=first.hint, field=first.field, fault=first.fault, problems=found
        )
