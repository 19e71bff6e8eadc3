"""An exchange behind an IX-API: looks, asks the rules what to do next, does it, and looks again.

May be killed between any two requests: whoever comes next finds what is there under the order's reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from random import Random
from typing import NoReturn

import structlog

from meetme.ixapi.attempt import Attempt, Patience, Turn
from meetme.ixapi.checking import Finding, check
from meetme.ixapi.client import IxApiClient, Sleep
from meetme.ixapi.orders import BuiltSegment, ExchangeConnection, SegmentOrder, SegmentView
from meetme.ixapi.progress import next_change, next_removal, next_step, view
from meetme.ixapi.requests import Account, OrderRequests
from meetme.ixapi.shown import Shown, ShownService
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
from meetme.model.errors import MeetMeError
from meetme.runtime.clock import Clock, SystemClock


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
        self._turns: dict[str, Turn] = {}
        self._fresh: dict[str, float | None] = {}
        """Orders of ours that have not been in production yet, and since when they wait for a person there."""
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
                        self._fresh.pop(order.reference, None)
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
                    case CreateService():
                        making = self._requests.create_service(order, self._today())
                        made = await attempt.create({order.reference: making})
                        if [each.reference for each in made] == [order.reference]:
                            # Its answer shows it as well as another look would.
                            shown = Shown(
                                (*shown.services, *(s for s in made if isinstance(s, ShownService))), shown.configs
                            )
                            continue
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

    async def references(self) -> tuple[str, ...]:
        """The references of all segments that this account has ordered."""
        return await self._requests.references()

    async def connections(self) -> tuple[ExchangeConnection, ...]:
        """The connections that can be ordered at."""
        return await self._requests.connections()

    async def check(self) -> tuple[Finding, ...]:
        """Whether circuits can be ordered here. Raises what says that it cannot be asked at all."""
        return await check(self._client, self._requests)

    async def close(self) -> None:
        """Close the connections to the exchange."""
        await self._client.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _act(self, step: Step, order: SegmentOrder, attempt: Attempt) -> None:
        match step:
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

    async def _undo(self, attempt: Attempt, error: MeetMeError) -> NoReturn:
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

    async def _change_back(self, before: Shown, attempt: Attempt, error: MeetMeError) -> NoReturn:
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

    async def _remove(self, attempt: Attempt) -> None:
        while True:
            match step := next_removal(await attempt.look(), attempt.past):
                case Done():
                    if not attempt.narrow:
                        self._fresh.pop(attempt.reference, None)
                        return
                    attempt.widen()
                case GiveUp(error):
                    raise error
                case Cancel(services, configs):
                    await attempt.cancel(services, configs)
                case Wait():
                    await attempt.wait(replace(step, person=False))
                case _:
                    raise AssertionError(step)

    def _attempt(self, reference: str, seconds: float) -> Attempt:
        turn = self._turns[reference]
        return Attempt(
            self._requests,
            reference,
            seconds,
            self._patience,
            self._clock,
            self._sleep,
            self._random,
            turn,
            self._fresh,
        )

    @asynccontextmanager
    async def _turn(self, reference: str, *, unwanted: bool = False) -> AsyncIterator[None]:
        # One at a time: two that order under one reference would each find what the other has not made yet.
        turn = self._turns.setdefault(reference, Turn(asyncio.Lock()))
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
