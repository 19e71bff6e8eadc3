"""`scan.py ADDRESS[%INTERFACE] [PORT...]`: knocks at every TCP port.

It is well if exactly these are open and every other one says no.
"""

from __future__ import annotations

import errno
import selectors
import socket
import sys
import time

AT_ONCE = 500
SECONDS = 3.0
"""So long may an answer take: a port that says nothing at all has not been proven closed."""


def main() -> int:
    """Scan, tell, judge."""
    where, expected = sys.argv[1], {int(port) for port in sys.argv[2:]}
    family, _, _, _, address = socket.getaddrinfo(where, 0, type=socket.SOCK_STREAM)[0]
    answers: dict[int, int | None] = {}
    waiting = selectors.DefaultSelector()
    since: dict[int, tuple[socket.socket, float]] = {}
    ports = iter(range(1, 65536))
    left = True
    while left or since:
        while left and len(since) < AT_ONCE:
            port = next(ports, 0)
            left = port != 0
            if not left:
                break
            knock = socket.socket(family, socket.SOCK_STREAM)
            knock.setblocking(False)
            error = knock.connect_ex((address[0], port, *address[2:]))
            if error == errno.EINPROGRESS:
                waiting.register(knock, selectors.EVENT_WRITE, port)
                since[port] = knock, time.monotonic()
            else:
                answers[port] = error
                knock.close()
        for key, _ in waiting.select(0.1):
            knock, _ = since.pop(key.data)
            answers[key.data] = knock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            waiting.unregister(knock)
            knock.close()
        for port, (knock, started) in list(since.items()):
            if time.monotonic() - started > SECONDS:
                answers[port] = None
                waiting.unregister(knock)
                knock.close()
                del since[port]
    found = {port for port, error in answers.items() if error == 0}
    silent = {port for port, error in answers.items() if error not in (0, errno.ECONNREFUSED)}
    print(f"{where}: {len(answers)} ports asked, open: {sorted(found) or 'none'}, no answer: {len(silent)}")
    return 0 if len(answers) == 65535 and found == expected and not silent else 1


if __name__ == "__main__":
    sys.exit(main())
