"""Who watches an order while the own catalog server is restarted: sees it through, or is told how to look again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from meetme.catalog.client import CatalogClient
from meetme.catalog.words import State
from meetme.model.agreement import MemberId
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.identity import create_identity, save_identity
from meetme.runtime.roster import write_roster
from meetme.runtime.tokens import create_token_file
from tests.composer.serving import Process, free_port

PAGE = """
[[offer]]
name = "page"
title = "A page"
category = "web"
connectivity = "none"
approval = true
instructions = "https://b.example"
"""


@asynccontextmanager
async def catalogs(tmp_path: Path) -> AsyncIterator[dict[str, tuple[Process, CatalogClient]]]:
    """csp-a, who buys, and csp-b, who offers a page to whom it likes; each a process."""
    names = ("csp-a", "csp-b")
    identities = {name: create_identity(name) for name in names}
    peers = {name: free_port() for name in names}
    roster = Roster(
        tuple(
            Member(
                MemberId(name), MemberKind.CSP, (each.pin,), (each.certificate,),
                urls=ServiceUrls(catalog=f"https://127.0.0.1:{peers[name]}"),
            )
            for name, each in identities.items()
        )
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        found = {}
        for name, identity in identities.items():
            folder, local = tmp_path / name, free_port()
            folder.mkdir()
            save_identity(identity, key=folder / "key.pem", certificate=folder / "certificate.pem")
            token = create_token_file(folder / "token")
            write_roster(folder / "roster.toml", roster)
            (folder / "offers.toml").write_text(PAGE if name == "csp-b" else "")
            (folder / "meetme.toml").write_text(
                f'[catalog]\ndatabase = "sqlite:///{folder}/catalog.db"\noffers = "{folder}/offers.toml"\n'
                f"interval = 0.2\n"
                f'listen = "127.0.0.1:{local}"\nlisten_peers = "127.0.0.1:{peers[name]}"\n'
            )
            process = Process(folder, ("catalog",), local)
            stack.push_async_callback(process.kill)
            client = CatalogClient(f"http://127.0.0.1:{local}", token)
            stack.push_async_callback(client.close)
            found[name] = (process, client)
        await asyncio.gather(*(process.start() for process, _ in found.values()))
        async with asyncio.timeout(30):
            while not (await found["csp-a"][1].search())[1]:  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.05)
        yield found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
async def test_an_order_is_watched_across_a_restart(tmp_path: Path, sent: signal.Signals) -> None:
    async with catalogs(tmp_path) as found:
        (mine, buyer), (_, seller) = found["csp-a"], found["csp-b"]
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
