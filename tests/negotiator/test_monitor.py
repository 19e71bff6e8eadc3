"""The shell that watches the data plane: how often it asks, whom it tells, what it shows."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from meetme.model.errors import Problem, Unreachable
from meetme.negotiator import events as ev
from meetme.negotiator import store
from meetme.negotiator.health import Crossed, Round
from meetme.negotiator.monitor import HealthMonitor, moment
from meetme.negotiator.negotiation import Health, HealthState, Negotiation
from meetme.negotiator.states import State
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database, migrate
from tests.negotiator import stages

SILENT = Problem("probe_unanswered", "nothing came back")
AWAY = Problem("configurator_unreachable", "nobody to ask")
EVERY = 0.1


@dataclass
class Eye:
    """Sees what `crossing` says, as quickly as `takes` says."""

    crossing: dict[UUID, Crossed] = field(default_factory=dict)
    default: Crossed | None = Crossed.ALL
    takes: float = 0.0
    looks: dict[UUID, list[float]] = field(default_factory=dict)
    under_way: int = 0
    most: int = 0

    async def look(self, n: Negotiation, within: float) -> Round | None:
        now = asyncio.get_running_loop().time()
        self.looks.setdefault(n.id, []).append(now)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.takes)
        self.under_way -= 1
        match self.crossing.get(n.id, self.default):
            case None:
                return None
            case Crossed.ALL:
                return Round(now, Crossed.ALL, 2, 0, 1.5)
            case Crossed.NOTHING:
                return Round(now, Crossed.NOTHING, 2, 2, None, SILENT)
            case other:
                return Round(now, other, problem=AWAY)


@dataclass
class Told:
    events: list[tuple[str, Health]] = field(default_factory=list)
    refuse: int = 0

    async def __call__(self, instance: str, event: ev.HealthTurned) -> None:
        if self.refuse:
            self.refuse -= 1
            raise Unreachable("database_unreachable", "the database is away")
        self.events.append((instance, event.health))

    def states(self, id: UUID) -> list[str]:
        return [health.state.value for instance, health in self.events if instance == str(id)]


def agreements(database: Database, number: int) -> list[Negotiation]:
    """Active ones, written as they would be."""
    made = [replace(stages.active(), id=uuid4(), circuit=f"c{i}", health=None) for i in range(number)]

    def write(tx: Any) -> None:
        for n in made:
            store.save(tx, n, new=True)

    database.run_now(write)
    return made


@asynccontextmanager
async def watching(eye: Eye, number: int = 1, *, every: float = EVERY):
    database = Database.open("sqlite://")
    await asyncio.to_thread(migrate, database, "meetme.negotiator")
    made = agreements(database, number)
    told = Told()
    monitor = HealthMonitor(database, eye, told, SystemClock(), every=every, take_up_seconds=0.05)
    task = asyncio.create_task(monitor.run())
    try:
        yield monitor, told, made, database
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is in memory
            await asyncio.sleep(0.005)


async def test_only_a_turn_is_told() -> None:
    eye = Eye()
    async with watching(eye) as (monitor, told, (n,), _):
        await until(lambda: len(eye.looks.get(n.id, [])) > 5)
        assert told.states(n.id) == ["up"]
        shown = monitor.present(n)
        assert shown is not None
        assert (shown.state, shown.rtt_ms, shown.loss) == (HealthState.UP, 1.5, 0.0)
        eye.crossing[n.id] = Crossed.NOTHING
        await until(lambda: told.states(n.id) == ["up", "down"])
        assert told.events[-1][1].reason == SILENT
        eye.crossing[n.id] = Crossed.ALL
        await until(lambda: told.states(n.id) == ["up", "down", "up"])
        eye.crossing[n.id] = Crossed.UNKNOWN
        await until(lambda: told.states(n.id)[3:] == ["degraded"])
        assert told.events[-1][1].reason == AWAY


async def test_what_could_not_be_written_is_told_again() -> None:
    eye = Eye()
    async with watching(eye) as (_, told, (n,), _database):
        told.refuse = 1
        await until(lambda: told.states(n.id) == ["up"])
        assert told.refuse == 0


async def test_what_ended_is_watched_no_more_and_what_changed_is_read_again() -> None:
    eye = Eye()
    async with watching(eye) as (monitor, _, (n,), database):
        await until(lambda: n.id in eye.looks)
        assert monitor.states() == [(n.peer, monitor.present(n))]
        ended = replace(n, state=State.TERMINATING, revision=n.revision + 1)
        database.run_now(lambda tx: store.save(tx, ended, new=False))
        await until(lambda: not monitor.states())
        looks = len(eye.looks[n.id])
        await asyncio.sleep(3 * EVERY)
        assert len(eye.looks[n.id]) == looks
        assert monitor.present(ended) is None


async def test_who_cannot_look_says_nothing() -> None:
    eye = Eye(default=None)
    async with watching(eye) as (monitor, told, (n,), _):
        await until(lambda: len(eye.looks.get(n.id, [])) > 3)
        assert told.events == []
        assert monitor.present(n) is None
        assert monitor.states() == [(n.peer, None)]


def test_many_are_spread_over_the_interval() -> None:
    tenths = Counter(int(10 * moment(uuid4())) for _ in range(2000))
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 300


async def test_none_is_left_out() -> None:
    eye = Eye()
    async with watching(eye, 20) as (_, _told, made, _database):
        await until(lambda: len(eye.looks) == 20 and all(len(looks) >= 3 for looks in eye.looks.values()))
        assert set(eye.looks) == {n.id for n in made}


async def test_only_a_few_at_one_router_are_looked_at_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a router has lost everything, all of it is in doubt: looking must leave it time to heal."""
    monkeypatch.setattr("meetme.negotiator.monitor.HURRIED", 4)
    eye = Eye(default=None)  # what was never seen is in doubt for ever
    async with watching(eye, 40, every=0.2):

        def often() -> list[UUID]:
            usual = sorted(len(looks) for looks in eye.looks.values())[len(eye.looks) // 2]
            return [id for id, looks in eye.looks.items() if usual >= 4 and len(looks) >= 2 * usual]

        await until(lambda: len(eye.looks) == 40 and often())
        assert len(often()) <= 4


async def test_a_router_full_of_silence_is_asked_a_bounded_number_of_times_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meetme.negotiator.monitor.AT_ONCE", 8)
    eye = Eye(default=Crossed.NOTHING, takes=0.05)
    async with watching(eye, 30, every=0.05) as (_, told, made, _database):
        await until(lambda: len(told.events) == len(made))
        assert eye.most == 8
