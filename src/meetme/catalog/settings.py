"""The catalogue's settings: where the member's own circuits land, who of its services is asked, who decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from meetme.model.agreement import MemberId
from meetme.model.errors import Problem, raise_problems
from meetme.model.members import parse_member_id
from meetme.model.names import is_name
from meetme.runtime.settings import setting

DEFAULT_LISTEN = "127.0.0.1:8472"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPort:
    """A port of this member at an exchange, and where it is on the own border router."""

    exchange: MemberId = setting(parse_member_id)
    """Where it is."""
    port: str
    """The exchange's name for it."""
    lands: str
    """`ROUTER/PORT`: the own border router, and its own name for the port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSettings:
    """Everything that a catalog server is told before it starts. Names are those of the flags."""

    offers: Path | None = None
    """A TOML file with what this member offers, published at the start. Left out: as it was published last."""
    port: tuple[OwnPort, ...] = ()
    """The own ports at exchanges, one table each: where circuits begin, and end. Left out: nothing is bought or sold
    that needs a circuit."""
    negotiator: str = "http://127.0.0.1:8471"
    """The own negotiator's local API."""
    negotiator_token: Path | None = None
    """A file with a token of its that may write. Left out: services that need layer 3 are neither bought nor sold."""
    approval_hours: float = 24.0
    """How long a person may take to decide about an order of another member."""
    interval: float = 30.0
    """Seconds between two looks at what each other member offers."""
    lifetime: float = 86_400.0
    """Seconds that the own listing is good; it is issued anew after half of them."""
    database: str | None = None
    """`sqlite:///PATH` or `postgresql://...`. Left out: a file in the state folder."""
    listen: str = DEFAULT_LISTEN
    """Of the local API, and of the web page."""
    web_url: str | None = None
    """Where people reach the web page, where a proxy stands before it: `https://catalogue.example.net`."""
    listen_peers: str | None = None
    """For other members: the only thing that the outside ever sees. Left out: nothing can be sold."""
    listen_metrics: str | None = None
    """/metrics alone, without a token."""

    def lands(self, exchange: str, port: str) -> tuple[str, str] | None:
        """Router and port where a port at an exchange is on the own side; None: it is not known."""
        found = next((each for each in self.port if (each.exchange, each.port) == (exchange, port)), None)
        if found is None:
            return None
        router, _, name = found.lands.partition("/")
        return router, name

    def problems(self) -> Iterator[Problem]:
        """Everything that makes these settings unusable; each names the key."""
        for index, port in enumerate(self.port):
            if not is_name(port.port):
                text = f'port[{index}].port: must be the exchange\'s name for it ("{port.port}")'
                yield Problem("port_invalid", text, "as the composer shows it: meetme topology", "port")
            if not all(port.lands.partition("/")):
                text = f'port[{index}].lands: must be ROUTER/PORT ("{port.lands}")'
                yield Problem("lands_invalid", text, "for example router1/eth2", "port")
        ends = [(each.exchange, each.port) for each in self.port]
        for exchange, name in sorted({end for end in ends if ends.count(end) > 1}):
            yield Problem("port_twice", f'port: must be there once ("{exchange} {name}")', "", "port")
        if self.web_url is not None and not _is_origin(self.web_url):
            text = f'web_url: must be http:// or https:// with a host, and nothing behind it ("{self.web_url}")'
            yield Problem("web_url_invalid", text, "for example https://catalogue.example.net", "web_url")
        if not 0 < self.approval_hours <= 24 * 30:
            text = f"approval_hours: must be above 0, at most 720 ({self.approval_hours:g})"
            yield Problem("approval_invalid", text, "hours", "approval_hours")
        if not 60 <= self.lifetime <= 30 * 86_400:
            text = f"lifetime: must be between 60 seconds and 30 days ({self.lifetime:g})"
            yield Problem("lifetime_invalid", text, "how long others believe what nobody repeats", "lifetime")
        if not 0.1 <= self.interval <= self.lifetime:
            text = f"interval: must be between 0.1 seconds and the lifetime ({self.interval:g})"
            yield Problem("interval_invalid", text, "", "interval")

    def check(self) -> None:
        """Raise InvalidInput with everything that is wrong."""
        raise_problems(self.problems())


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is never closed
        return False
    said = (parts.query, parts.fragment, parts.username)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/") and not any(said)
