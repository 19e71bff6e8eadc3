"""Numbered packets at a steady pace between two machines, so that a single lost one is seen."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.live.world import Machine

PACE_SECONDS = 0.005


@dataclass
class Stream:
    """One direction: what was sent, what arrived."""

    sender: socket.socket
    receiver: socket.socket
    to: str
    sent: int = 0
    got: set[int] = field(default_factory=set)

    def lost(self) -> list[int]:
        """Every number that has not arrived."""
        return sorted(set(range(self.sent)) - self.got)


def one_way(source: Machine, target: Machine, *, to: str, at: str, port: int) -> Stream:
    """From `source` to the address `to`, which `target` has as `at`."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    receiver = target.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    receiver.settimeout(0.2)
    receiver.bind((at, port))
    return Stream(source.socket(family, socket.SOCK_DGRAM), receiver, to)


@contextlib.contextmanager
def flowing(*streams: Stream) -> Iterator[None]:
    """Send on all of them, a packet every 5 ms each, until the end of the block; then wait for what is on its way."""
    over = threading.Event()

    def send(stream: Stream) -> None:
        port = stream.receiver.getsockname()[1]
        while not over.is_set():
            with contextlib.suppress(OSError):  # unreachable: lost, and counted
                stream.sender.sendto(str(stream.sent).encode(), (stream.to, port))
            stream.sent += 1
            time.sleep(PACE_SECONDS)

    def receive(stream: Stream) -> None:
        while True:
            try:
                stream.got.add(int(stream.receiver.recv(100)))
            except TimeoutError:
                if over.is_set():
                    return

    threads = [threading.Thread(target=work, args=(stream,)) for stream in streams for work in (send, receive)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for stream in streams:
            stream.sender.close()
            stream.receiver.close()
