"""Segments at exchanges that behave, each in its way."""

from __future__ import annotations

import pytest

from meetme.ixapi.orders import OrderEnd, SegmentOrder, SegmentState
from meetme.ixapi.requests import Account
from meetme.model.errors import Conflict, Exhausted, MeetMeError, NotFound, Pending, Refused
from tests.ixapi.misbehaving import MEMBER_A, OWN, TODAY, Manners, Trouble
from tests.ixapi.ordering_at import Bench, order


async def test_a_segment_is_one_service_with_two_ends() -> None:
    bench = Bench()
    built = await bench.client.build(order())
    assert (built.a_vlan, built.b_vlan, built.bandwidth) == (10, 100, 100)
    assert built.terms.charged_until == TODAY
    (service,) = bench.exchange.live("ns")
    assert service["product_offering"] == "po-1"
    assert service["consuming_account"] == MEMBER_A
    assert service["managing_account"] == service["joining_member_account"] == OWN
    ends = bench.exchange.live("nsc")
    assert {end["external_ref"]: end["connection"] for end in ends} == {"c1/a": "con-a", "c1/b": "con-nni"}
    assert await bench.client.build(order()) == built
    assert len(bench.exchange.live()) == 3
    seen = await bench.client.look("c1")
    assert (seen.state, seen.a_vlan, seen.b_vlan, seen.bandwidth) == (SegmentState.READY, 10, 100, 100)
    await bench.client.remove("c1")
    assert (await bench.client.look("c1")).state is SegmentState.ABSENT
    await bench.client.remove("c1")
    assert not bench.exchange.live()
    assert (await bench.client.build(order())).service != built.service
    assert len(bench.exchange.live()) == 3


async def test_few_requests_are_needed() -> None:
    bench = Bench(Manners(looks=0))
    await bench.client.build(order())
    await bench.client.remove("c1")
    begin = len(bench.exchange.requests)
    await bench.client.build(order())
    assert len(bench.exchange.requests) - begin <= 16, bench.exchange.requests[begin:]


@pytest.mark.parametrize(
    "manners",
    [
        Manners(version="2.7.1", page=1),
        Manners(page=1, page_header=None),
        Manners(page=2, repeats_pages=True),
        Manners(strange=True),
        Manners(ignores_filters=True),
        Manners(wants_number=True),
        Manners(token_seconds=1.0),
        Manners(roles=("noc",)),
        Manners(configs_first=True),
        Manners(half_delete=True),
        Manners(deaf=True),
    ],
    ids=repr,
)
async def test_every_exchange_has_its_ways(manners: Manners) -> None:
    bench = Bench(manners)
    await bench.client.build(order("c0", b=99))
    built = await bench.client.build(order())
    assert built.b_vlan == 100
    assert built.a_vlan is not None
    assert len(bench.exchange.live()) == 6
    assert (await bench.client.look("c1")).state is SegmentState.READY
    await bench.client.remove("c1")
    assert {each["external_ref"] for each in bench.exchange.live()} == {"c0", "c0/a", "c0/b"}


async def test_ends_may_be_whole_ports_or_one_port_twice() -> None:
    bench = Bench()
    built = await bench.client.build(SegmentOrder("c1", OrderEnd("con-port"), OrderEnd("con-a", 7), 10))
    assert (built.a_vlan, built.b_vlan) == (None, 7)
    await bench.client.remove("c1")
    built = await bench.client.build(SegmentOrder("c2", OrderEnd("con-a", 8), OrderEnd("con-a", 9), 10))
    assert (built.a_vlan, built.b_vlan) == (8, 9)
    assert (await bench.client.look("c2")).state is SegmentState.READY


async def test_a_reference_is_of_one_order() -> None:
    bench = Bench()
    await bench.client.build(order())
    with pytest.raises(Conflict) as refused:
        await bench.client.build(SegmentOrder("c1", OrderEnd("con-b", 5), OrderEnd("con-nni", 100), 100))
    assert refused.value.code == "reference_in_use"
    assert (await bench.client.look("c1")).state is SegmentState.READY


async def test_the_bandwidth_changes_and_a_refused_change_changes_nothing() -> None:
    bench = Bench()
    await bench.client.build(order())
    assert (await bench.client.change("c1", 900)).bandwidth == 900
    assert {end["capacity"] for end in bench.exchange.live("nsc")} == {900}
    bench.exchange.speed["con-nni"] = 950
    with pytest.raises(Exhausted) as refused:
        await bench.client.change("c1", 1000)
    assert refused.value.code == "exchange_capacity"
    assert {end["capacity"] for end in bench.exchange.live("nsc")} == {900}
    with pytest.raises(NotFound, match="c9"):
        await bench.client.change("c9", 10)
    with pytest.raises(Exhausted, match="nearest is 10000"):
        await bench.client.change("c1", 20_000)
    assert (await bench.client.change("c1", 10)).bandwidth == 10
    assert (await bench.client.look("c1")).bandwidth == 10


