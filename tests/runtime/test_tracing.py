"""Traces are made where the standard variables ask for them, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import pytest

from meetme.model.errors import InvalidInput, Unsupported
from meetme.runtime.correlation import outgoing, traceparent
from meetme.runtime.tracing import Kind, open_tracer, wanted

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, False),
        ({ENDPOINT: "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({ENDPOINT: "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://x", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_who_is_asked(environ: dict[str, str], asked: bool) -> None:
    assert wanted(environ) is asked
    if not asked:
        assert open_tracer("negotiator", "csp-a", environ) is None


def test_whoever_asks_for_none_imports_nothing() -> None:
    code = (
        "import sys, meetme.cli.serve, meetme.negotiator.service, meetme.configurator.service\n"
        "from meetme.runtime.tracing import open_tracer\n"
        "assert open_tracer('negotiator', None, {}) is None\n"
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter', 'meetme.runtime.otel')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "meetme.runtime.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(Unsupported, match="not installed") as caught:
        open_tracer("negotiator", "csp-a", {ENDPOINT: "http://x"})
    assert "meetme[opentelemetry]" in caught.value.hint


class TestWithTheExtra:
    @pytest.fixture
    def tracer(self):
        pytest.importorskip("opentelemetry.sdk", reason="the extra opentelemetry is not installed")
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from meetme.runtime.otel import OpenTelemetryTracer

        exporter = InMemorySpanExporter()
        tracer = OpenTelemetryTracer("negotiator", "csp-a", exporter)
        yield tracer, exporter
        tracer.close()

    def test_an_error_marks_its_span_and_tells_no_text(self, tracer) -> None:
        tracer, exporter = tracer

        def fail() -> None:
            with tracer.span("program apply", Kind.CLIENT, negotiation=str(uuid4())):
                assert traceparent() is not None
                assert ("traceparent", traceparent()) in outgoing()
                raise InvalidInput("device_refused", "router: 10.1.2.3 says no")

        with pytest.raises(InvalidInput):
            fail()
        assert traceparent() is None
        tracer._provider.force_flush()
        (span,) = exporter.get_finished_spans()
        assert span.attributes["error.type"] == "device_refused"
        assert span.status.description == "device_refused"
        assert "10.1.2.3" not in span.to_json()

    def test_what_is_restarted_goes_on_with_the_same_trace(self, tracer) -> None:
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from meetme.runtime.otel import OpenTelemetryTracer

        first, _ = tracer
        second = OpenTelemetryTracer("negotiator", "csp-b", InMemorySpanExporter())
        id = str(uuid4())
        seen = set()
        for each in (first, second):
            with each.span("probe", Kind.CLIENT, negotiation=id):
                seen.add((traceparent() or "").split("-")[1])
            with each.span("probe", Kind.CLIENT, negotiation=str(uuid4())):
                assert (traceparent() or "").split("-")[1] not in seen
        assert len(seen) == 1
        second.close()

    def test_an_exporter_that_nobody_knows(self) -> None:
        with pytest.raises(InvalidInput, match="must be otlp"):
            open_tracer("negotiator", None, {"OTEL_TRACES_EXPORTER": "jaeger"})

    def test_a_sampler_that_takes_none_takes_none_of_a_negotiation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("opentelemetry.sdk", reason="the extra opentelemetry is not installed")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from meetme.runtime.otel import OpenTelemetryTracer

        exporter = InMemorySpanExporter()
        tracer = OpenTelemetryTracer("negotiator", "csp-a", exporter)
        with tracer.span("probe", Kind.CLIENT, negotiation=str(uuid4())):
            assert (traceparent() or "").endswith("-00")
        tracer.negotiated(str(uuid4()), initiator=True, begin=1.0, end=2.0, state="active")
        tracer.close()
        assert exporter.get_finished_spans() == ()
