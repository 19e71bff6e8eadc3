"""The composer's settings: its exchange, what of it the federation may use, and where everything is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, Problem, raise_problems
from meetme.model.members import parse_member_id
from meetme.runtime.settings import setting

DEFAULT_LISTEN = "127.0.0.1:8473"
MEMORY = "memory"
"""As `exchange`: one that is kept in memory, to try a federation without any device."""
LEAST_LIFETIME, MOST_LIFETIME = 30.0, 7 * 86400.0


@dataclass(frozen=True, slots=True)
class PortSettings:
    """One port of the exchange that circuits of the federation may use: a member's, or a link to a neighbour (NNI)."""

    id: str
    """As the exchange calls it (IX-API: the id of the connection)."""
    bandwidth: int
    """Mbit/s each way that the federation may use; the exchange has to have given it (IX-API has no holds)."""
    member: str | None = None
    """Whose access port it is. Either this or `neighbour`."""
    neighbour: str | None = None
    """To which exchange it leads."""
    neighbour_port: str | None = None
    """What that exchange calls its end."""
    vlans: str = "2-4094"
    """What circuits may use, `FIRST-LAST`; `none`: a circuit takes the whole port."""
    mtu: int = 1500
    """Octets of Ethernet payload."""
    account: str | None = None
    """At the exchange: for whom a segment's end is ordered here. Left out: for the composer itself."""
    facility: str | None = None
    """The building."""
    risks: tuple[str, ...] = ()
    """Shared-risk groups (RFC 4202, 2.3)."""
    latency_ms: float = 0.0
    """Of an NNI, one way."""
    price: float = 0.0
    """Of an NNI, a month and Mbit/s."""
    availability: float = 1.0
    """Of an NNI, 0 to 1."""


@dataclass(frozen=True, slots=True)
class TransitSettings:
    """What it takes to cross the exchange between two of its ports."""

    latency_ms: float
    """One way."""
    bandwidth: int
    """Mbit/s each way, for each pair of ports that it stands for."""
    a: str = "*"
    """A port, or `*`: every one that no other transit of the pair names."""
    b: str = "*"
    """The other one."""
    price: float = 0.0
    """A month and Mbit/s."""
    availability: float = 1.0
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class NegotiatorAccess:
    """The negotiator of a member that lets this composer start negotiations over its new circuits."""

    member: str
    """Whose it is."""
    url: str
    """Of its local API."""
    token: Path
    """A file with the token for it."""
    lands: tuple[str, ...] = ()
    """`PORT=ROUTER/PORT`: where a circuit that ends at this port of the exchange lands at the member. It is registered
    there as the circuit's attachment. Left out: the member does that itself."""

    def landing(self, port: str) -> tuple[str, str] | None:
        """Router and port of the member behind a port of the exchange; None: the member says so itself."""
        there = dict(each.partition("=")[::2] for each in self.lands).get(port)
        return None if there is None else (there.partition("/")[0], there.partition("/")[2])


