"""Orders over the durable loop: they become active, they leave nothing, and no process that dies is missed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from meetme.catalog import events as ev
from meetme.catalog.fake import Trouble
from meetme.catalog.words import ENDED, Connectivity, State, Wanted, What
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem
from tests.catalog.members import CLOCK, Member, two_members
from tests.catalog.test_offers import BACKUP, PAGE, listing

S = State
SELLER = MemberId("csp-b")


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


WANTED = Wanted("backup", 1, Connectivity.L3)


async def test_from_an_order_to_a_reach_and_back() -> None:
    async with two_members(listing()) as (a, b):
        id = uuid4()
        await a.place(id, SELLER, WANTED)
        bought = await a.until(id, S.ACTIVE)
        sold = await b.until(id, S.ACTIVE)
        assert bought.reach is not None
        assert bought.reach.prefix == "172.16.0.0/24"
        assert (bought.circuit.id, sold.circuit.id) == (f"c-{id}", f"c-{id}")
        assert sold.decided_by == "policy"
        assert [what for what, _ in a.world.made] == [What.CIRCUIT, What.ATTACHMENT, What.ATTACHMENT, What.NEGOTIATION]
        await a.terminate(id)
        await a.until(id, S.TERMINATED)
        await b.until(id, S.TERMINATED)
        assert a.world.empty
        assert [what for what, _ in a.world.taken_back] == [What.NEGOTIATION, What.CIRCUIT]


async def test_what_is_not_offered_is_declined_and_the_seller_keeps_nothing_of_it() -> None:
    async with two_members(listing()) as (a, b):
        id = uuid4()
        await a.place(id, SELLER, replace(WANTED, offer="free-beer"))
        declined = await a.until(id, S.DECLINED)
        assert declined.problem is not None
        assert declined.problem.code == "offer_withdrawn"
        assert b.order(id) is None


async def test_who_has_declined_owes_nothing_to_a_buyer_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.reactions.ASK_AGAIN_SECONDS", 0.5)
    why = Problem("order_declined", "no more room", "ask its operator")
    async with two_members(listing(replace(BACKUP, approval=True))) as (a, b):
        id = uuid4()
        await a.place(id, SELLER, WANTED)
        await b.until(id, S.APPROVING)
        await a.until(id, S.APPROVING)
        await a.kill()
        await b.loop.deliver(str(id), ev.Decided(CLOCK.now(), "ada", why))
        await b.until(id, S.DECLINED)
        async with asyncio.timeout(10):
            while b.database.run_now(lambda tx: b.ledger.owed(tx, b.machine.name, str(id))):  # noqa: ASYNC110 - a database
                await asyncio.sleep(0.01)
        a.start()
        declined = await a.until(id, S.DECLINED)
        assert declined.problem is not None
        assert declined.problem.text == why.text


async def test_the_sellers_own_offer_counts_not_what_the_buyer_says_of_it() -> None:
    async with two_members(listing(replace(BACKUP, approval=True))) as (a, b):
        id = uuid4()
        await a.place(id, SELLER, WANTED)
        assert (await b.until(id, S.APPROVING)).wanted.approval
        await a.until(id, S.APPROVING)
        await a.terminate(id)
        await a.until(id, S.CANCELLED)
        await b.until(id, S.CANCELLED)
    async with two_members(listing(PAGE)) as (a, b):
        await a.place(id, SELLER, replace(WANTED, offer="page"))
        declined = await a.until(id, S.DECLINED)
        assert declined.problem is not None
        assert declined.problem.code == "offer_changed"


@pytest.mark.parametrize(
    ("who", "trouble", "code"),
    [
        ("csp-a", Trouble.CIRCUIT_REFUSED, "path_none"),
        ("csp-a", Trouble.CIRCUIT_FAILS, "exchange_failed"),
        ("csp-a", Trouble.PORT_UNKNOWN, "port_unknown"),
        ("csp-b", Trouble.PORT_UNKNOWN, "port_unknown"),
        ("csp-a", Trouble.NEGOTIATION_FAILS, "probe_unanswered"),
        ("csp-a", Trouble.SERVICE_SILENT, "service_unanswered"),
    ],
)
async def test_what_fails_says_why_and_leaves_nothing(who: str, trouble: Trouble, code: str) -> None:
    async with two_members(listing()) as (a, b):
        a.world.trouble[MemberId(who)] = trouble
        id = uuid4()
        await a.place(id, SELLER, WANTED)
        failed = await a.until(id, *ENDED)
        assert failed.state is S.FAILED
        assert failed.problem is not None
        assert failed.problem.code == code
        await b.until(id, *ENDED)
        assert a.world.empty


async def _points(kinds: list[str]) -> None:
    """Which points an order's life has, to and fro."""
    async with two_members(listing()) as (a, b):
        for member in (a, b):

            def note(point: str, who: Member = member) -> bool:
                kinds.append(f"{who.me} {point}")
                return False

            member.dies = note
        await _life(a, b, uuid4())


async def _life(a: Member, b: Member, id: UUID) -> None:
    await a.place(id, SELLER, WANTED)
    await a.until(id, S.ACTIVE, *ENDED)
    await b.until(id, S.ACTIVE, *ENDED)
    await a.terminate(id)
    await a.until(id, *ENDED)
    await b.until(id, *ENDED)


async def test_whoever_dies_at_whatever_point_comes_back_and_goes_on() -> None:
    points: list[str] = []
    await _points(points)
    points = [point for point in dict.fromkeys(points) if "wake" not in point]
    assert len(points) > 20
    for point in points:
        who, _, where = point.partition(" ")
        async with two_members(listing()) as (a, b):
            member = a if who == a.me else b
            member.dies = lambda here, where=where: here == where
            id = uuid4()
            await _life(a, b, id)
            first, second = a.order(id), b.order(id)
            assert first is not None
            assert second is not None
            assert (first.state, second.state) == (S.TERMINATED, S.TERMINATED), point
            assert member.lives == 2, point
            assert a.world.empty, point
            made = [what for what, _ in a.world.made]
            assert sorted(made) == ["attachment", "attachment", "circuit", "negotiation"], "nothing is made twice"


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])
async def test_many_at_once_none_lost_and_none_twice(count: int) -> None:
    async with two_members(listing()) as (a, b):
        ids = [uuid4() for _ in range(count)]
        for id in ids:
            await a.place(id, SELLER, WANTED)
        for id in ids:
            await a.until(id, S.ACTIVE)
            await b.until(id, S.ACTIVE)
        assert sorted(id for what, id in a.world.made if what is What.CIRCUIT) == sorted(ids)
        for id in ids:
            await b.terminate(id)
        for id in ids:
            await a.until(id, S.TERMINATED)
            await b.until(id, S.TERMINATED)
        assert a.world.empty
