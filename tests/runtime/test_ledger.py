"""The ledger of what is owed: leases, postponed attempts, and results that come too late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from meetme.model.errors import Conflict
from meetme.runtime.database import Database
from meetme.runtime.ledger import Cancelled, Lease, Ledger, Owed

from .machines import Notebook

NOW = 1000.0
SEND = Owed("send", "message", '{"to":"b"}')


class Desk:
    """The ledger with one transaction for each call."""

    def __init__(self, database: Database, machine: Notebook) -> None:
        self.run, self.machine, self.ledger = database.run_now, machine, Ledger()

    def deliver(self, event: str, now: float = NOW):
        return self.run(lambda tx: self.ledger.deliver(tx, self.machine, event.partition("/")[0], event, now))

    def lease(self, now: float = NOW, limit: int = 10, owner: str = "w") -> list[Lease]:
        return self.run(lambda tx: self.ledger.lease(tx, "notebook", owner, now, limit, 30.0))

    def settle(self, lease: Lease, event: str | None = None) -> bool:
        return self.run(lambda tx: self.ledger.settle(tx, self.machine, lease, event, NOW))

    def postpone(self, lease: Lease, after: float = 5.0) -> bool:
        return self.run(lambda tx: self.ledger.postpone(tx, lease, NOW, after, "peer is down"))

    def owed(self, instance: str = "x"):
        return self.run(lambda tx: self.ledger.owed(tx, "notebook", instance))

    def seen(self, instance: str = "x"):
        return self.run(lambda tx: self.machine.load(tx, instance))


@pytest.fixture
def desk(database: Database) -> Desk:
    def reaction(_state, event):
        return {
            "send": (SEND,),
            "resend": (Owed("send", "message", '{"to":"c"}'),),
            "later": (Owed("timer", "timer", "{}", after=10.0),),
            "cancel": (Cancelled("send"), Cancelled("timer")),
            "both": (Cancelled("send"), Owed("send", "message", '{"to":"last"}')),
            "neither": (Owed("send", "message", "{}"), Cancelled("send")),
            "many": tuple(Owed(f"k{n}", "message", "{}") for n in range(5)),
        }.get(event.partition("/")[2], ())

    return Desk(database, Notebook(reaction))


def test_an_event_is_written_down_with_what_it_leads_to(desk: Desk) -> None:
    assert desk.deliver("x/send") == ("x/send",)
    (lease,) = desk.lease()
    assert (lease.instance, lease.key, lease.kind, lease.body, lease.attempts) == ("x", "send", "message", SEND.body, 0)


def test_nothing_is_written_when_the_event_is_refused(desk: Desk, database: Database) -> None:
    with pytest.raises(Conflict):
        database.run_now(lambda tx: desk.ledger.deliver(tx, desk.machine, "x", "refuse", NOW))
    assert desk.seen() is None
    assert desk.owed() == []


def test_nothing_is_owed_when_saving_fails(desk: Desk) -> None:
    desk.machine.crash_in_save = True
    with pytest.raises(RuntimeError):
        desk.deliver("x/send")
    assert desk.seen() is None
    assert desk.owed() == []


def test_a_leased_effect_is_leased_to_nobody_else_until_the_lease_runs_out(desk: Desk) -> None:
    desk.deliver("x/send")
    (mine,) = desk.lease(owner="a")
    assert desk.lease(NOW + 29.9, owner="b") == []
    (theirs,) = desk.lease(NOW + 30.0, owner="b")
    assert desk.settle(mine, "x/mine") is False
    assert desk.settle(theirs, "x/theirs") is True
    assert desk.seen() == ("x/send", "x/theirs")


def test_a_lease_that_ran_out_but_that_nobody_took_still_settles(desk: Desk) -> None:
    desk.deliver("x/send", NOW - 100)
    (lease,) = desk.lease(NOW - 100)
    assert desk.settle(lease, "x/late") is True


def test_settling_is_one_transaction_with_the_step(desk: Desk) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    desk.machine.crash_in_save = True
    with pytest.raises(RuntimeError):
        desk.settle(lease, "x/sent")
    desk.machine.crash_in_save = False
    assert [debt.key for debt in desk.owed()] == ["send"]
    assert desk.seen() == ("x/send",)
    assert desk.settle(lease, "x/sent") is True
    assert desk.settle(lease, "x/sent") is False
    assert desk.seen() == ("x/send", "x/sent")


def test_settling_without_an_event_only_ends_the_effect(desk: Desk) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    assert desk.settle(lease) is True
    assert desk.owed() == []
    assert desk.seen() == ("x/send",)


@pytest.mark.parametrize("event", ["x/resend", "x/send", "x/cancel", "x/both"])
def test_the_result_of_an_effect_that_was_replaced_or_cancelled_is_dropped(desk: Desk, event: str) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    desk.deliver(event)
    assert desk.settle(lease, "x/late") is False
    assert desk.seen() == ("x/send", event)


def test_a_lease_is_no_good_for_an_effect_owed_anew_after_a_cancel(desk: Desk) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    desk.deliver("x/cancel")
    desk.deliver("x/send")
    assert desk.settle(lease, "x/late") is False
    assert desk.postpone(lease) is False
    (fresh,) = desk.lease()
    assert desk.settle(fresh, "x/sent") is True


def test_an_effect_that_replaces_another_can_be_leased_at_once(desk: Desk) -> None:
    desk.deliver("x/send")
    desk.lease()
    desk.deliver("x/resend")
    (lease,) = desk.lease()
    assert lease.body == '{"to":"c"}'


def test_where_two_effects_of_one_step_share_a_key_the_later_counts(desk: Desk) -> None:
    desk.deliver("x/both")
    assert [debt.body for debt in desk.owed()] == ['{"to":"last"}']
    desk.deliver("x/neither")
    assert desk.owed() == []


def test_the_step_that_settles_may_owe_the_same_key_again(desk: Desk) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    assert desk.settle(lease, "x/send") is True
    (again,) = desk.lease()
    assert again.id != lease.id


def test_a_timer_is_not_due_before_its_time(desk: Desk) -> None:
    desk.deliver("x/later")
    assert desk.lease(NOW + 9.9) == []
    assert [lease.kind for lease in desk.lease(NOW + 10.0)] == ["timer"]


def test_what_was_in_vain_comes_again_later_and_says_why(desk: Desk) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    assert desk.postpone(lease) is True
    (debt,) = desk.owed()
    assert (debt.owner, debt.due, debt.attempts, debt.note) == (None, NOW + 5, 1, "peer is down")
    assert desk.settle(lease, "x/late") is False, "a postponed lease is given back"
    assert desk.lease(NOW + 4.9) == []
    (again,) = desk.lease(NOW + 5)
    assert again.attempts == 1


def test_a_renewed_lease_lasts_longer(desk: Desk, database: Database) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    assert database.run_now(lambda tx: desk.ledger.renew(tx, lease, NOW + 20, 30.0)) is True
    assert desk.lease(NOW + 49) == []
    (theirs,) = desk.lease(NOW + 50)
    assert database.run_now(lambda tx: desk.ledger.renew(tx, lease, NOW + 50, 30.0)) is False
    assert desk.settle(theirs) is True


def test_a_released_lease_is_due_at_once_and_counts_as_no_attempt(desk: Desk, database: Database) -> None:
    desk.deliver("x/send")
    (lease,) = desk.lease()
    assert database.run_now(lambda tx: desk.ledger.release(tx, lease, NOW)) is True
    (again,) = desk.lease()
    assert again.attempts == 0
    assert desk.settle(lease) is False


def test_the_oldest_come_first_and_no_more_than_asked_for(desk: Desk) -> None:
    desk.deliver("x/many", NOW - 2)
    desk.deliver("y/many", NOW - 1)
    assert [(lease.instance, lease.key) for lease in desk.lease(limit=6)] == [
        *(("x", f"k{n}") for n in range(5)),
        ("y", "k0"),
    ]


def test_an_effect_that_keeps_failing_starves_none(desk: Desk) -> None:
    desk.deliver("x/many", NOW - 10)
    desk.deliver("y/send", NOW - 5)
    for lease in desk.lease(limit=5):
        desk.postpone(lease, after=0.0)
    assert [lease.instance for lease in desk.lease(limit=1)] == ["y"]


def test_the_next_due_effect_is_known(desk: Desk, database: Database) -> None:
    def next_due(now: float) -> float | None:
        return database.run_now(lambda tx: desk.ledger.next_due(tx, "notebook", now))

    assert next_due(NOW) is None
    desk.deliver("x/later")
    assert next_due(NOW) == NOW + 10
    assert next_due(NOW + 15) == NOW + 15
    desk.lease(NOW + 15)
    assert next_due(NOW + 15) == NOW + 45, "a lease that runs out is due too"


def test_machines_do_not_see_each_others_effects(desk: Desk, database: Database) -> None:
    desk.deliver("x/send")
    assert database.run_now(lambda tx: desk.ledger.lease(tx, "other", "w", NOW, 10, 30.0)) == []
    assert database.run_now(lambda tx: desk.ledger.next_due(tx, "other", NOW)) is None
    assert database.run_now(lambda tx: desk.ledger.owed(tx, "other", "x")) == []


def test_row_ids_are_never_used_twice(desk: Desk, database: Database) -> None:
    desk.deliver("x/send")
    first = database.run_now(lambda tx: tx.scalar(text("SELECT id FROM runtime_effect")))
    desk.deliver("x/cancel")
    desk.deliver("x/send")
    assert database.run_now(lambda tx: tx.scalar(text("SELECT id FROM runtime_effect"))) > first


def test_events_of_one_instance_from_many_threads_are_taken_one_at_a_time(desk: Desk) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: desk.deliver(f"x/{n}"), range(40)))
    assert sorted(desk.seen()) == sorted(f"x/{n}" for n in range(40))


def test_many_workers_at_once_share_the_work_out(desk: Desk) -> None:
    for n in range(10):
        desk.deliver(f"i{n}/many")
    taken: list[Lease] = []

    def work(worker: int) -> None:
        while len(taken) < 50:
            leases = desk.lease(limit=3, owner=f"w{worker}")
            taken.extend(leases)
            for lease in leases:
                assert desk.settle(lease, f"{lease.instance}/{lease.key}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(taken) == len({(lease.instance, lease.key) for lease in taken}) == 50
    for n in range(10):
        assert sorted(desk.seen(f"i{n}")[1:]) == [f"i{n}/k{k}" for k in range(5)]


PLANS = (
    "",
    "hashjoin",
    "hashagg",
    "mergejoin",
    "material",
    "sort",
    "nestloop",
    "hashjoin hashagg mergejoin material sort",
)


@pytest.mark.parametrize("without", PLANS)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_more_is_leased_than_there_is_room_for_however_the_server_plans_it(database: Database, without: str) -> None:
    """A subquery with LIMIT and FOR UPDATE SKIP LOCKED may be run again for each row, and find others each time."""
    ledger = Ledger()
    machine = Notebook(lambda _state, _event: tuple(Owed(f"k{number}", "send", "") for number in range(30)))
    database.run_now(lambda tx: ledger.deliver(tx, machine, "x", "x/0", 0.0))

    def lease(tx) -> list[Lease]:
        for way in without.split():
            tx.execute(text(f"SET LOCAL enable_{way} = off"))
        return ledger.lease(tx, "notebook", "w", 1.0, 4, 30.0)

    assert [lease.key for lease in database.run_now(lease)] == ["k0", "k1", "k2", "k3"]
