"""A client at a misbehaving exchange, in a time of their own: nothing really waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, time
from itertools import chain, repeat
from random import Random

from meetme.ixapi.attempt import Patience
from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey
from meetme.ixapi.ordering import IxApiExchange
from meetme.ixapi.orders import OrderEnd, SegmentOrder
from meetme.ixapi.requests import Account
from meetme.runtime.clock import ManualClock
from tests.ixapi.misbehaving import KEY, MEMBER_A, SECRET, TODAY, Manners, Misbehaving, Trouble, Wire


class Bench:
    """One exchange, and as many lives of a client as are wanted."""

    def __init__(self, manners: Manners | None = None, *, account: Account | None = None, **patience: float) -> None:
        self.clock = ManualClock(datetime.combine(TODAY, time(12), UTC).timestamp())
        self.exchange = Misbehaving(manners, self.clock.now)
        self.account = account or Account()
        self.patience = Patience(**patience)
        self.client = self.new_client()

    def new_client(self) -> IxApiExchange:
        """A client that knows nothing of what was before."""
        self.api = IxApiClient(
            "http://127.0.0.1:8474",
            ApiKey(KEY, SECRET),
            transport=Wire(self.exchange),
            clock=self.clock,
            sleep=self.sleep,
            random=Random(1),
        )
        return IxApiExchange(
            self.api, self.account, patience=self.patience, clock=self.clock, sleep=self.sleep, random=Random(1)
        )

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    def trouble(self, *troubles: Trouble | None, after: int = 0, again: Iterable[Trouble | None] = ()) -> None:
        """What happens to the requests behind the next `after`."""
        self.exchange.troubles = chain(repeat(None, after), troubles, again)

    def posts(self, room: str) -> int:
        return sum(1 for method, path in self.exchange.requests if method == "POST" and path == f"/{room}")


def order(reference: str = "c1", *, a: int | None = None, b: int | None = 100, bandwidth: int = 100) -> SegmentOrder:
    return SegmentOrder(reference, OrderEnd("con-a", a, MEMBER_A), OrderEnd("con-nni", b), bandwidth)
