"""What is wrong with a running service, or will be soon: each finding with what to do about it. Changes nothing.

What every service of a member has is looked at here: certificates, database, disk, loop, what it owes, its peers.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from meetme.model.errors import MeetMeError
from meetme.model.members import Member, MemberKind
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.identity import valid_until
from meetme.runtime.ledger import Debt, Ledger
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.tls import Trust

T = TypeVar("T")
DAY = 86_400.0
EXPIRES_SOON = 30 * DAY
SKEW_WARNING = 2.0
SKEW_WRONG = 5.0
"""Seconds between two members' clocks: beyond this, messages count as expired before their time."""
SLOW_DATABASE = 1.0
MANY_ATTEMPTS = 5
"""In vain, before an effect is worth telling."""
LITTLE_SPACE = 1 << 30
NO_SPACE = 100 << 20
"""Octets that are free where the database is."""
AT_ONCE = 16
"""Peers that are asked at the same time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `needed`: while it is not `ok`, something does not work."""

    what: str
    ok: bool
    detail: str
    hint: str = ""
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was looked at. `ok`: nothing that is needed fails."""

    ok: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """Which service is looked at, and how people call what it is about."""

    service: str
    """`negotiator`, `composer` or `catalog`: as in the roster."""
    machine: str
    """Whose effects it owes."""
    show: str
    """The command that shows one of its instances."""
    peers: MemberKind | None = None
    """Of which kind its peers are. None: of any."""
    waits: str | None = None
    """How notes begin that say that something is only under way: they are not told."""


class Checkup:
    """Looks at what every service has, from inside it."""

    def __init__(
        self,
        subject: Subject,
        database: Database,
        ledger: Ledger,
        trust: Trust,
        peers: PeerClient,
        clock: Clock,
        *,
        runs: Callable[[], bool],
    ) -> None:
        """`runs`: whether the durable loop does."""
        self._subject = subject
        self._database = database
        self._ledger = ledger
        self._trust = trust
        self._peers = peers
        self._clock = clock
        self._runs = runs

    # --- ourselves ----------------------------------------------------------------------------------------------------

    def certificates(self) -> Iterable[Finding]:
        """The own one, and those of all members."""
        own = self._trust.identity
        yield self._certificate("own certificate", own.certificate, "make a new identity; every peer has to pin it")
        for member in self._trust.roster.members:
            if member.id != own.member and member.certificates:
                newest = max(member.certificates, key=valid_until)
                hint = f"ask for its new certificate, then meetme peer add {member.id}"
                yield self._certificate(f"certificate of {member.id}", newest, hint)

    def _certificate(self, what: str, certificate: bytes, hint: str) -> Finding:
        left = valid_until(certificate) - self._clock.now()
        if left <= 0:
            return Finding(what, False, f"has expired {span(-left)} ago", hint)
        return Finding(what, left > EXPIRES_SOON, f"good for {span(left)} more", hint, needed=False)

    async def store(
        self, read: Callable[[Connection], T], tell: Callable[[T], Iterable[Finding]] = lambda _: ()
    ) -> list[Finding]:
        """Database, disk, loop, what `tell` says of what `read` has read, and what is owed for long."""
        begin = time.perf_counter()

        def all_of_it(tx: Connection) -> tuple[T, list[tuple[str, Debt]]]:
            return read(tx), self._ledger.in_vain(tx, self._subject.machine, MANY_ATTEMPTS)

        try:
            known, debts = await self._database.read(all_of_it)
        except MeetMeError as error:
            return [Finding("database", False, error.text, error.hint)]
        seconds = time.perf_counter() - begin
        slow = "look at the disk, or at what else writes to it"
        again = f"restart the {self._subject.service}"
        return [
            Finding("database", seconds < SLOW_DATABASE, f"answers in {seconds:.3f} s", slow, needed=False),
            *self._disk(),
            Finding("durable loop", self._runs(), "runs" if self._runs() else "stopped", again),
            *tell(known),
            *self._owed(debts),
        ]

    def _disk(self) -> Iterable[Finding]:
        if self._database.file is not None:
            free = shutil.disk_usage(self._database.file.parent).free
            hint = "make room: nothing is acknowledged that cannot be written"
            yield Finding("disk", free > LITTLE_SPACE, f"{free >> 20} MiB free", hint, needed=free <= NO_SPACE)

    def _owed(self, debts: Iterable[tuple[str, Debt]]) -> Iterable[Finding]:
        waits = self._subject.waits
        for instance, debt in debts:
            if waits is not None and debt.note.startswith(f"{waits}: "):
                continue
            detail = f"{debt.key}: tried {debt.attempts} times in vain ({debt.note})"
            hint = f"{self._subject.show} {instance}; it is tried again by itself"
            yield Finding(f"owed by {instance}", False, detail, hint, False)

    # --- the peers ----------------------------------------------------------------------------------------------------

    async def others(self) -> list[Finding]:
        """Every peer: the way there, its key, its clock."""
        places = asyncio.Semaphore(AT_ONCE)

        async def ask(member: Member) -> list[Finding]:
            async with places:
                return await self._peer(member)

        kind, me = self._subject.peers, self._trust.identity.member
        members = [m for m in self._trust.roster.members if m.id != me and kind in (None, m.kind)]
        return [finding for found in await asyncio.gather(*map(ask, members)) for finding in found]

    async def _peer(self, member: Member) -> list[Finding]:
        """Whether it can be reached with the pinned key, and how far its clock is from ours."""
        what = f"peer {member.id}"
        service = self._subject.service
        if getattr(member.urls, service) is None:
            hint = f"meetme peer add {member.id} --{service} URL"
            return [Finding(what, False, "has no URL in the roster", hint, needed=False)]
        try:
            seen = await self._peers.look(member.id, service)
        except MeetMeError as error:
            return [Finding(what, False, error.text, error.hint or "ask its operator")]
        found = [Finding(what, True, f"answers in {seen.seconds:.3f} s, with the pinned key")]
        if seen.clock_ahead is not None:
            ahead = seen.clock_ahead
            skew = abs(ahead) - seen.uncertainty
            said = (
                f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ours" if skew > 0 else "agrees with ours"
            )
            hint = "let both machines follow a time server (timedatectl shows whether this one does)"
            found.append(Finding(f"clock of {member.id}", skew < SKEW_WARNING, said, hint, needed=skew > SKEW_WRONG))
        return found


def diagnosis_of(findings: Iterable[Finding]) -> Diagnosis:
    """All of them, and whether anything that is needed fails."""
    found = tuple(findings)
    return Diagnosis(all(each.ok for each in found if each.needed), found)


def span(seconds: float) -> str:
    """So long, for people."""
    for size, unit in ((DAY, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
