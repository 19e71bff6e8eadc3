"""Two members with something to show: a catalogue, ways through a federation, a connection that does well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from uuid import UUID

from meetme.catalog import accounts_store
from meetme.catalog.accounts import Role
from meetme.catalog.accounts_store import Cost, Verifier
from meetme.catalog.fake import FakeWorld
from meetme.catalog.offers import OfferEnd
from meetme.catalog.order import Reach
from meetme.catalog.sight import Course, Sight, Terms
from meetme.catalog.ways import Way, Ways
from meetme.composer.topology import Atlas
from meetme.composer.topology_views import TopologyView, view
from meetme.composer.views import HopView, OfferView
from meetme.model.agreement import AgreedPrefix, AgreedSide, LinkKind, MemberId, Translation
from meetme.model.agreement import Role as Side_
from meetme.negotiator.negotiation import Health, HealthState
from meetme.runtime.clock import SystemClock
from tests.catalog.test_service import Side, servers
from tests.composer.advertisements import NOW, access, advertisement, nni

PASSWORD = "correct horse battery"
CHEAP = Cost(n=2, r=1, p=1)
NEVER = datetime(2030, 1, 1, tzinfo=UTC)
ROLES = {"anna": (Role.ORDER, Role.APPROVE), "rene": (Role.READ,), "olga": (Role.ORDER,)}

LINKS = (
    ("ams", "fra", 6.2), ("ams", "lon", 5.1), ("fra", "vie", 9.4), ("fra", "mil", 8.8), ("lon", "par", 5.9),
    ("par", "mil", 10.6), ("vie", "mil", 11.3), ("par", "fra", 7.7), ("vie", "waw", 8.1), ("fra", "waw", 12.0),
)  # fmt: skip
COUNTRIES = {"ams": "NL", "fra": "DE", "lon": "GB", "vie": "AT", "mil": "IT", "par": "FR", "waw": "PL"}


def federation() -> TopologyView:
    """Seven exchanges, as `ix-ams` knows them."""
    ads = []
    for name, country in COUNTRIES.items():
        ends = [(a if b == name else b, ms) for a, b, ms in LINKS if name in (a, b)]
        points = [nni(f"to-{far}", f"ix-{far}", f"to-{name}", latency_ms=ms, bandwidth=100_000) for far, ms in ends]
        own = [access("p1", "csp-a")] if name == "ams" else []
        ads.append(advertisement(f"ix-{name}", *own, *points, country=country))
    return view(MemberId("ix-ams"), Atlas(tuple(ads), NOW), {}, NOW + 3)


def way(number: int, path: str, latency: float, price: float, second: str = "") -> Way:
    """A way through some exchanges."""
    hops, more = (tuple(HopView(MemberId(f"ix-{n}"), "in", "out") for n in names.split()) for names in (path, second))
    shown = OfferView(UUID(int=number), NEVER, hops, latency, 10_000, len(hops), price, 9000, 0.999, more, optimal=True)
    return Way(MemberId("ix-ams"), "p1", OfferEnd(MemberId("ix-mil"), "p7"), shown)


WAYS = Ways(
    (
        way(1, "ams fra mil", 15.0, 41.5),
        way(2, "ams lon par mil", 21.6, 33.0),
        way(3, "ams fra vie mil", 26.9, 38.2, second="ams lon par mil"),
    )
)


def sight() -> Sight:
    """Of a connection between two members who both use 10.0.0.0/24."""
    ours, theirs = ip_network("10.0.0.0/24"), ip_network("10.0.0.0/24")
    return Sight(
        course=Course(
            "active", 200, tuple(map(MemberId, ("ix-ams", "ix-fra", "ix-mil"))),
            tuple(map(MemberId, ("ix-ams", "ix-lon", "ix-par", "ix-mil"))),
        ),
        terms=Terms(
            AgreedSide(MemberId("csp-a"), (AgreedPrefix(ours, ip_network("100.64.8.0/24"), Side_.INITIATOR),)),
            AgreedSide(MemberId("csp-b"), (AgreedPrefix(theirs, ip_network("172.16.0.0/24"), Side_.RESPONDER),)),
            LinkKind.NUMBERED,
            Translation.EACH_OWN,
            1500,
            "192.0.2.0/31",
            "192.0.2.1/31",
        ),
        health=Health(HealthState.UP, 15.21, 0.0, NEVER),
        federation=federation(),
    )  # fmt: skip


def world() -> FakeWorld:
    """What the two members share."""
    made = FakeWorld()
    made.ways = WAYS
    made.sight = sight()
    made.reach = Reach(ip_address("172.16.0.10"), "172.16.0.0/24")
    return made


@asynccontextmanager
async def showing(
    tmp_path: Path, shared: FakeWorld, offers: str | None = None, web_url: str | None = None
) -> AsyncIterator[tuple[Side, Side]]:
    """Both members' servers, with accounts: anna may everything, olga order, rene look."""
    async with servers(tmp_path, shared, offers or OFFERS, web_url) as (a, b):
        for side in (a, b):
            for name, roles in ROLES.items():
                password = Verifier.of(name, PASSWORD, CHEAP)
                now = SystemClock().now()
                await side.database.run(
                    lambda tx, n=name, p=password, r=roles, t=now: accounts_store.add(tx, n, p, r, t)
                )
        yield a, b


