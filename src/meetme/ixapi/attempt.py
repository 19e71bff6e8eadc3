"""One attempt at an order: what it has done so far, how long it may still take, and when to look again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

from meetme.ixapi.client import Sleep
from meetme.ixapi.orders import Terms
from meetme.ixapi.requests import OrderRequests
from meetme.ixapi.shown import Shown, ShownConfig, ShownService
from meetme.ixapi.steps import Past, Wait
from meetme.model.errors import Fault, MeetMeError, NotFound, Pending, Refused, Unreachable, Unsupported
from meetme.runtime.clock import Clock

NOTHING_SENT = frozenset({"exchange_unreachable", "exchange_busy"})
"""Codes of Unreachable where the exchange has certainly not begun."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait for an exchange, in seconds."""

    build: float = 60.0
    """For a segment, before its caller hears that it is pending."""
    remove: float = 60.0
    person: float = 30.0
    """For what needs a person there, before it is cancelled."""
    settle: float = 2.0
    """For what was asked to show, before it is taken for what it is."""
    first_look: float = 0.02
    longest_look: float = 2.0


TELLING_SECONDS = 1
"""How long an exchange may wait with its answer: also how late it is noticed at most that something went wrong."""


@dataclass(slots=True)
class Turn:
    """Who orders under a reference."""

    lock: asyncio.Lock
    users: int = 0
    unwanted: bool = False
    """Whether somebody waits to remove it: whoever builds it gives way."""


