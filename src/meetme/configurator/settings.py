"""The configurator's settings: which device, where it listens, who may call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:8475"


@dataclass(frozen=True, slots=True)
class ConfiguratorSettings:
    """Names are those of the flags. Beyond loopback it is mutual TLS; `key`, `certificate` and `clients` say whose."""

    driver: str = "linux"
    listen: str = DEFAULT_LISTEN
    database: str | None = None
    """Where the applied intents are kept. None: a file in the state folder."""
    key: Path | None = None
    """None: the member's."""
    certificate: Path | None = None
    clients: tuple[Path, ...] = ()
    """Certificates of those who may call. Empty: whoever has the member's own; on loopback, everybody in the clear."""
