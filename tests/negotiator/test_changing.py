"""Changing an active agreement, by the rules alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from uuid import uuid4

import pytest

from meetme.model.agreement import Role
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Can
from meetme.negotiator.claims import claims
from meetme.negotiator.messages import MessageType
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.protocol import step
from meetme.negotiator.states import ENDED, Device, State
from tests.negotiator.two import TROUBLE, Half, Two, active, nets, prefixes

S = State
MORE = ("10.0.0.0/24", "10.1.0.0/24", "10.5.0.0/24")
FEWER = ("10.1.0.0/24",)


def claimed(n: Negotiation) -> set[str]:
    return {claim.value for claim in claims(n) if claim.kind == "prefix"}


def in_step(two: Two, revision: int) -> None:
    """Both have the same agreement in force, on their routers for good, and nothing else."""
    assert two.a.now.agreement == two.b.now.agreement
    assert two.a.revision == revision
    for half in (two.a, two.b):
        n = half.now
        assert (n.state, n.device, n.leaving, n.wanted) == (S.ACTIVE, Device.CONFIRMED, (), None)
        assert n.document == f"revision {revision}"
        assert half.router.agreement == n.agreement
        assert not half.router.tentative
        assert not any(key.startswith("change:") for key in half.owed)
        assert n.agreement is not None
        aliases = {str(e.alias) for e in n.agreement.side(n.role.other).prefixes}
        assert aliases <= claimed(n)


# --- the way it goes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [MORE, FEWER, ("10.5.0.0/24",)])
def test_the_initiator_changes_its_prefixes(wanted: tuple[str, ...]) -> None:
    two = active()
    two.ask(two.a, *wanted)
    two.run()
    in_step(two, 2)
    assert prefixes(two.b, Role.INITIATOR) == wanted
    assert prefixes(two.a, Role.RESPONDER) == ("10.0.0.0/24", "10.2.0.0/24")
    assert two.a.now.change is two.b.now.change is None


@pytest.mark.parametrize("wanted", [("10.0.0.0/24", "10.6.0.0/24"), ("10.2.0.0/24",)])
def test_the_responder_changes_its_prefixes(wanted: tuple[str, ...]) -> None:
    two = active()
    two.ask(two.b, *wanted)
    two.run()
    in_step(two, 2)
    assert prefixes(two.a, Role.RESPONDER) == wanted
    assert two.b.now.adopted == two.a.now.adopted == 1


def test_the_mtu_goes_down_and_up_again() -> None:
    two = active()
    two.ask(two.a, mtu=1400)
    two.run()
    in_step(two, 2)
    assert two.b.now.agreement is not None
    assert two.b.now.agreement.mtu == 1400
    two.ask(two.b, mtu=1300)
    two.run()
    in_step(two, 3)
    two.ask(two.b, mtu=1500)
    two.run()
    in_step(two, 4)
    assert two.a.now.agreement is not None
    assert two.a.now.agreement.mtu == 1400, "alfa still wants no more"


def test_what_stays_is_programmed_and_claimed_as_it_was() -> None:
    two = active()
    before = two.a.now.agreement
    assert before is not None
    two.ask(two.a, *MORE)
    seen: list[set[str]] = []
    stays = claimed(two.a.now) | claimed(two.b.now)

    def look() -> bool:
        seen.append(claimed(two.a.now) | claimed(two.b.now))
        return False

    two.run(until=look)
    assert all(stays <= now for now in seen)
    after = two.a.now.agreement
    assert after is not None
    for role in Role:
        assert before.side(role).prefixes == after.side(role).prefixes[: len(before.side(role).prefixes)]


def test_both_want_one_at_the_same_time() -> None:
    two = active()
    two.ask(two.b, "10.0.0.0/24", "10.6.0.0/24")
    two.ask(two.a, *MORE)
    two.run()
    two.quiet()
    assert prefixes(two.a, Role.INITIATOR) == MORE
    assert prefixes(two.a, Role.RESPONDER) == ("10.0.0.0/24", "10.6.0.0/24")
    in_step(two, two.a.revision)


@pytest.mark.parametrize("steps", range(14))
def test_the_responder_wants_one_while_another_is_under_way(steps: int) -> None:
    two = active()
    two.ask(two.a, *MORE)
    for _ in range(steps):
        if two.due():
            two.perform(*two.due()[0])
    two.ask(two.b, "10.0.0.0/24", "10.6.0.0/24")
    asked = two.b.now.wanted is not None
    two.run()
    for _ in range(3):
        perform_timers(two, "ChangeDue")
    assert prefixes(two.a, Role.INITIATOR) == MORE
    assert (prefixes(two.a, Role.RESPONDER) == ("10.0.0.0/24", "10.6.0.0/24")) == asked
    in_step(two, two.a.revision)


def perform_timers(two: Two, name: str) -> None:
    for half, key in two.timers():
        if name in key and key in half.owed:
            two.perform(half, key)
    two.run()


def test_one_at_a_time() -> None:
    two = active()
    two.ask(two.a, *MORE)
    before = two.a.n
    assert two.ask(two.a, *FEWER) == before
    two.run()
    two.ask(two.b, "10.2.0.0/24")
    before = two.b.n
    assert two.ask(two.b, "10.0.0.0/24") == before


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(two: Two) -> str:
    for half in (two.a, two.b):
        n = half.now
        assert (n.state, half.revision) == (S.ACTIVE, 1)
        assert half.router.agreement == n.agreement
        assert claimed(n) == claimed(active().a.now if half is two.a else active().b.now)
    c = two.a.now.change or two.b.now.change
    assert c is not None
    assert c.problem is not None
    return c.problem.code


def test_the_responder_refuses_by_policy_and_names_the_rule() -> None:
    two = active()
    two.b.policy = MemberPolicy(announce=nets("10.0.0.0/23"))
    two.ask(two.a, *MORE)
    two.run()
    assert refused(two) == "policy_prefix"
    assert two.a.now.change is not None
    assert two.a.now.change.problem is not None
    assert "10.5.0.0/24" in two.a.now.change.problem.text or "10.1.0.0/24" in two.a.now.change.problem.text


def test_the_initiator_refuses_by_policy_and_the_responder_hears_why() -> None:
    two = active()
    two.a.policy = MemberPolicy(announce=nets("10.0.0.0/24", "10.2.0.0/24"))
    two.ask(two.b, "10.0.0.0/24", "10.2.0.0/24", "10.6.0.0/24")
    two.run()
    assert refused(two) == "policy_prefix"
    assert two.b.now.wanted is None
    assert two.b.now.change is not None
    assert two.b.now.change.problem is not None
    assert two.b.now.change.problem.code == "policy_prefix"


def test_a_limit_on_agreements_does_not_count_a_change() -> None:
    two = active()
    two.b.policy = MemberPolicy(max_agreements=1)
    two.ask(two.a, *MORE)
    two.run()
    in_step(two, 2)


def test_a_change_that_would_change_nothing_is_refused() -> None:
    two = active()
    two.b.mtu = 1400
    two.ask(two.a, mtu=1400)
    two.run()
    two.ask(two.a, mtu=1500)
    two.run()
    assert two.a.now.change is not None
    assert two.a.now.change.problem is not None
    assert two.a.now.change.problem.code == "change_nothing"
    assert two.a.revision == two.b.revision == 2


def test_a_side_whose_router_cannot_change_refuses() -> None:
    two = active()
    two.b.can = Can(change=False)
    two.ask(two.a, *MORE)
    two.run()
    assert refused(two) == "change_unsupported"
    two.a.can = Can(change=False)
    two.ask(two.b, "10.2.0.0/24")
    two.run()
    assert two.b.now.wanted is None
    assert two.b.now.change is not None
    assert two.b.now.change.problem is not None
    assert two.b.now.change.problem.code == "change_unsupported"


def test_a_number_that_was_used_is_stale_and_the_two_compare() -> None:
    two = active()
    two.b.n = replace(two.b.now, changes=5)
    two.ask(two.a, *MORE)
    two.run()
    assert two.a.now.change is not None
    assert two.a.now.change.problem is not None
    assert two.a.now.change.problem.code == "change_stale"
    two.ask(two.a, *MORE)
    two.run()
    in_step(two, 2)
    assert two.a.now.adopted == 6


@pytest.mark.parametrize("kind", [MessageType.COMMIT, MessageType.CONFIRM, MessageType.TERMINATE, MessageType.QUERY])
def test_a_message_about_another_change_changes_nothing(kind: MessageType) -> None:
    two = active()
    two.ask(two.a, *MORE)
    two.run(until=lambda: two.a.now.change is not None and two.a.now.change.state is S.COMMITTED)
    before = two.b.now
    assert two.a.now.change is not None
    event = two.received(two.a, two.b, replace(two.a.now.change, number=9), kind, uuid4())
    after = step(before, ev.OfChange(9, event))
    assert replace(after.negotiation, answers=()) == before
    assert after.effects == ()
    assert len(after.negotiation.answers) == 1
    assert after.negotiation.answers[0].change == 9


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("trouble", ["apply", "probe"])
def test_what_fails_at_a_router_leaves_the_agreement_in_force(side: str, trouble: str) -> None:
    two = active()
    half: Half = getattr(two, side)
    half.broken = trouble
    two.ask(two.a, *FEWER)
    for _ in range(12):
        for one, key in two.due():
            if key in one.owed:
                two.perform(one, key)
        if two.a.now.change is not None and two.a.now.change.state in ENDED:
            half.broken = ""
    half.broken = ""
    two.quiet()
    in_step(two, 1)
    for one in (two.a, two.b):
        assert one.now.change is not None
        assert one.now.change.state in (S.FAILED, S.TERMINATED)
    two.ask(two.a, *FEWER)
    two.run()
    in_step(two, 2)


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("steps", range(22))
def test_terminate_in_the_middle_takes_everything_with_it(side: str, steps: int) -> None:
    two = active()
    two.ask(two.a, *MORE)
    for _ in range(steps):
        if two.due():
            two.perform(*two.due()[steps % len(two.due())])
    two.give(getattr(two, side), ev.TerminateAsked(two.at))
    two.run()
    two.quiet()
    for half in (two.a, two.b):
        assert half.now.state is S.TERMINATED
        assert half.router.agreement is None
        assert claims(half.now) == frozenset()
        assert half.owed == {}
        assert all(answer is not None for answer in half.answers.values())


def test_a_change_waits_until_the_agreement_in_force_is_confirmed_on_the_device() -> None:
    two = active()
    two.b.n = replace(two.b.now, device=Device.APPLYING)
    two.ask(two.a, *MORE)
    two.run(until=lambda: two.b.now.change is not None and two.b.now.change.state is S.COMMITTED)
    assert "change:device" not in two.b.owed
    two.give(two.b, ev.Applied(two.at))
    assert "change:device" in two.b.owed
    two.run()
    in_step(two, 2)


def test_a_router_that_rolled_back_by_itself_gets_the_change_again() -> None:
    two = active()
    two.ask(two.a, *MORE)
    two.run(until=lambda: two.a.now.change is not None and two.a.now.change.state is S.CONFIRMING)
    two.roll_back(two.a)
    two.roll_back(two.b)
    two.give(two.a, ev.DeviceLost(two.at))
    two.run()
    in_step(two, 2)


def test_what_is_made_final_is_the_change_whatever_the_router_carries_by_then() -> None:
    """It has rolled back just before, and nobody has heard of it: to confirm would be to confirm the old one."""
    two = active()
    two.ask(two.a, *MORE)
    two.run(until=lambda: two.a.now.change is not None and two.a.now.change.state is S.CONFIRMING)
    two.roll_back(two.a)
    two.perform(two.a, "change:device")
    two.run()
    in_step(two, 2)


def test_a_change_of_another_revision_is_refused_and_the_two_compare() -> None:
    two = active()
    old = two.b.n
    two.ask(two.a, *MORE)
    two.run()
    assert old is not None
    two.b.n = old
    two.ask(two.a, *FEWER)
    two.perform(two.a, "change:send")
    assert two.a.now.change is not None
    assert two.a.now.change.problem is not None
    assert two.a.now.change.problem.code == "revision_differs"
    two.run()
    in_step(two, 2)


def test_a_new_number_ends_the_one_before_at_the_responder() -> None:
    two = active()
    two.ask(two.a, *MORE)
    two.run(until=lambda: two.b.now.change is not None and two.b.now.change.state is S.COMMITTED)
    two.give(two.a, ev.OfChange(1, ev.ApplyFailed(two.at, TROUBLE)))
    two.a.owed.pop("change:send:terminate")
    two.ask(two.a, *FEWER)
    two.run()
    two.quiet()
    in_step(two, 2)
    assert prefixes(two.b, Role.INITIATOR) == FEWER
    assert all(answer is not None for answer in two.b.answers.values())


# --- backups ----------------------------------------------------------------------------------------------------------


def backups(change: tuple[str, ...] = MORE) -> list[Two]:
    """Both sides at every moment of a change, before it and after it."""
    two, seen = active(), []

    def look() -> bool:
        halves = (replace(h, owed=dict(h.owed), answers=dict(h.answers)) for h in (two.a, two.b))
        seen.append(Two(*halves))
        return False

    look()
    two.ask(two.a, *change)
    two.run(until=look)
    look()
    return seen


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("moment", range(len(backups())))
def test_a_restored_backup_of_any_moment_ends_in_the_same_revision(side: str, moment: int) -> None:
    two = active()
    two.ask(two.a, *MORE)
    two.run()
    half, backup = getattr(two, side), getattr(backups()[moment], side)
    half.n, half.owed, half.answers = backup.n, backup.owed, backup.answers
    two.at += 100
    for key in [key for key in half.owed if "Deadline" in key]:
        two.perform(half, key)
    two.run()
    two.quiet()
    in_step(two, 2)


def test_a_store_that_is_lost_gets_the_changed_agreement() -> None:
    two = active()
    two.ask(two.a, *MORE)
    two.run()
    two.b.n, two.b.owed, two.b.answers = None, {}, {}
    two.quiet()
    assert two.b.now.agreement == two.a.now.agreement
    two.ask(two.a, *FEWER)
    two.run()
    assert two.a.revision == two.b.revision == 3


def test_what_policy_forbids_by_now_is_not_taken_up() -> None:
    two = active()
    old = two.b.n
    two.ask(two.a, *MORE)
    two.run()
    two.b.n, two.b.policy = old, MemberPolicy(announce=nets("10.0.0.0/23"))
    two.give(two.a, ev.CompareDue(two.at))
    two.run(most=20)
    assert two.b.revision == 1
    assert two.b.now.problem is not None
    assert two.b.now.problem.code == "policy_prefix"


@pytest.mark.parametrize("wrong", ["id", "circuit", "order", "link"])
def test_what_is_not_the_same_agreement_is_not_taken_up(wrong: str) -> None:
    two = active()
    agreement = two.a.now.agreement
    assert agreement is not None
    values = {"id": uuid4(), "circuit": "x", "order": "y", "link": replace(agreement.link, kind="numbered")}
    other = replace(agreement, revision=9, **{wrong: values[wrong]})  # type: ignore[arg-type]
    before = two.b.now
    query = ev.QueryReceived(two.at, uuid4(), S.ACTIVE, 3, 9, 0, ev.Handed(other, "x", MemberPolicy()))
    assert step(before, query).negotiation.agreement == agreement


# --- any order, with losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*range(25), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(25, 400))])
def test_whatever_happens_both_end_up_with_the_same(seed: int) -> None:
    chance = Random(seed)
    two = active(lost=lambda what: chance.random() < 0.15)
    pool = [MORE, FEWER, ("10.0.0.0/24", "10.1.0.0/24"), ("10.0.0.0/24", "10.7.0.0/24")]
    there = [("10.0.0.0/24",), ("10.0.0.0/24", "10.2.0.0/24", "10.6.0.0/24"), ("10.0.0.0/24", "10.2.0.0/24")]
    for _ in range(140):
        two.at += chance.choice([0.0, 0.5, 3.0])
        half = chance.choice([two.a, two.b])
        what = chance.random()
        if what < 0.06:
            two.ask(half, *chance.choice(pool if half is two.a else there))
        elif what < 0.08:
            half.broken = chance.choice(["", "apply", "probe"])
        elif what < 0.10:
            two.roll_back(half)
            if half.now.device is Device.CONFIRMED:
                two.give(half, ev.DeviceLost(two.at))
        elif what < 0.16 and two.timers():
            one, key = chance.choice(two.timers())
            if "Deadline" not in key or one.now.change is None or (one.now.change.deadline or 0) <= two.at:
                two.perform(one, key)
        elif two.due():
            two.perform(*chance.choice(two.due()))
        for one in (two.a, two.b):
            carried_is_claimed(one)
    two.lost, two.a.broken, two.b.broken = lambda what: False, "", ""
    for _ in range(5):
        two.run(most=400)
        two.quiet()
    in_step(two, two.a.revision)


def carried_is_claimed(half: Half) -> None:
    """What the router carries, or may go back to, nobody else is given."""
    n = half.now
    mine = claimed(n)
    for agreement in (half.router.agreement, half.router.base):
        for entry in agreement.side(n.role.other).prefixes if agreement else ():
            assert str(entry.alias) in mine, (n, half.router)
