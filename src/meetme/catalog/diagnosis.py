"""What is wrong with a running catalog, or will be soon: each finding with what to do about it. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from sqlalchemy import Connection

from meetme.catalog import store
from meetme.catalog.machine import STILL_AT_IT, OrderMachine
from meetme.catalog.mirroring import FRESH_SECONDS, Mirroring
from meetme.catalog.order import Order
from meetme.catalog.stray_views import Stray
from meetme.catalog.underlay import Underlay
from meetme.catalog.words import UNDER_WAY, Party, State
from meetme.model.agreement import MemberId
from meetme.model.errors import MeetMeError
from meetme.model.members import MemberKind
from meetme.runtime.clock import Clock
from meetme.runtime.diagnosis import Checkup, Diagnosis, Finding, Subject, diagnosis_of, span

SUBJECT = Subject("catalog", OrderMachine.name, "meetme order show", MemberKind.CSP, waits=STILL_AT_IT)
STUCK_SECONDS = 300.0
"""No order takes this long to become active or to be taken back, unless something is wrong."""


class Doctor:
    """Looks at one member from inside its catalog server."""

    def __init__(
        self,
        common: Checkup,
        underlay: Underlay,
        mirroring: Mirroring,
        strays: Callable[[], Awaitable[Iterable[Stray]]],
        me: MemberId,
        clock: Clock,
        *,
        fresh: float = FRESH_SECONDS,
    ) -> None:
        """`fresh`: seconds after which offers of a member that was not heard of may be out of date."""
        self._common = common
        self._underlay = underlay
        self._mirroring = mirroring
        self._strays = strays
        self._me = me
        self._clock = clock
        self._fresh = fresh

    async def look(self) -> Diagnosis:
        """Everything at once; takes as long as the slowest peer."""
        looks = await asyncio.gather(
            self._common.store(_known, self._told), self._underlay.looks(), self._common.others(), self._left()
        )
        findings = (finding for found in looks for finding in found)
        return diagnosis_of((*self._common.certificates(), *findings, *self._refused()))

    def _told(self, known: tuple[list[Order], list[store.Kept]]) -> Iterable[Finding]:
        orders, listings = known
        now = self._clock.now()
        for n in orders:
            yield from self._order(n, now)
        for kept in listings:
            what = f"offers of {kept.provider}"
            if kept.expires <= now:
                hint = (
                    f"is its catalog running? meetme catalog list --provider {kept.provider} shows what was known last"
                )
                yield Finding(what, False, f"have expired {span(now - kept.expires)} ago", hint, needed=False)
            elif kept.provider != self._me and now - kept.heard > self._fresh:
                hint = "they are shown as last known; is its catalog running?"
                yield Finding(what, False, f"were heard of {span(now - kept.heard)} ago", hint, needed=False)

    def _order(self, n: Order, now: float) -> Iterable[Finding]:
        what, show = f"order {n.id}", f"meetme order show {n.id} says what it waits for"
        since = span(now - n.began)
        if n.state is State.APPROVING:
            if n.party is Party.SELLER:
                left = "" if n.deadline is None else f", {span(max(0.0, n.deadline - now))} are left"
                hint = f"meetme order approve {n.id}, or decline it"
                detail = f"of {n.partner} waits for a decision since {since}{left}"
                yield Finding(what, False, detail, hint, needed=False)
        elif n.state in UNDER_WAY and n.deadline is not None and now - n.deadline > STUCK_SECONDS:
            yield Finding(what, False, f"is {n.state}, {span(now - n.deadline)} after its time", f"{show}; cancel it")
        elif (
            n.state is State.TERMINATING
            and now - (n.steps[-1].seconds + n.began if n.steps else n.began) > STUCK_SECONDS
        ):
            detail = f"is being taken back, {since} after it was ordered"
            yield Finding(what, False, detail, f"{show}; what refuses to go is tried again", needed=False)

    async def _left(self) -> Iterable[Finding]:
        """What was made for orders that are not known."""
        try:
            strays = await self._strays()
        except MeetMeError as error:
            return [Finding("strays", False, error.text, error.hint or "ask its operator", needed=False)]
        return [
            Finding(
                f"stray {each.made.circuit}",
                False,
                f"{each}: of an order that is {each.state} here",
                f"was a database lost? meetme order strays --remove {each.made.circuit} takes it back",
                needed=False,
            )
            for each in strays
        ]

    def _refused(self) -> Iterable[Finding]:
        """Why offers of others are not renewed."""
        for member, problem in sorted(self._mirroring.troubles().items()):
            hint = problem.hint or "ask its operator"
            yield Finding(f"listing of {member}", False, problem.text, hint, needed=False)


def _known(tx: Connection) -> tuple[list[Order], list[store.Kept]]:
    return store.orders(tx, live=True), store.listings(tx)
