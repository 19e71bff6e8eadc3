"""The settings of an exchange's IX-API server: its switches, connections, trunks, accounts, and what it offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meetme.ixapi.objects import VlanType
from meetme.ixapi.plant import VNI_BLOCK, Account, Connection, Kind, Plant, Switch, Trunk
from meetme.model.addresses import Address, parse_address
from meetme.model.errors import InvalidInput, Problem, raise_problems
from meetme.runtime.settings import setting

DEFAULT_LISTEN = "127.0.0.1:8474"
LEAST_MTU, MOST_MTU = 68, 9216
MOST_BASE = (1 << 24) // VNI_BLOCK - 1


@dataclass(frozen=True, slots=True)
class SwitchSetting:
    """`[[ixapi.switch]]`"""

    name: str
    """What the exchange calls it."""
    configurator: str
    """Where its configurator listens: HOST:PORT, unix:PATH."""
    underlay: Address | None = setting(parse_address, default=None)
    """Its own address between the switches: where VXLAN tunnels end."""
    facility: str = ""
    """Where it stands. Left out: a facility of the exchange's name."""
    certificate: Path | None = None
    """PEM: of a configurator with an identity of its own. Left out: it runs under the exchange's."""


@dataclass(frozen=True, slots=True)
class ConnectionSetting:
    """`[[ixapi.connection]]`"""

    id: str
    """What customers call it."""
    account: str
    """Whose it is. That of an NNI belongs to the composer's account."""
    switch: str
    """At which switch it is."""
    speed: int
    """Mbit/s."""
    port: str = ""
    """The switch's own name of the port. An NNI over VXLAN needs none."""
    kind: Kind = Kind.ACCESS
    """access: a member's router; nni: another exchange."""
    limit: int = 0
    """How much may be ordered on it, Mbit/s. 0: its speed."""
    vlan_types: tuple[VlanType, ...] = ()
    """port, dot1q. Left out: both on an access, dot1q on an NNI."""
    remote: Address | None = setting(parse_address, default=None)
    """NNI over VXLAN: where the tunnels end at the other exchange."""
    vni_base: int | None = None
    """NNI over VXLAN: the number that both exchanges have agreed on. VNI = vni_base * 4096 + VLAN."""
    name: str = ""
    """Left out: its id."""
    facility: str = ""
    """Where it is handed over. Left out: where its switch stands."""
    external_ref: str | None = None
    """What its customer notes on it."""


@dataclass(frozen=True, slots=True)
class TrunkSetting:
    """`[[ixapi.trunk]]`: joins two switches of the exchange."""

    switches: tuple[str, ...]
    """Which two."""
    vni_base: int
    """VNI = vni_base * 4096 + VLAN, of its own for each trunk and NNI."""
    speed: int
    """Mbit/s."""
    underlays: tuple[Address, ...] = setting(parse_address, default=())
    """Addresses of its two ends, where not those of the switches: so that a second trunk takes another way."""
    name: str = ""
    """Left out: made of the above."""


@dataclass(frozen=True, slots=True)
class AccountSetting:
    """`[[ixapi.account]]`"""

    id: str
    """What the API calls it."""
    name: str = ""
    """Left out: its id."""
    api_key: str = ""
    """Left out: it cannot log in."""
    api_secret: str = ""
    """With the key; better in a file."""
    api_secret_file: Path | None = None
    """A file with nothing but the secret."""
    managing: bool = False
    """It orders for every account that names no other manager. The composer's is one."""
    managing_account: str | None = None
    """The account that orders for this one. Empty: none, whoever is managing."""
    country: str = "XX"
    """ISO 3166, two letters."""
    locality: str = ""
    """City."""
    postal_code: str = ""
    """Of the address."""
    street_address: str = ""
    """Of the address."""


@dataclass(frozen=True, slots=True)
class OfferingSetting:
    """`[[ixapi.offering]]`: a product. Without any there is one, without limits."""

    id: str
    """What the API calls it."""
    name: str = ""
    """Left out: its id."""
    bandwidth_min: int | None = None
    """Mbit/s. Left out: 1."""
    bandwidth_max: int | None = None
    """Mbit/s. Left out: no limit."""
    upgrade_allowed: bool = True
    """Whether a change request may ask for more."""
    downgrade_allowed: bool = True
    """Whether a change request may ask for less."""
    notice_days: int = 0
    """Days between a cancellation and the end."""
    least_days: int = 0
    """Days that are charged at least."""


@dataclass(frozen=True, slots=True)
class FacilitySetting:
    """`[[ixapi.facility]]`: what is known of a place where switches stand."""

    name: str
    """As switches and connections name it."""
    country: str = ""
    """ISO 3166, two letters. Left out: the exchange's."""
    locality: str = ""
    """City."""
    region: str = ""
    """Of the address."""
    postal_code: str = ""
    """Of the address."""
    street_address: str = ""
    """Of the address."""
    organisation: str = ""
    """Who runs it. Left out: its name."""
    peeringdb: int | None = None
    """Its number in PeeringDB."""


