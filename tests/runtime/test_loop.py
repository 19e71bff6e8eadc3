"""The durable loop: what is owed gets done, at least once, in spite of failures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
from sqlalchemy import event as sqlalchemy_event
from structlog.testing import capture_logs

from meetme.model.errors import Conflict, Unreachable
from meetme.runtime.clock import ManualClock, SystemClock
from meetme.runtime.database import Database
from meetme.runtime.loop import Cancelled, Lease, Ledger, Loop, Owed, Retry, backoff_seconds

from .machines import Notebook


def owes(**effects: tuple[Owed | Cancelled, ...]):
    """A reaction: event 'x/name' leads to the effects of that name."""
    return lambda _state, event: effects.get(event.partition("/")[2], ())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited shows in the database alone
            await asyncio.sleep(0.001)


class World:
    """One loop over a notebook; what is performed is written down."""

    def __init__(self, database: Database, reaction, perform=None, clock=None, **options) -> None:
        self.database, self.ledger, self.machine = database, Ledger(), Notebook(reaction)
        self.performed: list[tuple[str, str]] = []
        self.inner: Callable[[Lease], Awaitable[str | None]] | None = perform
        self.loop = Loop(
            database,
            self.ledger,
            self.machine,
            self.perform,
            owner=options.pop("owner", "w"),
            clock=clock or SystemClock(),
            random=Random(1),
            **options,
        )

    async def perform(self, lease: Lease) -> str | None:
        self.performed.append((lease.instance, lease.key))
        return await self.inner(lease) if self.inner else None

    def owed(self, instance: str = "x"):
        return self.database.run_now(lambda tx: self.ledger.owed(tx, "notebook", instance))

    def seen(self, instance: str = "x"):
        return self.database.run_now(lambda tx: self.machine.load(tx, instance))

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.loop.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


async def test_results_come_back_as_events_until_nothing_is_owed(database: Database) -> None:
    async def perform(lease: Lease) -> str:
        return f"x/{lease.key}-done"

    reaction = owes(start=(Owed("a", "send", "{}"),), **{"a-done": (Owed("b", "send", "{}"),)})
    async with World(database, reaction, perform).running() as world:
        assert await world.loop.deliver("x", "x/start") == ("x/start",)
        await until(lambda: world.seen() == ("x/start", "x/a-done", "x/b-done"))
        assert world.owed() == []


async def test_what_an_earlier_process_owed_is_performed_at_the_start(database: Database) -> None:
    world = World(database, owes(start=(Owed("a", "send", "{}"),)))
    database.run_now(lambda tx: world.ledger.deliver(tx, world.machine, "x", "x/start", 0.0))
    async with world.running():
        await until(lambda: world.owed() == [])
    assert world.performed == [("x", "a")]


async def test_a_commit_by_somebody_else_is_seen_after_wake(database: Database) -> None:
    async with World(database, owes(start=(Owed("a", "send", "{}"),))).running() as world:
        await world.database.run(lambda tx: world.ledger.deliver(tx, world.machine, "x", "x/start", 0.0))
        world.loop.wake()
        await until(lambda: world.performed)


async def test_an_event_that_is_refused_changes_nothing_and_the_caller_hears_it(database: Database) -> None:
    async with World(database, owes()).running() as world:
        with pytest.raises(Conflict):
            await world.loop.deliver("x", "refuse")
    assert world.seen() is None


def count_transactions(database: Database) -> list[object]:
    """Grows by one with every transaction."""
    transactions: list[object] = []
    sqlalchemy_event.listen(database._engine, "begin", transactions.append)
    return transactions


async def test_an_idle_loop_leaves_the_database_alone(database: Database) -> None:
    timers = (Owed("past", "timer", "{}", after=0.05), Owed("future", "timer", "{}", after=60.0))
    transactions = count_transactions(database)
    async with World(database, owes(start=timers)).running() as world:
        await world.loop.deliver("x", "x/start")
        await until(lambda: len(world.owed()) == 1)
        transactions.clear()
        await asyncio.sleep(0.2)
        assert transactions == []


async def test_an_effect_costs_one_transaction(database: Database) -> None:
    async def perform(lease: Lease) -> str:
        return f"x/{int(lease.body) + 1}"

    def reaction(state, _event):
        return (Owed("next", "send", str(len(state))),) if len(state) <= 10 else ()

    transactions = count_transactions(database)
    async with World(database, reaction, perform, concurrency=1).running() as world:
        await until(lambda: transactions and not world.loop._commits)  # the look at the start is over
        transactions.clear()
        await world.loop.deliver("x", "x/1")
        await until(lambda: len(world.performed) == 10 and not world.loop._attempts)
        assert len(transactions) == 11, "one to deliver, one for each of ten effects; leasing comes with them"


async def test_a_timer_fires_at_its_time(database: Database) -> None:
    clock = SystemClock()
    async with World(database, owes(start=(Owed("t", "timer", "{}", after=0.15),))).running() as world:
        begin = clock.monotonic()
        await world.loop.deliver("x", "x/start")
        await until(lambda: world.performed)
        assert 0.14 <= clock.monotonic() - begin < 1.0


async def test_a_timer_that_was_cancelled_never_fires(database: Database) -> None:
    clock = ManualClock()
    reaction = owes(
        start=(Owed("t", "timer", "{}", after=5.0), Owed("u", "timer", "{}", after=5.0)), ok=(Cancelled("t"),)
    )
    async with World(database, reaction, clock=clock).running() as world:
        await world.loop.deliver("x", "x/start")
        await world.loop.deliver("x", "x/ok")
        clock.advance(10)
        world.loop.wake()
        await until(lambda: world.owed() == [])
    assert world.performed == [("x", "u")]


async def test_a_failure_is_tried_again_with_back_off_and_says_why(database: Database) -> None:
    async def perform(lease: Lease) -> str:
        if lease.attempts == 0:
            raise Unreachable("peer_unreachable", "peer: 'b' must answer (connection refused)")
        if lease.attempts == 1:
            raise ValueError("a bug")
        if lease.attempts == 2:
            raise Retry(7.0, "asked to wait")
        return "x/done"

    clock = ManualClock()
    async with World(database, owes(start=(Owed("a", "send", "{}"),)), perform, clock).running() as world:
        await world.loop.deliver("x", "x/start")
        for attempt, note, longest in (
            (1, "peer_unreachable: peer: 'b' must answer (connection refused)", 0.1),
            (2, "internal_error: ValueError", 0.2),
            (3, "asked to wait", 7.0),
        ):
            await until(lambda attempt=attempt: world.owed()[0].attempts == attempt)
            (debt,) = world.owed()
            assert (debt.note, debt.owner) == (note, None)
            assert longest / 2 <= debt.due - clock.now() <= longest
            clock.seconds = debt.due
            world.loop.wake()
        await until(lambda: world.owed() == [])
    assert world.seen() == ("x/start", "x/done")


async def test_what_is_only_waited_for_is_no_news_and_a_failure_is(database: Database) -> None:
    async def perform(lease: Lease) -> None:
        raise Retry(60.0, "under_way: it stands as it did") if lease.key == "waits" else Unreachable("away", "x: no")

    reaction = owes(start=(Owed("waits", "watch", "{}"), Owed("fails", "send", "{}")))
    with capture_logs() as told:
        async with World(database, reaction, perform).running() as world:
            await world.loop.deliver("x", "x/start")
            await until(lambda: {debt.key for debt in world.owed() if debt.attempts} == {"waits", "fails"})
    levels = {entry["kind"]: entry["log_level"] for entry in told if entry["event"] == "an effect is postponed"}
    assert levels == {"watch": "debug", "send": "info"}


async def test_an_event_that_the_machine_refuses_keeps_the_effect_owed(database: Database) -> None:
    async def perform(lease: Lease) -> str:
        return "refuse" if lease.attempts == 0 else "x/done"

    async with World(database, owes(start=(Owed("a", "send", "{}"),)), perform).running() as world:
        await world.loop.deliver("x", "x/start")
        await until(lambda: world.seen() == ("x/start", "x/done"))


def test_back_off_doubles_up_to_its_bound_and_is_spread() -> None:
    spread = {
        attempts: [backoff_seconds(attempts, Random(seed)) for seed in range(200)] for attempts in (0, 1, 5, 1000)
    }
    for attempts, longest in ((0, 0.1), (1, 0.2), (5, 3.2), (1000, 30.0)):
        assert longest / 2 <= min(spread[attempts]) < max(spread[attempts]) <= longest
        assert len(set(spread[attempts])) > 100


async def test_effects_of_one_instance_run_side_by_side_and_never_more_than_allowed(database: Database) -> None:
    gate, under_way, most = asyncio.Event(), 0, 0

    async def perform(_lease: Lease) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1

    many = tuple(Owed(f"k{n}", "send", "{}") for n in range(20))
    async with World(database, owes(start=many), perform, concurrency=4).running() as world:
        await asyncio.gather(*(world.loop.deliver(name, f"{name}/start") for name in ("x", "y", "z")))
        await until(lambda: under_way == 4)
        await database.run(lambda tx: None)
        assert under_way == 4
        gate.set()
        await until(lambda: not (world.owed("x") or world.owed("y") or world.owed("z")))
    assert most == 4
    assert Counter(instance for instance, _ in world.performed) == {"x": 20, "y": 20, "z": 20}


async def test_a_replaced_effect_waits_for_the_one_under_way_whose_result_is_dropped(database: Database) -> None:
    gate, under_way, most, results = asyncio.Event(), 0, 0, iter(["x/old", "x/new"])

    async def perform(_lease: Lease) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        result = next(results)
        await gate.wait()
        under_way -= 1
        return result

    async with World(database, owes(start=(Owed("a", "send", "{}"),)), perform).running() as world:
        await world.loop.deliver("x", "x/start")
        await until(lambda: under_way == 1)
        await world.loop.deliver("x", "x/start")
        assert len(world.loop._attempts) == 2
        for _ in range(10):
            await asyncio.sleep(0)  # let the second one begin, if it would
        assert world.performed == [("x", "a")]
        gate.set()
        await until(lambda: world.owed() == [])
    assert most == 1
    assert world.seen() == ("x/start", "x/start", "x/new")


async def test_a_hung_effect_that_was_cancelled_is_given_up(database: Database) -> None:
    given_up = asyncio.Event()

    async def perform(_lease: Lease) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    reaction = owes(start=(Owed("a", "send", "{}"),), stop=(Cancelled("a"),))
    async with World(database, reaction, perform, lease_seconds=0.05).running() as world:
        await world.loop.deliver("x", "x/start")
        await until(lambda: world.performed)
        await world.loop.deliver("x", "x/stop")
        async with asyncio.timeout(5):
            await given_up.wait()


async def test_a_slow_effect_keeps_its_lease(database: Database) -> None:
    gate = asyncio.Event()

    async def perform(_lease: Lease) -> str:
        await gate.wait()
        return "x/done"

    reaction = owes(start=(Owed("a", "send", "{}"),))
    async with (
        World(database, reaction, perform, lease_seconds=0.15).running() as first,
        World(database, reaction, perform, lease_seconds=0.15, owner="v").running() as second,
    ):
        await first.loop.deliver("x", "x/start")
        due = first.owed()[0].due
        await until(lambda: first.owed()[0].due > due + 0.3)
        second.loop.wake()
        await database.run(lambda tx: None)
        gate.set()
        await until(lambda: first.owed() == [])
    assert first.performed == [("x", "a")]
    assert second.performed == []


async def test_a_lease_that_ran_out_is_taken_by_another_worker(database: Database) -> None:
    clock = ManualClock()
    reaction = owes(start=(Owed("a", "send", "{}"),))
    dead = World(database, reaction)
    database.run_now(lambda tx: dead.ledger.deliver(tx, dead.machine, "x", "x/start", clock.now()))
    database.run_now(lambda tx: dead.ledger.lease(tx, "notebook", "dead", clock.now(), 1, 30.0))
    async with World(database, reaction, clock=clock).running() as world:
        world.loop.wake()
        await database.run(lambda tx: None)
        assert world.performed == []
        clock.advance(30)
        world.loop.wake()
        await until(lambda: world.performed)


async def test_a_loop_that_stops_gives_its_leases_back(database: Database) -> None:
    async def perform(_lease: Lease) -> None:
        await asyncio.Event().wait()

    reaction = owes(start=tuple(Owed(f"k{n}", "send", "{}") for n in range(3)))
    async with World(database, reaction, perform).running() as world:
        await world.loop.deliver("x", "x/start")
        await until(lambda: len(world.performed) == 3)
    assert [(debt.owner, debt.attempts) for debt in world.owed()] == [(None, 0)] * 3
    async with World(database, reaction, owner="next").running() as after:
        await until(lambda: after.owed() == [])
    assert len(after.performed) == 3


async def test_a_caller_that_goes_away_takes_nothing_with_it(database: Database) -> None:
    async with World(database, owes(start=(Owed("a", "send", "{}"),))).running() as world:
        caller = asyncio.create_task(world.loop.deliver("x", "x/start"))
        await asyncio.sleep(0)
        caller.cancel()
        await until(lambda: world.performed and world.owed() == [])


async def test_a_database_that_fails_for_a_moment_ends_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_f) -> None:
        raise OSError("disk gone")

    async with World(database, owes(start=(Owed("a", "send", "{}"),))).running() as world:
        await until(lambda: not world.loop._look)
        with monkeypatch.context() as patch:
            patch.setattr(database, "run", fails)
            world.loop.wake()
            await until(lambda: world.loop._next_due is not None)
        await world.loop.deliver("x", "x/start")
        await until(lambda: world.performed)


async def test_what_could_not_be_settled_is_tried_again_as_soon_as_the_database_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, answers, run = World(database, owes(go=(Owed("k", "send", "1"),))), True, database._run

    def sometimes(*arguments):
        if not answers:
            raise Unreachable("database_unreachable", "database: does not answer (gone)")
        return run(*arguments)

    async def perform(_lease: Lease) -> None:
        nonlocal answers
        answers = len(world.performed) > 1

    monkeypatch.setattr(database, "_run", sometimes)
    world.inner = perform
    async with world.running():
        await world.loop.deliver("x", "x/go")
        await until(lambda: not answers)
        await asyncio.sleep(0.2)
        answers = True
        began = time.monotonic()
        await until(lambda: len(world.performed) == 2)
        assert time.monotonic() - began < 5, "and not when the lease runs out"
        await until(lambda: world.owed() == [])
