"""What a router has and the store does not know: the peer is asked, and nothing is done on a guess."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import text

from meetme.negotiator import logbook, store
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import ENDED, State

from .pair import Side, pair
from .whole import connect, settled


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited shows in the database or the router alone
            await asyncio.sleep(0.02)


async def stop(side: Side) -> None:
    """As `kill -9` would; `restart` starts it again."""
    await side.service.hang_up(grace=0.0)
    await side.service.kill()


def rows(side: Side) -> dict[str, list[dict]]:
    """Everything in its database."""
    tables = [*side.contents()]
    select = {table: text(f"SELECT * FROM {table}") for table in tables}
    return side.database.run_now(lambda tx: {t: [dict(r) for r in tx.execute(s).mappings()] for t, s in select.items()})


def put_back(side: Side, contents: dict[str, list[dict]] | None = None) -> None:
    """The database as it was at some moment; nothing at all by default."""
    tables = [*side.contents()]

    def write(tx) -> None:
        for table in tables:
            tx.execute(text(f"DELETE FROM {table}"))
            for row in (contents or {}).get(table, []):
                names = ", ".join(row)
                tx.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + n for n in row)})"), row)

    side.database.run_now(write)


def known(side: Side) -> dict[UUID, State]:
    return {n.id: n.state for n in side.database.run_now(store.negotiations)}


def claims(tx) -> set[tuple]:
    return {tuple(row) for row in tx.execute(text("SELECT negotiation, kind, value FROM negotiator_claim"))}


async def test_an_agreement_that_the_store_has_lost_is_taken_up_again_at_once_and_never_left() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        await stop(b)
        put_back(b)
        b.router.calls.clear()
        await b.restart()
        await until(lambda: known(b) == {mine.id: State.ACTIVE}, 8.0)
        await settled(a, b)
        assert "remove" not in b.router.calls
        assert b.router.links[mine.circuit].intent.agreement == mine.id
        assert known(a) == {mine.id: State.ACTIVE}
        await until(lambda: b.service._routers.get("r1").strays == ())


async def test_what_is_over_is_taken_off_the_router() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        await stop(b)
        put_back(b)
        await a.client.terminate(mine.id)
        await until(lambda: a.router.links == {})
        assert mine.circuit in b.router.links
        await b.restart()
        await until(lambda: b.router.links == {})
        assert (await a.until(mine.id)).state is State.TERMINATED
        assert known(b) == {}
        audit = b.database.run_now(lambda tx: tx.scalars(text("SELECT entry FROM negotiator_audit")).all())
        assert [json.loads(entry)["what"] for entry in audit] == ["StrayRemoved"]
        again, _ = await connect(a, b)
        assert again.id != mine.id


async def test_while_the_peer_is_away_it_stays_and_its_prefixes_are_nobody_elses() -> None:
    async with pair() as (a, b):
        mine, _ = await connect(a, b)
        (alias,) = [p.alias for p in mine.agreement.initiator.prefixes]
        await settled(a, b)
        await stop(b)
        await stop(a)
        put_back(b)
        b.router.calls.clear()
        await b.restart()
        await until(lambda: b.service._routers.get("r1").strays)
        await asyncio.sleep(1.5)  # it has asked twice
        assert mine.circuit in b.router.links
        assert "remove" not in b.router.calls

        from meetme.negotiator.views import Terms

        side = b.service._side
        facts = b.database.run_now(lambda tx: side.facts(tx, "csp-a", Attachment("r1", "eth2"), Terms()))
        assert alias in facts.usage.held
        await a.restart()
        await until(lambda: known(b) == {mine.id: State.ACTIVE}, 15.0)
        await until(lambda: b.service._routers.get("r1").strays == ())
        facts = b.database.run_now(lambda tx: side.facts(tx, "csp-a", Attachment("r1", "eth2"), Terms()))
        assert alias in facts.usage.held, "now it is the negotiation's own claim"


async def test_a_proposal_of_old_does_not_begin_anew() -> None:
    """Repeated after the responder's database was lost: it would end as refused what is in force."""
    async with pair() as (a, b):
        await connect(a, b)
        await settled(a, b)
        proposals = b.database.run_now(
            lambda tx: tx.scalars(text("SELECT body FROM negotiator_message ORDER BY received")).all()
        )
        propose = next(body for body in proposals if json.loads(body)["type"] == "propose")
        await stop(b)
        await stop(a)
        put_back(b)
        await b.restart()
        await until(lambda: b.service._routers.get("r1").strays)
        answer = json.loads(await b.service._inbox.receive(propose, "csp-a"))
        assert answer["type"] == "refuse"
        assert answer["body"]["problems"][0]["code"] == "negotiation_known"
        assert known(b) == {}


async def test_an_older_backup_is_brought_up_to_date_and_breaks_nothing_that_is_in_force() -> None:
    """After the backup one agreement ended, another took its circuit, and a third one was made."""
    async with pair() as (a, b):
        for side in (a, b):
            for vlan, circuit in enumerate(("c1", "c2", "c3", "c4"), start=1):
                await side.client.put_attachment(circuit, Attachment("r1", "eth1", vlan))
        kept, _ = await connect(a, b, circuit="c1")
        over, _ = await connect(a, b, circuit="c2")
        gone, _ = await connect(a, b, circuit="c4")
        await settled(a, b)
        backup = rows(a)
        for ended in (over, gone):
            await a.client.terminate(ended.id)
            assert (await a.until(ended.id)).state is State.TERMINATED
            assert (await b.until(ended.id)).state is State.TERMINATED
        successor, _ = await connect(a, b, circuit="c2")
        new, _ = await connect(a, b, circuit="c3")
        await settled(a, b)
        in_force = {circuit: link.intent.agreement for circuit, link in a.router.links.items()}
        assert in_force == {"c1": kept.id, "c2": successor.id, "c3": new.id}
        claimed = a.database.run_now(claims)
        await stop(a)
        put_back(a, backup)
        changes: list[dict[str, UUID]] = []

        def watch(_verb: str) -> None:
            changes.append({circuit: link.intent.agreement for circuit, link in a.router.links.items()})

        a.router.fail = watch
        await a.restart()
        wanted = {kept.id: State.ACTIVE, successor.id: State.ACTIVE, new.id: State.ACTIVE}
        await until(lambda: {id: state for id, state in known(a).items() if state not in ENDED} == wanted, 20.0)
        await settled(a, b)
        assert {circuit: link.intent.agreement for circuit, link in a.router.links.items()} == in_force
        assert all(seen.get("c1") == kept.id and seen.get("c3") == new.id for seen in changes), "never taken away"
        assert known(a) == known(b)
        assert a.database.run_now(logbook.verify_audit) is None
        assert a.database.run_now(claims) == claimed
