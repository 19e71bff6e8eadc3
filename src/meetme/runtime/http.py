"""HTTP apps: FastAPI with our errors, our limits and our way of letting people in.

`build_app` makes the local API of a service (tokens, documentation, health, metrics), `build_peer_app` the listener for
other members (their certificates, nothing else). Sockets are in `runtime.listener`, the error table in
`runtime.problems`, event streams in `runtime.sse`, the client's side in `runtime.peer_client`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from meetme.model.errors import Forbidden, InvalidInput, MeetMeError, NotFound, Unauthenticated
from meetme.model.members import Member
from meetme.runtime.apidocs import DOCS_POLICY, docs_page
from meetme.runtime.correlation import correlation
from meetme.runtime.gate import BodyLimit, ErrorGate, Requests
from meetme.runtime.local_tls import LocalClients
from meetme.runtime.problems import MEDIA_TYPE, error_of_validation, problem_document
from meetme.runtime.telemetry import Registry
from meetme.runtime.tls import Trust
from meetme.runtime.tokens import Scope, Tokens
from meetme.runtime.tracing import Tracer

READY_SECONDS = 2.0
Check = Callable[[], Awaitable[object]]
"""Raises when the thing it is about does not work."""


def build_app(
    *,
    title: str,
    version: str,
    description: str = "",
    ready: Mapping[str, Check] | None = None,
    registry: Registry | None = None,
    tracer: Tracer | None = None,
    tokens: Tokens | None = None,
    clients: LocalClients | None = None,
    large_bodies: Mapping[str, int] | None = None,
) -> FastAPI:
    """The app of a local API: /healthz, /readyz, /metrics (with a registry), /openapi.json and /docs are there already.

    `ready` names what has to work before requests make sense ("database", "configurator"). `clients`: whose
    certificates open it where it is served over TLS; there, /readyz and /metrics too need one, or one of `tokens`.
    `large_bodies`: the limit in octets, by path, where more than the usual is needed.
    """
    app = _app(
        title=title,
        version=version,
        description=description,
        openapi_url="/openapi.json",
        registry=registry,
        tracer=tracer,
        large_bodies=large_bodies,
    )
    app.state.clients = clients or LocalClients()
    shown = [Access(tokens or Tokens({})).read_from_afar]
    checks = dict(ready or {})

    @app.get("/healthz", tags=["service"], summary="Whether the process answers")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get(
        "/readyz",
        dependencies=shown,
        tags=["service"],
        summary="Whether everything it needs works",
        responses={503: {}},
    )
    async def readyz() -> JSONResponse:
        results = await asyncio.gather(*(_checked(check) for check in checks.values()))
        ok = all(result == "ok" for result in results)
        return JSONResponse({"ready": ok, "checks": dict(zip(checks, results, strict=True))}, 200 if ok else 503)

    if registry is not None:
        add_metrics(app, registry, shown)

    page = docs_page(title)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": DOCS_POLICY})

    return app


def build_peer_app(
    *, title: str, version: str, trust: Trust, registry: Registry | None = None, tracer: Tracer | None = None
) -> FastAPI:
    """The app that other members talk to. Every route must take `PeerMember`; there is no page for strangers."""
    app = _app(title=title, version=version, description="", openapi_url=None, registry=registry, tracer=tracer)
    app.state.trust = trust
    return app


def build_metrics_app(registry: Registry) -> FastAPI:
    """/metrics alone, for --listen-metrics."""
    app = _app(title="metrics", version="1", description="", openapi_url=None, registry=None)
    add_metrics(app, registry)
    return app


def add_metrics(app: FastAPI, registry: Registry, dependencies: Sequence[Any] = ()) -> None:
    """Serve what `registry` holds at /metrics."""

    @app.get(
        "/metrics",
        dependencies=list(dependencies),
        tags=["service"],
        summary="Figures for Prometheus",
        response_class=Response,
    )
    async def metrics() -> Response:
        # In a thread: some of the figures are read from a database.
        return Response(await asyncio.to_thread(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)


async def peer_member(request: Request) -> Member:
    """Whose key this connection was made with, checked again for every request: a member may have been removed."""
    trust: Trust = request.app.state.trust
    return trust.presented_by(_certificate(request))


PeerMember = Annotated[Member, Depends(peer_member)]
"""For routes of a peer app: the member that asks. A stranger gets 401 `certificate_unknown`."""


def _certificate(request: Request) -> bytes | None:
    """What the client has shown of itself in the handshake (PEM)."""
    chain = request.scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())
    return chain[0].encode("ascii") if chain else None


class Access:
    """Who may use a local API: whoever has a token or, over TLS, a certificate that is known, within its scope."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._bearer = HTTPBearer(auto_error=False, description="a token, see `meetme identity init`")

    @property
    def read(self) -> Any:
        """`dependencies=[access.read]` for routes that only show something."""
        return self._needs(Scope.READ)

    @property
    def write(self) -> Any:
        """`dependencies=[access.write]` for routes that change something."""
        return self._needs(Scope.WRITE)

    @property
    def read_from_afar(self) -> Any:
        """`read` where the request came over TLS: on loopback in the clear everybody may."""

        def check(request: Request) -> None:
            if request.url.scheme == "https":
                scheme, _, token = request.headers.get("authorization", "").partition(" ")
                self._check(request, token if scheme.lower() == "bearer" else None, Scope.READ)

        return Depends(check)

    def _needs(self, needed: Scope) -> Any:
        async def check(request: Request, given: HTTPAuthorizationCredentials | None = Depends(self._bearer)) -> None:
            self._check(request, given.credentials if given is not None else None, needed)

        return Depends(check)

    def _check(self, request: Request, token: str | None, needed: Scope) -> None:
        # A token that is sent is meant: a wrong one is no reason to look further.
        if token is not None:
            what, scope = "token", self._tokens.scope_of(token)
        else:
            clients: LocalClients = request.app.state.clients
            what, scope = "certificate", clients.scope_of(_certificate(request))
        if scope is None:
            raise Unauthenticated(
                "token_unknown" if token is not None else "token_missing",
                "token: must be one that is known here",
                hint="set MEETME_TOKEN, send 'Authorization: Bearer TOKEN', or show a client certificate over TLS",
                field="token",
            )
        if needed is Scope.WRITE and scope is not Scope.WRITE:
            code = "token_scope" if token is not None else "certificate_scope"
            raise Forbidden(code, f"{what}: must be good for changes ('read')", hint=f"use another {what}", field=what)


