"""What the composer says is wrong with it, and its audit log: as routes, and as people see them."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from meetme.cli.main import run
from meetme.composer import store
from meetme.composer.words import State
from meetme.model.errors import Unreachable
from meetme.runtime.diagnosis import Finding

from .federation import TOKEN, Ixp, chain, federation, order


async def findings(ixp: Ixp) -> dict[str, Finding]:
    return {each.what: each for each in (await ixp.client.diagnosis()).findings}


async def test_a_composer_tells_how_it_does_and_what_was_decided(capsys: pytest.CaptureFixture[str]) -> None:
    async def meetme(ixp: Ixp, *arguments: str) -> tuple[int, Any]:
        given = ["--service", "composer", "--url", ixp.service.local_url, "--token", TOKEN, "--format", "json"]
        capsys.readouterr()
        status = await asyncio.to_thread(run, [*arguments, *given])
        out = capsys.readouterr().out  # the log of the services is there too
        document = re.search(r"^[\[{]$", out, re.MULTILINE)
        assert document is not None, out
        return status, json.JSONDecoder().raw_decode(out, document.start())[0]

    async with federation(chain("ixp-1", "ixp-2")) as fed:
        here = fed["ixp-1"]
        assert (await here.client.diagnosis()).ok
        good = await findings(here)
        assert {what for what, each in good.items() if not each.ok} == set()
        wanted = {"own certificate", "database", "durable loop", "exchange", "peer ixp-2", "advertisement of ixp-2"}
        assert wanted <= set(good)
        assert "peer csp-a" not in good, "members have no composer"

        started = await here.client.create(order("csp-a/a1", "csp-b/b1"))
        await here.until(started.id, State.ACTIVE)
        code, entries = await meetme(here, "audit", "list", "--circuit", str(started.id))
        assert code == 0
        assert [entry["after"] for entry in entries] == ["held", "committed", "active"]
        code, verified = await meetme(here, "audit", "verify")
        assert (code, verified["ok"], verified["first_broken"]) == (0, True, None)
        code, told = await meetme(here, "doctor", "--only", "member")
        assert (code, told["ok"]) == (0, True)
        assert "exchange" in {each["what"] for each in told["findings"]}

        exchange = here.exchange
        exchange.fail(Unreachable("exchange_unreachable", "exchange: does not answer", hint="start it"))
        bad = (await findings(here))["exchange"]
        assert (bad.ok, bad.needed, bad.detail, bad.hint) == (False, True, "exchange: does not answer", "start it")

        def age(tx: Any) -> None:
            c = store.load(tx, started.id)
            assert c is not None
            old = replace(c, state=State.HELD, turn=c.began - 4000, began=c.began - 9000)
            store.save(tx, old, new=False)

        here.database.run_now(age)
        stuck = (await findings(here))[f"circuit {started.id}"]
        assert (stuck.ok, stuck.needed, stuck.detail) == (False, True, "is held since 67 minutes")
        here.database.run_now(
            lambda tx: tx.exec_driver_sql("UPDATE composer_audit SET entry = '{}' WHERE sequence = 2")
        )
        code, verified = await meetme(here, "audit", "verify")
        assert (code, verified["ok"], verified["first_broken"]) == (1, False, 2)


async def test_a_neighbour_that_is_away_is_named() -> None:
    async with federation(chain("ixp-1", "ixp-2")) as fed:
        await fed["ixp-2"].service.close()
        told = await fed["ixp-1"].client.diagnosis()
        assert not told.ok
        assert {each.what for each in told.findings if not each.ok} == {"peer ixp-2"}
