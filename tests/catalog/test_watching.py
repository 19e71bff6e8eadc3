"""Who watches an order while the own catalog server is restarted: sees it through, or is told how to look again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from meetme.catalog.words import State
from tests.catalog.pages import catalogs


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
async def test_an_order_is_watched_across_a_restart(tmp_path: Path, sent: signal.Signals) -> None:
    async with catalogs(tmp_path, approval=True) as found:
        (buying,), (selling,) = found["csp-a"], found["csp-b"]
        mine, buyer, seller = buying.process, buying.client, selling.client
        meetme = Path(sys.executable).with_name("meetme")
        watching = await asyncio.create_subprocess_exec(
            meetme, "order", "csp-b/page", "--url", f"http://127.0.0.1:{mine.port}",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "MEETME_DIR": str(mine.folder), "NO_COLOR": "1"},
        )  # fmt: skip
        assert watching.stderr is not None
        said: list[str] = []

        async def until(words: str) -> None:
            async with asyncio.timeout(60):
                while not said or words not in said[-1]:
                    line = (await watching.stderr.readline()).decode()  # type: ignore[union-attr]
                    assert line, said
                    said.append(line)

        await until("a person at csp-b decides")
        assert mine.process is not None
        mine.process.send_signal(sent)
        await mine.process.wait()
        await until("the catalog does not answer")
        assert watching.returncode is None
        (waiting,) = await seller.orders()
        await seller.approve(waiting.id)
        await mine.start()
        out, err = await asyncio.wait_for(watching.communicate(), 60)
        assert watching.returncode == 0, (said, out, err)
        assert "the catalog answers again" in err.decode()
        assert b"https://b.example" in out
        assert ((await buyer.order(waiting.id)).state, len(await buyer.orders())) == (State.ACTIVE, 1)
