"""The ledger against a model of a few lines, with workers that die, are late, and are overtaken."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from meetme.runtime.database import Database, migrate
from meetme.runtime.ledger import Cancelled, Lease, Ledger, Owed

from .machines import CREATE, Notebook

SECONDS = 30.0
instances = st.sampled_from(["x", "y"])
keys = st.sampled_from(["a", "b", "c"])
afters = st.sampled_from([0.0, 5.0, 60.0])


@dataclass
class Expected:
    """One effect as it should be: which `serial` it is, when it is due, and the one lease that may settle it."""

    serial: int
    due: float
    lease: Lease | None = None
    attempts: int = 0


class Worker(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.now, self.serial = 1000.0, 0
        self.pending: tuple[Owed | Cancelled, ...] = ()
        self.expected: dict[tuple[str, str], Expected] = {}
        self.seen: dict[str, list[str]] = {"x": [], "y": []}
        self.database, self.ledger = Database.open("sqlite://"), Ledger()
        migrate(self.database, "meetme.runtime")
        self.database.run_now(lambda tx: tx.execute(CREATE))
        self.machine = Notebook(lambda _state, _event: self.pending)

    def teardown(self) -> None:
        self.database.close_now()

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def owe(self, instance: str, key: str, after: float) -> None:
        serial = self.next_serial()
        self.pending = (Owed(key, "message", str(serial), after),)
        self.expected[instance, key] = Expected(serial, self.now + after)

    def event(self, instance: str) -> str:
        event = f"{instance}/{self.next_serial()}"
        self.seen[instance].append(event)
        return event

    def deliver(self, instance: str) -> None:
        event = self.event(instance)
        self.database.run_now(lambda tx: self.ledger.deliver(tx, self.machine, instance, event, self.now))

    @rule(instance=instances, key=keys, after=afters)
    def an_event_owes(self, instance: str, key: str, after: float) -> None:
        self.owe(instance, key, after)
        self.deliver(instance)

    @rule(instance=instances, key=keys)
    def an_event_cancels(self, instance: str, key: str) -> None:
        self.pending = (Cancelled(key),)
        self.expected.pop((instance, key), None)
        self.deliver(instance)

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=leases, limit=st.integers(1, 4))
    def a_worker_leases(self, limit: int):
        due = sorted(effect.due for effect in self.expected.values() if effect.due <= self.now)
        taken = self.database.run_now(
            lambda tx: self.ledger.lease(tx, "notebook", "w", self.now, limit, SECONDS),
        )
        assert len(taken) == min(limit, len(due)), "everything due is given out, and nothing else"
        effects = [self.expected[lease.instance, lease.key] for lease in taken]
        assert sorted(effect.due for effect in effects) == due[:limit], "the oldest first"
        for lease, effect in zip(taken, effects, strict=True):
            assert lease.body == str(effect.serial), "what is performed is what is owed now"
            assert lease.attempts == effect.attempts
            effect.lease, effect.due = lease, self.now + SECONDS
        return multiple(*taken)

    def held(self, lease: Lease) -> Expected | None:
        effect = self.expected.get((lease.instance, lease.key))
        return effect if effect is not None and effect.lease == lease else None

    # A lease that is not consumed is settled again later: a worker that believes it is still the one.
    @rule(lease=leases, again=st.one_of(st.none(), st.tuples(keys, afters)))
    def a_worker_settles(self, lease: Lease, again: tuple[str, float] | None) -> None:
        valid = self.held(lease) is not None
        self.pending = ()
        event = f"{lease.instance}/late"
        if valid:
            del self.expected[lease.instance, lease.key]
            event = self.event(lease.instance)
            if again is not None:
                self.owe(lease.instance, *again)
        done = self.database.run_now(lambda tx: self.ledger.settle(tx, self.machine, lease, event, self.now))
        assert done is valid

    @rule(lease=leases)
    def a_worker_crashes_while_it_settles(self, lease: Lease) -> None:
        self.machine.crash_in_save, self.pending = True, (Owed("a", "message", "lost"),)
        try:
            self.database.run_now(lambda tx: self.ledger.settle(tx, self.machine, lease, f"{lease.instance}/x", 0.0))
            assert self.held(lease) is None
        except RuntimeError:
            assert self.held(lease) is not None
        finally:
            self.machine.crash_in_save = False

    @rule(lease=leases, after=afters)
    def a_worker_postpones(self, lease: Lease, after: float) -> None:
        effect = self.held(lease)
        done = self.database.run_now(lambda tx: self.ledger.postpone(tx, lease, self.now, after, "no"))
        assert done is (effect is not None)
        if effect is not None:
            effect.lease, effect.due, effect.attempts = None, self.now + after, effect.attempts + 1

    @rule(lease=leases)
    def a_worker_renews(self, lease: Lease) -> None:
        effect = self.held(lease)
        done = self.database.run_now(lambda tx: self.ledger.renew(tx, lease, self.now, SECONDS))
        assert done is (effect is not None)
        if effect is not None:
            effect.due = self.now + SECONDS

    @rule(lease=consumes(leases))
    def a_worker_gives_back(self, lease: Lease) -> None:
        effect = self.held(lease)
        done = self.database.run_now(lambda tx: self.ledger.release(tx, lease, self.now))
        assert done is (effect is not None)
        if effect is not None:
            effect.lease, effect.due = None, self.now

    @invariant()
    def nothing_is_lost_and_nothing_too_many(self) -> None:
        for instance in ("x", "y"):
            owed = self.database.run_now(lambda tx, i=instance: self.ledger.owed(tx, "notebook", i))
            assert {(debt.key, debt.body, debt.due, debt.owner is not None, debt.attempts) for debt in owed} == {
                (key, str(effect.serial), effect.due, effect.lease is not None, effect.attempts)
                for (owner, key), effect in self.expected.items()
                if owner == instance
            }
            assert self.database.run_now(lambda tx, i=instance: self.machine.load(tx, i)) == (
                tuple(self.seen[instance]) or None
            )
        due = self.database.run_now(lambda tx: self.ledger.next_due(tx, "notebook", self.now))
        assert due == (max(self.now, min(e.due for e in self.expected.values())) if self.expected else None)


Worker.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedgerAgainstItsModel = Worker.TestCase