@dataclass(frozen=True, slots=True)
class ComposerSettings:
    """Everything that a composer is told before it starts. Names are those of the flags."""

    exchange: str
    """The exchange's IX-API 2.x (`https://ixp.example/api/v2`), or `memory`: none, to try a federation."""
    exchange_key: str | None = None
    """The API key of the account that the composer orders with."""
    exchange_secret: Path | None = None
    """A file with its secret, for its owner alone."""
    exchange_certificate: Path | None = None
    """PEM: whom to trust as the exchange's API, beside the usual authorities."""
    exchange_token_url: str | None = None
    """Where OAuth 2 gives tokens for key and secret (client credentials). Left out: the exchange's `/auth/token`."""
    exchange_scope: tuple[str, ...] = ()
    """What to ask for there."""
    exchange_account: str | None = None
    """The exchange's id of our account. Left out: the one that manages the others there."""
    exchange_product: str | None = None
    """Id or name of the product offering to order. Left out: the one that fits, and binds for the shortest time."""
    exchange_charged_days: int | None = None
    """For how many days we would pay at most for what is given back at once. Left out: any number."""
    country: str | None = None
    """Where the exchange is (ISO 3166-1, two letters)."""
    tags: tuple[str, ...] = ()
    """For policies, as the federation agrees on them."""
    port: tuple[PortSettings, ...] = ()
    """What joins the exchange, one table each."""
    transit: tuple[TransitSettings, ...] = (TransitSettings(latency_ms=0.0, bandwidth=100_000_000),)
    """What crossing it takes. Left out: nothing, between any two ports."""
    mandates: tuple[MemberId, ...] = setting(parse_member_id, default=())
    """Members whose ports may be joined without a further question. Any other port only where its member orders."""
    negotiator: tuple[NegotiatorAccess, ...] = ()
    """Of members at end a: whom `"then": "negotiate"` asks, one table each. Left out: no circuit may say it."""
    setups: int = 4
    """How many circuits that begin here are reserved at a time; the others wait for their turn."""
    lifetime: float = 600.0
    """Seconds that an advertisement is good; a new one is issued after a third of it, and when something changes."""
    interval: float = 30.0
    """Seconds between two comparisons of advertisements with each neighbour."""
    database: str | None = None
    """`sqlite:///PATH` or `postgresql://...`. Left out: a file in the state folder."""
    listen: str = DEFAULT_LISTEN
    """Of the local API."""
    listen_peers: str | None = None
    """For other members: the only thing that the outside ever sees. Left out: no circuit can come here."""
    listen_metrics: str | None = None
    """/metrics alone, without a token."""

    @property
    def neighbours(self) -> tuple[MemberId, ...]:
        """The exchanges that a link leads to."""
        return tuple(dict.fromkeys(MemberId(p.neighbour) for p in self.port if p.neighbour is not None))

    @property
    def checks_connections(self) -> bool:
        """Whether there is an exchange that can be asked which of its connections work."""
        return self.exchange != MEMORY

    def problems(self, me: MemberId) -> Iterator[Problem]:
        """Everything that makes these settings unusable; each names the key."""
        if self.exchange != MEMORY and not self.exchange.startswith(("http://", "https://")):
            yield Problem(
                "exchange_url_invalid",
                f'exchange: must be the URL of an IX-API, or "{MEMORY}" ("{self.exchange}")',
                "for example https://ixp.example/api/v2",
                "exchange",
            )
        elif self.exchange != MEMORY and (self.exchange_key is None or self.exchange_secret is None):
            yield Problem(
                "setting_missing",
                "exchange_key, exchange_secret: must be given for an IX-API",
                "the exchange gives you an API key and a secret; write the secret into a file",
                "exchange_key",
            )
        if self.setups < 1:
            yield Problem("setups_invalid", f"setups: must be at least 1 ({self.setups})", "", "setups")
        if not LEAST_LIFETIME <= self.lifetime <= MOST_LIFETIME:
            text = f"lifetime: must be between {LEAST_LIFETIME:g} and {MOST_LIFETIME:g} seconds ({self.lifetime:g})"
            yield Problem("lifetime_invalid", text, "how long others believe what nobody repeats", "lifetime")
        if not 0.1 <= self.interval <= self.lifetime:
            text = f"interval: must be between 0.1 seconds and the lifetime ({self.interval:g})"
            yield Problem("interval_invalid", text, "", "interval")
        for index, port in enumerate(self.port):
            yield from _port_problems(f"port[{index}]", port, me)
        names = [port.id for port in self.port]
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield Problem("port_twice", f'port: must be there once ("{name}")', "", "port")
        for index, access in enumerate(self.negotiator):
            for each in access.lands:
                own, _, there = each.partition("=")
                if own not in names or not all(there.partition("/")):
                    text = f'negotiator[{index}].lands: must be PORT=ROUTER/PORT with a port of the exchange ("{each}")'
                    yield Problem("lands_invalid", text, f"ports: {', '.join(names)}", "negotiator")
        for index, transit in enumerate(self.transit):
            for end in (transit.a, transit.b):
                if end != "*" and end not in names:
                    text = f'transit[{index}]: must be between ports, or * ("{end}")'
                    yield Problem("transit_port_unknown", text, f"ports: {', '.join(names)}", "transit")

    def check(self, me: MemberId) -> None:
        """Raise InvalidInput with everything that is wrong."""
        raise_problems(self.problems(me))


def _port_problems(where: str, port: PortSettings, me: MemberId) -> Iterator[Problem]:
    if (port.member is None) == (port.neighbour is None):
        text = f'{where}: must have either a member or a neighbour ("{port.id}")'
        yield Problem("port_invalid", text, "member: an access port; neighbour: a link to another exchange", "port")
    if port.neighbour is not None and port.neighbour_port is None:
        text = f'{where}.neighbour_port: must be given ("{port.id}")'
        yield Problem("port_invalid", text, "ask the neighbour what it calls its end of the link", "port")
    for key, name in (("member", port.member), ("neighbour", port.neighbour)):
        if name is None:
            continue
        try:
            if parse_member_id(name, field=f"{where}.{key}") == me:
                yield Problem("port_invalid", f'{where}.{key}: must be another member ("{name}")', "", "port")
        except InvalidInput as error:
            yield error.problem
    if port.bandwidth < 1:
        yield Problem("port_invalid", f"{where}.bandwidth: must be at least 1 Mbit/s ({port.bandwidth})", "", "port")
    try:
        vlan_range(port.vlans)
    except ValueError:
        text = f'{where}.vlans: must be FIRST-LAST within 2 and 4094, or "none" ("{port.vlans}")'
        yield Problem("vlans_invalid", text, "for example 100-199", "port")
    if port.neighbour is not None and port.vlans == "none":
        text = f'{where}.vlans: a link between exchanges must have VLANs ("{port.id}")'
        yield Problem("vlans_invalid", text, "circuits are told apart by them", "port")


def vlan_range(text: str) -> tuple[int, int] | None:
    """Read `FIRST-LAST`; None: `none`. Raises ValueError."""
    if text == "none":
        return None
    first, _, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 2 <= low <= high <= 4094:
        raise ValueError(text)
    return low, high
