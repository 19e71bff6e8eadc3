"""What the routers tell by themselves: a link that should be there and is gone is put back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

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
from meetme.negotiator.strays import Strays
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
                if view.observation is not None and await self._strays.found(router, view.observation.links):
                    settling = asyncio.create_task(self._settle(router), name=f"strays {router.name}")
                elif view.observation is not None:
                    await self._restore_missing(router.name, view.observation.links)
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

    async def _settle(self, router: Router) -> None:
        """The router knows more than the store: first hear from the peers what is over, then put back what is not."""
        try:
            for n in await self._database.run(store.negotiations):
                if n.attachment.router == router.name and _settled(n):
                    await self._loop.deliver(str(n.id), ev.CompareDue(self._clock.now()))
            await self._strays.settle(router)
            view = await router.look()
            await self._restore_missing(router.name, view.observation.links if view.observation else ())
        except MeetMeError as error:
            self._log.info("what a router has cannot be settled now", router=router.name, problem=error.text)
        except Exception:
            self._log.exception("settling what a router has failed unexpectedly", router=router.name)

    async def _restore_missing(self, router: str, links: Collection[AppliedLink]) -> None:
        """The negotiator's word wins: what should be on the device and is not, or is older, is ordered again.

        What is newer there is what the peer has to tell us: the store was restored from a backup.
        """
        present = {link.intent.agreement: link.intent.revision for link in links}
        known = await self._database.run(store.negotiations)
        for n in known:
            if n.attachment.router != router or not _settled(n):
                continue
            there, agreed = present.get(n.id), n.agreement.revision if n.agreement else 0
            if there is None or (there < agreed and not under_way(n)):
                await self._loop.deliver(str(n.id), ev.DeviceLost(self._clock.now()))
            elif there > agreed and not under_way(n):
                await self._loop.deliver(str(n.id), ev.CompareDue(self._clock.now()))

    async def _heard(self, event: LinkEvent) -> None:
        if event.agreement is None or event.kind not in (LinkEventKind.ROLLED_BACK, LinkEventKind.REMOVED):
            return
        id = event.agreement
        n = await self._database.run(lambda tx: store.load(tx, id))
        if n is not None and _settled(n):
            await self._loop.deliver(str(id), ev.DeviceLost(self._clock.now()))


def _settled(n: Negotiation) -> bool:
    """Whether the device should have the link for good, and no order about it is under way."""
    return n.state is State.ACTIVE and n.device is Device.CONFIRMED
