"""What the catalog says is wrong with it, and its audit log: as routes, and as people see them."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meetme.catalog import member_looks, store
from meetme.catalog.fake import FakeWorld
from meetme.catalog.settings import OwnPort
from meetme.catalog.words import State
from meetme.cli.main import run
from meetme.model.agreement import MemberId
from meetme.model.errors import Unreachable
from meetme.runtime.diagnosis import Finding
from tests.catalog.test_service import TOKEN, Side, servers


async def findings(side: Side) -> dict[str, Finding]:
    return {each.what: each for each in (await side.client.diagnosis()).findings}


async def test_a_catalog_tells_how_it_does_and_what_was_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.catalog.diagnosis.STUCK_SECONDS", -1.0)

    async def meetme(side: Side, *arguments: str) -> tuple[int, Any]:
        given = ["--service", "catalog", "--url", side.service.local_url, "--token", TOKEN, "--format", "json"]
        capsys.readouterr()
        status = await asyncio.to_thread(run, [*arguments, *given])
        out = capsys.readouterr().out  # the log of the services is there too
        document = re.search(r"^[\[{]$", out, re.MULTILINE)
        assert document is not None, out
        return status, json.JSONDecoder().raw_decode(out, document.start())[0]

    world = FakeWorld()
    async with servers(tmp_path, world) as (a, b):
        good = await findings(a)
        assert {"own certificate", "database", "durable loop", "peer csp-b", "exchange"} <= set(good)
        assert {what for what, each in good.items() if not each.ok} == set()
        bought = await a.client.place("csp-b/backup")
        await a.until(bought.id, State.ACTIVE)
        await b.until(bought.id, State.ACTIVE)
        waiting = await a.client.place("csp-b/page")
        await a.until(waiting.id, State.APPROVING)
        told = (await findings(b))[f"order {waiting.id}"]
        assert (told.ok, told.needed, "of csp-a waits for a decision" in told.detail) == (False, False, True)
        assert f"meetme order approve {waiting.id}" in told.hint
        assert f"order {waiting.id}" not in await findings(a), "the buyer has nothing to decide"
        # What is looked at for ever is not tried in vain.
        a.database.run_now(
            lambda tx: tx.exec_driver_sql("UPDATE runtime_effect SET attempts = 50 WHERE kind = 'watch'")
        )
        assert not [what for what in await findings(a) if what.startswith("owed by")]

        code, orders = await meetme(a, "status")
        assert (code, {order["state"] for order in orders}) == (0, {"active", "approving"})
        code, entries = await meetme(a, "audit", "list", "--order", str(bought.id))
        assert (code, entries[0]["after"], entries[-1]["after"]) == (0, "placed", "active")
        code, report = await meetme(a, "audit", "verify")
        assert (code, report["ok"]) == (0, True)
        code, report = await meetme(b, "doctor", "--only", "member")
        assert (code, report["ok"]) == (0, True)

        def later(tx: Any) -> None:
            kept = store.listing(tx, "csp-b")
            assert kept is not None
            store.forget_listing(tx, "csp-b")
            store.keep_listing(tx, replace(kept, heard=kept.heard - 9000, expires=kept.heard - 7200))
            n = store.load(tx, waiting.id)
            assert n is not None
            store.save(tx, replace(n, state=State.COMPOSING, deadline=n.began), new=False)

        await b.service.close()
        world.away.add(MemberId("csp-a"))
        a.database.run_now(later)
        bad = await findings(a)
        assert {what for what, each in bad.items() if not each.ok and each.needed} == {
            "peer csp-b", "exchange", f"order {waiting.id}",
        }  # fmt: skip
        assert "have expired" in bad["offers of csp-b"].detail
        assert all(each.hint for each in bad.values() if not each.ok)
        a.database.run_now(lambda tx: tx.exec_driver_sql("UPDATE catalog_audit SET entry = '{}' WHERE sequence = 2"))
        code, report = await meetme(a, "audit", "verify")
        assert (code, report["first_broken"]) == (1, 2)


class Composers:
    """The way to composers: that of `ixp-1` answers, and has one port of ours."""

    async def get(self, member: str, service: str, path: str) -> Any:
        assert (service, path) == ("composer", "/api/v1/topology")
        if member != "ixp-1":
            raise Unreachable("peer_unreachable", f"{member}: does not answer", hint="is it up?")
        return SimpleNamespace(document={
            "member": "ixp-1", "links": [], "problems": [], "neighbours": [], "stale": [],
        })  # fmt: skip


class NoNegotiator:
    """The way to a negotiator that is not there."""

    async def attachments(self) -> None:
        raise Unreachable("negotiator_unreachable", "negotiator: does not answer")


def port(exchange: str, name: str) -> OwnPort:
    return OwnPort(exchange=MemberId(exchange), port=name, lands="r1/eth1")


async def test_own_ports_are_looked_for_at_their_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SimpleNamespace(exchanges=[SimpleNamespace(member="ixp-1", points=[SimpleNamespace(port="p1")])])
    monkeypatch.setattr(member_looks.topology_views, "read_view", lambda _document: seen)
    ports = [port("ixp-1", "p1"), port("ixp-1", "p9"), port("ixp-2", "p1")]
    client: Any = Composers()
    found = {each.what: each for each in await member_looks.look(ports, client, None)}
    assert {what for what, each in found.items() if each.ok} == {"composer of ixp-1", "port ixp-1 p1"}
    assert (found["composer of ixp-2"].detail, found["composer of ixp-2"].hint) == (
        "ixp-2: does not answer",
        "is it up?",
    )
    assert "port ixp-2 p1" not in found, "nothing is known of it"
    assert (found["port ixp-1 p9"].needed, found["negotiator"].needed) == (True, False)
    assert all(each.hint for each in found.values() if not each.ok)

    negotiator: Any = NoNegotiator()
    (told,) = await member_looks.look([], client, negotiator)
    assert (told.ok, told.needed, told.hint) == (False, True, "start it: meetme serve negotiator")
