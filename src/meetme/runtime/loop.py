"""The durable loop: leases effects that are due, performs them, feeds the results back as events.

`kill -9` at any moment loses nothing: what was not settled is still owed and is performed again, at least once, by
whoever comes next. So performing has to be idempotent; `lease.instance` and `lease.key` name the effect for that.
The rules of the ledger are in `meetme.runtime.ledger`, whose names are also importable from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from functools import partial
from random import Random
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection

from meetme.model.errors import MeetMeError
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.figures import Ending, LoopFigures
from meetme.runtime.ledger import Cancelled, Debt, Lease, Ledger, Machine, Owed, Step

__all__ = [
    "Cancelled",
    "Debt",
    "Lease",
    "Ledger",
    "Loop",
    "Machine",
    "Owed",
    "Retry",
    "Step",
    "backoff_seconds",
]

S = TypeVar("S")
E = TypeVar("E")
T = TypeVar("T")

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 30.0
LEASE_SECONDS = 30.0
IDLE_SECONDS = 30.0
"""How long to wait at most: somebody may have set the clock, or another process may owe something."""
LOCKED_SECONDS = 0.05
"""When to look again at an effect that is due but that somebody else's transaction is busy with (PostgreSQL)."""


class Retry(Exception):
    """Raised by `perform`: nothing failed, it is only not time yet; try again `after` seconds from now."""

    def __init__(self, after: float, note: str) -> None:
        super().__init__(note)
        self.after = after
        self.note = note


def backoff_seconds(attempts: int, random: Random) -> float:
    """How long to wait after `attempts` attempts in vain: doubles up to 30 s, half of it by chance."""
    longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(attempts, 16))
    return longest * random.uniform(0.5, 1.0)


