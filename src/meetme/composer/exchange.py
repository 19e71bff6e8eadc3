"""How the composer gets at its exchange, by its settings."""

from __future__ import annotations

from meetme.composer.settings import MEMORY, ComposerSettings
from meetme.ixapi.exchange import Exchange
from meetme.ixapi.fake import FakeExchange


def open_exchange(settings: ComposerSettings) -> Exchange:
    """The exchange that the settings name. Raises NotFound where its secret cannot be read."""
    if settings.exchange == MEMORY:
        return FakeExchange()
    raise NotImplementedError
