"""Numbered packets that flow while other things happen: which of them were lost is known at the end."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

from meetme.lab.agent.voices import Target

EVERY = 0.01
"""Seconds between two packets."""


class Stream:
    """Datagrams, each a nonce and its number, that the other end echoes. They flow from the beginning to `end`."""

    def __init__(self, target: Target, nonce: bytes) -> None:
        self._nonce = nonce
        self._socket = target.open(socket.SOCK_DGRAM)
        self._socket.connect((target.address, target.port))
        self._socket.settimeout(EVERY)
        self._heard: set[int] = set()
        self._first, self._enough, self._over = threading.Event(), threading.Event(), threading.Event()
        self.sent = 0
        self.trouble = ""
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    @property
    def answered(self) -> int:
        """How many came back so far."""
        return len(self._heard)

    def await_first(self, within: float) -> None:
        """Wait for the first echo, for at most so many seconds."""
        self._first.wait(within)

    def end(self, within: float) -> list[int]:
        """Stop sending, wait at most so many seconds for what is on its way; the numbers that never came back."""
        self._enough.set()
        self._threads[0].join()
        deadline = time.monotonic() + within
        while len(self._heard) < self.sent and time.monotonic() < deadline:
            time.sleep(EVERY)
        self._over.set()
        self._threads[1].join()
        self._socket.close()
        return [number for number in range(self.sent) if number not in self._heard]

    def _send(self) -> None:
        while not self._enough.wait(EVERY):
            number, self.sent = self.sent, self.sent + 1  # counted first: the echo may be quicker than this thread
            try:
                self._socket.send(self._nonce + struct.pack("!Q", number))
            except OSError as wrong:  # also what an ICMP error said of an earlier one; this one is lost, and counts
                self.trouble = str(wrong)

    def _hear(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                data = self._socket.recv(2048)
                if data[: len(self._nonce)] == self._nonce:
                    self._heard.add(struct.unpack("!Q", data[len(self._nonce) :])[0])
                    self._first.set()
