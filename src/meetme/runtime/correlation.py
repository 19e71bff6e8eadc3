"""One id through every log: what log lines are bound to, and how that crosses from one process to the next.

A negotiation's id goes with every order that a negotiator gives (gRPC metadata `meetme-negotiation`), a request's with
its answer (`X-Request-Id`), and the trace's with both (`traceparent`, https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from structlog.contextvars import bound_contextvars, get_contextvars

REQUEST = "request"
"""The key under which a log line names the request that it belongs to."""
NEGOTIATION = "negotiation"
"""The key under which a log line names the negotiation that it belongs to."""
TRACEPARENT = "traceparent"
"""The key, header and metadata that name the span which something belongs to."""
NEGOTIATION_METADATA = "meetme-negotiation"
REQUEST_HEADER = "x-request-id"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@contextmanager
def correlated(id: str | None = None, **more: str) -> Iterator[str]:
    """Let every log line inside carry one id (`id`, or a new one) and whatever else identifies the work."""
    id = id or uuid4().hex
    with bound_contextvars(**{REQUEST: id}, **more):
        yield id


@contextmanager
def about(negotiation: object, **more: str) -> Iterator[None]:
    """Let every log line inside, and every order given inside, carry the id of a negotiation."""
    with bound_contextvars(**{NEGOTIATION: str(negotiation)}, **more):
        yield


def correlation() -> str | None:
    """The id of the request that is being handled right now, if one is."""
    return _bound(REQUEST)


def negotiation() -> str | None:
    """The negotiation that something is done for right now, if it is for one."""
    return _bound(NEGOTIATION)


def traceparent() -> str | None:
    """The span that is open right now, as the header says it; None where nothing is traced."""
    return _bound(TRACEPARENT)


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str | None]:
    """What a request is called, by its `X-Request-Id` or its trace, else anew; and its `traceparent`, if it has one.

    What is no id is not repeated: a log must not say what a stranger wrote into it.
    """
    given = {name: value.decode("latin-1") for name, value in headers if name in _HEADERS}
    parent = _TRACEPARENT.fullmatch(given.get(b"traceparent", ""))
    asked = given.get(b"x-request-id", "")
    id = asked if _ID.fullmatch(asked) else parent.group(1) if parent else uuid4().hex
    return id, parent.group(0) if parent else None


_HEADERS = (b"x-request-id", b"traceparent")


def outgoing() -> tuple[tuple[str, str], ...]:
    """The metadata that tells the other end of a call what it is for."""
    found = ((NEGOTIATION_METADATA, _bound(NEGOTIATION)), (TRACEPARENT, traceparent()))
    return tuple((key, value) for key, value in found if value is not None)


@contextmanager
def incoming(metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[None]:
    """Let every log line inside carry what the caller said that its call is for."""
    bound: dict[str, str] = {}
    for key, value in metadata:
        if key == NEGOTIATION_METADATA and isinstance(value, str) and _ID.fullmatch(value):
            bound[NEGOTIATION] = value
        elif key == TRACEPARENT and isinstance(value, str) and _TRACEPARENT.fullmatch(value):
            bound[TRACEPARENT] = value
    with bound_contextvars(**bound):
        yield


def _bound(key: str) -> str | None:
    value = get_contextvars().get(key)
    return value if isinstance(value, str) else None
