"""An exchange behind an IX-API: looks, asks the rules what to do next, does it, and looks again.

May be killed between any two requests: whoever comes next finds what is there under the order's reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from random import Random
from typing import NoReturn

import structlog

from meetme.ixapi.client import IxApiClient, Sleep
from meetme.ixapi.orders import BuiltSegment, ExchangeConnection, SegmentOrder, SegmentView, Terms
from meetme.ixapi.progress import next_change, next_removal, next_step, view
from meetme.ixapi.requests import Account, OrderRequests
from meetme.ixapi.shown import Shown
from meetme.ixapi.steps import (
    Cancel,
    CreateConfigs,
    CreateService,
    Done,
    Enlarge,
    GiveUp,
    Mend,
    Past,
    ReadTerms,
    Side,
    Step,
    Wait,
    config_reference,
)
from meetme.model.errors import Fault, MeetMeError, NotFound, Pending, Refused, Unreachable, Unsupported
from meetme.runtime.clock import Clock, SystemClock

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


@dataclass(slots=True)
class _Turn:
    """Who orders under a reference."""

    lock: asyncio.Lock
    users: int = 0
    unwanted: bool = False
    """Whether somebody waits to remove it: whoever builds it gives way."""


class IxApiExchange:
    """Implements `meetme.ixapi.exchange.Exchange` over an IX-API."""

    def __init__(
        self,
        client: IxApiClient,
        account: Account | None = None,
        *,
        patience: Patience | None = None,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self._client = client
        self._account = account or Account()
        self._patience = patience or Patience()
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._random = random or Random()
        self._requests = OrderRequests(client, self._account, self._clock)
        self._turns: dict[str, _Turn] = {}
        self._people: dict[str, float] = {}
        """Since when an order waits for a person there, across attempts."""
        self._log = structlog.get_logger().bind(exchange=client.url)

    async def build(self, order: SegmentOrder) -> BuiltSegment:
        """Have a segment, in production."""
        async with self._turn(order.reference):
            attempt = self._attempt(order.reference, self._patience.build)
            shown = await attempt.look()
            while True:
                step = next_step(
                    order, shown, attempt.past, today=self._today(), charged_days=self._account.charged_days
                )
                match step:
                    case Done(BuiltSegment() as built):
                        return built
                    case ReadTerms(service):
                        await attempt.read_terms(self._requests.terms(service))
                        continue
                    case Wait():
                        if (error := await attempt.wait(step)) is not None:
                            await self._undo(attempt, error)
                    case GiveUp(error, ours):
                        if ours:
                            await self._undo(attempt, error)
                        raise error
                    case _:
                        await self._act(step, order, attempt)
                shown = await attempt.look()

    async def look(self, reference: str) -> SegmentView:
        """What the exchange shows under a reference."""
        return view(reference, await self._requests.shown(reference))

    async def change(self, reference: str, bandwidth: int) -> BuiltSegment:
        """Another bandwidth for a segment that is there."""
        async with self._turn(reference):
            attempt = self._attempt(reference, self._patience.build)
            before = await attempt.look()
            for service in before.services:
                await self._requests.admits(service, bandwidth)
            shown = before
            while True:
                step = next_change(reference, bandwidth, shown, attempt.past)
                match step:
                    case Done(BuiltSegment() as built):
                        return built
                    case Wait():
                        if (error := await attempt.wait(step)) is not None:
                            await self._change_back(before, attempt, error)
                    case GiveUp(error):
                        await self._change_back(before, attempt, error)
                    case Mend(config):
                        await attempt.perform(self._requests.set_capacity(config, bandwidth), mended=config)
                    case Enlarge(service):
                        await attempt.perform(self._resize(service.id, shown, bandwidth), mended=service.id)
                    case _:
                        raise AssertionError(step)
                shown = await attempt.look()

    async def remove(self, reference: str) -> None:
        """Have no such segment."""
        async with self._turn(reference, unwanted=True):
            await self._remove(self._attempt(reference, self._patience.remove))

    async def connections(self) -> tuple[ExchangeConnection, ...]:
        """The connections that can be ordered at."""
        return await self._requests.connections()

    async def close(self) -> None:
        """Close the connections to the exchange."""
        await self._client.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _act(self, step: Step, order: SegmentOrder, attempt: _Attempt) -> None:
        match step:
            case CreateService():
                making = self._requests.create_service(order, self._today())
                await attempt.create({order.reference: making})
            case CreateConfigs(service, sides):
                await attempt.create(
                    {
                        config_reference(order.reference, side): self._requests.create_config(order, side, service)
                        for side in sides
                    }
                )
            case Mend(config, side):
                end = order.a if side is Side.A else order.b
                await attempt.perform(self._requests.mend(config, end, order.bandwidth), mended=config)
            case Enlarge(service):
                await attempt.perform(self._requests.resize(service, order.bandwidth), mended=service.id, optional=True)
            case Cancel(services, configs):
                await attempt.cancel(services, configs)
            case _:
                raise AssertionError(step)

    async def _resize(self, id: str, shown: Shown, bandwidth: int) -> None:
        await self._requests.resize(next(service for service in shown.services if service.id == id), bandwidth)

    async def _undo(self, attempt: _Attempt, error: MeetMeError) -> NoReturn:
        """Cancel what there is of an order that cannot be had, and raise why."""
        self._log.info("order given up", reference=attempt.reference, code=error.code, problem=error.text)
        after = self._attempt(attempt.reference, self._patience.remove)
        after.past = Past(created=attempt.past.created, uncertain=attempt.past.uncertain)
        after.since = attempt.since
        try:
            await self._remove(after)
        except MeetMeError as left:
            self._log.warning("order not cancelled yet", reference=attempt.reference, problem=left.text)
            raise _with(error, left) from left
        raise error

    async def _change_back(self, before: Shown, attempt: _Attempt, error: MeetMeError) -> NoReturn:
        """Have a segment as it was before a change that was refused, and raise why."""
        for config in before.configs:
            if config.id in attempt.past.mended:
                try:
                    await self._requests.set_capacity(config.id, config.capacity)
                except MeetMeError as left:
                    raise _with(error, left) from left
        for service in before.services:
            if service.id in attempt.past.mended and service.capacity is not None:
                try:
                    await self._requests.resize(service, service.capacity)
                except MeetMeError as left:
                    raise _with(error, left) from left
        raise error

    async def _remove(self, attempt: _Attempt) -> None:
        while True:
            match step := next_removal(await attempt.look(), attempt.past):
                case Done():
                    return
                case GiveUp(error):
                    raise error
                case Cancel(services, configs):
                    await attempt.cancel(services, configs)
                case Wait():
                    await attempt.wait(replace(step, person=False))
                case _:
                    raise AssertionError(step)

    def _attempt(self, reference: str, seconds: float) -> _Attempt:
        turn = self._turns[reference]
        return _Attempt(
            self._requests,
            reference,
            seconds,
            self._patience,
            self._clock,
            self._sleep,
            self._random,
            turn,
            self._people,
        )

    @asynccontextmanager
    async def _turn(self, reference: str, *, unwanted: bool = False) -> AsyncIterator[None]:
        # One at a time: two that order under one reference would each find what the other has not made yet.
        turn = self._turns.setdefault(reference, _Turn(asyncio.Lock()))
        turn.users += 1
        turn.unwanted = turn.unwanted or unwanted
        try:
            async with turn.lock:
                if unwanted:
                    turn.unwanted = False
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[reference]

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now(), UTC).date()


class _Attempt:
    """One attempt: what it has done, how long it may still take, and when to look again."""

    def __init__(
        self,
        requests: OrderRequests,
        reference: str,
        seconds: float,
        patience: Patience,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        turn: _Turn,
        people: dict[str, float],
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
        self._people = people
        self._there: frozenset[str] = frozenset()

    async def look(self) -> Shown:
        """What there is now. Asks again until the time is over; then raises the Unreachable."""
        while True:
            try:
                shown = await self._requests.shown(self.reference, self.past.created)
                break
            except Unreachable as error:
                await self._rest(error)
        there = frozenset(s.id for s in shown.services) | frozenset(c.id for c in shown.configs)
        if self._there - there:
            # What could not be cancelled because of it may be cancelled now.
            self.past = replace(self.past, kept=frozenset())
        if there - self._there:
            # What was refused may have been refused because it was there already.
            self.past = replace(self.past, refusal=None)
        self._there = there
        settled = self._clock.monotonic() - self.since >= self._patience.settle
        uncertain = frozenset() if settled else self.past.uncertain
        self.past = replace(self.past, settled=settled, uncertain=uncertain)
        return shown

    async def wait(self, step: Wait) -> MeetMeError | None:
        """Let some time pass. The error where a person there takes too long; raises Pending when the time is over."""
        now = self._clock.monotonic()
        if not step.person:
            self._people.pop(self.reference, None)
        elif now - self._people.setdefault(self.reference, now) >= self._patience.person:
            del self._people[self.reference]
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
        await self._rest(pending)
        return None

    async def create(self, makings: dict[str, Awaitable[str]]) -> None:
        """Order what has these references, side by side."""
        results = await asyncio.gather(*makings.values(), return_exceptions=True)
        self._done()
        for reference, result in zip(makings, results, strict=True):
            match result:
                case str() if result:
                    self.past = replace(self.past, created=self.past.created | {result})
                case str():
                    self._uncertain(reference)
                case Unreachable():
                    if result.code not in NOTHING_SENT:
                        self._uncertain(reference)
                case MeetMeError():
                    self.past = replace(self.past, refusal=self.past.refusal or result)
                case BaseException():
                    raise result
        if any(isinstance(result, Unreachable) for result in results):
            await self._rest(next(result for result in results if isinstance(result, Unreachable)))

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

    async def _rest(self, error: MeetMeError) -> None:
        """Wait before the next look, longer than the last time. Raises `error` when the time is over."""
        left = self._deadline - self._clock.monotonic()
        if left <= 0 or self._turn.unwanted:
            raise error
        await self._sleep(min(self._pause * self._random.uniform(0.5, 1.0), left))
        self._pause = min(self._pause * 1.6, self._patience.longest_look)


def _with(error: MeetMeError, left: MeetMeError) -> MeetMeError:
    """`error`, and that not everything could be taken back."""
    return type(error)(
        error.code,
        error.text,
        hint=f"not cancelled yet: {left.text}; remove it again later",
        field=error.field,
        fault=error.fault,
        problems=(error.problem, left.problem),
        existing=error.existing,
    )
