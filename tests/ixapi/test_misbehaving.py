"""Exchanges that misbehave: each ends right, or with a clear error and nothing left ordered."""

from __future__ import annotations

import asyncio
from itertools import repeat

import pytest

from meetme.ixapi.orders import SegmentState
from meetme.ixapi.requests import Account
from meetme.model.errors import Conflict, Exhausted, Fault, MeetMeError, Pending, Refused, Unauthenticated, Unreachable
from tests.ixapi.misbehaving import GONE, Manners, Trouble
from tests.ixapi.ordering_at import Bench, order


def left(bench: Bench) -> list[str]:
    """What would still be paid for."""
    bench.exchange.finish()
    return [thing.facts["id"] for thing in bench.exchange.things.values() if thing.facts["state"] not in GONE]


@pytest.mark.parametrize(
    ("manners", "error", "code"),
    [
        (Manners(fails=True), Refused, "exchange_order_failed"),
        (Manners(vlan_other=True, vlan_deaf=True), Conflict, "exchange_vlan_other"),
        (Manners(smaller=50, smaller_deaf=True), Exhausted, "exchange_capacity_smaller"),
        (Manners(stuck="operator"), Refused, "exchange_needs_a_person"),
        (Manners(stuck="scheduled"), Refused, "exchange_needs_a_person"),
        (Manners(loses=99), Refused, "exchange_loses_objects"),
        (Manners(loses_services=99), Refused, "exchange_loses_objects"),
        (Manners(forgets_reference=True), Refused, "exchange_forgets_reference"),
    ],
    ids=["fails", "other VLAN", "smaller", "operator", "scheduled", "loses ends", "loses services", "forgets"],
)
async def test_what_cannot_be_had_is_given_back(manners: Manners, error: type[MeetMeError], code: str) -> None:
    bench = Bench(manners)
    with pytest.raises(error) as refused:
        await bench.client.build(order())
    assert (refused.value.code, refused.value.fault) == (code, Fault.REMOTE)
    assert left(bench) == []
    # One or two attempts, not a hundred.
    assert len(bench.exchange.things) <= 8


@pytest.mark.parametrize(
    "manners",
    [Manners(vlan_other=True), Manners(smaller=50), Manners(loses=1), Manners(loses_services=1), Manners(loses=2)],
    ids=["other VLAN", "smaller", "loses an end", "loses the service", "loses both ends"],
)
async def test_what_can_be_mended_is_mended(manners: Manners) -> None:
    bench = Bench(manners)
    built = await bench.client.build(order())
    assert built.b_vlan == 100
    assert {end["capacity"] for end in bench.exchange.live("nsc")} == {100}
    assert {service["capacity"] for service in bench.exchange.live("ns")} <= {None, 100}
    assert len(bench.exchange.live()) == 3


async def test_a_state_that_nobody_knows_is_waited_in() -> None:
    bench = Bench(Manners(stuck="polishing"))
    with pytest.raises(Pending, match="polishing"):
        await bench.client.build(order())
    assert (await bench.client.look("c1")).state is SegmentState.PENDING
    await bench.client.remove("c1")
    assert left(bench) == []


async def test_who_builds_gives_way_to_who_removes() -> None:
    bench = Bench(Manners(stuck="polishing"), build=100_000.0)
    building = asyncio.create_task(bench.client.build(order()))
    for _ in range(200):
        await asyncio.sleep(0)  # it has ordered by then
    assert bench.exchange.things
    await bench.client.remove("c1")
    with pytest.raises(Pending):
        await building
    assert left(bench) == []


async def test_a_person_is_waited_for_once_however_often_one_asks() -> None:
    bench = Bench(Manners(stuck="operator"), build=8.0, person=30.0)
    for _ in range(3):
        with pytest.raises(Pending):
            await bench.client.build(order())
    with pytest.raises(Refused):
        await bench.client.build(order())
    assert left(bench) == []


async def test_what_was_in_production_is_not_given_up_for_maintenance() -> None:
    bench = Bench(build=40.0, person=5.0)
    built = await bench.client.build(order())
    for thing in bench.exchange.things.values():
        thing.course = ["operator"]
    bench.exchange.finish()
    for client in (bench.client, bench.new_client()):
        with pytest.raises(Pending, match="operator"):
            await client.build(order())
    for thing in bench.exchange.things.values():
        thing.course = ["production"]
    bench.exchange.finish()
    assert (await bench.client.build(order())).service == built.service


