"""HTTP apps: problem documents, limits, tokens, health."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from pydantic import ConfigDict, TypeAdapter
from structlog.testing import capture_logs

from meetme.model.errors import Conflict, Exhausted, Fault, Refused, Unreachable
from meetme.runtime.http import Access, build_app, build_metrics_app, build_peer_app
from meetme.runtime.identity import create_identity
from meetme.runtime.listener import listening, open_listener
from meetme.runtime.telemetry import Registry
from meetme.runtime.tls import Trust
from meetme.runtime.tokens import Scope, Tokens

from .webs import Roster, raw

BEARER = {"authorization": "Bearer reads-all-changes-all"}
READER = {"authorization": "Bearer only-reads"}


@dataclass(frozen=True)
class Start:
    __pydantic_config__ = ConfigDict(extra="forbid")
    peer: str
    local_subnets: tuple[int, ...] = ()


class Service:
    def __init__(self, **options) -> None:
        self.started: list[Start] = []
        self.registry = Registry()
        access = Access(Tokens.of({"reads-all-changes-all": Scope.WRITE, "only-reads": Scope.READ}))
        self.app = build_app(title="A <service>", version="1.2", registry=self.registry, **options)

        @self.app.post("/start", status_code=202, dependencies=[access.write])
        async def start(body: Start) -> dict[str, str]:
            self.started.append(body)
            return {"peer": body.peer}

        @self.app.get("/things/{id}", dependencies=[access.read])
        async def thing(id: int) -> dict[str, int]:
            return {"id": id}

        @self.app.get("/refused")
        async def refused() -> None:
            raise Refused("policy_denied", "peer: must be welcome ('b')", hint="ask", field="peer", fault=Fault.REMOTE)

        @self.app.get("/crash")
        async def crash() -> None:
            raise ZeroDivisionError("secret inside")

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://local")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def address(service: Service):
    listener = await open_listener(service.app, "127.0.0.1:0")
    async with listening(listener):
        yield listener.address


async def test_an_error_is_a_problem_document(service: Service) -> None:
    async with service.client() as client:
        answer = await client.get("/refused")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.pop("instance").startswith("urn:meetme:request:")
    assert document == {
        "type": "urn:meetme:problem:policy_denied",
        "title": "Refused",
        "status": 409,
        "detail": "peer: must be welcome ('b')",
        "field": "peer",
        "hint": "ask",
        "fault": "remote",
    }


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ('{"peer":"b","subnets":[]}', 422, "field_unknown", "subnets"),
        ("{}", 422, "field_missing", "peer"),
        ("[]", 422, "field_invalid", "body"),
        ('{"peer":1}', 422, "field_invalid", "peer"),
        ('{"peer":"b","local_subnets":[1,"x"]}', 422, "field_invalid", "local_subnets[1]"),
        ('{"peer":', 400, "body_malformed", "body"),
        ("garbage", 400, "body_malformed", "body"),
        ("", 422, "field_missing", "body"),
    ],
)
async def test_a_bad_request_is_one_problem_that_names_the_field(
    service: Service, body: str, status: int, code: str, field: str
) -> None:
    async with service.client() as client:
        answer = await client.post("/start", content=body, headers={**BEARER, "content-type": "application/json"})
    document = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:meetme:problem:{code}")
    assert document["field"] == field
    assert document["hint"]
    assert service.started == []


async def test_a_huge_bad_value_is_not_echoed_whole(service: Service) -> None:
    async with service.client() as client:
        answer = await client.post("/start", json={"peer": ["x" * 10_000]}, headers=BEARER)
    assert len(answer.content) < 1000


async def test_no_route_and_no_method_are_problems_too(service: Service) -> None:
    async with service.client() as client:
        missing, method = await client.get("/nowhere"), await client.delete("/start")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:meetme:problem:route_unknown")
    assert (method.status_code, method.json()["type"]) == (405, "urn:meetme:problem:method_unknown")
    assert method.headers["allow"] == "POST"


async def test_an_unexpected_error_is_logged_and_never_told(service: Service) -> None:
    with capture_logs() as logs:
        async with service.client() as client:
            answer = await client.get("/crash")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:meetme:problem:internal_error")
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert "Traceback" not in answer.text
    logged = next(line for line in logs if line["event"] == "a request failed unexpectedly")
    assert (logged["exc_info"], logged["path"]) == (True, "/crash")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "token_missing"),
        ({"authorization": "Bearer nobody-knows"}, 401, "token_unknown"),
        ({"authorization": "Basic eDp5"}, 401, "token_missing"),
        ({"authorization": "Bearer "}, 401, "token_missing"),
        (READER, 403, "token_scope"),
    ],
)
async def test_who_has_no_token_changes_nothing(service: Service, headers: dict, status: int, code: str) -> None:
    async with service.client() as client:
        answer = await client.post("/start", json={"peer": "b"}, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:meetme:problem:{code}")
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert service.started == []


async def test_a_stranger_learns_nothing_from_validation(service: Service) -> None:
    async with service.client() as client:
        answer = await client.get("/things/not-a-number")
    assert answer.status_code == 401


async def test_a_token_is_good_for_its_scope(service: Service) -> None:
    async with service.client() as client:
        assert (await client.get("/things/7", headers=READER)).json() == {"id": 7}
        assert (await client.get("/things/7", headers=BEARER)).json() == {"id": 7}
        assert (await client.post("/start", json={"peer": "b"}, headers=BEARER)).status_code == 202
    assert service.started == [Start("b")]


async def test_health_and_readiness_are_two_things() -> None:
    async def broken() -> None:
        raise Unreachable("configurator_unreachable", "configurator 'r1': must be reachable")

    async def bug() -> None:
        raise RuntimeError("secret")

    async def works() -> None:
        pass

    service = Service(ready={"database": works, "configurator": broken, "loop": bug})
    async with service.client() as client:
        assert (await client.get("/healthz")).json() == {"ok": True}
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {
        "ready": False,
        "checks": {"database": "ok", "configurator": "configurator 'r1': must be reachable", "loop": "RuntimeError"},
    }
    async with Service(ready={"database": works}).client() as client:
        assert (await client.get("/readyz")).json() == {"ready": True, "checks": {"database": "ok"}}


async def test_metrics_count_requests_by_route_and_not_by_path(service: Service) -> None:
    async with service.client() as client:
        for path in ("/things/1", "/things/2", "/nowhere/3"):
            await client.get(path, headers=READER)
        text = (await client.get("/metrics")).text
    assert 'meetme_http_request_seconds_count{method="GET",route="/things/{id}",status="200"} 2.0' in text
    assert 'route="none",status="404"' in text
    assert "nowhere" not in text
    peer_app = build_peer_app(
        title="peers", version="1", trust=Trust(create_identity("a"), Roster), registry=service.registry
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(peer_app), base_url="http://local") as client:
        await client.post("/nothing")
    metrics_app = build_metrics_app(service.registry)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(metrics_app), base_url="http://local") as client:
        text = (await client.get("/metrics")).text
        assert 'meetme_http_request_seconds_count{method="GET",route="/things/{id}",status="200"} 2.0' in text
        assert 'meetme_http_request_seconds_count{method="POST",route="none",status="404"} 1.0' in text
        assert (await client.get("/docs")).status_code == 404


async def test_the_documentation_asks_no_other_host_for_anything(service: Service) -> None:
    async with service.client() as client:
        page, api = await client.get("/docs"), (await client.get("/openapi.json")).json()
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in page.text.replace("http-equiv", "")
    assert "<title>A &lt;service&gt;</title>" in page.text
    assert api["info"] == {"title": "A <service>", "version": "1.2"}
    problem = api["paths"]["/start"]["post"]["responses"]["default"]["content"]["application/problem+json"]["schema"]
    assert set(problem["required"]) == {"type", "title", "status", "detail", "fault"}


async def test_every_request_has_one_name_in_the_log(service: Service) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with service.client() as client:
            instance = (await client.get("/crash")).json()["instance"]
    assert {f"urn:meetme:request:{line['request']}" for line in logs} == {instance}
    assert "request" not in structlog.contextvars.get_contextvars()


async def test_a_peer_app_shows_strangers_nothing() -> None:
    identity = create_identity("isp-a")
    app = build_peer_app(title="peers", version="1", trust=Trust(identity, Roster))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://local") as client:
        for path in ("/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/redoc"):
            assert (await client.get(path)).status_code == 404


# Bodies, over a real socket.


def request(body: bytes, *more: str) -> bytes:
    head = ["POST /start HTTP/1.1", "Host: x", "Authorization: Bearer reads-all-changes-all", *more]
    return "\r\n".join([*head, "Content-Type: application/json", "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


BIG = json.dumps({"peer": "x" * 70_000}).encode()


@pytest.mark.parametrize(
    "sent",
    [
        request(BIG, f"Content-Length: {len(BIG)}"),
        request(chunked(BIG[:30_000], BIG[30_000:60_000], BIG[60_000:], b""), "Transfer-Encoding: chunked"),
        request(chunked(*[b"x" * 60_000] * 30), "Transfer-Encoding: chunked"),
    ],
    ids=["length", "chunks", "endless"],
)
async def test_a_body_over_64_kib_is_refused(service: Service, address: str, sent: bytes) -> None:
    answer = await raw(address, sent)
    assert (answer.status, answer.json["type"]) == (413, "urn:meetme:problem:body_too_large")
    assert answer.headers["content-type"] == "application/problem+json"
    assert service.started == []


async def test_a_body_of_just_64_kib_is_taken(service: Service, address: str) -> None:
    body = json.dumps({"peer": ""}).encode()
    body = body.replace(b'""', b'"' + b"x" * (64 * 1024 - len(body)) + b'"')
    assert len(body) == 64 * 1024
    assert (await raw(address, request(body, f"Content-Length: {len(body)}"))).status == 202
    assert len(service.started) == 1


@pytest.mark.parametrize(
    "sent",
    [
        request(b'{"peer":"b"}', "Content-Length: 100"),
        request(chunked(b'{"peer":"b"}'), "Transfer-Encoding: chunked"),
    ],
    ids=["length", "chunks"],
)
async def test_a_body_that_is_cut_off_is_refused_even_if_what_came_makes_sense(
    service: Service, address: str, sent: bytes
) -> None:
    answer = await raw(address, sent, end=True)
    assert (answer.status, answer.json["type"]) == (400, "urn:meetme:problem:body_truncated")
    assert service.started == []


async def test_a_body_that_never_comes_is_not_waited_for(
    service: Service, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.runtime.gate.BODY_SECONDS", 0.05)
    answer = await raw(address, request(b"{", "Content-Length: 100"))
    assert (answer.status, answer.json["type"]) == (408, "urn:meetme:problem:body_late")
    assert service.started == []


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"hello\r\n\r\n", b"\x00" * 100])
async def test_what_is_no_http_is_refused(address: str, sent: bytes) -> None:
    answer = await raw(address, sent)
    assert (answer.status, answer.json["type"]) == (400, "urn:meetme:problem:body_malformed")


async def test_errors_of_the_limits_do_not_disturb_the_next_request(service: Service, address: str) -> None:
    for _ in range(3):
        await raw(address, request(BIG, f"Content-Length: {len(BIG)}"))
        await raw(address, request(b"{", "Content-Length: 9"), end=True)
    body = b'{"peer":"b"}'
    assert (await raw(address, request(body, f"Content-Length: {len(body)}"))).status == 202


async def test_problems_come_back_as_the_error_they_were() -> None:
    from meetme.runtime.problems import TABLE, error_of_problem, problem_document

    for cls in TABLE:
        document = problem_document(cls("some_code", "text", hint="do", field="f"))
        back = error_of_problem(document["status"], document, who="peer 'b'")
        assert type(back) is cls
        assert (back.code, back.text, back.hint, back.field) == ("some_code", "peer 'b': text", "do", "f")
        assert back.fault is Fault.REMOTE
    for status, document, cls in (
        (409, None, Conflict),
        (502, "<html>", type(error_of_problem(502, None, who="x"))),
        (418, {"type": 1, "title": [], "detail": {}}, Unreachable),
        (409, {"title": "Nothing left"}, Exhausted),
    ):
        back = error_of_problem(status, document, who="peer 'b'")
        assert type(back) is cls
        assert back.fault is Fault.REMOTE
        if document is None:
            assert back.code == f"peer_answered_{status}"


def test_the_table_covers_every_error() -> None:
    from meetme.model import errors
    from meetme.runtime.problems import TABLE

    classes = {
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.MeetMeError) and cls is not errors.MeetMeError
    }
    assert set(TABLE) == classes
    assert len({title for _, title in TABLE.values()}) == len(TABLE)


def test_building_an_app_twice_shares_nothing() -> None:
    assert isinstance(Service().app, FastAPI)
    assert Service().registry is not Service().registry
    assert TypeAdapter(Start).validate_python({"peer": "b"}) == Start("b")


async def test_requests_run_side_by_side(service: Service, address: str) -> None:
    body = b'{"peer":"b"}'
    answers = await asyncio.gather(*(raw(address, request(body, f"Content-Length: {len(body)}")) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