class Loop(Generic[S, E]):
    """Performs what the instances of one machine owe, several effects at a time.

    `perform` gives the event that results, or a function that makes it in the transaction that delivers it.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        machine: Machine[S, E],
        perform: Callable[[Lease], Awaitable[E | Callable[[Connection], E] | None]],
        *,
        owner: str,
        clock: Clock,
        concurrency: int = 32,
        lease_seconds: float = LEASE_SECONDS,
        random: Random | None = None,
        committed: Callable[[Collection[str]], None] = lambda _instances: None,
        figures: LoopFigures | None = None,
    ) -> None:
        """`committed` is told after a transaction to which instances it delivered events, for those who wait."""
        self._database = database
        self._ledger = ledger
        self._machine = machine
        self._perform = perform
        self._owner = owner
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._random = random or Random()
        self._committed = committed
        self._figures = figures or LoopFigures()
        self._log = structlog.get_logger().bind(machine=machine.name)
        self._room = concurrency
        """How many more effects may be taken right now."""
        self._running = False
        self._performing: set[Lease] = set()
        self._attempts: dict[Lease, asyncio.Task[None]] = {}
        self._newest: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._commits: set[asyncio.Task[Any]] = set()
        self._unsettled: list[Lease] = []
        """Leases on effects that nobody performs any more, while the database was away."""
        self._look = True
        self._next_due: float | None = None
        self._changed = asyncio.Event()

    async def deliver(self, instance: str, event: E) -> S:
        """Deliver one event, durably, and set about what it leads to. Raises what the machine raises."""
        return await self.commit(lambda tx: self._ledger.deliver(tx, self._machine, instance, event, self._clock.now()))

    async def commit(self, f: Callable[[Connection], T]) -> T:
        """Run `f`, which may deliver events, as one transaction, and set about what it leads to.

        Saves a transaction against `database.run` and `wake`: new effects are leased by the one that made them.
        """
        # The caller may be cancelled (a client that hung up); what has been leased must be performed all the same.
        task = asyncio.create_task(self._commit(f))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        return await asyncio.shield(task)

    def wake(self) -> None:
        """Look again: something new may be due. Call it in the event loop's thread."""
        self._look = True
        self._changed.set()

    async def run(self) -> None:
        """Perform effects until cancelled; then what is under way is given up and its leases are given back."""
        self._running = self._look = True
        renewals = asyncio.create_task(self._renew())
        try:
            while True:
                self._changed.clear()
                if self._look or self._overdue():
                    await self._take()
                else:
                    await self._sleep()
        finally:
            self._running = False
            renewals.cancel()
            await self._give_up()

    def _overdue(self) -> bool:
        return self._room > 0 and self._next_due is not None and self._next_due <= self._clock.now()

    async def _take(self) -> None:
        # Forgotten before the transaction begins: commits that end meanwhile then say what they know of.
        self._look, self._next_due = False, None
        unsettled = len(self._unsettled)
        try:
            await self.commit(self._give_back)
        except Exception:
            self._log.exception("cannot look for owed effects")
            self._next_due = self._clock.now() + 1.0
            return
        del self._unsettled[:unsettled]

    def _give_back(self, tx: Connection) -> None:
        for lease in self._unsettled:
            self._ledger.release(tx, lease, self._clock.now())

    async def _sleep(self) -> None:
        seconds = IDLE_SECONDS
        if self._room > 0 and self._next_due is not None:
            seconds = min(max(self._next_due - self._clock.now(), 0.0), IDLE_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            self._look = self._look or seconds == IDLE_SECONDS

    async def _commit(self, f: Callable[[Connection], T]) -> T:
        # Room is set aside first, so that commits side by side do not take more than there is.
        room, self._room = (self._room, 0) if self._running else (0, self._room)
        leases: list[Lease] = []
        due: float | None = None
        name = self._machine.name

        def transaction(tx: Connection) -> tuple[T, list[Lease], float | None, frozenset[str]]:
            self._ledger.delivered(tx)  # what was undone is no news
            result = f(tx)
            now = self._clock.now()
            taken = self._ledger.lease(tx, name, self._owner, now, room, self._lease_seconds) if room else []
            due = self._ledger.next_due(tx, name, now)
            if room and not taken and due == now:
                due += LOCKED_SECONDS
            return result, taken, due, self._ledger.delivered(tx)

        try:
            result, leases, due, delivered = await self._database.run(transaction)
        finally:
            self._room += room
            self._changed.set()
        if delivered:
            self._committed(delivered)
        if due is not None:
            self._next_due = due if self._next_due is None else min(due, self._next_due)
        for lease in leases:
            self._start(lease)
        return result

    def _start(self, lease: Lease) -> None:
        self._room -= 1
        self._performing.add(lease)
        older = self._newest.get((lease.instance, lease.key))
        # A context of its own: whose commit has leased it has nothing to do with it.
        name = f"{lease.machine} {lease.instance} {lease.key}"
        task = asyncio.create_task(self._attempt(lease, older), name=name, context=Context())
        self._attempts[lease] = self._newest[lease.instance, lease.key] = task
        task.add_done_callback(lambda ended: self._ended(lease, ended))

    def _make_room(self, lease: Lease) -> None:
        if lease in self._performing:
            self._performing.remove(lease)
            self._room += 1
            self._changed.set()

    def _ended(self, lease: Lease, task: asyncio.Task[None]) -> None:
        self._make_room(lease)
        del self._attempts[lease]
        if self._newest.get((lease.instance, lease.key)) is task:
            del self._newest[lease.instance, lease.key]

    async def _attempt(self, lease: Lease, older: asyncio.Task[None] | None) -> None:
        # The machine's name is what people call its instances: `negotiation`.
        bound = {lease.machine: lease.instance, "effect": lease.key}
        with structlog.contextvars.bound_contextvars(**bound), self._figures.attempt(lease.kind) as attempt:
            try:
                event = await self._performed(lease, older)
                if await self.commit(lambda tx: self._settle(tx, lease, event)):
                    attempt.ending = Ending.DONE
            except Retry as retry:
                attempt.ending = Ending.RETRIED
                # What is waited for is looked at every second or so, for as long as an order is active: no news.
                await self._postpone(lease, retry.after, retry.note, tell=self._log.debug)
            except MeetMeError as error:
                attempt.ending = Ending.FAILED
                await self._postpone(
                    lease, backoff_seconds(lease.attempts, self._random), f"{error.code}: {error.text}"
                )
            except Exception as error:
                attempt.ending = Ending.FAILED
                self._log.exception("an effect failed unexpectedly", kind=lease.kind)
                note = f"internal_error: {type(error).__name__}"
                await self._postpone(lease, backoff_seconds(lease.attempts, self._random), note)

    def _settle(self, tx: Connection, lease: Lease, result: E | Callable[[Connection], E] | None) -> bool:
        # An event that carries facts of the database is made where it is delivered, so that they are still true; and
        # after the lock of the instance, so that every transaction takes its locks in one order.
        self._ledger.lock(tx, lease.machine, lease.instance)
        event = result(tx) if callable(result) else result
        return self._ledger.settle(tx, self._machine, lease, event, self._clock.now())

    async def _performed(self, lease: Lease, older: asyncio.Task[None] | None) -> E | Callable[[Connection], E] | None:
        try:
            if older is not None:
                # Replaced while it was being performed: the two must not be under way together.
                await asyncio.wait([older])
            return await self._perform(lease)
        finally:
            # Before the result is committed: that transaction takes what comes next in its place.
            self._make_room(lease)

    async def _postpone(
        self, lease: Lease, seconds: float, note: str, *, tell: Callable[..., object] | None = None
    ) -> None:
        tell = tell or self._log.info
        tell("an effect is postponed", kind=lease.kind, attempts=lease.attempts + 1, seconds=seconds, note=note)
        try:
            await self.commit(lambda tx: self._ledger.postpone(tx, lease, self._clock.now(), seconds, note))
        except Exception:
            # Nothing is lost: it is given back as soon as the database answers again, or its lease runs out.
            self._unsettled.append(lease)
            self.wake()
            self._log.exception("an effect cannot be postponed", kind=lease.kind)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            held = list(self._attempts)
            if not held:
                continue
            try:
                lost = await self._database.run(partial(self._renewed, held))
            except Exception:
                self._log.exception("leases cannot be renewed")
                continue
            for lease in lost:
                # Replaced or cancelled: nobody wants the result, and its successor is waiting.
                if task := self._attempts.get(lease):
                    task.cancel()

    def _renewed(self, held: list[Lease], tx: Connection) -> list[Lease]:
        now = self._clock.now()
        return [lease for lease in held if not self._ledger.renew(tx, lease, now, self._lease_seconds)]

    async def _give_up(self) -> None:
        held: set[Lease] = set()
        while self._attempts or self._commits:
            held.update(self._attempts)
            for task in self._attempts.values():
                task.cancel()
            await asyncio.wait([*self._attempts.values(), *self._commits])

        def release(tx: Connection) -> None:
            for lease in held:
                self._ledger.release(tx, lease, self._clock.now())

        if held:
            await self._database.run(release)
