"""What is left over is looked for again and again, named once, and counted."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from meetme.model.errors import Unreachable
from meetme.runtime import lookout
from meetme.runtime.lookout import MOST_NAMED, Lookout


class Pieces(Lookout[int]):
    def __init__(self, *looks: tuple[int, ...] | Exception) -> None:
        self.registry = CollectorRegistry()
        super().__init__("here", ("pieces", "What is left over."), self.registry)
        self.looks, self.said = list(looks), list[tuple[int, list[str]]]()
        self.all_seen = asyncio.Event()

    async def look(self) -> tuple[int, ...]:
        if not self.looks:
            self.all_seen.set()
            return ()
        found = self.looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def name(self, stray: int) -> str:
        return f"piece {stray:02}"

    def warn(self, number: int, names: list[str]) -> None:
        self.said.append((number, names))

    @property
    def counted(self) -> float | None:
        return self.registry.get_sample_value("pieces")


async def test_only_what_is_new_is_named_and_what_came_back_is_new() -> None:
    pieces = Pieces((2, 1), (1, 2), (2, 3), (), (3,))
    counts = []
    for expected in ((2, 1), (1, 2), (2, 3), (), (3,)):
        assert await pieces.find() == expected
        counts.append(pieces.counted)
    assert pieces.said == [(2, ["piece 01", "piece 02"]), (1, ["piece 03"]), (1, ["piece 03"])]
    assert counts == [2, 2, 2, 0, 1]


async def test_of_many_the_first_are_named() -> None:
    pieces = Pieces(tuple(range(99)))
    await pieces.find()
    assert pieces.said == [(99, [f"piece {n:02}" for n in range(MOST_NAMED)])]


async def test_a_look_that_fails_does_not_end_it_nor_forgets_what_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(lookout, "RETRY_SECONDS", 0.0)
    pieces = Pieces((1,), Unreachable("x", "nobody is there"), RuntimeError("a fault of ours"), (1, 2))
    running = asyncio.create_task(pieces.run())
    async with asyncio.timeout(10):
        await pieces.all_seen.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert pieces.said == [(1, ["piece 01"]), (1, ["piece 02"])]
