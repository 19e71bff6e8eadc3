"""Spans of what is done, for whoever wants them: here what the rest of the program knows of that.

Without the standard `OTEL_...` variables nothing is imported and nothing is measured. With them `runtime.otel` makes
the spans (`pip install 'meetme[opentelemetry]'`). All spans of a negotiation are one trace, at both members and in both
configurators, whoever is restarted in between: its id and that of its first span follow from the negotiation's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from meetme.model.errors import Fault, Unsupported

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Kind(StrEnum):
    """What a span is at its end of a call."""

    SERVER = "server"
    """Somebody has called us."""
    CLIENT = "client"
    """We call somebody."""
    INTERNAL = "internal"


class Tracer(Protocol):
    """Makes the spans of one service."""

    def span(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None = None,
        negotiation: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[None]:
        """Around something that is done. `parent` is a `traceparent`; without, the span belongs to `negotiation`.

        Calls made inside carry the span on. What is raised inside marks it as failed.
        """

    def negotiated(self, negotiation: str, *, initiator: bool, begin: float, end: float, state: str) -> None:
        """The first span of a negotiation at this member: all of it, from its start to `state`. Epoch seconds."""

    def close(self) -> None:
        """Send what has not been sent yet. Blocks for some seconds at most."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter != "none" and bool(exporter or any(environ.get(name) for name in _ENDPOINTS))


def open_tracer(service: str, member: str | None, environ: Mapping[str, str]) -> Tracer | None:
    """The tracer that the environment asks for; None: it asks for none. Raises Unsupported `tracing_missing`."""
    if not wanted(environ):
        return None
    try:
        from meetme.runtime.otel import OpenTelemetryTracer
    except ModuleNotFoundError as error:
        raise Unsupported(
            "tracing_missing",
            f"OTEL_TRACES_EXPORTER: needs a package that is not installed ({error.name})",
            hint="pip install 'meetme[opentelemetry]', or unset the OTEL_ variables",
            fault=Fault.LOCAL,
        ) from None
    return OpenTelemetryTracer.of(service, member, environ)
