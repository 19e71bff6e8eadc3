"""What is wrong with a running member, or will be soon: each finding with what to do about it. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from meetme.model.errors import MeetMeError
from meetme.negotiator import store
from meetme.negotiator.facts import RouterView
from meetme.negotiator.machine import NegotiationMachine
from meetme.negotiator.negotiation import HealthState, Negotiation
from meetme.negotiator.routers import Router, Routers
from meetme.negotiator.states import LIVE, Device, State
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.diagnosis import Checkup, Diagnosis, Finding, Subject, diagnosis_of, span
from meetme.runtime.ledger import Ledger
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.tls import Trust

STUCK_SECONDS = 120.0
"""No negotiation takes this long to become active or to end, unless something is wrong."""


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
        subject = Subject("negotiator", NegotiationMachine.name, "meetme show")
        self._common = Checkup(subject, database, ledger, trust, peers, clock, runs=runs)
        self._database = database
        self._routers = routers
        self._clock = clock

    async def look(self) -> Diagnosis:
        """Everything at once; takes as long as the slowest peer."""
        ours = self._common.store(store.negotiations, self._negotiations)
        looks = await asyncio.gather(ours, self._common.others(), *(self._router(router) for router in self._routers))
        return diagnosis_of((*self._common.certificates(), *(finding for found in looks for finding in found)))

    # --- ourselves ----------------------------------------------------------------------------------------------------

    def _negotiations(self, known: Iterable[Negotiation]) -> Iterable[Finding]:
        for n in known:
            what = f"negotiation {n.id}"
            age = self._clock.now() - n.started
            if n.state in LIVE - {State.ACTIVE, State.TERMINATING} and age > STUCK_SECONDS:
                hint = f"meetme show {n.id} says what it waits for; meetme terminate {n.id} ends it"
                yield Finding(what, False, f"with {n.peer} is {n.state} since {span(age)}", hint)
            if n.left_on_device:
                hint = f"meetme show {n.id} says what to take back by hand; then meetme release {n.id}"
                yield Finding(what, False, f"left {len(n.left_on_device)} things on the device", hint, needed=False)
            if n.state is State.ACTIVE and n.health is not None and n.health.state is not HealthState.UP:
                down = n.health.state is HealthState.DOWN
                hint = f"is the port up? then ask the exchange about circuit {n.circuit}"
                yield Finding(what, False, f"with {n.peer}: its link is {n.health.state}", hint, needed=down)

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
            known = await self._database.read(store.negotiations)
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