async def test_a_bandwidth_that_nobody_offers_is_refused_with_the_nearest() -> None:
    bench = Bench()
    with pytest.raises(Exhausted) as refused:
        await bench.client.build(order(bandwidth=50_000))
    assert refused.value.code == "offering_too_small"
    assert "10000" in refused.value.text
    assert not bench.exchange.things


async def test_what_would_cost_too_long_is_not_ordered() -> None:
    bench = Bench(Manners(charged_days=90), account=Account(charged_days=30))
    with pytest.raises(Refused) as refused:
        await bench.client.build(order())
    assert refused.value.code == "exchange_costs_too_long"
    assert bench.posts("network-service-configs") == 0
    assert not bench.exchange.live()
    cheap = Bench(Manners(charged_days=30), account=Account(charged_days=30))
    assert (await cheap.client.build(order())).terms.charged_until is not None


async def test_a_notice_period_is_served() -> None:
    bench = Bench(Manners(notice_days=14))
    await bench.client.build(order())
    with pytest.raises(Pending, match="2026-12-06"):
        await bench.client.remove("c1")
    assert {each["decommission_at"] for each in bench.exchange.live()} == {"2026-12-06"}
    assert (await bench.client.look("c1")).state is SegmentState.LEAVING


async def test_somebody_else_of_the_same_name_is_cancelled_once_not_twice() -> None:
    bench = Bench()
    await bench.client.build(order())
    service = bench.exchange.live("ns")[0]
    bench.exchange._create_service({**service, "type": "p2p_vc"})
    bench.exchange.finish()
    assert (await bench.client.look("c1")).problem is not None
    built = await bench.client.build(order())
    bench.exchange.finish()
    assert built.service == service["id"]
    assert [each["id"] for each in bench.exchange.live("ns")] == [service["id"]]


async def test_a_slow_exchange_is_asked_again_and_gets_no_second_order() -> None:
    bench = Bench(Manners(looks=40), build=20.0)
    with pytest.raises(Pending):
        await bench.client.build(order())
    assert (await bench.client.look("c1")).state is SegmentState.PENDING
    for _ in range(9):
        try:
            await bench.new_client().build(order())
            break
        except Pending:
            continue
    assert (await bench.client.look("c1")).state is SegmentState.READY
    assert len(bench.exchange.things) == 3


@pytest.mark.parametrize("trouble", [Trouble.FAILS_AFTER, Trouble.DROPS_AFTER, Trouble.LATE])
@pytest.mark.parametrize("nth", range(1, 16))
async def test_an_order_whose_answer_is_lost_is_found_again(trouble: Trouble, nth: int) -> None:
    bench = Bench()
    bench.trouble(trouble, after=nth)
    built = await bench.client.build(order())
    bench.exchange.finish()
    assert (built.b_vlan, len(bench.exchange.live("ns")), len(bench.exchange.live("nsc"))) == (100, 1, 2)
    bench.trouble(trouble, after=nth - 1)
    await bench.client.remove("c1")
    bench.exchange.finish()
    assert not bench.exchange.live()


async def test_a_login_that_is_forgotten_is_made_again() -> None:
    bench = Bench()
    await bench.client.connections()
    bench.trouble(Trouble.EXPIRED)
    assert len(await bench.client.connections()) == 4
    assert bench.exchange.logins == 2


async def test_errors_say_whose_fault_it_is() -> None:
    bench = Bench()
    with pytest.raises(MeetMeError) as refused:
        await bench.client.build(SegmentOrder("c1", OrderEnd("con-x", 5), OrderEnd("con-nni", 100), 100))
    assert (refused.value.field, refused.value.fault.value) == ("connection", "remote")
    assert not bench.exchange.live()


async def test_an_exchange_that_does_not_wait_with_its_answer_is_asked_to_once() -> None:
    bench = Bench()
    await bench.client.build(order())
    await bench.client.build(order("c2", b=101))
    assert bench.api._waits is False
    assert await bench.api.wait_for("/network-services", {}, 1) is False
    before = len(bench.exchange.requests)
    assert await bench.api.wait_for("/network-services", {}, 1) is False
    assert len(bench.exchange.requests) == before


async def test_an_exchange_that_says_too_early_that_it_is_done_is_not_asked_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(Manners(looks=8))
    asked = 0

    async def done(*_: object) -> bool:
        nonlocal asked
        asked += 1
        return True

    monkeypatch.setattr(bench.api, "wait_for", done)
    await bench.client.build(order())
    assert asked == 1