@dataclass(frozen=True, slots=True)
class ContactSetting:
    """`[[ixapi.contact]]`"""

    id: str
    """What the API calls it."""
    account: str
    """Whose contact it is."""
    name: str = ""
    """A person, or a desk."""
    email: str = ""
    """Where it reads."""
    telephone: str = ""
    """Where it answers."""
    roles: tuple[str, ...] = ()
    """noc, implementation, peering, legal."""


@dataclass(frozen=True, slots=True)
class IxApiSettings:
    """Everything that the server is told before it starts. Names are those of the flags."""

    switch: tuple[SwitchSetting, ...] = ()
    """The switches."""
    connection: tuple[ConnectionSetting, ...] = ()
    """Ports of switches, and whose they are."""
    trunk: tuple[TrunkSetting, ...] = ()
    """What joins the switches."""
    account: tuple[AccountSetting, ...] = ()
    """Who may order."""
    offering: tuple[OfferingSetting, ...] = ()
    """What can be ordered."""
    facility: tuple[FacilitySetting, ...] = ()
    """Where switches stand."""
    contact: tuple[ContactSetting, ...] = ()
    """Whom to ask."""
    name: str = "exchange"
    """What the exchange is called: service provider, metro area network."""
    metro_area: str = ""
    """Where it is, as people say. Left out: its name."""
    un_locode: str = "XXXXX"
    """UN/LOCODE of the metro area, five letters."""
    iata_code: str = "XXX"
    """IATA code of the metro area, three letters."""
    country: str = "XX"
    """ISO 3166, two letters."""
    mtu: int = 1500
    """Of every circuit, octets of Ethernet payload. The underlay has to carry it and the encapsulation (50 or 70)."""
    access_seconds: float = 900.0
    """How long an access token is good."""
    refresh_seconds: float = 86400.0
    """How long a refresh token is good."""
    archive_seconds: float = 86400.0
    """How long what has ended stays in the lists."""
    database: str | None = None
    """`sqlite:///PATH` or `postgresql://...`. Left out: a file in the state folder."""
    listen: str = DEFAULT_LISTEN
    """Of the IX-API, and of /healthz, /readyz, /metrics."""
    listen_metrics: str | None = None
    """/metrics alone."""

    def check(self) -> None:
        """Raise InvalidInput with everything that is wrong."""
        raise_problems(self.problems())

    def problems(self) -> Iterator[Problem]:
        """Everything that makes these settings unusable; each names the table."""
        if not self.switch:
            hint = '[[ixapi.switch]] name = "s1", configurator = "127.0.0.1:8475"'
            yield Problem("setting_missing", "switch: must name at least one switch", hint, "switch")
        yield from _once("switch", "name", [each.name for each in self.switch])
        yield from _once("connection", "id", [each.id for each in self.connection])
        yield from _once("account", "id", [each.id for each in self.account])
        yield from _once("account", "api_key", [each.api_key for each in self.account if each.api_key])
        yield from _once("trunk", "name", [each.name for each in self.trunks()])
        yield from _once("offering", "id", [each.id for each in self.offering])
        yield from _once("contact", "id", [each.id for each in self.contact])
        bases = [c.vni_base for c in self.connection if c.vni_base is not None] + [t.vni_base for t in self.trunk]
        yield from _once("trunk", "vni_base", [str(base) for base in bases])
        for base in bases:
            if not 0 <= base <= MOST_BASE:
                yield _wrong("vni_base", f"must be 0 to {MOST_BASE}", base)
        if not LEAST_MTU <= self.mtu <= MOST_MTU:
            yield _wrong("mtu", f"must be {LEAST_MTU} to {MOST_MTU} octets", self.mtu)
        for connection in self.connection:
            yield from self._of_connection(connection)
        for trunk in self.trunk:
            yield from self._of_trunk(trunk)
        yield from self._of_accounts()

    def _of_connection(self, c: ConnectionSetting) -> Iterator[Problem]:
        switch = next((each for each in self.switch if each.name == c.switch), None)
        if switch is None:
            yield _wrong("connection.switch", "must be one of the switches", c.switch)
        if c.account not in [each.id for each in self.account]:
            yield _wrong("connection.account", "must be one of the accounts", c.account)
        if c.speed < 1 or c.limit < 0:
            yield _wrong("connection.speed", "must be at least 1 Mbit/s", c.speed)
        if not c.port and c.remote is None:
            yield _wrong("connection.port", "must be given", c.id)
        if (c.remote is None) != (c.vni_base is None):
            yield _wrong("connection.vni_base", "must be given together with remote", c.id)
        if c.remote is not None and c.kind is not Kind.NNI:
            yield _wrong("connection.remote", "must be of an NNI", c.id)
        if c.remote is not None and switch is not None and switch.underlay is None:
            yield _wrong("switch.underlay", "must be given where tunnels end", c.switch)
        if c.remote is not None and VlanType.PORT in c.vlan_types:
            yield _wrong("connection.vlan_types", "must be dot1q over VXLAN", "port")

    def _of_trunk(self, trunk: TrunkSetting) -> Iterator[Problem]:
        known = {each.name: each for each in self.switch}
        seen = ", ".join(trunk.switches)
        if len(set(trunk.switches)) != 2:
            yield _wrong("trunk.switches", "must be two switches", seen)
        for name in trunk.switches:
            if name not in known:
                yield _wrong("trunk.switches", "must be two switches", seen)
            elif not trunk.underlays and known[name].underlay is None:
                yield _wrong("switch.underlay", "must be given where tunnels end", name)
        if len(trunk.underlays) not in (0, 2):
            yield _wrong("trunk.underlays", "must be two addresses, or none", len(trunk.underlays))
        if trunk.speed < 1:
            yield _wrong("trunk.speed", "must be at least 1 Mbit/s", trunk.speed)

    def _of_accounts(self) -> Iterator[Problem]:
        ids = [each.id for each in self.account]
        if sum(each.managing for each in self.account) > 1:
            yield _wrong("account.managing", "must be true of one account at most", "several")
        for account in self.account:
            if account.managing_account and account.managing_account not in ids:
                yield _wrong("account.managing_account", "must be one of the accounts", account.managing_account)
            if account.api_key and not account.api_secret and account.api_secret_file is None:
                yield _wrong("account.api_secret", "must be given with an api_key", account.id)
        managers = {each.id: self.manager_of(each) for each in self.account}
        for start in ids:
            seen, at = {start}, managers[start]
            while at is not None and at not in seen:
                seen.add(at)
                at = managers.get(at)
            if at is not None:
                yield _wrong("account.managing_account", "must not lead back to itself", start)
        for contact in self.contact:
            if contact.account not in ids:
                yield _wrong("contact.account", "must be one of the accounts", contact.account)

    def manager_of(self, account: AccountSetting) -> str | None:
        """Who orders for an account, besides itself."""
        if account.managing_account is not None:
            return account.managing_account or None
        return next((each.id for each in self.account if each.managing and each.id != account.id), None)

    def offerings(self) -> tuple[OfferingSetting, ...]:
        """What can be ordered."""
        return self.offering or (OfferingSetting("p2p", "Point to point"),)

    def trunks(self) -> tuple[Trunk, ...]:
        """The trunks, each with a name."""
        underlay = {each.name: each.underlay for each in self.switch}
        found: list[Trunk] = []
        for each in self.trunk:
            one, other = (*each.switches, "", "")[:2]
            ends = each.underlays[:2] if len(each.underlays) == 2 else (underlay.get(one), underlay.get(other))
            if ends[0] is None or ends[1] is None:
                continue
            name = each.name or f"{one}-{other}-{each.vni_base}"
            found.append(Trunk(name, (one, other), (ends[0], ends[1]), each.vni_base, each.speed))
        return tuple(found)

    def plant(self) -> Plant:
        """What the rules have to know. The settings have to be checked."""
        at = {s.name: s.facility or self.name for s in self.switch}
        return Plant(
            switches={s.name: Switch(s.name, s.underlay, at[s.name]) for s in self.switch},
            connections={c.id: _connection(c, at[c.switch]) for c in self.connection},
            trunks={trunk.name: trunk for trunk in self.trunks()},
            accounts={a.id: Account(a.id, a.name or a.id, self.manager_of(a)) for a in self.account},
            mtu=self.mtu,
        )


