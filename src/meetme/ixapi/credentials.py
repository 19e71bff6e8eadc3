"""How we show an exchange who we are: an API key and secret (IX-API 2.x, `/auth`), or OAuth 2 client credentials.

Either way a token comes of it, which is renewed before it expires. No secret and no token is ever in a text of ours.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from meetme.model.errors import MeetMeError, Unauthenticated, Unreachable
from meetme.runtime.clock import Clock

EARLY_SECONDS = 30.0
"""How long before it expires a token is renewed; at most a quarter of its life."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What `/auth/token` takes."""

    key: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What an OAuth 2 token endpoint takes (RFC 6749, 4.4)."""

    id: str
    secret: str = field(repr=False)
    token_url: str
    scopes: tuple[str, ...] = ()


Credentials = ApiKey | ClientCredentials

Post = Callable[[str, Mapping[str, Any], Mapping[str, str]], Awaitable[Any]]
"""POSTs (path or URL, JSON body or form, headers) without a token; the document of the answer. Raises MeetMeError.

A form is sent where the headers say so.
"""

FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class _Token:
    access: str
    refresh: str | None
    renew_at: float | None
    """By the monotonic clock; None: it does not say when it expires."""


class Session:
    """Has a token when one is needed. Many may ask at a time: one of them gets it, the others wait."""

    def __init__(self, credentials: Credentials, post: Post, clock: Clock) -> None:
        self._credentials = credentials
        self._post = post
        self._clock = clock
        self._token: _Token | None = None
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good now. Raises Unauthenticated `exchange_refuses_credentials`, Unreachable."""
        async with self._lock:
            known = self._token
            if known is None or (known.renew_at is not None and self._clock.monotonic() >= known.renew_at):
                known = self._token = await self._renewed(known)
            return known.access

    def refused(self, token: str) -> None:
        """The exchange does not take `token` any more: the next one is a new one, by a new login."""
        if self._token is not None and self._token.access == token:
            self._token = None

    async def _renewed(self, known: _Token | None) -> _Token:
        match self._credentials:
            case ClientCredentials() as client:
                form = {"grant_type": "client_credentials"}
                if client.scopes:
                    form["scope"] = " ".join(client.scopes)
                pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"  # RFC 6749, 2.3.1
                basic = base64.b64encode(pair.encode()).decode()
                return await self._login(
                    client.token_url, form, {"content-type": FORM, "authorization": f"Basic {basic}"}
                )
            case ApiKey() as api:
                if known is not None and known.refresh is not None:
                    try:
                        return await self._login("/auth/refresh", {"refresh_token": known.refresh}, {})
                    except Unauthenticated:
                        self._token = None  # the refresh token has expired as well, or there is no such operation
                return await self._login("/auth/token", {"api_key": api.key, "api_secret": api.secret}, {})

    async def _login(self, where: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> _Token:
        try:
            return self._read(await self._post(where, body, headers))
        except (Unreachable, Unauthenticated):
            raise
        except MeetMeError as error:
            # OAuth 2 answers 400 (RFC 6749, 5.2); what a server of another kind answers means the same.
            raise Unauthenticated(
                "exchange_refuses_credentials",
                error.text,
                hint="correct the credentials of the exchange",
                field="api_key",
            ) from None

    def _read(self, document: Any) -> _Token:
        facts = document if isinstance(document, Mapping) else {}
        access, refresh = facts.get("access_token"), facts.get("refresh_token")
        if not isinstance(access, str) or not access:
            raise Unauthenticated(
                "exchange_gives_no_token",
                "access_token: must be in the exchange's answer to our credentials",
                hint="is the URL that of an IX-API, and the token URL that of its OAuth 2 server?",
            )
        life = _life(access, facts.get("expires_in"), self._clock.now())
        renew_at = None if life is None else self._clock.monotonic() + life - min(EARLY_SECONDS, life / 4)
        return _Token(access, refresh if isinstance(refresh, str) and refresh else None, renew_at)


def _life(token: str, expires_in: object, now: float) -> float | None:
    """How many seconds a token is good for: as the answer says, else as it says itself (RFC 7519, `exp`)."""
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool):
        return max(float(expires_in), 0.0)
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expires, issued = claims["exp"], claims.get("iat", now)
        # As long as it lives, whatever the exchange's clock says: a clock of ours that is ahead would log in for ever.
        return max(float(expires) - float(issued), 0.0)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None
