"""Echo requests to one address until the first answer; prints when that was. Runs inside a machine, stdlib alone.

`python first_packet.py ADDRESS SECONDS` prints `ready` once it sends, then the epoch seconds of the first answer. With
`-` as ADDRESS it prints `ready` and begins once a line on stdin says which it is.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress

EVERY = 0.002
"""Seconds between two requests: the resolution of the answer."""
NEVER = "never"
"""Said when nothing came."""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def first_answer(address: str, seconds: float) -> float | None:
    """When the first answer came that carries our nonce; None if there was none within `seconds`."""
    nonce = os.urandom(16)
    head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
    request = head[:2] + struct.pack("!H", checksum(head + nonce)) + head[4:] + nonce
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as speaker:
        speaker.setblocking(False)
        while time.monotonic() < deadline:
            with suppress(OSError):  # no route yet, or an earlier error of this address: that is what we wait out
                speaker.sendto(request, (address, 0))
            wait_until = time.monotonic() + EVERY
            while (left := wait_until - time.monotonic()) > 0:
                if not select.select([speaker], [], [], left)[0]:
                    break
                try:
                    data = speaker.recv(65536)
                except OSError:
                    continue
                message = data[(data[0] & 15) * 4 :]
                if message[:1] == b"\x00" and nonce in message:
                    return time.time()
    return None


if __name__ == "__main__":
    print("ready", flush=True)
    at = first_answer(sys.stdin.readline().strip() if sys.argv[1] == "-" else sys.argv[1], float(sys.argv[2]))
    print(at if at is not None else NEVER, flush=True)
    sys.exit(0 if at is not None else 1)
