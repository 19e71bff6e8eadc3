"""Who gives something back and orders it again at once is not refused for want of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from meetme.composer.circuit import Circuit
from meetme.composer.settling import SETTLING_SECONDS, Settling
from meetme.composer.words import CircuitRequest, End, State
from meetme.model.agreement import MemberId

from .federation import Ixp, chain, federation, order

CIRCUIT = Circuit(
    id=UUID(int=1),
    me=MemberId("ixp-1"),
    head=MemberId("ixp-1"),
    request=CircuitRequest(End(MemberId("csp-a"), "a1"), End(MemberId("csp-b"), "b1"), 10),
    ordered_by=MemberId("csp-a"),
    began=0.0,
)


def free_of_end(ixp: Ixp) -> int:
    """What an exchange believes to be free at the port b1, Mbit/s."""
    (found,) = (
        point.bandwidth
        for said in ixp.service.spreader.atlas().advertisements
        for point in said.points
        if point.port == "b1"
    )
    return found


async def test_a_whole_line_is_had_again_right_after_it_was_given_back() -> None:
    async with federation(chain("ixp-1", "ixp-2", "ixp-3")) as fed:
        first = fed["ixp-1"]
        async with asyncio.timeout(20):
            for _ in range(2):
                made = await first.client.create(order("csp-a/a1", "csp-b/b1", 1000))
                active = await first.until(made.id, State.ACTIVE)
                assert active.state is State.ACTIVE, active.problem
                while free_of_end(first):  # noqa: ASYNC110 - until the other end is said to be taken
                    await asyncio.sleep(0.02)
                await first.client.delete(made.id)
                assert (await first.until(made.id)).state is State.RELEASED
                assert not free_of_end(first), "it has not heard yet that the other end is free again"


async def test_what_nobody_has_given_back_is_refused_at_once() -> None:
    async with federation(chain("ixp-1", "ixp-2")) as fed:
        first = fed["ixp-1"]
        begun = asyncio.get_running_loop().time()
        refused = await first.until((await first.client.create(order("csp-a/a1", "csp-b/b1", 1001))).id)
        assert refused.problem is not None
        assert refused.problem.code == "no_path"
        assert asyncio.get_running_loop().time() - begun < SETTLING_SECONDS


async def test_the_refusal_comes_when_that_cannot_be_why_any_more() -> None:
    async with federation(chain("ixp-1", "ixp-2")) as fed:
        first = fed["ixp-1"]
        made = await first.client.create(order("csp-a/a1", "csp-b/b1"))
        await first.until(made.id, State.ACTIVE)
        await first.client.delete(made.id)
        await first.until(made.id)
        refused = await first.until((await first.client.create(order("csp-a/a1", "csp-b/b1", 1001))).id)
        assert (refused.state, refused.problem and refused.problem.code) == (State.FAILED, "no_path")
        await fed.empty()


@pytest.mark.parametrize(
    ("established", "was", "now_is", "settles"),
    [
        (True, State.RELEASING, State.RELEASED, True),
        (True, State.RELEASING, State.FAILED, True),
        (False, State.HELD, State.FAILED, False),
        (True, State.ACTIVE, State.RELEASING, False),
        (True, State.RELEASED, State.RELEASED, False),
    ],
)
def test_only_the_end_of_a_circuit_that_was_in_force_settles(
    established: bool, was: State, now_is: State, settles: bool
) -> None:
    settling, before = Settling(), replace(CIRCUIT, established=established, state=was)
    assert not settling.lasts(100.0)
    settling.entered(None, before, 100.0)
    settling.entered(before, replace(before, state=now_is), 100.0)
    assert settling.lasts(100.0) is settling.lasts(100.0 + SETTLING_SECONDS - 0.01) is settles
    assert not settling.lasts(100.0 + SETTLING_SECONDS)
