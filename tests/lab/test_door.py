"""The way from the host's loopback into a machine, without a machine: both sides are here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from meetme.lab.door import doors


class Here:
    """In the place of a lab: its machines are this one."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def popen(self, _machine: str, arguments: list[str], **options: Any) -> subprocess.Popen[str]:
        self.started.append(subprocess.Popen(arguments, text=True, **options))
        return self.started[-1]


async def _shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read()).upper())
    await writer.drain()
    writer.close()


async def _ask(where: str, text: bytes) -> bytes:
    host, _, port = where.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_what_comes_to_the_door_goes_on_inside_and_back() -> None:
    here = Here()
    async with await asyncio.start_server(_shout, "127.0.0.1", 0) as inside:
        port = inside.sockets[0].getsockname()[1]
        with doors(here, "any", (port, 1)) as (open_one, closed_one):  # type: ignore[arg-type]
            assert open_one != closed_one
            large = b"x" * 300_000
            answers = await asyncio.wait_for(asyncio.gather(*(_ask(open_one, large) for _ in range(5))), 20)
            assert answers == [large.upper()] * 5
            assert await asyncio.wait_for(_ask(closed_one, b""), 20) == b"", "nobody listens there"
    assert [each.returncode is not None for each in here.started] == [True]


def test_a_port_that_is_taken_is_not_insisted_on() -> None:
    here = Here()
    with doors(here, "any", (1,)) as (taken,):  # type: ignore[arg-type]
        wanted = int(taken.rpartition(":")[2])
        with doors(here, "any", (1,), preferred=wanted) as (other,):  # type: ignore[arg-type]
            assert other != taken


def test_inside_it_needs_nothing_but_the_standard_library() -> None:
    import meetme.lab.door as door

    done = subprocess.run([sys.executable, "-I", "-S", str(Path(door.__file__)), "x:1"], capture_output=True, text=True)
    assert "invalid literal for int" in done.stderr, "it came as far as to read what it was given"
