"""What an offer may say, and which listing of a member counts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from meetme.catalog.offers import (
    LONGEST_SECONDS,
    MOST_OFFERS,
    Entry,
    Listing,
    Mirror,
    Needs,
    Offer,
    OfferEnd,
    Price,
    admit,
    check,
    entries,
    next_version,
)
from meetme.catalog.words import Connectivity
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Forbidden, InvalidInput, Stale

CSP = MemberId("csp-b")
NOW = 1_800_000_000.0
BACKUP = Offer(
    name="backup",
    title="Backup",
    category="storage",
    country="IT",
    price=Price(Decimal("9.90"), "EUR"),
    ends=(OfferEnd(MemberId("ixp-1"), "p1"),),
    prefix=ip_network("10.0.0.0/24"),
    address=ip_address("10.0.0.10"),
)
PAGE = Offer(
    name="page", title="Page", category="web", connectivity=Connectivity.NONE, instructions="https://b.example"
)


def listing(*offers: Offer, **changes: Any) -> Listing:
    version = int(NOW * 1000)
    return replace(
        Listing(provider=CSP, version=version, issued=NOW, expires=NOW + 3600, offers=offers or (BACKUP, PAGE)),
        **changes,
    )


def test_what_is_right_passes() -> None:
    check(listing(), Fault.LOCAL)
    admit(listing(), None, signer="csp-b", now=NOW + 1)
    admit(listing(), listing(), signer="csp-b", now=NOW + 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Back Up"}, "name: must be lower case letters, digits and -, at most 63 ('Back Up')"),
        ({"name": ""}, "name: must be lower case letters, digits and -, at most 63 ('')"),
        ({"title": " "}, "title: must say something (' ')"),
        ({"title": "x" * 121}, "title: must not be longer than 120 characters ('121')"),
        ({"description": "a\x00b"}, "description: must be printable ('a\x00b')"),
        ({"category": ""}, "category: must say something ('')"),
        ({"country": "Italy"}, "country: must be two capital letters (ISO 3166-1) ('Italy')"),
        ({"price": Price(Decimal(-1), "EUR")}, "price.amount: must be between 0 and 10^9 ('-1')"),
        ({"price": Price(Decimal("nan"), "EUR")}, "price.amount: must be between 0 and 10^9 ('NaN')"),
        ({"price": Price(Decimal(1), "euro")}, "price.currency: must be three capital letters (ISO 4217) ('euro')"),
        ({"tags": ("x",) * 17}, "tags: must not be more than 16 ('17')"),
        ({"needs": Needs(bandwidth=0)}, "needs.bandwidth: must be between 1 and 100000000 Mbit/s ('0')"),
        (
            {"needs": Needs(max_latency_ms=float("inf"))},
            "needs.max_latency_ms: must be above 0, at most 60000 ms ('inf')",
        ),
        ({"needs": Needs(redundancy="much")}, "needs.redundancy: must be one of none, best_effort, strict ('much')"),
        ({"needs": Needs(mtu=64)}, "needs.mtu: must be between 1280 and 65535 octets ('64')"),
        ({"ends": ()}, "ends: must name a port where circuits may end ('')"),
        ({"ends": BACKUP.ends * 2}, "ends: must be there once each ('2')"),
        ({"prefix": None, "address": None}, "prefix: must be there ('None')"),
        ({"address": ip_address("10.9.0.1")}, "address: must be inside prefix ('10.9.0.1')"),
        (
            {"connectivity": Connectivity.L2, "address": None},
            "prefix: must be left out: nothing is agreed about addresses ('10.0.0.0/24')",
        ),
        (
            {"connectivity": Connectivity.NONE, "prefix": None, "address": None},
            "ends: must be empty: no connection is needed ('ixp-1 p1')",
        ),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(listing(replace(BACKUP, **change)), Fault.REMOTE)
    assert caught.value.code == "offer_invalid"
    assert caught.value.text == f"listing.offers[0].{said}"
    assert caught.value.fault is Fault.REMOTE


def test_a_service_without_a_connection_says_how_it_is_reached() -> None:
    with pytest.raises(InvalidInput, match="must say how the service is reached"):
        check(listing(replace(PAGE, instructions="")), Fault.LOCAL)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        check(listing(replace(BACKUP, title="", needs=Needs(bandwidth=0)), replace(BACKUP, country="x")), Fault.LOCAL)
    fields = [problem.field for problem in caught.value.problems]
    assert fields == [
        "listing.offers[0].title",
        "listing.offers[0].needs.bandwidth",
        "listing.offers[1].name",
        "listing.offers[1].country",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": int(NOW * 1000) + 86_400_001},
        {"expires": NOW},
        {"expires": NOW + LONGEST_SECONDS + 1},
        {"expires": float("nan")},
        {"offers": tuple(replace(BACKUP, name=f"o{i}") for i in range(MOST_OFFERS + 1))},
    ],
)
def test_a_listing_has_its_bounds(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check(listing(**change), Fault.REMOTE)


def test_nobody_lists_for_another() -> None:
    with pytest.raises(Forbidden) as caught:
        admit(listing(), None, signer="csp-c", now=NOW)
    assert caught.value.code == "listing_forged"


def test_what_is_over_or_older_is_not_taken() -> None:
    with pytest.raises(Stale, match="must not be over") as late:
        admit(listing(), None, signer="csp-b", now=NOW + 3600)
    assert late.value.code == "listing_expired"
    with pytest.raises(Stale) as older:
        admit(listing(version=int(NOW * 1000) - 1), listing(), signer="csp-b", now=NOW)
    assert (older.value.code, older.value.existing) == ("listing_superseded", str(int(NOW * 1000)))
    with pytest.raises(Stale) as ahead:
        admit(listing(issued=NOW + 400, expires=NOW + 500), None, signer="csp-b", now=NOW)
    assert ahead.value.code == "listing_ahead"


def test_versions_grow_even_when_the_clock_does_not() -> None:
    assert next_version(0, NOW) == int(NOW * 1000)
    assert next_version(int(NOW * 1000) + 5, NOW) == int(NOW * 1000) + 6
    assert next_version(int(NOW * 1000) + 10**9, NOW) == int(NOW * 1000), "what nobody has believed does not count"


def test_who_is_away_keeps_its_last_offers_and_they_are_marked() -> None:
    mirror = Mirror(listing(BACKUP), heard=NOW)

    def seen(now: float) -> Entry:
        (entry,) = entries([mirror], now=now, fresh_seconds=120)
        return entry

    assert (seen(NOW + 100).stale, seen(NOW + 100).expired) == (False, False)
    assert (seen(NOW + 200).stale, seen(NOW + 200).expired) == (True, False)
    assert (seen(NOW + 3600).stale, seen(NOW + 3600).expired) == (True, True)
