"""An exchange's problem documents (RFC 7807 with the types of IX-API 2.x) as errors of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meetme.model.errors import (
    Conflict,
    Exhausted,
    Fault,
    Forbidden,
    MeetMeError,
    NotFound,
    Refused,
    TooLarge,
    Unauthenticated,
    Unreachable,
    Unsupported,
)

TOO_EARLY = "exchange_cancels_later"
"""The code of a cancellation that is possible only from a later day, which is `existing` (ISO 8601)."""
LONGEST = 300


def error_of(status: int, document: object, *, what: str) -> MeetMeError:
    """The error that an exchange answered `what` ("POST /network-services") with.

    Unreachable where trying again may help (and where it is not known what became of the request), else for good. A
    document that is none leaves what the status says.
    """
    facts = document if isinstance(document, Mapping) else {}
    kind = _kind(facts)
    # With two of the types the fault is plain, whatever the status is.
    if status >= 500 and kind not in ("validation-error", "unable-to-fulfill"):
        if status in (501,):
            return Unsupported(
                "exchange_unsupported", f"{what}: must be offered by the exchange (status 501)", fault=Fault.REMOTE
            )
        return Unreachable(
            "exchange_failing",
            f"{what}: must be answered ({_says(facts, status)})",
            hint="the exchange has a fault; it is asked again",
        )
    if kind == "cancellation-policy-error":
        day = _text(facts, "decommission_at")
        return Refused(
            TOO_EARLY,
            f"{what}: is possible only later ({day or _says(facts, status)})",
            hint="its notice period has to pass",
            field="decommission_at",
            fault=Fault.REMOTE,
            existing=day,
        )
    match status:
        case 401:
            return Unauthenticated(
                "exchange_refuses_credentials",
                f"{what}: the exchange must know our credentials ({_says(facts, status)})",
                hint="correct the API key and secret of the exchange",
                field="api_key",
            )
        case 403:
            return Forbidden(
                "exchange_forbids",
                f"{what}: must be allowed to this account ({_says(facts, status)})",
                hint="ask the exchange for the right to do it",
                fault=Fault.REMOTE,
            )
        case 404:
            return NotFound(
                "exchange_object_unknown", f"{what}: must be there ({_says(facts, status)})", fault=Fault.REMOTE
            )
        case 405 | 415:
            return Unsupported(
                "exchange_unsupported", f"{what}: must be offered by the exchange (status {status})", fault=Fault.REMOTE
            )
        case 408 | 425 | 429:
            return Unreachable(
                "exchange_busy", f"{what}: must be answered ({_says(facts, status)})", hint="it is asked again"
            )
        case 413:
            return TooLarge("exchange_refuses_size", f"{what}: is too large for the exchange", fault=Fault.REMOTE)
    return _refusal(status, facts, what, kind)


def _refusal(status: int, facts: Mapping[str, object], what: str, kind: str) -> MeetMeError:
    complaints = tuple(_complaints(facts))
    text = "; ".join(f"{name}: {reason}" if name else reason for name, reason in complaints[:3])
    text = text[:LONGEST] or _says(facts, status)
    field = next((name for name, _ in complaints if name), None)
    said = f"{field or ''} {text}".lower()
    hint = "another path may do"
    if "vlan" in said:
        return Conflict("exchange_vlan_taken", f"{what}: refused ({text})", hint=hint, field="vlan", fault=Fault.REMOTE)
    if "capacity" in said or "bandwidth" in said:
        return Exhausted(
            "exchange_capacity", f"{what}: refused ({text})", hint=hint, field="bandwidth", fault=Fault.REMOTE
        )
    if kind == "validation-error":
        return Refused("exchange_finds_invalid", f"{what}: refused ({text})", field=field, fault=Fault.REMOTE)
    if status == 409:
        return Conflict("exchange_conflict", f"{what}: refused ({text})", field=field, fault=Fault.REMOTE)
    return Refused("exchange_refuses", f"{what}: refused ({text})", hint=hint, field=field, fault=Fault.REMOTE)


def _complaints(facts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """(field, reason) of a validation error. A reason may be a text, or hold further ones."""
    found = facts.get("properties")
    for each in found if isinstance(found, list) else ():
        if isinstance(each, Mapping):
            yield from _reasons(_text(each, "name") or "", each.get("reason"), 0)


def _reasons(name: str, reason: object, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(reason, str):
        yield name, reason[:LONGEST]
    elif depth < 4 and isinstance(reason, list):
        for each in reason:
            yield from _reasons(name, each, depth + 1)
    elif depth < 4 and isinstance(reason, Mapping):
        inner = _text(reason, "name")
        if inner is not None and "reason" in reason:
            yield from _reasons(f"{name}.{inner}".removeprefix("."), reason["reason"], depth + 1)
        else:
            for key, each in reason.items():
                yield from _reasons(f"{name}.{key}".removeprefix("."), each, depth + 1)


def _kind(facts: Mapping[str, object]) -> str:
    """`https://errors.ix-api.net/v2/validation-error.html` is a `validation-error`."""
    return (_text(facts, "type") or "").rpartition("/")[2].removesuffix(".html")


def _says(facts: Mapping[str, object], status: int) -> str:
    return (_text(facts, "detail") or _text(facts, "title") or f"status {status}")[:LONGEST]


def _text(facts: Mapping[str, object], key: str) -> str | None:
    value = facts.get(key)
    return value if isinstance(value, str) and value else None