def problem_response(error: MeetMeError) -> JSONResponse:
    """`error` as the answer to a request."""
    id = correlation()
    document = problem_document(error, instance=f"urn:meetme:request:{id}" if id else None)
    headers = {"www-authenticate": "Bearer"} if document["status"] == 401 else None
    return _Problem(document, document["status"], headers, MEDIA_TYPE)


class _Problem(JSONResponse):
    """What was wrong with a request, in words that may come from it."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


def _app(
    *,
    title: str,
    version: str,
    description: str,
    openapi_url: str | None,
    registry: Registry | None,
    tracer: Tracer | None = None,
    large_bodies: Mapping[str, int] | None = None,
) -> FastAPI:
    app = FastAPI(
        title=title,
        version=version,
        description=description,
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"default": {"description": "A problem (RFC 9457)", "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}},
    )
    app.add_exception_handler(MeetMeError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(UnicodeEncodeError, _on_half_a_character)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, larger=large_bodies)
    app.add_middleware(ErrorGate)
    app.add_middleware(Requests, registry=registry, tracer=tracer)
    return app


async def _checked(check: Check) -> str:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {READY_SECONDS:g} s"
    except MeetMeError as error:
        return error.text
    except Exception as error:
        return type(error).__name__
    return "ok"


async def _on_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MeetMeError)
    return problem_response(error)


async def _on_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(error_of_validation(error.errors()))


async def _on_half_a_character(request: Request, error: Exception) -> Response:
    # JSON can escape one half of a character (RFC 8259 section 8.2), which can neither be stored nor said again.
    text = "body: must be text, without halves of characters"
    return problem_response(InvalidInput("body_malformed", text, field="body"))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    match error.status_code:
        case 404:
            response = problem_response(NotFound("route_unknown", f"path: must be one of this API ('{path}')"))
        case 405:
            seen = f"'{request.method} {path}'"
            response = problem_response(InvalidInput("method_unknown", f"method: must be one of this path ({seen})"))
        case _:
            response = problem_response(InvalidInput("body_malformed", f"body: {error.detail}", field="body"))
    response.headers.update(error.headers or {})
    return response


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "fault"],
    "properties": {
        "type": {"type": "string", "description": "stable: urn:meetme:problem: and the code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, and what was seen"},
        "field": {"type": "string", "description": "the offending field"},
        "hint": {"type": "string", "description": "what to do about it"},
        "fault": {"enum": ["local", "remote", "device"], "description": "who has to act"},
        "instance": {"type": "string", "description": "the request, as the log names it"},
        "existing": {"type": "string", "description": "the id of what is there already, of a conflict"},
        "problems": {"type": "array", "items": {"type": "object"}, "description": "each one, where there are several"},
    },
}
