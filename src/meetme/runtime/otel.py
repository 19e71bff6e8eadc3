"""The tracer of OpenTelemetry. Imported only where somebody asks for traces; needs the extra `opentelemetry`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from structlog.contextvars import bound_contextvars

from meetme import __version__
from meetme.model.errors import InvalidInput, MeetMeError
from meetme.runtime.correlation import TRACEPARENT
from meetme.runtime.tracing import Kind

KINDS = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
FLUSH_MILLISECONDS = 3000


class _Ids(RandomIdGenerator):
    """Random, but for the one span whose ids are known beforehand."""

    def __init__(self) -> None:
        self.next = threading.local()

    def generate_span_id(self) -> int:
        given: int | None = self.next.__dict__.pop("span", None)
        return super().generate_span_id() if given is None else given

    def generate_trace_id(self) -> int:
        given: int | None = self.next.__dict__.pop("trace", None)
        return super().generate_trace_id() if given is None else given


class OpenTelemetryTracer:
    """Spans of one service, sent by `exporter` from a thread of its own."""

    def __init__(self, service: str, member: str | None, exporter: SpanExporter) -> None:
        attributes = {"service.version": __version__} | ({"meetme.member": member} if member else {})
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what we say ourselves.
        resource = Resource({"service.name": f"meetme-{service}", **attributes}).merge(Resource.create())
        if resource.attributes.get("service.name", "").startswith("unknown_service"):  # type: ignore[union-attr]
            resource = resource.merge(Resource({"service.name": f"meetme-{service}"}))
        self._ids = _Ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("meetme", __version__)
        self._sampler: Sampler = self._provider.sampler

    @classmethod
    def of(cls, service: str, member: str | None, environ: Mapping[str, str]) -> OpenTelemetryTracer:
        """With the exporter that the standard variables name. Raises InvalidInput `tracing_unknown`."""
        return cls(service, member, _exporter(environ))

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None = None,
        negotiation: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """Around something that is done."""
        above = _read(parent) if parent else self._first(negotiation) if negotiation else None
        about = {**(attributes or {}), **({"meetme.negotiation": negotiation} if negotiation else {})}
        span = self._tracer.start_span(name, _below(above), KINDS[kind], about, record_exception=False)
        try:
            with bound_contextvars(**{TRACEPARENT: _written(span.get_span_context())}):
                yield
        except Exception as error:
            # The code alone: texts may say what only this member may know.
            said = error.code if isinstance(error, MeetMeError) else type(error).__name__
            span.set_attribute("error.type", said)
            span.set_status(Status(StatusCode.ERROR, said))
            raise
        finally:
            span.end()

    def negotiated(self, negotiation: str, *, initiator: bool, begin: float, end: float, state: str) -> None:
        """The first span of a negotiation at this member."""
        first = self._first(negotiation)
        if initiator:
            self._ids.next.trace = first.trace_id
            self._ids.next.span = first.span_id
        about = {"meetme.negotiation": negotiation, "meetme.state": state}
        name = "negotiation" if initiator else "negotiation at the responder"
        span = self._tracer.start_span(
            name, _below(None if initiator else first), attributes=about, start_time=int(begin * 1e9)
        )
        span.end(int(end * 1e9))

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def _first(self, negotiation: str) -> SpanContext:
        digest = hashlib.sha256(negotiation.encode()).digest()
        trace_id = int.from_bytes(digest[:16], "big")
        sampled = self._sampler.should_sample(None, trace_id, "negotiation").decision.is_sampled()  # type: ignore[no-untyped-call]
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        return SpanContext(trace_id, int.from_bytes(digest[16:24], "big"), is_remote=True, trace_flags=flags)


def _below(above: SpanContext | None) -> Context:
    # Always a context of its own: what else is open in this task has nothing to do with it.
    return trace.set_span_in_context(NonRecordingSpan(above), Context()) if above is not None else Context()


def _read(parent: str) -> SpanContext:
    _, trace_id, span_id, flags = parent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _written(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _exporter(environ: Mapping[str, str]) -> SpanExporter:
    named = environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() or "otlp"
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if named == "console":
        return ConsoleSpanExporter()
    if named == "otlp" and protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

        return OverGrpc()
    if named == "otlp" and protocol in (None, "http/protobuf"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

        return OverHttp()
    raise InvalidInput(
        "tracing_unknown",
        f'OTEL_TRACES_EXPORTER: must be otlp (http/protobuf or grpc), console or none ("{named}", "{protocol}")',
        hint="OTEL_EXPORTER_OTLP_PROTOCOL says how otlp is sent",
        field="OTEL_TRACES_EXPORTER",
    )
