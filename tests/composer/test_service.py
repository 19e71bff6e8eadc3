"""Circuits over whole composers: there and back, refused, around what refuses."""

from __future__ import annotations

from meetme.composer.words import State

from .federation import chain, federation, order


async def test_there_and_back_over_two_and_three_exchanges() -> None:
    for names in (("ixp-1", "ixp-2"), ("ixp-1", "ixp-2", "ixp-3")):
        async with federation(chain(*names)) as fed:
            first, last = fed[names[0]], fed[names[-1]]
            started = await first.client.create(order("csp-a/a1", "csp-b/b1"))
            mine = await first.until(started.id, State.ACTIVE)
            assert mine.state is State.ACTIVE, mine.problem
            assert [hop.exchange for hop in mine.path] == list(names)
            theirs = await last.until(started.id, State.ACTIVE)
            assert theirs.state is State.ACTIVE
            for name in names:
                assert len(fed[name].exchange.segments) == 1
            await last.client.delete(started.id)
            assert (await first.until(started.id)).state is State.RELEASED
            await fed.empty()
