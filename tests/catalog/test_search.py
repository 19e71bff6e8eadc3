"""Offers are found by words and filters, put in order, and shown by the page."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from meetme.catalog.offers import Entry, Offer, Price
from meetme.catalog.search import MOST_ON_PAGE, Query, Sort, search
from meetme.catalog.words import Connectivity
from meetme.model.agreement import MemberId


def entry(title: str, provider: str = "csp-a", price: str | None = "10", **more: object) -> Entry:
    stale = bool(more.pop("stale", False))
    offer = Offer(
        name=title.lower().replace(" ", "-"),
        title=title,
        price=None if price is None else Price(Decimal(price), "EUR"),
        **{"category": "storage", **more},  # type: ignore[arg-type]
    )
    return Entry(MemberId(provider), 1, offer, stale)


BACKUP = entry("Backup vault", "csp-b", "9.90", country="IT", location="Milan")
ARCHIVE = entry("Archive", "csp-c", "2", description="A vault for backup copies", country="DE")
GPU = entry("GPU hours", "csp-b", None, category="compute", connectivity=Connectivity.L2, tags=("vault",))
ALL = (GPU, ARCHIVE, BACKUP)


def titles(query: Query) -> list[str]:
    return [found.offer.title for found in search(ALL, query).entries]


def test_every_word_has_to_be_somewhere_and_the_title_counts_most() -> None:
    assert titles(Query(text="vault")) == ["Backup vault", "GPU hours", "Archive"]
    assert titles(Query(text="BACKUP vault")) == ["Backup vault", "Archive"]
    assert titles(Query(text="vault milan")) == ["Backup vault"]
    assert titles(Query(text="nowhere")) == []


def test_filters() -> None:
    assert titles(Query(category="Compute")) == ["GPU hours"]
    assert titles(Query(provider=MemberId("csp-c"))) == ["Archive"]
    assert titles(Query(country="IT")) == ["Backup vault"]
    assert titles(Query(connectivity=Connectivity.L2)) == ["GPU hours"]
    assert titles(Query(max_price=Decimal(5))) == ["Archive"]


def test_orders() -> None:
    assert titles(Query(sort=Sort.TITLE)) == ["Archive", "Backup vault", "GPU hours"]
    assert titles(Query(sort=Sort.PRICE)) == ["Archive", "Backup vault", "GPU hours"], "on request comes last"
    assert titles(Query(sort=Sort.PROVIDER)) == ["Backup vault", "GPU hours", "Archive"]


def test_what_is_fresh_comes_before_what_is_stale() -> None:
    old = entry("Another vault", stale=True)
    found = search([old, BACKUP], Query(text="vault"))
    assert [each.offer.title for each in found.entries] == ["Backup vault", "Another vault"]


def test_facets_count_what_the_words_find_whatever_is_filtered() -> None:
    facets = search(ALL, Query(text="vault", category="compute")).facets
    assert facets["category"] == {"compute": 1, "storage": 2}
    assert facets["provider"] == {"csp-b": 2, "csp-c": 1}
    assert facets["country"] == {"DE": 1, "IT": 1}
    assert facets["connectivity"] == {"l2": 1, "l3": 2}


@given(st.lists(st.integers(0, 10_000), max_size=60, unique=True), st.sampled_from(Sort), st.integers(-3, 30))
def test_the_pages_are_the_whole(numbers: list[int], sort: Sort, size: int) -> None:
    known = [entry(f"Offer {number}", price=str(number % 7)) for number in numbers]
    first = search(known, Query(sort=sort, size=size))
    pages = [search(known, Query(sort=sort, size=size, page=page)).entries for page in range(1, first.pages + 1)]
    shown = [found for page in pages for found in page]
    assert len(shown) == first.total == len(known)
    assert set(shown) == set(known)
    assert all(0 < len(page) <= max(1, min(size, MOST_ON_PAGE)) for page in pages)
    assert search(known, Query(sort=sort, size=size, page=first.pages + 1)).entries == ()
    assert shown == sorted(shown, key=shown.index)
