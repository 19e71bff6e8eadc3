"""What members offer: the entries of one, what can be wrong with them, and which listing of a member counts.

A member's offers travel together, as one signed *listing*: what is not in the newest one is withdrawn. Rules:

1. A listing speaks of its provider's offers alone, and its provider has signed it.
2. `version` only grows. A member that mirrors a listing never goes back to an older one.
3. What has expired is not ordered any more. It is still shown, as what was last known of a member that is away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from math import isfinite

from meetme.catalog.words import Connectivity
from meetme.model.addresses import Address, Prefix
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Forbidden, InvalidInput, Problem, Stale

MOST_OFFERS = 500
"""Of one member."""
LONGEST_TITLE, LONGEST_TEXT = 120, 4000
MOST_TAGS, MOST_ENDS = 16, 16
MOST_BANDWIDTH = 100_000_000
"""Mbit/s."""
LEAST_MTU, MOST_MTU = 1280, 65535
LONGEST_SECONDS = 30 * 86_400.0
"""Between issue and expiry of a listing."""
MOST_AHEAD = 86_400_000
"""By how much a version may be ahead of the clock, in milliseconds."""
SKEW_SECONDS = 300.0
"""How far the provider's clock may be ahead of ours."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_COUNTRY = re.compile(r"[A-Z]{2}")


class Per(StrEnum):
    """What a price is paid for."""

    MONTH = "month"
    HOUR = "hour"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class Price:
    """What the service costs. What reaching it costs is said by the federation's exchanges, per circuit."""

    amount: Decimal
    currency: str
    """ISO 4217."""
    per: Per = Per.MONTH


@dataclass(frozen=True, slots=True)
class OfferEnd:
    """A port of the provider at an exchange, where circuits to the service may end."""

    exchange: MemberId
    port: str
    """The exchange's name for it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the connection needs, so that the service works as it should."""

    bandwidth: int = 100
    """Mbit/s, each way."""
    max_latency_ms: float | None = None
    """One way."""
    redundancy: str = "none"
    """`none`, `best_effort` or `strict`."""
    mtu: int | None = None
    """Octets of Ethernet payload that have to fit at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One entry of the catalogue."""

    name: str
    """Short, unique at its provider: lower case letters, digits and `-`."""
    title: str
    category: str
    """A word to filter by, for example `storage`."""
    description: str = ""
    location: str = ""
    """For people: the city, the data centre."""
    country: str | None = None
    """ISO 3166-1 alpha-2."""
    price: Price | None = None
    """None: on request."""
    connectivity: Connectivity = Connectivity.L3
    needs: Needs = Needs()
    ends: tuple[OfferEnd, ...] = ()
    """Where circuits to it may end. Empty only where no connection is needed."""
    prefix: Prefix | None = None
    """Where it lives, as its provider addresses it."""
    address: Address | None = None
    """What has to answer before it counts as reached: an address of the service, inside `prefix`."""
    approval: bool = False
    """A person at the provider decides about each order."""
    instructions: str = ""
    """How it is reached where no connection is needed, and what else the buyer has to know."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that one member offers; a later version takes the place of all of it."""

    provider: MemberId
    version: int
    """Milliseconds since the epoch as a rule; larger than that of every earlier one."""
    issued: float
    """Seconds since the epoch."""
    expires: float
    offers: tuple[Offer, ...] = ()

    def offer(self, name: str) -> Offer | None:
        """The offer of this name, or None."""
        return next((offer for offer in self.offers if offer.name == name), None)


# --- what cannot be right ---------------------------------------------------------------------------------------------


class ChangeKind(StrEnum):
    """What becomes of an offer."""

    NEW = "new"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class OfferChange:
    """One difference between what is offered and what is to be."""

    name: str
    what: ChangeKind


def changes(before: Iterable[Offer], after: Iterable[Offer]) -> tuple[OfferChange, ...]:
    """What is new or different, by name, and then what is withdrawn."""
    known, wanted = {offer.name: offer for offer in before}, {offer.name: offer for offer in after}
    different = [
        OfferChange(name, ChangeKind.CHANGED if name in known else ChangeKind.NEW)
        for name, offer in sorted(wanted.items())
        if known.get(name) != offer
    ]
    gone = [OfferChange(name, ChangeKind.WITHDRAWN) for name in sorted(known.keys() - wanted.keys())]
    return (*different, *gone)


