"""What this member offers: kept as the signed listing that others fetch, issued anew before it expires."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

import structlog
from sqlalchemy import Connection

from meetme.catalog import logbook, store
from meetme.catalog.listing_wire import read_listing, sign_listing
from meetme.catalog.offers import (
    ChangeKind,
    Listing,
    Offer,
    OfferChange,
    changes,
    next_version,
    several_problems,
)
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound, raise_problems
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database, lock_until_commit
from meetme.runtime.identity import Identity

LIFETIME_SECONDS = 86_400.0
"""How long a listing is good."""
TIDY_SECONDS = 300.0
"""Between two looks at whether it has to be issued anew."""


class Publisher:
    """Changes the own listing, and keeps it good. Whoever changes it signs all of it."""

    def __init__(
        self, database: Database, identity: Identity, clock: Clock, *, lifetime: float = LIFETIME_SECONDS
    ) -> None:
        """`lifetime`: seconds that a listing is good; it is issued anew when half of them are over."""
        self._database = database
        self._identity = identity
        self._me = MemberId(identity.member)
        self._clock = clock
        self._lifetime = lifetime
        self._log = structlog.get_logger().bind(service="catalog")

    async def run(self) -> None:
        """Until cancelled: issue it anew in time, so that who fetches it always gets a good one."""
        while True:
            try:
                await self.renew()
            except Exception:
                self._log.exception("the own offers cannot be issued anew")
            await asyncio.sleep(min(TIDY_SECONDS, self._lifetime / 4))

    async def renew(self) -> None:
        """Issue it anew if half of its time is over."""

        def work(tx: Connection) -> None:
            kept = self._kept(tx)
            if kept is not None and kept.expires - self._clock.now() < self._lifetime / 2:
                self._issue(tx, read_listing(kept.document, {}).listing.offers)

        await self._database.run(work)

    async def publish(self, offers: Iterable[Offer]) -> Listing:
        """Offer these and nothing else. Raises InvalidInput `offer_invalid`, TooLarge `listing_too_large`."""
        wanted = tuple(sorted(offers, key=lambda offer: offer.name))

        def work(tx: Connection) -> Listing:
            known = self._listing(tx)
            if known is not None and known.offers == wanted:
                return known
            return self._issue(tx, wanted)

        return await self._database.run(work)

    async def bring(
        self, offers: Iterable[Offer], *, only: bool = False, dry_run: bool = False
    ) -> tuple[OfferChange, ...]:
        """Offer all of these, each in the place of the one of its name, in one new listing; what that changes.

        `only`: nothing else is offered any more. `dry_run`: nothing is changed. Raises what `publish` raises.
        """
        wanted = tuple(offers)
        raise_problems(several_problems((f"offer[{index}]", offer) for index, offer in enumerate(wanted)))
        names = {offer.name for offer in wanted}

        def work(tx: Connection) -> tuple[OfferChange, ...]:
            kept, known = self._kept(tx), self._listing(tx)
            before = known.offers if known is not None else ()
            others = () if only else tuple(offer for offer in before if offer.name not in names)
            after = tuple(sorted((*others, *wanted), key=lambda offer: offer.name))
            found = changes(before, after)
            if found and dry_run:
                self._signed(kept, after)
            elif found:
                self._issue(tx, after)
            return found

        return await self._database.run(work)

    async def put(self, offer: Offer) -> Listing:
        """Offer this one, in the place of the one of its name. Raises what `publish` raises."""

        def work(tx: Connection) -> Listing:
            known = self._listing(tx)
            others = tuple(each for each in (known.offers if known else ()) if each.name != offer.name)
            return self._issue(tx, tuple(sorted((*others, offer), key=lambda each: each.name)))

        return await self._database.run(work)

    async def withdraw(self, name: str) -> Listing:
        """Offer it no more. Orders of it stay as they are. Raises NotFound `offer_unknown`."""

        def work(tx: Connection) -> Listing:
            known = self._listing(tx)
            if known is None or known.offer(name) is None:
                raise NotFound(
                    "offer_unknown",
                    f'offer: must be one of ours ("{name[:63]}")',
                    hint="meetme catalog list --mine shows them",
                    field="name",
                )
            return self._issue(tx, tuple(each for each in known.offers if each.name != name))

        return await self._database.run(work)

    def _kept(self, tx: Connection) -> store.Kept | None:
        # Two replicas must not sign two listings of one version.
        lock_until_commit(tx, "catalog_listing")
        return store.listing(tx, self._me)

    def _listing(self, tx: Connection) -> Listing | None:
        kept = self._kept(tx)
        return None if kept is None else read_listing(kept.document, {}).listing

    def _signed(self, kept: store.Kept | None, offers: tuple[Offer, ...]) -> tuple[Listing, str]:
        now = self._clock.now()
        version = next_version(kept.version if kept else 0, now)
        listing = Listing(provider=self._me, version=version, issued=now, expires=now + self._lifetime, offers=offers)
        return listing, sign_listing(listing, self._identity)

    def _issue(self, tx: Connection, offers: tuple[Offer, ...]) -> Listing:
        kept = self._kept(tx)
        listing, document = self._signed(kept, offers)
        now, version = listing.issued, listing.version
        if kept is not None and kept.version > version:
            store.forget_listing(tx, self._me)  # of a clock that was far ahead: nobody has believed it
        store.keep_listing(tx, store.Kept(self._me, version, listing.expires, now, etag_of(document), document))
        before = read_listing(kept.document, {}).listing.offers if kept else ()
        if found := changes(before, offers):
            gone = [each.name for each in found if each.what is ChangeKind.WITHDRAWN]
            changed = [each.name for each in found if each.what is not ChangeKind.WITHDRAWN]
            logbook.audit(tx, now, "OffersPublished", version=version, changed=changed, withdrawn=gone)
        return listing


def etag_of(document: str) -> str:
    """What a listing is called for whoever asks whether it has changed."""
    return f'"{hashlib.sha256(document.encode()).hexdigest()[:24]}"'
