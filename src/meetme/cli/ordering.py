"""One order in a lab, watched from outside: from the click at the buyer's catalog to the first packet that returns."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from meetme.catalog.client import CatalogClient
from meetme.catalog.words import ENDED, State
from meetme.lab import first_packet
from meetme.model.errors import DeviceFailed, Fault
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.intents import as_reached
from meetme.negotiator.states import State as Negotiation

if TYPE_CHECKING:
    from meetme.catalog.order import StepTime
    from meetme.catalog.views import OrderView
    from meetme.lab.host import Lab
    from meetme.negotiator.views import NegotiationView

FIRST_PACKET_SECONDS = 60.0
LISTED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whose catalog and negotiator are asked, and the machine in its network that sends."""

    catalog: CatalogClient
    negotiator: NegotiatorClient
    lab: Lab
    machine: str


@dataclass(frozen=True, slots=True)
class Bought:
    """An order that is active, and when its first packet came back."""

    order: OrderView
    negotiation: NegotiationView
    seconds_to_first_packet: float
    """Since the click."""


async def listed(buyer: Buyer, offer: str) -> None:
    """Wait until the buyer's catalog shows the offer. Raises DeviceFailed."""
    deadline = time.monotonic() + LISTED_SECONDS
    while not any(entry.id == offer for entry in (await buyer.catalog.search(limit=100))[0]):
        if time.monotonic() > deadline:
            raise _failed(f"{offer}: is not listed")
        await asyncio.sleep(0.05)


async def buy(
    buyer: Buyer, offer: str, service: IPv4Address, told: Callable[[StepTime], None] = lambda _step: None
) -> Bought:
    """Order it, and send to `service`, as the agreement has its address, until an answer comes.

    `told` hears of each step as it is taken. Raises DeviceFailed where the order ends, MeetMeError.
    """
    with _watching(buyer.lab, buyer.machine) as watcher:
        clicked = time.time()
        placed = await buyer.catalog.place(offer)
        point: asyncio.Task[None] | None = None
        seen = 0
        async with aclosing(buyer.catalog.follow(placed.id)) as views:
            async for order in views:
                for step in order.steps[seen:]:
                    told(step)
                seen = len(order.steps)
                if point is None and order.negotiation is not None:
                    point = asyncio.create_task(_point(buyer, order.negotiation, service, watcher))
                if order.state is State.ACTIVE or order.state in ENDED or order.state is State.TERMINATING:
                    break
        if order.state is not State.ACTIVE or order.negotiation is None or point is None:
            said = order.problem.text if order.problem else order.state.value
            raise _failed(f"order of {offer}: {said}")
        await point
        assert watcher.stdout is not None
        answered = (await asyncio.to_thread(watcher.stdout.readline)).strip()
        if answered in ("", first_packet.NEVER):
            raise _failed(f"order of {offer}: is active, but {service} does not answer")
        return Bought(order, await buyer.negotiator.negotiation(order.negotiation), float(answered) - clicked)


async def give_back(buyer: Buyer, order: OrderView) -> OrderView:
    """Terminate it, and wait until nothing of it is left at the buyer. Raises DeviceFailed."""
    await buyer.catalog.terminate(order.id)
    async with aclosing(buyer.catalog.follow(order.id)) as views:
        async for order in views:
            if order.state in ENDED:
                break
    if order.state is not State.TERMINATED:
        raise _failed(f"order {order.id}: is {order.state}, not terminated")
    return order


async def _point(buyer: Buyer, negotiation: str, service: IPv4Address, watcher: subprocess.Popen[str]) -> None:
    """Tell the watcher where to send as soon as both sides have agreed: before any router is told."""
    async with aclosing(buyer.negotiator.follow(negotiation)) as views:
        async for n in views:
            if n.agreement is not None and n.state is not Negotiation.PROPOSED:
                there = as_reached(n.agreement.side(n.role.other), service)
                if there is None:
                    raise _failed(f"{service}: is in none of the agreed prefixes")
                assert watcher.stdin is not None
                watcher.stdin.write(f"{there}\n")
                watcher.stdin.flush()
                return


@contextmanager
def _watching(lab: Lab, machine: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-S", first_packet.__file__, "-", str(FIRST_PACKET_SECONDS)]
    watcher = lab.popen(machine, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    try:
        yield watcher
    finally:
        watcher.kill()
        watcher.communicate()


def _failed(text: str) -> DeviceFailed:
    return DeviceFailed("demo_failed", text, fault=Fault.LOCAL)