def _offer(
    name: str, title: str, category: str, place: str, country: str, price: str, text: str, more: str = ""
) -> str:
    amount, _, per = price.partition(" ")
    paid = per or "month"
    cost = f'price = {{ amount = "{amount}", currency = "EUR", per = "{paid}" }}' if price else ""
    return f"""
[[offer]]
name = "{name}"
title = "{title}"
category = "{category}"
location = "{place}"
country = "{country}"
{cost}
description = "{text}"
{more}
"""


_L3 = 'prefix = "10.0.0.0/24"\naddress = "10.0.0.10"\nends = [{ exchange = "ix-mil", port = "p7" }]\n'
_L2 = 'connectivity = "l2"\nends = [{ exchange = "ix-mil", port = "p7" }]\n'
OFFERS = "".join(
    (
        _offer(
            "backup", "Backup vault", "storage", "Milan, Caldera", "IT", "49.00",
            "Encrypted backups over your own circuit. Snapshots every hour, kept for ninety days, restored at the "
            "speed of the line. Your addresses stay as they are, even where they overlap with ours.",
            _L3 + 'needs = { bandwidth = 200, max_latency_ms = 40.0, redundancy = "best_effort" }\n'
            'tags = ["encrypted", "S3", "snapshots"]\n',
        ),
        _offer("ledger", "Ledger database", "database", "Milan", "IT", "310.00",
               "PostgreSQL with a hot standby, operated around the clock.", _L3 + 'approval = true\n'),
        _offer("studio", "Uncompressed video exchange", "media", "Milan, Studio 4", "IT", "120.00",
               "A layer-2 segment between two studios, with room for four uncompressed feeds.", _L2),
        _offer("gpu", "GPU hours", "compute", "Turin", "IT", "2.40 hour",
               "Eight accelerators to a machine, by the hour, reached privately.", _L3),
        _offer("dns", "Secondary DNS", "network", "Anycast, 14 places", "IT", "5.00",
               "Zone transfers over the open network; no circuit is needed.",
               'connectivity = "none"\n'
               'instructions = "Allow transfers to ns.b.example (2001:db8::53), then tell us the zones."\n'),
        _offer("archive", "Cold archive", "storage", "Bolzano, inside a mountain", "IT", "11.00",
               "For what must be kept for decades and is hardly ever read.", _L3 + 'tags = ["tape"]\n'),
        _offer("radio", "Radio monitoring", "media", "Vienna", "AT", "", "Forty stations, recorded and searchable.",
               _L3 + 'approval = true\n'),
        _offer("scrub", "Traffic scrubbing", "security", "Milan", "IT", "890.00",
               "Attack traffic is taken out before it reaches you.", _L2),
        _offer("clock", "Precise time", "network", "Milan, laboratory", "IT", "75.00",
               "PTP from a hydrogen maser, with a bounded delay.", _L2 + 'needs = { max_latency_ms = 20.0 }\n'),
    )
)  # fmt: skip
