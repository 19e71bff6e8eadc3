"""Many orders at once, from both ends, for what only some can have."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from meetme.composer import store
from meetme.composer.words import State

from .federation import Ixp, chain, federation, order

HEAVY = [pytest.mark.slow, pytest.mark.timeout(600)]
THREE = ("ixp-1", "ixp-2", "ixp-3")


@pytest.mark.parametrize(
    ("names", "orders", "room"),
    [(THREE, 20, 12), *(pytest.param(names, 100, 60, marks=HEAVY) for names in (THREE[1:], THREE))],
)
async def test_exactly_as_many_orders_are_met_as_there_is_room_for(
    tmp_path: Path, names: tuple[str, ...], orders: int, room: int
) -> None:
    async with federation(chain(*names, bandwidth=room), tmp_path) as fed:
        first, last = fed[names[0]], fed[names[-1]]

        async def one(number: int) -> UUID:
            there, ends = (first, ("csp-a/a1", "csp-b/b1")) if number % 2 else (last, ("csp-b/b1", "csp-a/a1"))
            return (await there.client.create(order(*ends, bandwidth=1))).id

        ids = await asyncio.gather(*(one(number) for number in range(orders)))
        assert len(set(ids)) == orders
        count = await decided(first, last)
        assert count == {State.ACTIVE: room, State.FAILED: orders - room}, count
        for ixp in fed.ixps.values():
            assert len(ixp.exchange.segments) == room
            nothing_twice(ixp)
        await release_all(first, last)
        await fed.empty()


async def decided(*ixps: Ixp) -> Counter[State]:
    """What has become of all that was ordered, each at the composer that was asked."""
    while True:
        asked = [view for ixp in ixps for view in await ixp.client.circuits() if view.ordered_by == ixp.name]
        count = Counter(view.state for view in asked)
        if set(count) <= {State.ACTIVE, State.FAILED}:
            return count
        await asyncio.sleep(0.3)


def nothing_twice(ixp: Ixp) -> None:
    """No label twice on one resource, and no more of it than there is."""
    labels: Counter[tuple[str, int | None]] = Counter()
    used: Counter[str] = Counter()
    for claim in ixp.database.run_now(store.all_held):
        used[str(claim.resource)] += claim.bandwidth
        if claim.label is not None:
            labels[str(claim.resource), claim.label] += 1
    assert max(labels.values()) == 1, labels.most_common(3)
    for port in ixp.settings.port:
        kind = "access" if port.member else "link"
        assert used[f"{kind} {port.id}"] <= port.bandwidth


async def release_all(*ixps: Ixp) -> None:
    for ixp in ixps:
        views = [view for view in await ixp.client.circuits() if view.state is State.ACTIVE]
        await asyncio.gather(*(ixp.client.delete(view.id) for view in views))
