"""What is heard of a circuit or a negotiation reaches its order, once, and nobody listens longer than it is of use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

from meetme.catalog.events import CircuitSeen, Event
from meetme.catalog.listening import Listener
from meetme.catalog.order import Order, Thing
from meetme.catalog.underlay import CircuitStanding, News, Underlay
from meetme.catalog.words import Connectivity, Party, Presence, State, Wanted, What
from meetme.model.agreement import MemberId
from meetme.model.errors import Unreachable
from meetme.runtime.clock import SystemClock

ORDER = Order(
    UUID(int=1),
    Party.BUYER,
    MemberId("alfa"),
    MemberId("bravo"),
    Wanted("vault", 1, Connectivity.L3),
    0.0,
    state=State.LINKING,
    circuit=Thing(Presence.MAKING, "c1", "committed", known=True),
)


class Exchange:
    """Tells what the test lets it tell."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.told: asyncio.Queue[News | Exception | None] = asyncio.Queue()

    async def news(self, order: Order, what: What, seen: int) -> News | None:
        self.asked.append(seen)
        said = await self.told.get()
        if isinstance(said, Exception):
            raise said
        return said


class Desk:
    """The order as it is stored."""

    def __init__(self) -> None:
        self.order = ORDER
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def deliver(self, id: UUID, what: What, standing: str, event: Event) -> Order:
        if standing != self.order.circuit.standing:
            self.order = replace(self.order, circuit=replace(self.order.circuit, standing=standing))
            self.events.put_nowait(event)
        return self.order


async def turns(done: Callable[[], bool]) -> None:
    """Let the others take their turns until it is so."""
    for _ in range(1000):
        if done():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never is")


def news(words: str, seen: int, *, built: bool = False) -> News:
    return News(CircuitStanding("c1", words, True, built), seen)


async def listening(work: Callable[[Exchange, Desk, Listener], Awaitable[None]]) -> None:
    exchange, desk = Exchange(), Desk()
    underlay: Underlay = exchange  # type: ignore[assignment]  # of which this is the one part that is used
    listener = Listener(underlay, desk.deliver, SystemClock())
    try:
        async with asyncio.timeout(5):
            await work(exchange, desk, listener)
    finally:
        await listener.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("listening")]


async def test_what_changes_is_delivered_and_what_does_not_is_not() -> None:
    async def work(exchange: Exchange, desk: Desk, listener: Listener) -> None:
        assert listener.listen(ORDER, What.CIRCUIT)
        assert listener.listen(ORDER, What.CIRCUIT), "one is enough"
        exchange.told.put_nowait(news("committed", 3))
        exchange.told.put_nowait(news("active", 4, built=True))
        event = await desk.events.get()
        assert isinstance(event, CircuitSeen)
        assert (event.id, event.standing, event.built) == ("c1", "active", True)
        await turns(lambda: len(exchange.asked) == 3)
        assert exchange.asked == [0, 3, 4]
        assert desk.events.empty()

    await listening(work)


async def test_nobody_listens_to_what_the_order_does_not_wait_for() -> None:
    async def work(exchange: Exchange, desk: Desk, listener: Listener) -> None:
        assert not listener.listen(replace(ORDER, state=State.ACTIVE), What.CIRCUIT)
        assert not listener.listen(replace(ORDER, state=State.TERMINATING), What.CIRCUIT)
        assert not listener.listen(ORDER, What.NEGOTIATION)
        listener.listen(ORDER, What.CIRCUIT)
        desk.order = replace(ORDER, circuit=replace(ORDER.circuit, presence=Presence.THERE))
        exchange.told.put_nowait(news("committed", 3))
        await turns(lambda: not listener.listen(desk.order, What.CIRCUIT))
        assert exchange.asked == [0]

    await listening(work)


async def test_who_answers_at_once_and_without_news_is_not_asked_without_end() -> None:
    """As one does that knows nothing of waiting."""

    async def work(exchange: Exchange, desk: Desk, listener: Listener) -> None:
        for _ in range(20):
            exchange.told.put_nowait(news("committed", 3))
        listener.listen(ORDER, What.CIRCUIT)
        await turns(lambda: not listener._listening)
        assert exchange.asked == [0, 3]

    await listening(work)


async def test_who_does_not_tell_is_left_to_the_looks_that_are_owed() -> None:
    async def work(exchange: Exchange, desk: Desk, listener: Listener) -> None:
        for said in (None, Unreachable("peer_timeout", "peer: must answer"), news("active", 0), news("active", -1)):
            exchange.asked.clear()
            assert listener.listen(ORDER, What.CIRCUIT)
            exchange.told.put_nowait(said)
            await turns(lambda: not listener._listening)
            assert exchange.asked == [0]

    await listening(work)