async def test_what_is_in_use_is_not_given_up_for_its_price() -> None:
    bench = Bench(account=Account(charged_days=30))
    built = await bench.client.build(order())
    bench.exchange.manners.charged_days = 90  # the contract was renewed
    assert (await bench.client.build(order())).service == built.service
    with pytest.raises(Refused):
        await bench.client.build(order("c2", b=101))
    assert len(bench.exchange.live()) == 3


async def test_a_price_that_is_not_told_is_refused_where_it_has_to_be_known() -> None:
    bench = Bench(account=Account(charged_days=30))
    bench.exchange._policy = dict  # type: ignore[method-assign,assignment]
    with pytest.raises(Refused) as refused:
        await bench.client.build(order())
    assert refused.value.code == "exchange_terms_unknown"
    assert left(bench) == []
    bench.account = Account()
    await bench.new_client().build(order())


async def test_what_it_does_not_cancel_is_said_and_stays_owed() -> None:
    bench = Bench(Manners(fails=True, refuses_cancel="unable-to-fulfill"))
    with pytest.raises(Refused) as refused:
        await bench.client.build(order())
    assert refused.value.code == "exchange_order_failed"
    assert "not cancelled yet" in refused.value.hint
    with pytest.raises(Refused, match="DELETE"):
        await bench.client.remove("c1")
    bench.exchange.manners.refuses_cancel = None
    await bench.client.remove("c1")
    assert left(bench) == []


async def test_an_end_that_is_lost_later_is_seen_and_made_again() -> None:
    bench = Bench()
    built = await bench.client.build(order())
    end = bench.exchange.live("nsc")[0]
    bench.exchange.things[end["id"]].facts["state"] = "archived"
    seen = await bench.client.look("c1")
    assert seen.state is SegmentState.PENDING
    assert seen.problem is not None
    assert seen.problem.code == "segment_incomplete"
    again = await bench.client.build(order())
    assert again.service == built.service
    assert len(bench.exchange.live("nsc")) == 2


async def test_a_failed_order_of_an_earlier_life_is_replaced() -> None:
    bench = Bench(Manners(stuck="polishing"))
    with pytest.raises(Pending):
        await bench.client.build(order())
    for thing in bench.exchange.things.values():
        thing.course = ["error"]
    bench.exchange.manners.stuck = None
    bench.exchange.finish()
    assert (await bench.new_client().look("c1")).state is SegmentState.FAILED
    await bench.new_client().build(order())
    bench.exchange.finish()
    assert len(bench.exchange.live("ns")) == 1
    assert len(bench.exchange.live("nsc")) == 2


@pytest.mark.parametrize("trouble", [Trouble.FAILS, Trouble.DROPS, Trouble.PAGE, Trouble.BUSY])
async def test_an_exchange_that_is_down_is_unreachable_and_nothing_more(trouble: Trouble) -> None:
    bench = Bench()
    await bench.client.build(order())
    bench.trouble(again=repeat(trouble))
    begin = bench.clock.now()
    for call in (bench.client.build(order("c2", b=101)), bench.client.remove("c1"), bench.client.look("c1")):
        with pytest.raises(Unreachable):
            await call
    assert bench.clock.now() - begin < 400
    bench.trouble()
    assert (await bench.client.look("c1")).state is SegmentState.READY


async def test_a_busy_exchange_is_given_the_time_it_asks_for() -> None:
    bench = Bench()
    bench.trouble(Trouble.BUSY, None, Trouble.BUSY, Trouble.BUSY, after=2)
    begin = bench.clock.now()
    await bench.client.build(order())
    assert bench.clock.now() - begin >= 3.0


async def test_wrong_credentials_are_our_fault_and_no_secret_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    bench.exchange._token = lambda path, body: bench.exchange._problem(401, "authentication-error")  # type: ignore[method-assign]
    with pytest.raises(Unauthenticated) as refused:
        await bench.client.build(order())
    assert refused.value.fault is Fault.LOCAL
    shown = "".join(capfd.readouterr()) + refused.value.text + refused.value.hint + repr(bench.account)
    assert "composer-secret" not in shown
    assert len(bench.exchange.requests) <= 3
