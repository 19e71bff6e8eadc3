"""How the composer gets at its exchange, by its settings."""

from __future__ import annotations

from meetme.composer.settings import MEMORY, ComposerSettings
from meetme.ixapi import opening
from meetme.ixapi.exchange import Exchange
from meetme.ixapi.fake import FakeExchange
from meetme.ixapi.requests import Account


def open_exchange(settings: ComposerSettings) -> Exchange:
    """The exchange that the settings name. Raises what `meetme.ixapi.opening.open_exchange` raises."""
    if settings.exchange == MEMORY:
        return FakeExchange()
    assert settings.exchange_secret is not None, "checked before"
    account = Account(
        account=settings.exchange_account,
        product=settings.exchange_product,
        charged_days=settings.exchange_charged_days,
    )
    access = opening.ExchangeAccess(
        settings.exchange,
        settings.exchange_key or "",
        settings.exchange_secret,
        settings.exchange_certificate,
        settings.exchange_token_url,
        settings.exchange_scope,
        account,
    )
    return opening.open_exchange(access)
