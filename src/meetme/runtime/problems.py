"""The one mapping between our errors and HTTP: status and `application/problem+json` (RFC 9457), both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meetme.model.errors import (
    Conflict,
    DeviceFailed,
    Exhausted,
    Fault,
    Forbidden,
    InvalidInput,
    MeetMeError,
    NotFound,
    Pending,
    Refused,
    Stale,
    TooLarge,
    Unauthenticated,
    Unreachable,
    Unsupported,
)

MEDIA_TYPE = "application/problem+json"
_URN = "urn:meetme:problem:"

TABLE: dict[type[MeetMeError], tuple[int, str]] = {
    InvalidInput: (422, "Invalid input"),
    Unauthenticated: (401, "Not authenticated"),
    Forbidden: (403, "Not allowed"),
    NotFound: (404, "Not found"),
    TooLarge: (413, "Too large"),
    Conflict: (409, "Conflict"),
    Refused: (409, "Refused"),
    Exhausted: (409, "Nothing left"),
    Stale: (409, "Out of date"),
    Unsupported: (501, "Not supported"),
    Unreachable: (503, "Not reachable"),
    Pending: (503, "Not finished"),
    DeviceFailed: (502, "Device failed"),
}
"""Status and title. The title tells errors of one status apart, so that a client raises the class the server raised."""

_STATUS_OF_CODE = {"body_malformed": 400, "body_truncated": 400, "body_late": 408, "method_unknown": 405}
"""Where HTTP has a status that says it more exactly than the class does."""

_CLASSES = {title: cls for cls, (_, title) in TABLE.items()}


def problem_document(error: MeetMeError, *, instance: str | None = None) -> dict[str, Any]:
    """The facts of an error as RFC 9457 has them; `status` among them. `instance`: which request it was."""
    status, title = TABLE[next(cls for cls in type(error).__mro__ if cls in TABLE)]
    document: dict[str, Any] = {
        "type": _URN + error.code,
        "title": title,
        "status": _STATUS_OF_CODE.get(error.code, status),
        "detail": error.text,
        "fault": error.fault.value,
    }
    every = [{"code": p.code, "detail": p.text, "field": p.field, "hint": p.hint} for p in error.problems]
    optional: dict[str, Any] = {"field": error.field, "hint": error.hint, "instance": instance}
    optional |= {"existing": error.existing, "problems": every}
    return document | {key: value for key, value in optional.items() if value}


def internal_error(*, instance: str | None = None) -> dict[str, Any]:
    """What the outside hears of an error that is our own mistake: where to look, and nothing of the inside."""
    document = {
        "type": _URN + "internal_error",
        "title": "Internal error",
        "status": 500,
        "detail": "something unexpected went wrong",
        "hint": "the log of the service has the details under the same instance",
        "fault": Fault.LOCAL.value,
        "instance": instance,
    }
    return {key: value for key, value in document.items() if value}


def error_of_validation(errors: Sequence[Mapping[str, Any]]) -> InvalidInput:
    """The first of pydantic's complaints about a request as an error of ours; the others are counted in the hint."""
    first = errors[0]
    field = _path(first["loc"])
    kind, message = first["type"], str(first["msg"])
    if kind == "json_invalid":
        return InvalidInput(
            "body_malformed",
            f"body: must be JSON ({first.get('ctx', {}).get('error', message)})",
            hint="check that the body is whole and that Content-Type is application/json",
            field="body",
        )
    more = f"; {len(errors) - 1} more like it" if len(errors) > 1 else ""
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return InvalidInput("field_unknown", f"{field}: must not be there", hint=f"look for a typo{more}", field=field)
    if kind in ("missing", "missing_argument"):
        return InvalidInput("field_missing", f"{field}: must be there", hint=f"add it{more}", field=field)
    rule = message.removeprefix("Value error, ")
    seen = repr(first.get("input"))
    seen = seen if len(seen) <= 80 else seen[:77] + "..."
    hint = f"/docs describes every field{more}"
    return InvalidInput("field_invalid", f"{field}: {rule[:1].lower()}{rule[1:]} ({seen})", hint=hint, field=field)


def _path(location: Sequence[str | int]) -> str:
    # ("body", "local_subnets", 0) is written local_subnets[0]; the leading part says where in the request it was.
    parts = location[1:] if len(location) > 1 and location[0] in ("body", "query", "path", "header") else location
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def error_of_problem(status: int, document: object, *, who: str | None) -> MeetMeError:
    """The error that `who` (a peer; None: a service of our own) answered with.

    A document that is none (a proxy's page) leaves what the status says.
    """
    facts = document if isinstance(document, dict) else {}

    def fact(key: str) -> str:
        value = facts.get(key)
        return value[:1000] if isinstance(value, str) else ""

    cls = _CLASSES.get(fact("title")) or next((cls for cls, (its, _) in TABLE.items() if its == status), Unreachable)
    type_ = fact("type")
    code = type_.removeprefix(_URN) if type_.startswith(_URN) else f"peer_answered_{status}"
    detail = fact("detail") or f"must answer with success (status {status})"
    fault = Fault.REMOTE
    if who is None and fact("fault") in set(Fault):
        fault = Fault(fact("fault"))
    return cls(
        code,
        f"{who}: {detail}" if who is not None else detail,
        hint=fact("hint"),
        field=fact("field") or None,
        fault=fault,
        existing=fact("existing") or None,
    )
