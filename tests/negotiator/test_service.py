from __future__ import annotations

from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest

from .pair import pair


async def test_two_members_with_the_same_prefix_reach_each_other_and_part_again() -> None:
    async with pair() as (a, b):
        before = {side.name: side.contents() for side in (a, b)}
        started = await a.client.start(StartRequest("csp-b"))
        view = await a.until(started.id, State.ACTIVE)
        assert view.state is State.ACTIVE, view.problem
