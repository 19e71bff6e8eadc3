"""What is wrong with a running member, or will be soon: each finding with what to do about it. Changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from meetme.model.errors import MeetMeError
from meetme.model.members import Member
from meetme.negotiator import store
from meetme.negotiator.facts import RouterView
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import HealthState, Negotiation
from meetme.negotiator.routers import Router, Routers
from meetme.negotiator.states import LIVE, Device, State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.identity import valid_until
from meetme.runtime.ledger import Debt, Ledger
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.tls import Trust

DAY = 86_400.0
EXPIRES_SOON = 30 * DAY
SKEW_WARNING = 2.0
SKEW_WRONG = 5.0
"""Seconds between two members' clocks: beyond this, messages count as expired before their time."""
SLOW_DATABASE = 1.0
STUCK_SECONDS = 120.0
"""No negotiation takes this long to become active or to end, unless something is wrong."""
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


class Doctor:
    """Looks at one member from inside its negotiator."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        routers: Routers,
        trust: Trust,
        peers: PeerClient,
        clock: Clock,
        *,
        runs: Callable[[], bool],
    ) -> None:
        """`runs`: whether the durable loop does."""
        self._database = database
        self._ledger = ledger
        self._routers = routers
        self._trust = trust
        self._peers = peers
        self._clock = clock
        self._runs = runs

    async def look(self) -> Diagnosis:
        """Everything at once; takes as long as the slowest peer."""
        looks = await asyncio.gather(self._store(), self._others(), *(self._router(router) for router in self._routers))
        findings = (*self._certificates(), *(finding for found in looks for finding in found))
        return Diagnosis(all(f.ok for f in findings if f.needed), findings)

    # --- ourselves ----------------------------------------------------------------------------------------------------

    def _certificates(self) -> Iterable[Finding]:
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
            return Finding(what, False, f"has expired {_span(-left)} ago", hint)
        return Finding(what, left > EXPIRES_SOON, f"good for {_span(left)} more", hint, needed=False)

    async def _store(self) -> list[Finding]:
        begin = time.perf_counter()
        try:
            known, debts = await self._database.run(self._read)
        except MeetMeError as error:
            return [Finding("database", False, error.text, error.hint)]
        seconds = time.perf_counter() - begin
        slow = "look at the disk, or at what else writes to it"
        return [
            Finding("database", seconds < SLOW_DATABASE, f"answers in {seconds:.3f} s", slow, needed=False),
            *self._disk(),
            Finding("durable loop", self._runs(), "runs" if self._runs() else "stopped", "restart the negotiator"),
            *self._negotiations(known),
            *_owed(debts),
        ]

    def _read(self, tx: Connection) -> tuple[list[Negotiation], list[tuple[str, Debt]]]:
        return store.negotiations(tx), self._ledger.in_vain(tx, NegotiationMachine.name, MANY_ATTEMPTS)

    def _disk(self) -> Iterable[Finding]:
        if self._database.file is not None:
            free = shutil.disk_usage(self._database.file.parent).free
            hint = "make room: nothing is acknowledged that cannot be written"
            yield Finding("disk", free > LITTLE_SPACE, f"{free >> 20} MiB free", hint, needed=free <= NO_SPACE)

    def _negotiations(self, known: Iterable[Negotiation]) -> Iterable[Finding]:
        for n in known:
            what = f"negotiation {n.id}"
            age = self._clock.now() - n.started
            if n.state in LIVE - {State.ACTIVE, State.TERMINATING} and age > STUCK_SECONDS:
                hint = f"meetme show {n.id} says what it waits for; meetme terminate {n.id} ends it"
                yield Finding(what, False, f"with {n.peer} is {n.state} since {_span(age)}", hint)
            if n.left_on_device:
                hint = f"meetme show {n.id} says what to take back by hand; then meetme release {n.id}"
                yield Finding(what, False, f"left {len(n.left_on_device)} things on the device", hint, needed=False)
            if n.state is State.ACTIVE and n.health is not None and n.health.state is not HealthState.UP:
                down = n.health.state is HealthState.DOWN
                hint = f"is the port up? then ask the exchange about circuit {n.circuit}"
                yield Finding(what, False, f"with {n.peer}: its link is {n.health.state}", hint, needed=down)

    # --- the peers ----------------------------------------------------------------------------------------------------

    async def _others(self) -> list[Finding]:
        places = asyncio.Semaphore(AT_ONCE)

        async def ask(member: Member) -> list[Finding]:
            async with places:
                return await self._peer(member)

        members = [m for m in self._trust.roster.members if m.id != self._trust.identity.member]
        return [finding for found in await asyncio.gather(*map(ask, members)) for finding in found]

    async def _peer(self, member: Member) -> list[Finding]:
        """Whether it can be reached with the pinned key, and how far its clock is from ours."""
        what = f"peer {member.id}"
        if member.urls.negotiator is None:
            hint = f"meetme peer add {member.id} --negotiator URL"
            return [Finding(what, False, "has no URL in the roster", hint, needed=False)]
        try:
            seen = await self._peers.look(member.id, "negotiator")
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

    # --- the routers --------------------------------------------------------------------------------------------------

    async def _router(self, router: Router) -> list[Finding]:
        what = f"router {router.name}"
        try:
            view = await router.look()
        except MeetMeError as error:
            return [Finding(what, False, error.text, error.hint or "start its configurator")]
        missing = [Finding(f"{what} can", False, p.text, p.hint, needed=False) for p in view.capabilities.missing]
        found = [Finding(what, True, f"answers, driver {view.capabilities.driver}"), *missing]
        if view.observation is not None:
            found += await self._drift(router.name, view)
        return found

    async def _drift(self, router: str, view: RouterView) -> list[Finding]:
        links = {link.intent.agreement: link for link in view.observation.links} if view.observation else {}
        found = [
            Finding(
                f"link {link.intent.circuit} on {router}",
                False,
                link.problem.text if link.problem else "the device differs from what was ordered",
                (link.problem.hint if link.problem else "")
                or "it is tried again; the configurator's log says what fails",
            )
            for link in links.values()
            if not link.in_sync
        ]
        try:
            known = await self._database.run(store.negotiations)
        except MeetMeError:
            return found
        ours = {n.id for n in known}
        for n in known:
            wanted = n.state is State.ACTIVE and n.device is Device.CONFIRMED and n.attachment.router == router
            if wanted and n.id not in links:
                hint = "it is ordered again; if it stays, restart the negotiator"
                found.append(Finding(f"link {n.circuit} on {router}", False, "is missing on the device", hint))
        for id in links.keys() - ours:
            hint = (
                "does another negotiator command this router? else its database was lost: the peer's copy restores it"
            )
            circuit = links[id].intent.circuit
            found.append(
                Finding(f"link {circuit} on {router}", False, "belongs to no negotiation of ours", hint, False)
            )
        return found


def _owed(debts: Iterable[tuple[str, Debt]]) -> Iterable[Finding]:
    for instance, debt in debts:
        detail = f"{debt.key}: tried {debt.attempts} times in vain ({debt.note})"
        yield Finding(
            f"owed by {instance}", False, detail, f"meetme show {instance}; it is tried again by itself", False
        )


def _span(seconds: float) -> str:
    for size, unit in ((DAY, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