def secret_of(account: AccountSetting) -> str:
    """The secret of an account. Raises InvalidInput `secret_unreadable`."""
    if account.api_secret_file is None:
        return account.api_secret
    try:
        return account.api_secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "secret_unreadable",
            f"account.api_secret_file: must be a file that can be read ('{account.api_secret_file}': {error})",
            hint="one line with the secret, readable by this service",
            field="account",
        ) from None


def _connection(c: ConnectionSetting, facility: str) -> Connection:
    default = (VlanType.PORT, VlanType.DOT1Q) if c.kind is Kind.ACCESS else (VlanType.DOT1Q,)
    return Connection(
        id=c.id,
        account=c.account,
        switch=c.switch,
        port=c.port,
        kind=c.kind,
        speed=c.speed,
        limit=c.limit or c.speed,
        name=c.name or c.id,
        facility=c.facility or facility,
        vlan_types=c.vlan_types or default,
        remote=c.remote,
        vni_base=c.vni_base,
        external_ref=c.external_ref,
    )


def _wrong(what: str, rule: str, seen: object) -> Problem:
    return Problem("exchange_invalid", f"{what}: {rule} ({seen!r})", "see the table in the settings file", what)


def _once(table: str, key: str, values: list[str]) -> Iterator[Problem]:
    for value in sorted({each for each in values if values.count(each) > 1}):
        yield _wrong(f"{table}.{key}", "must be given once", value)
