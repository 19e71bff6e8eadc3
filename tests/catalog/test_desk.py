"""What people ask for at the desk: what cannot be right changes nothing."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from meetme.catalog.desk import Desk
from meetme.catalog.offers import Entry, Mirror, entries
from meetme.catalog.views import OrderRequest, view
from meetme.catalog.words import ENDED, State
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, InvalidInput, MeetMeError, NotFound, Stale
from tests.catalog.members import CLOCK, Member, two_members
from tests.catalog.test_offers import BACKUP, NOW, listing

S = State


def desk(member: Member, mirrors: list[Mirror], now: float = NOW) -> Desk:
    def known(_tx: object) -> list[Entry]:
        return list(entries(mirrors, now=now, fresh_seconds=60))

    return Desk(member.loop, member.ledger, member.machine, member.me, known, CLOCK)


MIRRORS = [Mirror(listing(), NOW), Mirror(listing(provider=MemberId("csp-a")), NOW)]


async def test_a_repeated_order_is_the_same_order() -> None:
    async with two_members(listing()) as (a, _):
        counter = desk(a, MIRRORS)
        first = await counter.place(OrderRequest("csp-b/backup"), "k1")
        again = await counter.place(OrderRequest("csp-b/backup"), "k1")
        assert again.id == first.id
        with pytest.raises(InvalidInput) as caught:
            await counter.place(OrderRequest("csp-b/page"), "k1")
        assert caught.value.code == "idempotency_key_reused"
        await a.until(first.id, S.ACTIVE)
        shown = view(await a.until(first.id, S.ACTIVE))
        assert (shown.offer, shown.buyer, shown.seller) == ("csp-b/backup", "csp-a", "csp-b")
        assert [thing.what for thing in shown.things] == ["negotiation", "attachment", "circuit"]


@pytest.mark.parametrize(
    ("request_", "now", "kind", "code", "field"),
    [
        (OrderRequest("backup"), NOW, InvalidInput, "offer_malformed", "offer"),
        (OrderRequest("csp-b/none"), NOW, InvalidInput, "offer_unknown", "offer"),
        (OrderRequest("csp-a/backup"), NOW, InvalidInput, "offer_own", "offer"),
        (OrderRequest("csp-b/backup"), NOW + 9999, Stale, "offer_expired", "offer"),
        (OrderRequest("csp-b/backup", redundancy="much"), NOW, InvalidInput, "choice_unknown", "redundancy"),
        (OrderRequest("csp-b/backup", UUID(int=1), "strict"), NOW, InvalidInput, "choice_twice", "redundancy"),
    ],
)
async def test_what_cannot_be_ordered_is_said_and_nothing_is_written(
    request_: OrderRequest, now: float, kind: type[MeetMeError], code: str, field: str
) -> None:
    async with two_members(listing()) as (a, _):
        with pytest.raises(kind) as caught:
            await desk(a, MIRRORS, now).place(request_)
        assert (caught.value.code, caught.value.field) == (code, field)
        assert a.database.run_now(lambda tx: a.machine.load(tx, str(uuid4()))) is None
        from meetme.catalog import store

        assert a.database.run_now(store.orders) == []


async def test_a_person_at_the_seller_decides_once() -> None:
    offered = listing(replace(BACKUP, approval=True))
    async with two_members(offered) as (a, b):
        buying, selling = desk(a, [Mirror(offered, NOW)]), desk(b, [])
        first = await buying.place(OrderRequest("csp-b/backup"))
        await b.until(first.id, S.APPROVING)
        with pytest.raises(Conflict) as caught:
            await buying.approve(first.id, "eve")
        assert caught.value.code == "order_decided"
        await selling.decline(first.id, "ada", "no more room")
        declined = await a.until(first.id, S.DECLINED)
        assert declined.problem is not None
        assert declined.problem.text == "order: a person at the seller has declined it: no more room"
        with pytest.raises(Conflict):
            await selling.approve(first.id, "ada")
        second = await buying.place(OrderRequest("csp-b/backup"))
        await b.until(second.id, S.APPROVING)
        assert (await selling.approve(second.id, "ada")).decided_by == "ada"
        await a.until(second.id, S.ACTIVE)


async def test_it_is_taken_back_at_any_moment_and_once() -> None:
    async with two_members(listing()) as (a, _):
        counter = desk(a, MIRRORS)
        order = await counter.place(OrderRequest("csp-b/backup"))
        assert (await counter.terminate(order.id)).state in (S.TERMINATING, *ENDED)
        await a.until(order.id, *ENDED)
        assert (await counter.terminate(order.id)).state in ENDED
        with pytest.raises(NotFound) as caught:
            await counter.terminate(uuid4())
        assert caught.value.code == "order_unknown"


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)
