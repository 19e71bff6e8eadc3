"""One visit to one page: who comes, what they sent, and what every page needs to be shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from meetme.catalog import store
from meetme.catalog.accounts import Role
from meetme.catalog.desk import Desk
from meetme.catalog.mirroring import Mirroring
from meetme.catalog.underlay import Underlay
from meetme.catalog.web.guard import Guard, Person
from meetme.catalog.words import Party, State
from meetme.model.agreement import MemberId
from meetme.model.errors import Forbidden
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.sse import Bell


@dataclass(frozen=True, slots=True)
class House:
    """What the pages are about, and where they get it from."""

    me: MemberId
    desk: Desk
    mirroring: Mirroring
    underlay: Underlay
    database: Database
    bell: Bell
    clock: Clock
    guard: Guard
    looks: Environment

    def page(self, template: str, status: int = 200, **what: Any) -> HTMLResponse:
        """A page for whoever it may be."""
        shown = {"me": self.me, "person": None, "path": "", "waiting": 0} | what
        return HTMLResponse(self.looks.get_template(template).render(shown), status)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request by somebody who is known."""

    house: House
    request: Request
    person: Person
    form: FormData = field(default_factory=FormData)

    def need(self, role: Role) -> None:
        """Raise Forbidden unless they may."""
        if not self.person.may(role):
            raise Forbidden(
                "role_missing",
                f'account: must have the role "{role}" ("{self.person.account.name}")',
                hint=f"meetme account roles {self.person.account.name} --role {role}",
                field="role",
            )

    def said(self, name: str, most: int = 2000) -> str:
        """A field of the form; empty where there is none."""
        value = self.form.get(name)
        return value.strip()[:most] if isinstance(value, str) else ""

    async def page(self, template: str, status: int = 200, **what: Any) -> HTMLResponse:
        """A page for them."""
        waiting = await self.house.database.read(count_waiting)
        shown = {"person": self.person, "path": self.request.url.path, "waiting": waiting}
        return self.house.page(template, status, **shown, **what)

    def part(self, template: str, **what: Any) -> str:
        """A part of a page."""
        return self.house.looks.get_template(template).render({"me": self.house.me, "person": self.person} | what)


Handler = Callable[[Visit], Awaitable[Response]]


def go(url: str) -> Response:
    """On to another page, which is fetched and not posted to."""
    return RedirectResponse(url, 303)


def count_waiting(tx: Connection) -> int:
    """How many orders wait for a decision of this member."""
    return sum(n.state is State.APPROVING for n in store.orders(tx, Party.SELLER, live=True))
