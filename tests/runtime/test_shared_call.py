"""One call for many: never two at once, never an answer older than the question."""

from __future__ import annotations

import asyncio

import pytest

from meetme.runtime.shared_call import SharedCall


class Work:
    """Counts its runs; each ends when it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.at_once = 0
        self.gate = asyncio.Semaphore(0)

    async def __call__(self) -> int:
        self.runs += 1
        self.at_once += 1
        assert self.at_once == 1
        number = self.runs
        try:
            await self.gate.acquire()
        finally:
            self.at_once -= 1
        return number


async def _begun() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_during_a_run_shares_the_next() -> None:
    work = Work()
    shared = SharedCall(work)
    first = asyncio.ensure_future(shared())
    await _begun()
    later = [asyncio.ensure_future(shared()) for _ in range(5)]
    await _begun()
    assert work.runs == 1
    work.gate.release()
    assert await first == 1
    work.gate.release()
    assert await asyncio.gather(*later) == [2] * 5
    assert work.runs == 2


async def test_who_asks_before_a_run_begins_shares_it() -> None:
    work = Work()
    shared = SharedCall(work)
    work.gate.release()
    assert await asyncio.gather(shared(), shared(), shared()) == [1, 1, 1]


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    work = Work()
    shared = SharedCall(work)
    leaving, staying = asyncio.ensure_future(shared()), asyncio.ensure_future(shared())
    await _begun()
    leaving.cancel()
    work.gate.release()
    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_failure_is_told_to_all_who_share_it_and_to_nobody_later() -> None:
    answers: list[int | Exception] = [OSError("gone"), 7]

    async def work() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shared = SharedCall(work)
    assert [type(found) for found in await asyncio.gather(shared(), shared(), return_exceptions=True)] == [
        OSError,
        OSError,
    ]
    assert await shared() == 7
