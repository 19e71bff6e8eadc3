"""What others offer is fetched, believed only when signed, and kept when they are away. Over real sockets and TLS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from meetme.catalog import logbook, store
from meetme.catalog.listing_wire import sign_listing
from meetme.catalog.mirroring import Fetched, Mirroring
from meetme.catalog.offers import Listing, Offer, OfferChange
from meetme.catalog.publishing import Publisher, etag_of
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, NotFound, TooLarge, Unreachable
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.identity import Identity, create_identity
from tests.catalog.test_offers import BACKUP, NOW, PAGE, listing

US, CSP = MemberId("csp-a"), MemberId("csp-b")


class At(SystemClock):
    """A clock that is set."""

    time = NOW

    def now(self) -> float:
        return self.time


@dataclass
class Other:
    """Another member: what it hands out, and who has signed that."""

    identity: Identity
    listing: Listing
    away: bool = False
    document: str | None = None
    asked: list[str] = field(default_factory=list)

    async def fetch(self, member: MemberId, etag: str) -> Fetched | None:
        assert member == CSP
        self.asked.append(etag)
        if self.away:
            raise Unreachable("peer_unreachable", "peer: must be reachable")
        document = self.document or sign_listing(self.listing, self.identity)
        # An ECDSA signature is another one each time: what it calls its listing is up to it.
        name = f'"{self.listing.version}"'
        return None if etag == name else Fetched(document, name)


@dataclass
class Trusting:
    roster: Roster


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database.open(database_url)
    migrate(database, "meetme.runtime")
    migrate(database, "meetme.catalog")
    yield database
    database.close_now()


@pytest.fixture
def other() -> Other:
    return Other(create_identity("csp-b"), listing())


def mirror(database: Database, other: Other, clock: At) -> tuple[Mirroring, Trusting]:
    identity = other.identity
    member = Member(
        CSP,
        MemberKind.CSP,
        (identity.pin,),
        (identity.certificate,),
        urls=ServiceUrls(catalog="https://b"),
    )
    trusting = Trusting(Roster((member,)))
    return Mirroring(database, other, trusting, US, clock, fresh_seconds=60), trusting


def names(database: Database, mirroring: Mirroring) -> list[tuple[str, bool, bool]]:
    return [(e.offer.name, e.stale, e.expired) for e in database.run_now(mirroring.known)]


async def test_what_is_offered_is_fetched_once_and_then_only_what_has_changed(database: Database, other: Other) -> None:
    clock = At()
    mirroring, _ = mirror(database, other, clock)
    await mirroring.look()
    assert names(database, mirroring) == [("backup", False, False), ("page", False, False)]
    clock.time += 50
    await mirroring.look()
    clock.time += 50
    assert names(database, mirroring) == [("backup", False, False), ("page", False, False)], "it was heard of lately"
    assert other.asked == ["", f'"{other.listing.version}"']
    other.listing = replace(other.listing, version=other.listing.version + 1, offers=(PAGE,))
    await mirroring.look()
    assert names(database, mirroring) == [("page", False, False)], "what is not there any more is withdrawn"
    assert mirroring.troubles() == {}


async def test_who_is_away_keeps_its_last_offers_marked(database: Database, other: Other) -> None:
    clock = At()
    mirroring, _ = mirror(database, other, clock)
    await mirroring.look()
    other.away = True
    clock.time += 100
    await mirroring.look()
    assert names(database, mirroring) == [("backup", True, False), ("page", True, False)]
    assert mirroring.troubles()[CSP].code == "peer_unreachable"
    clock.time += 3600
    assert names(database, mirroring) == [("backup", True, True), ("page", True, True)]
    other.away = False
    other.listing = replace(
        other.listing, version=other.listing.version + 9, issued=clock.time, expires=clock.time + 60
    )
    await mirroring.look()
    assert names(database, mirroring) == [("backup", False, False), ("page", False, False)]


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("stranger", "listing_forged"),
        ("another's", "listing_forged"),
        ("expired", "listing_expired"),
        ("older", "listing_superseded"),
        ("nonsense", "listing_malformed"),
    ],
)
async def test_what_is_not_to_be_believed_changes_nothing(
    database: Database, other: Other, what: str, code: str
) -> None:
    clock = At()
    mirroring, _ = mirror(database, other, clock)
    await mirroring.look()
    before = database.run_now(store.listings)
    later = replace(other.listing, version=other.listing.version + 5, offers=())
    other.listing = later
    match what:
        case "stranger":
            other.document = sign_listing(later, create_identity("csp-b"))
        case "another's":
            other.document = sign_listing(replace(later, provider=MemberId("csp-c")), other.identity)
        case "expired":
            other.document = sign_listing(replace(later, issued=NOW - 60, expires=NOW - 1), other.identity)
        case "older":
            other.document = sign_listing(replace(later, version=later.version - 6), other.identity)
        case _:
            other.document = "{}"
    await mirroring.look()
    assert database.run_now(store.listings) == before
    assert mirroring.troubles()[CSP].code == code


async def test_a_former_member_is_forgotten(database: Database, other: Other) -> None:
    mirroring, trusting = mirror(database, other, At())
    await mirroring.look()
    trusting.roster = Roster(())
    await mirroring.look()
    assert names(database, mirroring) == []


# --- publishing -------------------------------------------------------------------------------------------------------


async def test_offers_are_published_changed_and_withdrawn(database: Database) -> None:
    clock = At()
    publisher = Publisher(database, create_identity("csp-a"), clock)
    first = await publisher.publish([PAGE, BACKUP])
    assert [offer.name for offer in first.offers] == ["backup", "page"]
    assert (await publisher.publish([BACKUP, PAGE])).version == first.version, "nothing has changed"
    second = await publisher.put(replace(BACKUP, title="Better backup"))
    assert second.version > first.version
    third = await publisher.withdraw("page")
    assert [offer.title for offer in third.offers] == ["Better backup"]
    with pytest.raises(NotFound) as caught:
        await publisher.withdraw("page")
    assert caught.value.code == "offer_unknown"
    kept = database.run_now(lambda tx: store.listing(tx, US))
    assert kept is not None
    assert kept.etag == etag_of(kept.document)
    audited = [entry.entry for entry in database.run_now(logbook.audit_entries)]
    assert ["OffersPublished" in entry for entry in audited] == [True, True, True]


async def test_several_are_published_at_once_or_not_at_all(database: Database) -> None:
    publisher = Publisher(database, create_identity("csp-a"), At())
    await publisher.publish([BACKUP])
    first = _version(database)
    news = replace(PAGE, name="news")

    def said(found: Sequence[OfferChange]) -> list[str]:
        return [f"{each.name} {each.what}" for each in found]

    async def bring(*offers: Offer, **how: bool) -> list[str]:
        return said(await publisher.bring(offers, **how))

    both = replace(BACKUP, title="Better backup"), PAGE
    assert await bring(*both, dry_run=True) == ["backup changed", "page new"]
    assert _version(database) == first
    assert await bring(*both) == ["backup changed", "page new"]
    assert _version(database) == first + 1, "one new listing for both"
    assert await bring(*both) == []
    assert await bring(news) == ["news new"]
    assert await bring(news, dry_run=True, only=True) == ["backup withdrawn", "page withdrawn"]
    assert await bring(news, only=True) == ["backup withdrawn", "page withdrawn"]
    last = _version(database)
    with pytest.raises(InvalidInput) as caught:
        await bring(PAGE, replace(PAGE, title=""), replace(PAGE, name="?"))
    assert [problem.field for problem in caught.value.problems] == ["offer[1].name", "offer[1].title", "offer[2].name"]
    much = [replace(PAGE, name=f"page-{n}", description="x" * 3000) for n in range(80)]
    for dry_run in (True, False):
        with pytest.raises(TooLarge):
            await bring(*much, dry_run=dry_run)
    assert _version(database) == last


async def test_what_cannot_be_offered_changes_nothing(database: Database) -> None:
    publisher = Publisher(database, create_identity("csp-a"), At())
    await publisher.publish([BACKUP])
    for bad in (replace(BACKUP, title=""), replace(PAGE, instructions="")):
        with pytest.raises(InvalidInput) as caught:
            await publisher.put(bad)
        assert caught.value.code == "offer_invalid"
    kept = database.run_now(lambda tx: store.listing(tx, US))
    assert kept is not None
    assert kept.version == int(NOW * 1000)


async def test_a_listing_is_issued_anew_before_it_expires(database: Database) -> None:
    clock = At()
    publisher = Publisher(database, create_identity("csp-a"), clock, lifetime=100)
    first = await publisher.publish([BACKUP])
    clock.time += 49
    await publisher.renew()
    assert _version(database) == first.version
    clock.time += 2
    await publisher.renew()
    assert _version(database) > first.version
    assert not database.run_now(logbook.audit_entries)[1:], "nothing else is offered"


def _version(database: Database) -> int:
    kept = database.run_now(lambda tx: store.listing(tx, US))
    assert kept is not None
    return kept.version
