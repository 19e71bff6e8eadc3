"""The pages as an app: routes, who may come, what goes with every answer, and a page for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meetme.catalog.accounts import Role
from meetme.catalog.web import catalogue_pages, login_pages, order_pages
from meetme.catalog.web.assets import PREFIX, Assets
from meetme.catalog.web.visits import Handler, House, Visit
from meetme.model.errors import Forbidden, InvalidInput, MeetMeError, NotFound
from meetme.runtime.correlation import correlation
from meetme.runtime.gate import BodyLimit, ErrorGate, Requests
from meetme.runtime.problems import internal_error, problem_document
from meetme.runtime.telemetry import Registry

Page = Callable[[Request], Awaitable[Response]]
Open = Callable[[House, Request], Awaitable[Response]]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing in line, nowhere in a frame."""
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
}


def build_site(house: House, assets: Assets, registry: Registry | None = None) -> Starlette:
    """The pages of one member."""
    doors = _Porter(house, assets)
    known, open_ = doors.known, doors.open
    app = Starlette(
        routes=[
            Route("/", known(catalogue_pages.catalogue), methods=["GET"]),
            Route("/offers/{provider}/{name}", known(catalogue_pages.offer), methods=["GET"]),
            Route("/orders", known(order_pages.orders), methods=["GET"]),
            Route("/orders", known(order_pages.place), methods=["POST"]),
            Route("/orders/{id}", known(order_pages.order), methods=["GET"]),
            Route("/orders/{id}/live", known(order_pages.live), methods=["GET"]),
            Route("/orders/{id}/connection", known(order_pages.connection), methods=["GET"]),
            Route("/orders/{id}/terminate", known(order_pages.terminate), methods=["POST"]),
            Route("/orders/{id}/approve", known(order_pages.approve), methods=["POST"]),
            Route("/orders/{id}/decline", known(order_pages.decline), methods=["POST"]),
            Route("/approvals", known(order_pages.approvals), methods=["GET"]),
            Route("/login", open_(login_pages.login), methods=["GET"]),
            Route("/login", open_(login_pages.log_in), methods=["POST"]),
            Route("/logout", known(login_pages.log_out), methods=["POST"]),
            Route(PREFIX + "/{name:path}", open_(doors.asset), methods=["GET"]),
        ],
        exception_handlers={HTTPException: doors.no_route},
    )
    app.router.redirect_slashes = False
    app.add_middleware(BodyLimit)
    app.add_middleware(ErrorGate)
    app.add_middleware(Requests, registry=registry)
    return app


class _Porter:
    """Stands before every page."""

    def __init__(self, house: House, assets: Assets) -> None:
        self._house = house
        self._assets = assets
        self._log = structlog.get_logger()

    def known(self, handler: Handler) -> Page:
        """A page for whoever has logged in."""

        async def visited(request: Request) -> Response:
            person = await self._house.guard.person(request)
            if person is None:
                return self._stranger(request)
            visit = Visit(self._house, request, person)
            visit.need(Role.READ)
            if request.method == "POST":
                form = await self._house.guard.form(request, person.word)
                visit = Visit(self._house, request, person, form)
            return await handler(visit)

        return self._kept(visited)

    def open(self, handler: Open) -> Page:
        """A page for everybody."""
        return self._kept(lambda request: handler(self._house, request))

    def _stranger(self, request: Request) -> Response:
        if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
            # Followed from elsewhere, a browser keeps the cookie back; the same page asked for from here has it.
            return self._house.page("bounce.html", to=str(request.url.replace(scheme="", netloc="")))
        if request.headers.get("hx-request"):
            return Response(status_code=204, headers={"hx-redirect": "/login"})
        return login_pages.to_login(request)

    def _kept(self, page: Page) -> Page:
        async def answered(request: Request) -> Response:
            try:
                response = await page(request)
            except MeetMeError as error:
                response = await self._problem(request, error)
            except Exception:
                self._log.exception("a page failed unexpectedly", path=request.url.path)
                document = internal_error()
                response = self._house.page(
                    "problem.html",
                    500,
                    title="Something went wrong here",
                    text=document["detail"],
                    hint=f"the log of the service says more, at {correlation() or 'the time of this request'}",
                    code="internal_error",
                    blame="",
                )
            return _dressed(response)

        return answered

    async def no_route(self, request: Request, error: Exception) -> Response:
        """A page for what is no page."""
        assert isinstance(error, HTTPException)
        path = request.url.path[:200]
        problem: MeetMeError = NotFound("page_unknown", f"page: must be one of this site ('{path}')")
        if error.status_code != 404:
            problem = InvalidInput("method_unknown", f"method: must be one of this page ('{request.method} {path}')")
        return _dressed(await self._problem(request, problem))

    async def asset(self, house: House, request: Request) -> Response:
        """Style sheets, scripts, the icon."""
        found = self._assets.answer(request)
        if found is None:
            raise NotFound("page_unknown", f"page: must be one of this site ('{request.url.path[:200]}')")
        return found

    async def _problem(self, request: Request, error: MeetMeError) -> Response:
        document = problem_document(error)
        status = int(document["status"])
        try:
            person = await self._house.guard.person(request)
        except MeetMeError:
            person = None
        title = _TITLES.get(status, "That did not work")
        return self._house.page(
            "problem.html",
            status,
            person=person,
            title="Not yours to do" if isinstance(error, Forbidden) else title,
            text=error.text,
            hint=error.hint,
            code=error.code,
            blame=error.fault,
        )


_TITLES = {
    403: "Not yours to do",
    404: "Not found",
    409: "That is not possible now",
    413: "Too large",
    422: "That cannot be right",
    503: "Not reachable right now",
}


def _dressed(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("cache-control", "no-store")
    return response
