"""Hears at once how what an order is waiting for gets on, from whoever makes it, instead of asking again and again.

What is heard is delivered as what is looked for would be. Nothing depends on it: a process that dies, or an exchange
that does not let anybody wait, leaves the looks that the order owes all the same, only later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from meetme.catalog import events as ev
from meetme.catalog.events import Event
from meetme.catalog.order import Order
from meetme.catalog.underlay import CircuitStanding, NegotiationStanding, Underlay
from meetme.catalog.words import UNDER_WAY, Presence, What
from meetme.model.errors import MeetMeError
from meetme.runtime.clock import Clock

AT_ONCE = 256
"""For how many things one process waits at the same time. What is beyond is looked for."""
LEAST_WAIT_SECONDS = 1.0
"""An answer without news that comes sooner was not waited with."""
Deliver = Callable[[UUID, What, str, Event], Awaitable[Order | None]]
"""Deliver to an order what is heard of a thing, unless that stands so already; gives the order as it is then."""


class Listener:
    """Waits beside the loop, so that no effect has to."""

    def __init__(self, underlay: Underlay, deliver: Deliver, clock: Clock) -> None:
        self._underlay = underlay
        self._deliver = deliver
        self._clock = clock
        self._listening: dict[tuple[UUID, What], asyncio.Task[None]] = {}

    def listen(self, n: Order, what: What) -> bool:
        """Begin, if it is of use and not done already. False: it has to be looked for."""
        if (n.id, what) in self._listening:
            return True
        if not awaits(n, what) or len(self._listening) >= AT_ONCE:
            return False
        task = asyncio.create_task(self._listen(n, what), name=f"listening for the {what} of {n.id}")
        self._listening[n.id, what] = task
        task.add_done_callback(lambda _ended: self._listening.pop((n.id, what), None))
        return True

    async def close(self) -> None:
        """Listen no more."""
        tasks = list(self._listening.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, n: Order, what: What) -> None:
        seen, loop = 0, asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                news = await self._underlay.news(n, what, seen)
            except MeetMeError:
                return  # the look that is owed finds out why, and says it
            if news is None or news.seen < seen:
                return
            if news.seen == seen and loop.time() - asked < LEAST_WAIT_SECONDS:
                return  # it does not let anybody wait: to ask it again at once would be to ask without end
            after = await self._deliver(n.id, what, news.standing.words, heard(news.standing, self._clock.now()))
            if after is None or not awaits(after, what) or not news.seen:
                return
            n, seen = after, news.seen


def awaits(n: Order, what: What) -> bool:
    """Whether the order gets on as soon as there is a word of it."""
    thing = n.thing(what)
    return n.state in UNDER_WAY and thing.presence is Presence.MAKING and thing.id is not None


def heard(standing: CircuitStanding | NegotiationStanding, at: float) -> Event:
    """What it means to the rules."""
    if isinstance(standing, CircuitStanding):
        c = standing
        return ev.CircuitSeen(at, c.id, c.words, c.built, c.committed, c.ended)
    return ev.NegotiationSeen(at, standing.id, standing.words, standing.active, standing.reach, standing.ended)