def several_problems(offers: Iterable[tuple[str, Offer]]) -> Iterator[Problem]:
    """Everything that is wrong with offers that are made together, each with the words for where it stands."""
    names: set[str] = set()
    for where, offer in offers:
        if offer.name in names:
            yield _wrong(f"{where}.name", "must be there once", offer.name)
        names.add(offer.name)
        yield from offer_problems(offer, where)


def check(listing: Listing, fault: Fault) -> None:
    """Raise InvalidInput `offer_invalid` with everything that is wrong in itself, whoever says it and when."""
    problems = tuple(replace(problem, fault=fault) for problem in _problems(listing))
    if problems:
        first = problems[0]
        raise InvalidInput(first.code, first.text, hint=first.hint, field=first.field, fault=fault, problems=problems)


def admit(listing: Listing, known: Listing | None, *, signer: str, now: float) -> None:
    """Raise unless `listing`, which `signer` has signed and a member handed us, takes the place of `known`.

    Raises Forbidden `listing_forged`, Stale `listing_expired` or `listing_superseded`, InvalidInput `offer_invalid`.
    """
    if listing.provider != signer:
        raise Forbidden(
            "listing_forged",
            f'listing: must be signed by its provider ("{listing.provider}", signed by "{signer}")',
            field="provider",
            hint="nothing of it is believed; tell the operator of the member that handed it out",
            fault=Fault.REMOTE,
        )
    check(listing, Fault.REMOTE)
    if listing.expires <= now:
        raise Stale(
            "listing_expired",
            f"listing.expires: must not be over ({now - listing.expires:.0f} s ago)",
            field="expires",
            hint="its provider has to issue it anew; compare the clocks of both members",
            fault=Fault.REMOTE,
        )
    if listing.issued > now + SKEW_SECONDS:
        raise Stale(
            "listing_ahead",
            f"listing.issued: must not be ahead of our clock ({listing.issued - now:.0f} s)",
            field="issued",
            hint="compare the clocks of both members",
            fault=Fault.REMOTE,
        )
    if known is not None and listing.version < known.version:
        raise Stale(
            "listing_superseded",
            f"listing.version: must not be below the one that is known ({listing.version}, known {known.version})",
            field="version",
            hint="an older listing was handed out: the provider's database may come from a backup",
            fault=Fault.REMOTE,
            existing=str(known.version),
        )


def next_version(known: int, now: float) -> int:
    """The version of what is issued at `now`, after `known`.

    One that is too far ahead (of a clock that was wrong by days) nobody has believed: it does not count.
    """
    return max(known + 1 if known < now * 1000 + MOST_AHEAD else 0, int(now * 1000))


def _problems(listing: Listing) -> Iterator[Problem]:
    if not 0 < listing.version < 2**53:
        yield _wrong("listing.version", "must be between 1 and 2^53", listing.version)
    if not (isfinite(listing.issued) and isfinite(listing.expires)):
        yield _wrong("listing.expires", "must be a time", listing.expires)
    elif not 0 < listing.expires - listing.issued <= LONGEST_SECONDS:
        yield _wrong(
            "listing.expires", f"must be after issued, by {LONGEST_SECONDS / 86400:g} days at most", listing.expires
        )
    elif listing.version > listing.issued * 1000 + MOST_AHEAD:
        yield _wrong("listing.version", "must not be more than a day ahead of issued, in milliseconds", listing.version)
    if len(listing.offers) > MOST_OFFERS:
        yield _wrong("listing.offers", f"must not be more than {MOST_OFFERS}", len(listing.offers))
        return
    yield from several_problems((f"listing.offers[{index}]", offer) for index, offer in enumerate(listing.offers))


def offer_problems(offer: Offer, where: str = "offer") -> Iterator[Problem]:
    """Everything that is wrong with one offer in itself."""
    if not _SLUG.fullmatch(offer.name):
        yield _wrong(f"{where}.name", "must be lower case letters, digits and -, at most 63", offer.name)
    yield from _text_problems(offer, where)
    if offer.country is not None and not _COUNTRY.fullmatch(offer.country):
        yield _wrong(f"{where}.country", "must be two capital letters (ISO 3166-1)", offer.country)
    if offer.price is not None:
        if not (offer.price.amount.is_finite() and 0 <= offer.price.amount < 10**9):
            yield _wrong(f"{where}.price.amount", "must be between 0 and 10^9", offer.price.amount)
        if not _CURRENCY.fullmatch(offer.price.currency):
            yield _wrong(f"{where}.price.currency", "must be three capital letters (ISO 4217)", offer.price.currency)
    if len(offer.tags) > MOST_TAGS:
        yield _wrong(f"{where}.tags", f"must not be more than {MOST_TAGS}", len(offer.tags))
    yield from _connection_problems(offer, where)


