"""How the composer gets at its exchange, by its settings."""

from __future__ import annotations

import ssl
from pathlib import Path

from meetme.composer.settings import MEMORY, ComposerSettings
from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey
from meetme.ixapi.exchange import Exchange
from meetme.ixapi.fake import FakeExchange
from meetme.ixapi.ordering import IxApiExchange
from meetme.model.errors import InvalidInput, NotFound


def open_exchange(settings: ComposerSettings) -> Exchange:
    """The exchange that the settings name.

    Raises NotFound `exchange_secret_missing`, InvalidInput `exchange_certificate_malformed` and what `IxApiClient`
    raises.
    """
    if settings.exchange == MEMORY:
        return FakeExchange()
    assert settings.exchange_secret is not None, "checked before"
    key = ApiKey(settings.exchange_key or "", _secret(settings.exchange_secret))
    return IxApiExchange(IxApiClient(settings.exchange, key, verify=_trusting(settings.exchange_certificate)))


def _secret(path: Path) -> str:
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise _missing(path, str(error)) from None
    if len(words) != 1:
        raise _missing(path, f"{len(words)} words")
    return words[0]


def _missing(path: Path, seen: str) -> NotFound:
    return NotFound(
        "exchange_secret_missing",
        f"exchange_secret: must be a file with the secret in it ('{path}': {seen})",
        hint="one line; the exchange gives you key and secret",
        field="exchange_secret",
    )


def _trusting(certificate: Path | None) -> ssl.SSLContext | None:
    """Whom to believe that it is the exchange; None: whomever this machine believes."""
    if certificate is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(certificate)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            "exchange_certificate_malformed",
            f"exchange_certificate: must be a PEM file with certificates ('{certificate}': {error})",
            field="exchange_certificate",
        ) from None
    return context
