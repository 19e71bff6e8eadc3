"""The offers of other members: fetched from each now and then, believed only with its signature, kept when it is away.

Rules of this file:

1. Only what `offers.admit` lets pass takes the place of what is known. What is refused changes nothing, and is told.
2. A member that cannot be reached keeps its last offers; that they may be out of date shows by when it was heard last.
3. Each replica asks for itself; the store keeps the newest of what they bring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Connection

from meetme.catalog import store
from meetme.catalog.listing_wire import read_listing
from meetme.catalog.offers import Entry, Listing, Mirror, admit, entries
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Forbidden, MeetMeError, Problem
from meetme.model.members import Member, Roster
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database

EVERY_SECONDS = 30.0
FRESH_SECONDS = 120.0
"""Who was not heard of for longer has offers that may be out of date."""
AT_ONCE = 8
"""Members that are asked at a time."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A listing as a member hands it out, and what it calls it."""

    document: str
    etag: str


class ListingLine(Protocol):
    """The way to the other catalog servers."""

    async def fetch(self, member: MemberId, etag: str) -> Fetched | None:
        """What a member offers. None: still what it called `etag`. Raises MeetMeError."""


class Directory(Protocol):
    """Who is who (`runtime.tls.Trust`)."""

    @property
    def roster(self) -> Roster:
        """Every member that is known, as of now."""


class Mirroring:
    """Keeps what the other members offer."""

    def __init__(
        self,
        database: Database,
        line: ListingLine,
        directory: Directory,
        me: MemberId,
        clock: Clock,
        registry: CollectorRegistry | None = None,
        *,
        every: float = EVERY_SECONDS,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._database = database
        self._line = line
        self._directory = directory
        self._me = me
        self._clock = clock
        self._every = every
        self._fresh_seconds = fresh_seconds
        self._read: dict[str, Listing] = {}
        self._troubles: dict[MemberId, Problem] = {}
        self._log = structlog.get_logger().bind(service="catalog")
        self._heard = Gauge(
            "meetme_catalog_heard_timestamp_seconds",
            "When a member's offers were last heard of, in seconds since the epoch.",
            ("member",),
            registry=registry or CollectorRegistry(),
        )

    # --- what is known ------------------------------------------------------------------------------------------------

    def known(self, tx: Connection) -> list[Entry]:
        """Every offer there is, the own ones too, as of the transaction."""
        mirrors = [Mirror(self.listing(kept), self._clock.now() if kept.provider == self._me else kept.heard)
                   for kept in store.listings(tx)]  # fmt: skip
        return list(entries(mirrors, now=self._clock.now(), fresh_seconds=self._fresh_seconds))

    def own(self, tx: Connection) -> Listing | None:
        """What this member offers."""
        kept = store.listing(tx, self._me)
        return None if kept is None else self.listing(kept)

    def listing(self, kept: store.Kept) -> Listing:
        """A kept listing, read once. Whoever wrote it into the store had checked who signed it."""
        found = self._read.get(kept.document)
        if found is None:
            found = read_listing(kept.document, {}).listing
            self._read = {d: listing for d, listing in self._read.items() if listing.provider != found.provider}
            self._read[kept.document] = found
        return found

    def troubles(self) -> Mapping[MemberId, Problem]:
        """What is wrong with whom right now."""
        return dict(self._troubles)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled: at once, and then now and again."""
        while True:
            try:
                await self.look()
            except Exception:
                self._log.exception("looking at the offers of others failed unexpectedly")
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Ask every member that has a catalogue once, and forget those that are not members any more."""
        members = [m for m in self._directory.roster.members if m.id != self._me]
        kept = {each.provider: each for each in await self._database.read(store.listings)}
        for stranger in kept.keys() - {m.id for m in members} - {self._me}:
            await self._forget(stranger)
        places = asyncio.Semaphore(AT_ONCE)

        async def one(member: Member) -> None:
            async with places:
                await self._ask(member, kept.get(member.id))

        await asyncio.gather(*(one(m) for m in members if m.urls.catalog is not None))

    async def _forget(self, stranger: MemberId) -> None:
        await self._database.run(lambda tx: store.forget_listing(tx, stranger))
        self._troubles.pop(stranger, None)
        self._log.info("the offers of a former member are forgotten", member=stranger)

    async def _ask(self, member: Member, known: store.Kept | None) -> None:
        try:
            fetched = await self._line.fetch(member.id, known.etag if known else "")
            if fetched is None:
                await self._database.run(lambda tx: store.heard_of(tx, member.id, self._clock.now()))
            else:
                await self._take(member.id, member.certificates, known, fetched)
        except MeetMeError as error:
            if self._troubles.get(member.id) != error.problem:
                self._log.warning("the offers of a member are not renewed", member=member.id, problem=error.text)
            self._troubles[member.id] = error.problem
        else:
            self._troubles.pop(member.id, None)
            self._heard.labels(member.id).set(self._clock.now())

    async def _take(
        self, member: MemberId, certificates: Sequence[bytes], known: store.Kept | None, fetched: Fetched
    ) -> None:
        now = self._clock.now()
        signed = read_listing(fetched.document, {member: certificates})
        if member not in signed.signers:
            raise Forbidden(
                "listing_forged",
                f"listing: must carry a good signature of '{member}'",
                hint="compare the fingerprints of both members (meetme identity show, meetme peer list)",
                field="listing",
                fault=Fault.REMOTE,
            )
        admit(signed.listing, self.listing(known) if known else None, signer=member, now=now)
        kept = store.Kept(member, signed.listing.version, signed.listing.expires, now, fetched.etag, fetched.document)
        if await self._database.run(lambda tx: store.keep_listing(tx, kept)) and (
            known is None or known.version < kept.version
        ):
            self._log.info("offers renewed", member=member, version=kept.version, offers=len(signed.listing.offers))
