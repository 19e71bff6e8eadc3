"""Looks at everything that passes a machine, on every port and in every network namespace, for packets with a nonce."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from meetme.lab.agent.wire import namespaces, packet_socket

_SOL_PACKET, _STATISTICS = 263, 6
_ROOM = 8 << 20  # octets: what may wait until it is looked at


class Taps:
    """One socket a namespace, from the beginning to `end`. Raises OSError."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self._sockets = [packet_socket(namespace, None) for namespace in (None, *namespaces())]
        for tap in self._sockets:
            tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            tap.setblocking(False)

    def end(self) -> tuple[int, int]:
        """How many packets carried the nonce, and how many went by unlooked at."""
        seen = lost = 0
        for tap in self._sockets:
            _, dropped = struct.unpack("=II", tap.getsockopt(_SOL_PACKET, _STATISTICS, 8))
            lost += dropped
            with suppress(BlockingIOError), tap:
                while True:
                    seen += self._nonce in tap.recv(65536)
        return seen, lost
