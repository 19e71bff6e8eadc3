"""What a random network consists of: sites with a border router each, circuits between them, and what is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_interface

from meetme.model.addresses import Address, InterfaceAddress, Prefix
from meetme.model.agreement import MemberId
from meetme.negotiator.addressing import LinkWish, TranslationWish
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.views import Terms


@dataclass(frozen=True)
class Lan:
    """A network right at a site's router."""

    prefix: Prefix
    router: Address
    """The router's own address in it."""
    hosts: tuple[Address, ...]

    @property
    def port(self) -> InterfaceAddress:
        """The router's address, as its port has it."""
        return ip_interface((self.router, self.prefix.prefixlen))


@dataclass(frozen=True)
class Site:
    """A member: its border router and what lies behind it."""

    name: MemberId
    lans: tuple[Lan, ...]
    """What it announces unless a request says otherwise."""
    more: tuple[Lan, ...] = ()
    """Networks at the router that are not announced by default."""
    routes: tuple[Prefix, ...] = ()
    """Routes that the router has already, to somewhere behind its first network; a default route among them."""
    in_use: tuple[Prefix, ...] = ()
    """What the router cannot tell."""
    control: tuple[Address, ...] = ()
    """Addresses of the control plane."""
    private_networks: tuple[Prefix, ...] = ()
    negotiated_networks: tuple[Prefix, ...] = ()
    unnumbered: bool = True
    single: bool = True
    each_own: bool = True
    ipv6: bool = True
    mtu: int = 1500

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """The local subnets of its settings."""
        return tuple(lan.prefix for lan in self.lans)

    def hosts(self) -> tuple[Address, ...]:
        """Every host of the site."""
        return tuple(host for lan in (*self.lans, *self.more) for host in lan.hosts)

    def routers(self) -> tuple[Address, ...]:
        """The router's own addresses."""
        return tuple(lan.router for lan in (*self.lans, *self.more))


@dataclass(frozen=True)
class Circuit:
    """A circuit between two sites, and the request that starts a negotiation over it."""

    name: str
    starter: MemberId
    other: MemberId
    local_subnets: tuple[Prefix, ...] | None = None
    private_networks: tuple[Prefix, ...] | None = None
    negotiated_networks: tuple[Prefix, ...] | None = None
    translation: TranslationWish = TranslationWish.AUTO
    link: LinkWish = LinkWish.AUTO
    both: bool = False
    """Both sides start at once."""

    def attachment(self, site: Site) -> Attachment:
        """Where it lands at one of the two."""
        return Attachment("r", f"x-{self.name}", mtu=site.mtu)

    @property
    def terms(self) -> Terms:
        """What the request overrides."""
        return Terms(
            local_subnets=self.local_subnets,
            private_networks=self.private_networks,
            negotiated_networks=self.negotiated_networks,
            translation=self.translation,
            link=self.link,
        )


@dataclass(frozen=True)
class Network:
    """Everything: read in this order, one circuit is negotiated after the other."""

    sites: tuple[Site, ...]
    circuits: tuple[Circuit, ...]

    def site(self, name: str) -> Site:
        """The site of this name."""
        return next(site for site in self.sites if site.name == name)
