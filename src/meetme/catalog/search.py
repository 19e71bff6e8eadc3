"""Finding offers: words, filters, an order, a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from meetme.catalog.offers import Entry
from meetme.catalog.words import Connectivity
from meetme.model.agreement import MemberId

PAGE = 24
"""Offers on a page, if nobody says otherwise."""
MOST_ON_PAGE = 200


class Sort(StrEnum):
    """By what offers are put in order."""

    RELEVANCE = "relevance"
    TITLE = "title"
    PRICE = "price"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What somebody looks for. What is left out does not matter."""

    text: str = ""
    """Words, each of which must be found somewhere in the offer."""
    category: str | None = None
    provider: MemberId | None = None
    country: str | None = None
    connectivity: Connectivity | None = None
    max_price: Decimal | None = None
    """In the offer's own currency; what is on request is left out."""
    sort: Sort = Sort.RELEVANCE
    page: int = 1
    size: int = PAGE


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found, and how much there is besides."""

    entries: tuple[Entry, ...]
    total: int
    pages: int
    facets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of what the words alone find: how many offers there are of each category, provider, country, connectivity."""


def search(known: Iterable[Entry], query: Query) -> Found:
    """The page of `query`. A page behind the last one is empty."""
    words = query.text.casefold().split()
    matching = [(score, entry) for entry in known if (score := _score(entry, words)) is not None]
    kept = [(score, entry) for score, entry in matching if _passes(entry, query)]
    kept.sort(key=lambda scored: _place(scored[0], scored[1], query.sort))
    size = max(1, min(query.size, MOST_ON_PAGE))
    first = (max(1, query.page) - 1) * size
    shown = tuple(entry for _, entry in kept[first : first + size])
    return Found(shown, len(kept), -(-len(kept) // size), _facets(entry for _, entry in matching))


def _score(entry: Entry, words: Iterable[str]) -> int | None:
    """How well it fits: a word in the title counts most. None: a word is nowhere."""
    offer = entry.offer
    title = offer.title.casefold()
    near = " ".join((offer.name, offer.category, entry.provider, offer.location, *offer.tags)).casefold()
    far = f"{offer.description} {offer.country or ''}".casefold()
    score = 0
    for word in words:
        if word in title:
            score += 4 if title.startswith(word) else 3
        elif word in near:
            score += 2
        elif word in far:
            score += 1
        else:
            return None
    return score


def _passes(entry: Entry, query: Query) -> bool:
    offer = entry.offer
    return (
        (query.category is None or offer.category.casefold() == query.category.casefold())
        and (query.provider is None or entry.provider == query.provider)
        and (query.country is None or offer.country == query.country)
        and (query.connectivity is None or offer.connectivity is query.connectivity)
        and (query.max_price is None or (offer.price is not None and offer.price.amount <= query.max_price))
    )


def _place(score: int, entry: Entry, sort: Sort) -> tuple[object, ...]:
    """What is put in order by; the rest of it makes every order a whole one."""
    rest = (entry.offer.title.casefold(), entry.provider, entry.offer.name)
    match sort:
        case Sort.RELEVANCE:
            return (-score, entry.stale, *rest)
        case Sort.PRICE:
            price = entry.offer.price
            return (price is None, price.amount if price else Decimal(0), *rest)
        case Sort.PROVIDER:
            return (entry.provider, *rest)
        case Sort.TITLE:
            return rest


def _facets(found: Iterable[Entry]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("category", "provider", "country", "connectivity")}
    for entry in found:
        offer = entry.offer
        counts["category"][offer.category] += 1
        counts["provider"][entry.provider] += 1
        counts["connectivity"][offer.connectivity] += 1
        if offer.country is not None:
            counts["country"][offer.country] += 1
    return {name: dict(sorted(count.items())) for name, count in counts.items()}
