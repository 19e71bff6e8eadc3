"""Coming and going."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from meetme.catalog.web.sessions import form_word
from meetme.catalog.web.visits import House, Visit, go
from meetme.model.errors import Exhausted, Problem, Unauthenticated


async def login(house: House, request: Request) -> Response:
    """Where one says who one is."""
    if await house.guard.person(request) is not None:
        return go(_target(request.query_params.get("next", "")))
    return await _page(house, request, request.query_params.get("next", ""))


async def log_in(house: House, request: Request) -> Response:
    """Say so."""
    form = await house.guard.form(request, form_word(house.guard.visitor(request)))
    name, password, target = (str(form.get(key, "")) for key in ("name", "password", "next"))
    try:
        secret = await house.guard.log_in(request, name[:200], password)
    except Unauthenticated as error:
        return await _page(house, request, target, name=name[:200], problem=error.problem, status=401)
    except Exhausted as error:
        return await _page(house, request, target, name=name[:200], problem=error.problem, status=429)
    response = go(_target(target))
    house.guard.give(request, response, secret)
    return response


async def log_out(visit: Visit) -> Response:
    """Be nobody again."""
    await visit.house.guard.log_out(visit.request)
    response = go("/login")
    visit.house.guard.take(visit.request, response)
    return response


def to_login(request: Request) -> Response:
    """To where one logs in, and back here afterwards."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return go("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}")


async def _page(
    house: House, request: Request, target: str, *, name: str = "", problem: Problem | None = None, status: int = 200
) -> Response:
    secret = house.guard.visitor(request)
    response = house.page(
        "login.html",
        status,
        word=form_word(secret),
        next=_target(target),
        name=name,
        problem=problem,
        nobody=await house.guard.nobody_yet(),
    )
    house.guard.give(request, response, secret)
    return response


def _target(text: str) -> str:
    """A path of this site, or its beginning: nobody is sent elsewhere."""
    plain = text.isprintable() and text.startswith("/") and not text.startswith(("//", "/\\")) and "\\" not in text
    return text if plain and not text.startswith("/login") else "/"