def _text_problems(offer: Offer, where: str) -> Iterator[Problem]:
    for name, text, most in (
        ("title", offer.title, LONGEST_TITLE),
        ("category", offer.category, 40),
        ("location", offer.location, LONGEST_TITLE),
        ("description", offer.description, LONGEST_TEXT),
        ("instructions", offer.instructions, LONGEST_TEXT),
        *((f"tags[{index}]", tag, 40) for index, tag in enumerate(offer.tags)),
    ):
        if len(text) > most:
            yield _wrong(f"{where}.{name}", f"must not be longer than {most} characters", len(text))
        if any(not c.isprintable() and c != "\n" for c in text):
            yield _wrong(f"{where}.{name}", "must be printable", text[:40])
    for name, text in (("title", offer.title), ("category", offer.category)):
        if not text.strip():
            yield _wrong(f"{where}.{name}", "must say something", text)


def _connection_problems(offer: Offer, where: str) -> Iterator[Problem]:
    needs = offer.needs
    if not 1 <= needs.bandwidth <= MOST_BANDWIDTH:
        yield _wrong(f"{where}.needs.bandwidth", f"must be between 1 and {MOST_BANDWIDTH} Mbit/s", needs.bandwidth)
    latency = needs.max_latency_ms
    if latency is not None and not (isfinite(latency) and 0 < latency <= 60_000):
        yield _wrong(f"{where}.needs.max_latency_ms", "must be above 0, at most 60000 ms", latency)
    if needs.redundancy not in ("none", "best_effort", "strict"):
        yield _wrong(f"{where}.needs.redundancy", "must be one of none, best_effort, strict", needs.redundancy)
    if needs.mtu is not None and not LEAST_MTU <= needs.mtu <= MOST_MTU:
        yield _wrong(f"{where}.needs.mtu", f"must be between {LEAST_MTU} and {MOST_MTU} octets", needs.mtu)
    if len(offer.ends) > MOST_ENDS:
        yield _wrong(f"{where}.ends", f"must not be more than {MOST_ENDS}", len(offer.ends))
    if len(set(offer.ends)) < len(offer.ends):
        yield _wrong(f"{where}.ends", "must be there once each", len(offer.ends))
    if (offer.connectivity is Connectivity.NONE) is bool(offer.ends):
        rule = "must be empty: no connection is needed" if offer.ends else "must name a port where circuits may end"
        yield _wrong(f"{where}.ends", rule, ", ".join(f"{end.exchange} {end.port}" for end in offer.ends))
    if offer.connectivity is Connectivity.NONE and not offer.instructions.strip():
        yield _wrong(f"{where}.instructions", "must say how the service is reached", offer.instructions)
    if (offer.connectivity is Connectivity.L3) is (offer.prefix is None):
        rule = "must be there" if offer.prefix is None else "must be left out: nothing is agreed about addresses"
        yield _wrong(f"{where}.prefix", rule, offer.prefix)
    if offer.address is not None and (offer.prefix is None or offer.address not in offer.prefix):
        yield _wrong(f"{where}.address", "must be inside prefix", offer.address)


def _wrong(path: str, rule: str, seen: object) -> Problem:
    return Problem("offer_invalid", f"{path}: {rule} ('{seen}')", field=path)


# --- what is known of everybody ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One offer as it is shown: whose it is, and whether that was heard of lately."""

    provider: MemberId
    version: int
    offer: Offer
    stale: bool = False
    """What is known of it may be out of date: its provider could not be reached, or its listing has expired."""
    expired: bool = False
    """It cannot be ordered before its provider is heard of again."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The last good listing of a member, and how long ago that member was heard of."""

    listing: Listing
    heard: float
    """Seconds since the epoch."""


def entries(mirrors: Iterable[Mirror], *, now: float, fresh_seconds: float) -> Iterator[Entry]:
    """Every offer there is. What was not heard of within `fresh_seconds` is stale."""
    for mirror in mirrors:
        listing = mirror.listing
        expired = listing.expires <= now
        stale = expired or now - mirror.heard > fresh_seconds
        for offer in listing.offers:
            yield Entry(listing.provider, listing.version, offer, stale, expired)
