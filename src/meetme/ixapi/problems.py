"""Errors as IX-API says them: problem documents (RFC 9457) whose types are those of IX-API v2. Pure.

What our own documents say (code, hint, fault) stands beside. An order that cannot be right, or that finds no room, is
a `validation-error` with the fields at fault in `properties`; a deletion that is refused is `unable-to-fulfill`.
"""

from __future__ import annotations

from typing import Any

from meetme.ixapi.answers import cancellation
from meetme.ixapi.auth import EXPIRED
from meetme.ixapi.endings import TooEarly
from meetme.model.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    InvalidInput,
    MeetMeError,
    NotFound,
    Problem,
    Refused,
    Stale,
    Unauthenticated,
)

_TYPES = "https://errors.ix-api.net/v2/{}.html"
_TITLES = {
    "validation-error": "Some fields are not valid.",
    "unable-to-fulfill": "This cannot be done as things stand.",
    "cancellation-policy-error": "The notice period does not allow this day.",
    "authentication-error": "The credentials are not known.",
    "signature-expired": "The token has run out.",
    "permission-denied": "This account may not do this.",
    "not-found": "There is no such thing.",
}


def document(error: MeetMeError, method: str, own: dict[str, Any]) -> dict[str, Any]:
    """`error` in answer to a request; `own`: the document that any service of ours would answer with."""
    name, status = kind(error, method)
    if name is None:
        return own
    found: dict[str, Any] = {
        **own,
        "type": _TYPES.format(name),
        "title": _TITLES[name],
        "status": status,
        "detail": error.text,
        "code": error.code,
    }
    if name in ("validation-error", "unable-to-fulfill"):
        found["properties"] = [
            {"name": each.field, "reason": _reason(each)} for each in error.problems or (error.problem,) if each.field
        ]
    if isinstance(error, TooEarly):
        found |= cancellation(error.possible)
    return found


def kind(error: MeetMeError, method: str) -> tuple[str | None, int]:
    """The type and status of an error; None: it is none that IX-API knows."""
    match error:
        case Unauthenticated():
            return ("signature-expired" if error.code == EXPIRED else "authentication-error"), 401
        case Forbidden():
            return "permission-denied", 403
        case NotFound():
            return "not-found", 404
        case TooEarly():
            return "cancellation-policy-error", 400
        case InvalidInput() | Conflict() | Refused() | Exhausted() | Stale():
            if error.code == "method_unknown":
                return None, 0
            return ("unable-to-fulfill" if method == "DELETE" else "validation-error"), 400
    return None, 0


def _reason(problem: Problem) -> str:
    """What is wrong with a field, without its name."""
    return problem.text.removeprefix(f"{problem.field}: ")
