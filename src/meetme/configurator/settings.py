"""The configurator's settings: which device, where it listens, who may call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:8475"


@dataclass(frozen=True, slots=True)
class ConfiguratorSettings:
    """Names are those of the flags. Beyond loopback it is mutual TLS; `key`, `certificate` and `clients` say whose."""

    driver: str = "linux"
    """Which driver drives the device; an entry point of the group `meetme.drivers`."""
    listen: str = DEFAULT_LISTEN
    """`HOST:PORT` or `unix:PATH`."""
    database: str | None = None
    """Where the applied intents are kept, as URL. Left out: a file in the state folder."""
    key: Path | None = None
    """Private key, PEM. Left out: the member's."""
    certificate: Path | None = None
    """Of that key, PEM. Left out: the member's."""
    listen_metrics: str | None = None
    """/metrics alone, over HTTP, without a token. Left out: nowhere."""
    stray_seconds: float = 60.0
    """How long circuits of ours that stand on the device and in no record here are left alone, once a negotiator has
    asked: what it orders again is taken over as it is, the rest is removed. 0: all are removed at once."""
    clients: tuple[Path, ...] = ()
    """Certificates of those who may call. Empty: whoever has the member's own; on loopback, everybody in the clear."""
