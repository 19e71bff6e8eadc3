"""Who may in: API keys, and the tokens (JWT, RFC 7519) that are given for them.

A key and its secret are exchanged for an access token and a refresh token (IX-API 2.1.0, auth), or for an access token
as OAuth 2.0 client credentials (RFC 6749, section 4.4). Tokens are signed with a secret that is in the database, so
that they outlive a restart and are good at every replica; nothing about them is stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from meetme.ixapi.access import Who
from meetme.ixapi.plant import Plant
from meetme.model.errors import Unauthenticated
from meetme.runtime.clock import Clock

_ALGORITHM = "HS256"
EXPIRED = "token_expired"


class Use(StrEnum):
    """What a token is good for."""

    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Key:
    """An API key: which account has it, and its secret."""

    account: str
    secret: str


@dataclass(frozen=True, slots=True)
class Pair:
    """What a key is exchanged for."""

    access: str
    refresh: str


class Doorman:
    """Gives out tokens and looks at them."""

    def __init__(
        self,
        plant: Plant,
        keys: Mapping[str, Key],
        signing: Callable[[], str],
        clock: Clock,
        *,
        access_seconds: float,
        refresh_seconds: float,
    ) -> None:
        """`keys`: by API key; `signing`: the server's secret."""
        self._plant = plant
        self._keys = dict(keys)
        self._signing = signing
        self._clock = clock
        self.access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds

    def log_in(self, api_key: str, api_secret: str) -> Pair:
        """Exchange a key. Raises Unauthenticated `credentials_unknown`."""
        key = self._keys.get(api_key)
        # Compared in any case: it takes as long for a key that nobody has.
        same = hmac.compare_digest((key.secret if key else "").encode(), api_secret.encode("utf-8", "surrogateescape"))
        if key is None or not same or not key.secret:
            raise Unauthenticated(
                "credentials_unknown",
                "api_key: must be known here, with its secret",
                hint="the exchange gives out keys",
                field="api_key",
            )
        return self._pair(key.account)

    def refresh(self, token: str) -> Pair:
        """Exchange a refresh token. Raises Unauthenticated `token_unknown`, `token_expired`."""
        return self._pair(self._account(token, Use.REFRESH))

    def who(self, token: str) -> Who:
        """Whose an access token is. Raises Unauthenticated `token_unknown`, `token_expired`."""
        account = self._account(token, Use.ACCESS)
        return Who(account, self._plant.under(account))

    def _pair(self, account: str) -> Pair:
        return Pair(
            self._token(account, Use.ACCESS, self.access_seconds),
            self._token(account, Use.REFRESH, self._refresh_seconds),
        )

    def _token(self, account: str, use: Use, seconds: float) -> str:
        now = int(self._clock.now())
        claims = {"sub": account, "use": use.value, "iat": now, "exp": now + int(seconds), "jti": uuid4().hex}
        return jwt.encode({"alg": _ALGORITHM, "typ": "JWT"}, claims, self._key())

    def _account(self, token: str, use: Use) -> str:
        try:
            claims = jwt.decode(token, self._key(), algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            raise _unknown() from None
        account, expires = claims.get("sub"), claims.get("exp")
        if claims.get("use") != use.value or account not in self._plant.accounts or not isinstance(expires, int):
            raise _unknown()
        if expires <= self._clock.now():
            raise Unauthenticated(
                EXPIRED, "token: must not have run out", hint="refresh it, or log in again", field="token"
            )
        return str(account)

    def _key(self) -> OctKey:
        return OctKey.import_key(self._signing())


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "token_unknown",
        "token: must be one that was given out here",
        hint="POST auth/token with api_key and api_secret",
        field="token",
    )
