"""Gets at an exchange by what the settings say of it: URL, credentials, whom to trust, how long to wait."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from meetme.ixapi.attempt import Patience
from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey, ClientCredentials
from meetme.ixapi.ordering import IxApiExchange
from meetme.ixapi.requests import Account
from meetme.model.errors import InvalidInput, NotFound
from meetme.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class ExchangeAccess:
    """How to get at an exchange that speaks IX-API 2.x."""

    url: str
    """With or without /api/v2. Plain http on this machine only."""
    key: str
    """The API key; with `token_url` the client id."""
    secret: Path
    """A file with nothing but the secret."""
    certificate: Path | None = None
    """PEM: whom to trust beside the authorities that this machine trusts."""
    token_url: str | None = None
    """Of an OAuth 2 server that gives tokens for client credentials; None: the exchange's own `/auth/token`."""
    scopes: tuple[str, ...] = ()
    account: Account = field(default_factory=Account)
    patience: Patience = field(default_factory=Patience)


def open_exchange(access: ExchangeAccess, *, clock: Clock | None = None) -> IxApiExchange:
    """The exchange; nothing is asked of it yet.

    Raises NotFound `exchange_secret_missing` or `exchange_certificate_missing`, InvalidInput `exchange_url_invalid` or
    `exchange_certificate_invalid`.
    """
    secret = _secret(access.secret)
    credentials = (
        ApiKey(access.key, secret)
        if access.token_url is None
        else ClientCredentials(access.key, secret, access.token_url, access.scopes)
    )
    client = IxApiClient(access.url, credentials, verify=_trusting(access.certificate), clock=clock)
    return IxApiExchange(client, access.account, patience=access.patience, clock=clock)


def _secret(path: Path) -> str:
    try:
        words = path.read_text(encoding="utf-8").split()
        why = f"{len(words)} words"
    except (OSError, UnicodeDecodeError) as error:
        words, why = [], str(error)
    if len(words) != 1:
        raise NotFound(
            "exchange_secret_missing",
            f"exchange_secret: must be a file with nothing but the secret ('{path}': {why})",
            hint="write the secret that the exchange gave you into it, readable for its owner alone",
            field="exchange_secret",
        )
    return words[0]


def _trusting(certificate: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if certificate is not None:
        try:
            context.load_verify_locations(cafile=str(certificate))
        except FileNotFoundError:
            raise NotFound(
                "exchange_certificate_missing",
                f"exchange_certificate: must be a file that can be read ('{certificate}')",
                field="exchange_certificate",
            ) from None
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                "exchange_certificate_invalid",
                f"exchange_certificate: must hold certificates as PEM ('{certificate}': {error})",
                field="exchange_certificate",
            ) from None
    return context
