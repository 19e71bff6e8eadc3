"""A way from the host's loopback into a machine: sockets that listen outside, connections that go on inside.

The host's side opens them before the namespaces are entered and hands them in, so that no privilege is needed and no
port of the host is open to anybody else. `python door.py DESCRIPTOR:PORT...` is the inner side, stdlib alone.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meetme.lab.host import Lab

LOOPBACK = "127.0.0.1"
CHUNK = 65536


@contextmanager
def doors(lab: Lab, machine: str, ports: Sequence[int], *, preferred: int = 0) -> Iterator[list[str]]:
    """Open one to each of `ports` on the loopback of `machine`; gives `HOST:PORT` of each on the host's own.

    `preferred`: which port of the host to take for the first one, if it is free. Closed at the end.
    """
    with ExitStack() as held:
        outside = [held.enter_context(_listening(0 if number else preferred)) for number in range(len(ports))]
        said = [f"{each.fileno()}:{port}" for each, port in zip(outside, ports, strict=True)]
        descriptors = tuple(each.fileno() for each in outside)
        inner = lab.popen(machine, [sys.executable, "-I", "-S", __file__, *said], pass_fds=descriptors)
        try:
            yield [f"{LOOPBACK}:{each.getsockname()[1]}" for each in outside]
        finally:
            inner.terminate()
            inner.wait()


def _listening(preferred: int) -> socket.socket:
    for port in dict.fromkeys((preferred, 0)):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            listener.close()
            continue
        listener.listen(128)
        return listener
    raise OSError("no port of the loopback is free")


# --- inside -----------------------------------------------------------------------------------------------------------


async def serve(pairs: Sequence[tuple[socket.socket, int]]) -> None:
    """Pass on what comes to each listener, until ended."""
    servers = [await asyncio.start_server(_to(port), sock=listener) for listener, port in pairs]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _to(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        there_writer.close()
        writer.close()

    return pass_on


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, to its end; the other one may go on."""
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.write_eof()


def _given(text: str) -> tuple[socket.socket, int]:
    descriptor, _, port = text.partition(":")
    return socket.socket(fileno=int(descriptor)), int(port)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve([_given(each) for each in sys.argv[1:]]))
