"""What is wrong with a running composer, or will be soon: each finding with what to do about it. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from sqlalchemy import Connection

from meetme.composer import store
from meetme.composer.circuit import Circuit, MemberId
from meetme.composer.machine import CircuitMachine
from meetme.composer.stray_views import Stray
from meetme.composer.topology import Atlas
from meetme.composer.words import State
from meetme.ixapi.exchange import Exchange
from meetme.model.errors import MeetMeError
from meetme.model.members import MemberKind
from meetme.runtime.clock import Clock
from meetme.runtime.diagnosis import Checkup, Diagnosis, Finding, Subject, diagnosis_of, span

SUBJECT = Subject("composer", CircuitMachine.name, "meetme circuit show", MemberKind.IXP)
STUCK_SECONDS = 300.0
"""No circuit takes this long to become active or to end, unless something is wrong."""


class Doctor:
    """Looks at one exchange from inside its composer."""

    def __init__(
        self,
        common: Checkup,
        exchange: Exchange,
        atlas: Callable[[], Atlas],
        neighbours: Iterable[MemberId],
        clock: Clock,
        strays: Callable[[], Awaitable[Iterable[Stray]]],
    ) -> None:
        self._common = common
        self._exchange = exchange
        self._atlas = atlas
        self._neighbours = tuple(neighbours)
        self._clock = clock
        self._strays = strays

    async def look(self) -> Diagnosis:
        """Everything at once; takes as long as the slowest peer."""
        ours = self._common.store(_circuits, self._told)
        looks = await asyncio.gather(ours, self._reached(), self._common.others())
        findings = (finding for found in looks for finding in found)
        return diagnosis_of((*self._common.certificates(), *findings, *self._known()))

    def _told(self, circuits: Iterable[Circuit]) -> Iterable[Finding]:
        for c in circuits:
            what, now = f"circuit {c.id}", self._clock.now()
            show = f"meetme circuit show {c.id} says what it waits for"
            begun = c.began if c.turn is None and not c.composing else c.turn
            if c.state is State.DEGRADED:
                said = c.problem.text if c.problem is not None else "a path of it is broken"
                yield Finding(what, False, f"is degraded: {said}", show, needed=False)
            elif c.state is State.RELEASING and now - c.began > STUCK_SECONDS:
                hint = f"{show}; meetme circuit delete {c.id} --let-go ends it where a neighbour is gone for good"
                yield Finding(
                    what, False, f"is {c.state}, {span(now - c.began)} after it was ordered", hint, needed=False
                )
            elif c.state in (State.HELD, State.COMMITTED) and begun is not None and now - begun > STUCK_SECONDS:
                yield Finding(
                    what, False, f"is {c.state} since {span(now - begun)}", f"{show}; meetme circuit delete ends it"
                )

    async def _reached(self) -> list[Finding]:
        """The own exchange, which builds the segments."""
        try:
            await self._exchange.connections()
        except MeetMeError as error:
            return [Finding("exchange", False, error.text, error.hint or "ask its operator")]
        return [Finding("exchange", True, "answers"), *await self._left()]

    async def _left(self) -> list[Finding]:
        """Segments there that no circuit knows."""
        try:
            strays = await self._strays()
        except MeetMeError as error:
            return [Finding("strays", False, error.text, error.hint or "ask its operator", needed=False)]
        return [
            Finding(
                f"stray {each.reference}",
                False,
                f"stands at the exchange for a circuit that is {each.state} here",
                f"was a database lost? meetme circuit strays --remove {each.reference} takes it away",
                needed=False,
            )
            for each in strays
        ]

    def _known(self) -> Iterable[Finding]:
        """Whether the neighbours have told what they have: no route leads through who is silent."""
        heard = self._atlas().by_member
        for neighbour in self._neighbours:
            known = neighbour in heard
            hint = "is its composer running, and is this exchange in its roster?"
            yield Finding(f"advertisement of {neighbour}", known, "is known" if known else "was not heard", hint, False)


def _circuits(tx: Connection) -> list[Circuit]:
    return store.circuits(tx, live=True)
