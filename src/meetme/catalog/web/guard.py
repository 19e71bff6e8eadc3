"""Who stands behind a request for a page, and whether the page that it comes from is ours.

Rules of this file:

1. The cookie is `HttpOnly` and `SameSite=Strict`, and `Secure` where people come over TLS.
2. A request that changes something says that it comes from this site, as browsers do, and carries the form's word.
3. Whoever is not known gets to the page where one logs in, and from there back to where they wanted to be.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from meetme.catalog import accounts_store
from meetme.catalog.accounts import Account, Role
from meetme.catalog.web import sessions_store
from meetme.catalog.web.sessions import LONGEST_SECONDS, counters, form_word, same
from meetme.model.errors import Exhausted, Forbidden, InvalidInput, Unauthenticated
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database

MOST_FIELDS = 40
MOST_AT_ONCE = 2
"""Passwords that are checked at a time: each takes memory and a quarter of a second."""
WORD = "form"
"""The name of the hidden field."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has logged in."""

    account: Account
    word: str
    """What the forms of their pages carry."""

    def may(self, role: Role) -> bool:
        """Whether they may."""
        return self.account.may(role)


class Guard:
    """Knows people by their sessions."""

    def __init__(self, database: Database, clock: Clock, me: str, *, web_url: str | None = None) -> None:
        """`web_url`: where people reach the page, where a proxy stands before it."""
        # Cookies do not know of ports: two members on one machine have to have one each.
        self._name = f"meetme-{me}"
        self._database = database
        self._clock = clock
        self._public = urlsplit(web_url) if web_url else None
        self._hashing = asyncio.Semaphore(MOST_AT_ONCE)

    # --- who it is ----------------------------------------------------------------------------------------------------

    async def person(self, request: Request) -> Person | None:
        """Whose session the request shows; None: nobody's."""
        secret = request.cookies.get(self._cookie(request))
        if not secret:
            return None
        # A page that is left open asks for news by itself: that is nobody's use of it.
        used = "hx-request" not in request.headers
        account = await self._database.run(lambda tx: sessions_store.find(tx, secret, self._clock.now(), used=used))
        return None if account is None else Person(account, form_word(secret))

    async def nobody_yet(self) -> bool:
        """Whether there is no account at all."""
        return not await self._database.read(accounts_store.every)

    # --- coming and going ---------------------------------------------------------------------------------------------

    async def log_in(self, request: Request, name: str, password: str) -> str:
        """The secret of a new session. Raises Unauthenticated `login_wrong`, Exhausted `login_too_often`."""
        address = request.client.host if request.client is not None else ""
        counted = counters(name.strip().lower(), address)
        wait = await self._database.run(lambda tx: sessions_store.to_wait(tx, counted, self._clock.now()))
        if wait > 0:
            raise Exhausted(
                "login_too_often",
                f"login: must not fail too often (the next try is in {wait:.0f} s)",
                hint="wait; who has forgotten a password gets another one with 'meetme account password NAME'",
            )
        async with self._hashing:
            account = await accounts_store.check(self._database, name, password)
        now = self._clock.now()
        if account is None:
            await self._database.run(lambda tx: sessions_store.note_failure(tx, counted, now))
            raise Unauthenticated("login_wrong", "login: name and password must be those of an account")
        secret = secrets.token_urlsafe(32)

        def begin(tx: Connection) -> None:
            sessions_store.forget_failures(tx, counted[0][0])
            sessions_store.begin(tx, secret, account, now)
            sessions_store.purge(tx, now)

        await self._database.run(begin)
        return secret

    async def log_out(self, request: Request) -> None:
        """End the session of the request."""
        secret = request.cookies.get(self._cookie(request), "")
        await self._database.run(lambda tx: sessions_store.end(tx, secret))

    # --- cookies ------------------------------------------------------------------------------------------------------

    def give(self, request: Request, response: Response, secret: str) -> None:
        """Let the browser keep `secret` until its session can hold no longer."""
        self._set(request, response, secret, round(LONGEST_SECONDS))

    def take(self, request: Request, response: Response) -> None:
        """Let the browser forget it."""
        self._set(request, response, "", 0)

    def visitor(self, request: Request) -> str:
        """What a browser that is not logged in has to show with the form for that: what it has, or a new one."""
        return request.cookies.get(self._cookie(request)) or secrets.token_urlsafe(32)

    def _set(self, request: Request, response: Response, secret: str, age: int) -> None:
        response.set_cookie(
            self._cookie(request),
            secret,
            max_age=age,
            path="/",
            secure=self.over_tls(request),
            httponly=True,
            samesite="strict",
        )

    def over_tls(self, request: Request) -> bool:
        """Whether people come over TLS: here, or at the proxy before us."""
        return (self._public.scheme if self._public else request.url.scheme) == "https"

    def _cookie(self, request: Request) -> str:
        # With this prefix no other host of the same domain, and nothing in the clear, can have set it.
        return f"__Host-{self._name}" if self.over_tls(request) else self._name

    # --- forms --------------------------------------------------------------------------------------------------------

    async def form(self, request: Request, word: str) -> FormData:
        """What a form of ours says. Raises Forbidden `form_foreign`, InvalidInput `form_malformed`."""
        self._check_origin(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise InvalidInput("form_malformed", f'form: must be sent as a form ("{kind[:60]}")', field="content-type")
        form = await request.form(max_files=0, max_fields=MOST_FIELDS)
        if not same(str(form.get(WORD, "")), word):
            raise _foreign()
        return form

    def _check_origin(self, request: Request) -> None:
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            if site != "same-origin":
                raise _foreign()
            return
        origin = request.headers.get("origin")
        if origin is None:
            return  # what is no browser; the form's word is asked for all the same
        ours = {request.headers.get("host", "")} | ({self._public.netloc} if self._public else set())
        theirs = origin.partition("://")[2]
        if not theirs or theirs not in ours:
            raise _foreign()


def _foreign() -> Forbidden:
    return Forbidden(
        "form_foreign",
        "form: must be one of this site, and of this session",
        hint="go back, load the page anew, and try again",
        field=WORD,
    )
