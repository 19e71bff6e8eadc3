"""What a negotiation still has to do, told to whoever asks why it hangs."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from meetme.cli.main import run
from meetme.model.errors import DeviceFailed
from meetme.negotiator.machine import still_due
from meetme.negotiator.states import State
from meetme.negotiator.views import Due, StartRequest
from meetme.runtime.ledger import Debt

from .pair import TOKEN, pair, refusing


async def test_a_removal_that_is_refused_and_a_peer_that_is_away_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with pair() as (a, b):
        started = await a.client.start(StartRequest("csp-b"))
        mine = await a.until(started.id, State.ACTIVE)
        await b.until(mine.id, State.ACTIVE)
        await b.service.close()
        a.router.fail = refusing(DeviceFailed("nft_failed", "nft: device is busy"), "remove")
        await a.client.terminate(mine.id)
        async with asyncio.timeout(10):
            while True:
                owed = {due.what: due for due in (await a.client.negotiation(mine.id)).owed}
                if len(owed) == 2 and all(due.attempts for due in owed.values()):
                    break
                await asyncio.sleep(0.02)
        assert owed["router remove"].note == "nft_failed: nft: device is busy"
        assert owed["send terminate"].note.startswith("peer_unreachable: ")
        assert all(0 <= due.due_in <= 30 for due in owed.values())

        show = ["show", str(mine.id), "--url", a.service.local_url, "--token", TOKEN]
        assert await asyncio.to_thread(run, show) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "router remove" in said
        assert "send terminate" in said
        assert "device is busy" in said

        a.router.fail = lambda _verb: None
        await b.restart(crash=False)
        ended = await a.until(mine.id)
        assert ended.state is State.TERMINATED
        assert (await a.client.negotiation(mine.id)).owed == ()


def test_timers_are_not_told_and_what_is_under_way_is_now() -> None:
    debts = [
        Debt("timer:Deadline", "wake", '{"event": "Deadline"}', 10.0, None, 0, ""),
        Debt("probe", "probe", '{"within": 2.0}', 130.0, "somebody", 0, ""),
        Debt("send", "send", f'{{"type": "confirm", "message": "{UUID(int=1)}"}}', 99.0, None, 3, "x: y"),
        Debt("device", "program", '{"verb": "apply", "generation": 1, "confirm_seconds": null}', 105.0, None, 1, ""),
    ]
    assert still_due(debts, 100.0) == (
        Due("probe", 0, "", 0.0),
        Due("send confirm", 3, "x: y", 0.0),
        Due("router apply", 1, "", 5.0),
    )
