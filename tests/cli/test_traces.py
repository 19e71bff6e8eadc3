"""One negotiation is one trace through both negotiators and both configurators, as an OTLP receiver gets it."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .serving import running

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra opentelemetry is not installed")


@dataclass(frozen=True)
class Span:
    service: str
    member: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]
    failed: bool


@dataclass
class Receiver:
    port: int = 0
    spans: list[Span] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {a.key: a.value.string_value for a in of.resource.attributes}
            for scope in of.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            about["service.name"],
                            about.get("meetme.member", ""),
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            {a.key: a.value.string_value for a in span.attributes},
                            span.status.code == 2,
                        )
                    )


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()


def test_one_trace_through_four_processes(tmp_path: Path) -> None:
    with receiving() as receiver:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}"}
        with running(tmp_path, **endpoint) as (a, b):
            id = a.member.json("negotiate", "csp-b")["id"]
            for served in (a.negotiator, b.negotiator, a.configurator, b.configurator):
                assert served.stop() == 0, "what was not sent yet is sent at the end"
    digest = hashlib.sha256(id.encode()).hexdigest()
    spans = [span for span in receiver.spans if span.trace == digest[:32]]
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans)
    assert {span.service for span in spans} == {"meetme-negotiator", "meetme-configurator"}
    (root,) = [span for span in spans if not span.parent]
    assert (root.name, root.id, root.member) == ("negotiation", digest[32:48], "csp-a")
    assert root.attributes["meetme.negotiation"] == id
    (responder,) = [span for span in spans if span.name == "negotiation at the responder"]
    assert (responder.parent, responder.member) == (root.id, "csp-b")
    assert {span.parent for span in spans} <= {"", *by_id}, "nothing hangs in the air"
    for name in ("send propose", "send commit", "send confirm"):
        sent = [s for s in spans if s.name == name]
        assert {s.member for s in sent} == {"csp-a"}
        received = [s for s in spans if s.parent in {each.id for each in sent}]
        assert {(s.member, s.name) for s in received} == {("csp-b", "POST /api/v1/handle_negotiation")}
    for member in ("csp-a", "csp-b"):
        applied = {s.id for s in spans if s.name == "program apply" and s.member == member}
        obeyed, *_ = [s for s in spans if s.parent in applied]
        assert obeyed.service == "meetme-configurator"
        assert obeyed.name.endswith("LinkConfigurator/Apply")
        assert obeyed.attributes["meetme.negotiation"] == id
    others = {s.name for s in receiver.spans if s.trace != root.trace}
    assert "POST /api/v1/start_negotiation" in others
    told = [line for line in a.configurator.lines() if line.get("negotiation") == id]
    assert {line["traceparent"].split("-")[1] for line in told if "traceparent" in line} == {root.trace}