class Attempt:
    """What goes on until an order is as it should be, or the time is over."""

    def __init__(
        self,
        requests: OrderRequests,
        reference: str,
        seconds: float,
        patience: Patience,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        turn: Turn,
        fresh: dict[str, float | None],
    ) -> None:
        self._requests = requests
        self.reference = reference
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self.past = Past()
        self.since = clock.monotonic()
        """When something was done last."""
        self._deadline = self.since + seconds
        self._pause = patience.first_look
        self._turn = turn
        self._fresh = fresh
        self._told = False
        """Whether the exchange has said that the service is in production. If it is not then, it is not asked again."""
        self._there: frozenset[str] = frozenset()
        self._services: frozenset[str] = frozenset()

    @property
    def narrow(self) -> bool:
        """Whether the last look was at the configs of known services alone."""
        return bool(self._services)

    def widen(self) -> None:
        """Look at everything the next time."""
        self._services = frozenset()

    async def look(self) -> Shown:
        """What there is now. Asks again until the time is over; then raises the Unreachable."""
        while True:
            try:
                shown = await self._requests.shown(self.reference, self.past.created, self._services)
                break
            except Unreachable as error:
                await self._rest(error)
        services = frozenset(s.id for s in shown.services)
        there = services | frozenset(c.id for c in shown.configs)
        if self._there - there:
            # What could not be cancelled because of it may be cancelled now.
            self.past = replace(self.past, kept=frozenset())
        if there != self._there:
            # What was refused may have been refused because something was there already, or was not there any more.
            self.past = replace(self.past, refusal=None)
        self._there, self._services = there, self._services | services
        settled = self._clock.monotonic() - self.since >= self._patience.settle
        uncertain = frozenset() if settled else self.past.uncertain
        self.past = replace(self.past, settled=settled, uncertain=uncertain)
        return shown

    async def wait(self, step: Wait) -> MeetMeError | None:
        """Let some time pass. The error where a person there takes too long; raises Pending when the time is over."""
        now = self._clock.monotonic()
        if self.reference in self._fresh:
            # What was in production once (maintenance?) is not given up for it.
            since = self._fresh[self.reference] = (self._fresh[self.reference] or now) if step.person else None
        else:
            since = None
        if since is not None and now - since >= self._patience.person:
            return Refused(
                "exchange_needs_a_person",
                f"segment '{self.reference}': must not wait for a person at the exchange ({step.why})",
                hint="ask the exchange what it waits for; another path may do",
                fault=Fault.REMOTE,
            )
        until = f", not before {step.until.isoformat()}" if step.until is not None else ""
        pending = Pending(
            "exchange_pending", f"segment '{self.reference}': {step.why}{until}", hint="it is looked at again later"
        )
        if step.until is not None and (step.until - datetime.fromtimestamp(self._clock.now(), UTC).date()).days > 0:
            raise pending
        await self._rest(pending, built=step.built)
        return None

    async def create(
        self, makings: dict[str, Awaitable[ShownService | ShownConfig | None]]
    ) -> list[ShownService | ShownConfig]:
        """Order what has these references, side by side; what the exchange says it made."""
        results = await asyncio.gather(*makings.values(), return_exceptions=True)
        self._done()
        made: list[ShownService | ShownConfig] = []
        lost: Unreachable | None = None
        for reference, result in zip(makings, results, strict=True):
            match result:
                case ShownService() | ShownConfig():
                    made.append(result)
                case None:
                    self._uncertain(reference)
                case Unreachable():
                    lost = result
                    if result.code not in NOTHING_SENT:
                        self._uncertain(reference)
                case MeetMeError():
                    self.past = replace(self.past, refusal=self.past.refusal or result)
                case _:
                    raise result
        ids = frozenset(each.id for each in made)
        self.past = replace(self.past, created=self.past.created | ids)
        self._there |= ids
        services = frozenset(each.id for each in made if isinstance(each, ShownService))
        if services:
            self._fresh.setdefault(self.reference, None)
        self._services |= services
        if lost is not None:
            await self._rest(lost)
        return made

    async def perform(self, doing: Awaitable[None], *, mended: str, optional: bool = False) -> None:
        """Change something. `optional`: go on without it where the exchange does not offer it."""
        try:
            await doing
        except Unreachable as error:
            await self._rest(error)
            return
        except (NotFound, Unsupported) as error:
            if not optional:
                self.past = replace(self.past, refusal=self.past.refusal or error)
        except MeetMeError as error:
            self.past = replace(self.past, refusal=self.past.refusal or error)
        self._done()
        self.past = replace(self.past, mended=self.past.mended | {mended})

    async def read_terms(self, reading: Awaitable[Terms]) -> None:
        """Ask for the terms."""
        try:
            self.past = replace(self.past, terms=await reading)
        except Unreachable as error:
            await self._rest(error)
        except MeetMeError as error:
            self.past = replace(self.past, refusal=self.past.refusal or error)

    async def cancel(self, services: tuple[str, ...], configs: tuple[str, ...]) -> None:
        """Cancel these."""
        failed: Unreachable | None = None
        for id in (*services, *configs):
            cancelling = self._requests.cancel_service(id) if id in services else self._requests.cancel_config(id)
            try:
                await cancelling
                self.past = replace(self.past, cancelled=self.past.cancelled | {id})
            except Unreachable as error:
                failed = error
            except MeetMeError as error:
                self.past = replace(self.past, kept=self.past.kept | {id}, refusal=self.past.refusal or error)
        self._done()
        if failed is not None:
            await self._rest(failed)

    def _uncertain(self, reference: str) -> None:
        self.past = replace(self.past, uncertain=self.past.uncertain | {reference})

    def _done(self) -> None:
        self.since = self._clock.monotonic()
        self._pause = self._patience.first_look
        self._told = False

    async def _rest(self, error: MeetMeError, *, built: bool = False) -> None:
        """Wait before the next look, longer than the last time. Raises `error` when the time is over.

        `built`: no longer than until the service is in production, where the exchange tells.
        """
        left = self._deadline - self._clock.monotonic()
        if left <= 0 or self._turn.unwanted:
            raise error
        if built and not self._told and left >= TELLING_SECONDS:
            asked = self._clock.monotonic()
            if await self._requests.in_production(self.reference, TELLING_SECONDS):
                self._told = self._clock.monotonic() - asked < TELLING_SECONDS
                return
        await self._sleep(min(self._pause * self._random.uniform(0.5, 1.0), left))
        self._pause = min(self._pause * 1.6, self._patience.longest_look)
