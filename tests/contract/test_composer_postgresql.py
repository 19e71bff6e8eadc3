"""The composer on PostgreSQL: the same tables, claims and answers, with several transactions at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from meetme.composer import logbook
from meetme.composer.words import ENDED, State
from tests.composer.federation import chain, federation, order
from tests.composer.test_service_load import decided, nothing_twice


@pytest.mark.slow
async def test_orders_from_both_ends_and_nothing_is_given_out_twice(new_postgresql: Callable[[str], str]) -> None:
    layout = chain("ixp-1", "ixp-2", bandwidth=4)
    urls = {name: new_postgresql(name.replace("-", "_")) for name in layout}
    async with federation(layout, urls=urls) as fed:
        first, last = fed.ixps.values()
        orders = [first.client.create(order("csp-a/a1", "csp-b/b1", 1)) for _ in range(4)]
        orders += [last.client.create(order("csp-b/b1", "csp-a/a1", 1)) for _ in range(4)]
        started = await asyncio.gather(*orders)
        assert await decided(first, last) == Counter({State.ACTIVE: 4, State.FAILED: 4})
        for ixp in (first, last):
            assert len(ixp.exchange.segments) == 4
            nothing_twice(ixp)
        await asyncio.gather(
            *(first.client.delete(v.id) for v in await first.client.circuits() if v.state not in ENDED)
        )
        assert len(started) == 8
        await fed.empty()
        for ixp in (first, last):
            assert ixp.database.run_now(logbook.verify_audit) is None
