"""The life of an order, at both sides: how it becomes active, and that nothing of it is ever left behind."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meetme.catalog import events as ev
from meetme.catalog.lifecycle import TRANSITIONS, step
from meetme.catalog.messages import StateBody
from meetme.catalog.words import ENDED, UNDER_WAY, Connectivity, Party, State, Wanted, What
from meetme.model.agreement import MemberId
from tests.catalog.two import NO, Two

S = State
L3 = Wanted("backup", 1, Connectivity.L3)
L2 = replace(L3, connectivity=Connectivity.L2)
NONE = replace(L3, connectivity=Connectivity.NONE, words="https://example.net")


def active(wanted: Wanted = L3) -> Two:
    two = Two(wanted)
    two.place()
    two.run()
    assert (two.buyer.state, two.seller.state) == (S.ACTIVE, S.ACTIVE)
    return two


def test_the_buyer_goes_through_every_step_once() -> None:
    two = active()
    steps = [S.PLACED, S.COMPOSING, S.LINKING, S.NEGOTIATING, S.VERIFYING, S.ACTIVE]
    assert two.buyer.made == steps
    assert two.seller.made == [S.COMPOSING, S.LINKING, S.NEGOTIATING, S.ACTIVE]
    names = ["approve", "compose", "link", "attach", "negotiate", "verify", "active"]
    assert [step.name for step in two.buyer.now.steps] == names
    assert two.circuits_made == 1


def test_what_a_service_does_not_need_is_left_out() -> None:
    l2 = active(L2)
    assert l2.buyer.made == [S.PLACED, S.COMPOSING, S.LINKING, S.ACTIVE]
    assert (l2.negotiation, l2.circuit) == (None, "active")
    none = active(NONE)
    assert none.buyer.made == [S.PLACED, S.ACTIVE]
    assert none.nothing_left
    assert none.buyer.now.reach is not None
    assert none.buyer.now.reach.words == "https://example.net"


@pytest.mark.parametrize("wanted", [L3, L2, NONE])
@pytest.mark.parametrize("who", ["buyer", "seller"])
def test_either_side_takes_it_back_in_reverse(who: str, wanted: Wanted) -> None:
    two = active(wanted)
    two.give(getattr(two, who), ev.TerminateAsked(two.at))
    two.pass_time(20)
    assert (two.buyer.state, two.seller.state) == (S.TERMINATED, S.TERMINATED)
    assert two.nothing_left


def test_a_person_decides() -> None:
    two = Two(replace(L3, approval=True))
    two.place()
    two.run()
    assert (two.buyer.state, two.seller.state) == (S.APPROVING, S.APPROVING)
    assert two.nothing_left
    two.pass_time(3600)
    assert two.buyer.state is S.APPROVING
    two.give(two.seller, ev.Decided(two.at, "ada"))
    two.pass_time(3)  # less than until the buyer would ask again by itself
    assert (two.buyer.state, two.seller.state) == (S.ACTIVE, S.ACTIVE)
    assert two.seller.now.decided_by == "ada"


def test_a_person_declines_and_the_buyer_reads_why() -> None:
    two = Two(replace(L3, approval=True))
    two.place()
    two.run()
    two.pass_time(5)
    two.give(two.seller, ev.Decided(two.at, "ada", NO))
    two.pass_time(3)  # less than until the buyer would ask again by itself
    assert (two.buyer.state, two.seller.state) == (S.DECLINED, S.DECLINED)
    assert two.buyer.now.problem == NO
    assert two.circuits_made == 0


def test_nobody_decides_in_time() -> None:
    two = Two(replace(L3, approval=True))
    two.place()
    two.pass_time(86_500)
    assert (two.buyer.state, two.seller.state) == (S.DECLINED, S.DECLINED)
    assert two.buyer.now.problem is not None
    assert two.buyer.now.problem.code == "approval_timeout"


def test_what_the_seller_does_not_offer_is_declined_at_once() -> None:
    two = Two(L3, refusal=NO)
    two.place()
    two.run()
    assert (two.buyer.state, two.seller.state) == (S.DECLINED, S.DECLINED)


@pytest.mark.parametrize(
    ("broken", "seconds"),
    [
        ("circuit", 20),
        ("late circuit", 400),
        ("attachment buyer", 20),
        ("attachment seller", 20),
        ("negotiation", 20),
        ("verify", 20),
    ],
)
def test_what_fails_in_the_middle_leaves_nothing(broken: str, seconds: float) -> None:
    two = Two(L3, broken={broken})
    two.place()
    two.pass_time(seconds)
    assert two.buyer.state is S.FAILED
    assert two.seller.state is (S.TERMINATED if broken == "verify" else S.FAILED)
    assert two.buyer.now.problem is not None
    assert two.nothing_left


def test_what_refuses_to_go_holds_up_the_others_for_a_while_and_the_end_for_good() -> None:
    two = active()
    two.stuck = {What.NEGOTIATION}
    two.give(two.buyer, ev.TerminateAsked(two.at))
    two.pass_time(25)
    assert two.circuit is not None, "the circuit waits for the negotiation"
    two.pass_time(10)
    assert two.circuit is None
    assert not two.attachments
    two.pass_time(90_000)
    assert two.buyer.state is S.TERMINATING
    assert two.negotiation is not None
    two.stuck = set()
    two.pass_time(1)
    assert (two.buyer.state, two.seller.state) == (S.TERMINATED, S.TERMINATED)


def test_a_partner_that_is_never_heard_of_again_is_not_waited_for_for_ever() -> None:
    two = active()
    two.cut = True
    two.give(two.buyer, ev.TerminateAsked(two.at))
    two.pass_time(3600)
    assert two.buyer.state is S.TERMINATING
    two.pass_time(86_400)
    assert two.buyer.state is S.TERMINATED
    two.cut = False
    two.pass_time(120)
    assert two.seller.state is S.TERMINATED, "it finds out when it compares"
    assert two.nothing_left


@pytest.mark.parametrize("wanted", [L3, L2])
def test_a_circuit_that_ends_takes_the_order_along(wanted: Wanted) -> None:
    two = active(wanted)
    two.circuit = None
    two.pass_time(20)
    assert (two.buyer.state, two.seller.state) == (S.TERMINATED, S.TERMINATED)
    assert two.nothing_left


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([L3, L2, NONE, replace(L3, approval=True)]))
def test_whatever_happens_it_is_active_at_both_or_nothing_is_left(seed: int, wanted: Wanted) -> None:
    """Messages and results are lost, processes die, people change their minds, things fail or refuse to go."""
    random = Random(seed)
    two = Two(wanted)
    kinds = ["circuit", "late circuit", "attachment buyer", "attachment seller", "negotiation", "verify"]
    two.broken = set(random.sample(kinds, random.choice([0, 0, 0, 1])))
    two.stuck = set(random.sample(list(What), random.choice([0, 0, 1])))
    two.place()
    for _ in range(random.randrange(5, 120)):
        two.cut = random.random() < 0.15
        if random.random() < 0.5:
            two.live()
        two.haunt(random)
        due = two.due()
        if due and random.random() < 0.9:
            side, key = random.choice(due)
            two.perform(side, key, lose=random.random() < 0.2)
        else:
            two.at += random.choice([0.1, 1.0, 10.0, 40.0])
        if random.random() < 0.02:
            side = random.choice([side for side in two.sides if side.order is not None])
            two.give(side, ev.TerminateAsked(two.at))
        if random.random() < 0.05 and two.seller.state is S.APPROVING:
            two.give(two.seller, ev.Decided(two.at, "ada", random.choice([None, NO])))
        assert S.ACTIVE not in two.buyer.made or two.buyer.made.count(S.ACTIVE) == 1
    two.cut, two.stuck = False, set()
    for _ in range(20):
        two.haunt(random)
        two.pass_time(30)
    two.at += 100_000.0
    two.pass_time(300)
    active = two.buyer.state is S.ACTIVE and two.seller.state is S.ACTIVE
    waiting = two.buyer.state is S.APPROVING and two.seller.state is S.APPROVING
    assert active or waiting or (two.ended and two.nothing_left), (two.buyer.state, two.seller.state)
    if active and wanted.connectivity is Connectivity.L3:
        assert (two.circuit, two.negotiation, two.attachments) == ("active", "active", set(Party))
    for side in two.sides:
        assert not (side.state in ENDED and side.owed), "what has ended owes nothing"


def test_no_row_of_the_table_leads_from_an_end() -> None:
    assert not [row for row in TRANSITIONS if row[1] in ENDED]
    assert {row[1] for row in TRANSITIONS if row[1]} == {*UNDER_WAY, S.ACTIVE, S.TERMINATING}


@pytest.mark.parametrize(("said", "state"), [(S.ACTIVE, S.LINKING), (None, S.LINKING), (S.FAILED, S.TERMINATING)])
def test_a_buyer_that_asks_in_the_middle_is_answered(said: State | None, state: State) -> None:
    """None does so by itself: it asks when it is active, and waits for the seller's end before."""
    request = ev.RequestReceived(1.0, UUID(int=1), UUID(int=9), MemberId("b"), MemberId("a"), L3, None, 60.0, None)
    seller = step(None, request).order
    linking = step(seller, ev.AttachReceived(2.0, UUID(int=2), "c1")).order
    assert linking.state is S.LINKING
    after = step(linking, ev.QueryReceived(3.0, UUID(int=3), said)).order
    assert after.state is state
    assert [(answer.to, answer.body) for answer in after.answers][-1] == (UUID(int=3), StateBody(state))
