"""What the routers tell by themselves: a link that should be there and is gone is put back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import UUID

import structlog

from meetme.model.errors import MeetMeError, Unsupported
from meetme.model.intent import AppliedLink, LinkEvent, LinkEventKind
from meetme.negotiator import events as ev
from meetme.negotiator import store
from meetme.negotiator.changing import under_way
from meetme.negotiator.events import Event
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.routers import Router
from meetme.negotiator.states import Device, State
from meetme.negotiator.strays import FIRST_SECONDS, LONGEST_SECONDS, Strays
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.loop import Loop

RECONNECT_SECONDS = 2.0
"""Between two attempts to watch a router whose configurator is away."""


class Watcher:
    """Hears from the routers what becomes of their links, and has the rules put back what is missing."""

    def __init__(self, database: Database, loop: Loop[Negotiation, Event], strays: Strays, clock: Clock) -> None:
        self._database = database
        self._loop = loop
        self._strays = strays
        self._clock = clock
        self._log = structlog.get_logger().bind(service="negotiator")

    async def follow(self, router: Router) -> None:
        """Hear from one router, until cancelled. Returns where its configurator cannot tell."""
        settling: asyncio.Task[None] | None = None
        while True:
            try:
                view = await router.look()
                links = view.observation.links if view.observation is not None else None
                if links is not None:
                    strays = await self._strays.found(router, links)
                    newer = () if strays else await self._restore_missing(router, links)
                    if strays or newer:
                        settling = asyncio.create_task(self._settle(router, newer), name=f"strays {router.name}")
                async for event in router.watch():
                    await self._heard(event)
            except Unsupported:
                return
            except MeetMeError as error:
                self._log.info("a router is not being watched", router=router.name, problem=error.text)
            except Exception:
                self._log.exception("watching a router failed unexpectedly", router=router.name)
            finally:
                if settling is not None:
                    settling.cancel()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _settle(self, router: Router, newer: Collection[UUID]) -> None:
        """The router knows more than the store: hear from the peers what is over and what counts, then put it right."""
        try:
            if router.strays:
                for n in await self._database.read(store.negotiations):
                    if n.attachment.router == router.name and _settled(n):
                        await self._loop.deliver(str(n.id), ev.CompareDue(self._clock.now()))
                await self._strays.settle(router)
                view = await router.look()
                newer = await self._restore_missing(router, view.observation.links if view.observation else ())
            await asyncio.gather(*(self._settle_newer(router, id) for id in newer))
        except MeetMeError as error:
            self._log.info("what a router has cannot be settled now", router=router.name, problem=error.text)
        except Exception:
            self._log.exception("settling what a router has failed unexpectedly", router=router.name)

    async def _restore_missing(self, router: Router, links: Collection[AppliedLink]) -> tuple[UUID, ...]:
        """The negotiator's word wins: what should be on the device and is not, or is older, is ordered again.

        Returns what is newer there: the store was restored from a backup, and the peer has to tell us.
        """
        newer = []
        for n in await self._database.read(store.negotiations):
            if n.attachment.router != router.name or not _settled(n):
                continue
            there, agreed = _revision_there(n, links), _agreed(n)
            if there is None or (there < agreed and not under_way(n)):
                await self._loop.deliver(str(n.id), ev.DeviceLost(self._clock.now()))
            elif there > agreed and not under_way(n):
                newer.append(n.id)
        return tuple(newer)

    async def _settle_newer(self, router: Router, id: UUID) -> None:
        """The router has a later revision than the store. It may be one that never became active: the peer knows."""
        pause = FIRST_SECONDS
        while True:
            n = await self._database.read(lambda tx: store.load(tx, id))
            if n is None or not _settled(n):
                return
            try:
                if not under_way(n):
                    observation = (await router.look()).observation
                    there = _revision_there(n, observation.links) if observation is not None else None
                    if there is None or there <= _agreed(n):
                        return
                    if await self._strays.revision_of_peer(n) == _agreed(n):
                        await self._loop.deliver(str(id), ev.DeviceLost(self._clock.now()))
                        return
                    await self._loop.deliver(str(id), ev.CompareDue(self._clock.now()))
            except MeetMeError as error:
                self._log.info("which revision counts cannot be told now", negotiation=str(id), problem=error.text)
            await asyncio.sleep(pause)
            pause = min(LONGEST_SECONDS, 2 * pause)

    async def _heard(self, event: LinkEvent) -> None:
        if event.agreement is None or event.kind not in (LinkEventKind.ROLLED_BACK, LinkEventKind.REMOVED):
            return
        id = event.agreement
        n = await self._database.read(lambda tx: store.load(tx, id))
        if n is not None and _settled(n):
            await self._loop.deliver(str(id), ev.DeviceLost(self._clock.now()))


def _settled(n: Negotiation) -> bool:
    """Whether the device should have the link for good, and no order about it is under way."""
    return n.state is State.ACTIVE and n.device is Device.CONFIRMED


def _agreed(n: Negotiation) -> int:
    return n.agreement.revision if n.agreement else 0


def _revision_there(n: Negotiation, links: Collection[AppliedLink]) -> int | None:
    return next((link.intent.revision for link in links if link.intent.agreement == n.id), None)
