"""What a verb begins is begun once, also where the answer to it is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from meetme.runtime import api_client
from meetme.runtime.api_client import Patience
from tests.cli.test_order import nothing_is_long_on_its_way, people

__all__ = ["nothing_is_long_on_its_way"]


@asynccontextmanager
async def way_to(url: str, *, losing: int) -> AsyncIterator[str]:
    """A way to a server that carries everything there, and loses so many answers to requests that begin something."""
    to = urlsplit(url)
    left = losing

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(to.hostname, to.port)
        lost = False

        async def ask() -> None:
            nonlocal left, lost
            while data := await reader.read(65536):
                if data.startswith(b"POST ") and left:
                    left, lost = left - 1, True
                back.write(data)

        async def answer() -> None:
            while (data := await there.read(65536)) and not lost:
                writer.write(data)

        both = [asyncio.ensure_future(ask()), asyncio.ensure_future(answer())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            for end in (writer, back):
                end.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "AGAIN_SECONDS", 0.05)


async def test_an_order_whose_answer_was_lost_is_there_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with people(tmp_path, capsys) as meetme, way_to(meetme.a.service.local_url, losing=2) as url:
        meetme.over = url
        _, err = await meetme("order", "csp-b/page", "--no-wait")
        assert err.count("the catalog does not answer; waiting for it") == 1
        assert "the catalog answers again" in err
        meetme.over = None
        assert len(await meetme.json("orders", "--all")) == 1


async def test_where_nobody_knows_it_is_said_how_to_find_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.cli.watching.PATIENCE", Patience(0.3))
    async with people(tmp_path, capsys) as meetme, way_to(meetme.a.service.local_url, losing=1000) as url:
        meetme.over = url
        _, err = await meetme("order", "csp-b/page", "--no-wait", "--key", "mine", status=4)
        assert "whether the order was begun is not known: meetme orders tells" in err
        assert "the same with --key mine makes no second one" in err
        meetme.over = None
        _, err = await meetme("order", "csp-b/page", "--no-wait", "--key", "mine")
        assert "does not answer" not in err
        assert len(await meetme.json("orders", "--all")) == 1
