"""Into a machine: run one program in the namespaces of a lab's machine, as if at its console.

`enter` does it for the calling process; `python -m meetme.lab.enter ...` does the same for whoever wants a subprocess.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import FrameType
from typing import NoReturn

from meetme.lab.syscalls import Namespace, setns

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, *_FORWARDED)


@dataclass(frozen=True, slots=True)
class Entrance:
    """The way into one machine: the keeper's process id and its descriptors of the machine's namespaces."""

    keeper: int
    mnt: int
    net: int
    uts: int
    own_user: bool
    environment: dict[str, str]

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command that runs `arguments` inside, for a subprocess of the caller's own making."""
        return [sys.executable, "-P", "-m", "meetme.lab.enter", json.dumps(asdict(self)), *arguments]


def enter(entrance: Entrance, arguments: Sequence[str]) -> int:
    """Run `arguments` in the machine with the caller's own standard streams; its exit status, 128 + N for signal N.

    Moves the calling process's own namespaces: nothing else should be done in it afterwards. 127: no such program,
    126: it cannot be run. Raises OSError when the machine is gone.
    """
    _join(entrance)
    child = os.fork()  # a process enters a PID namespace only through a child
    if child == 0:
        _become(arguments, entrance.environment)

    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGQUIT):  # the terminal sends them to the child as well
        signal.signal(number, signal.SIG_IGN)
    for number in _FORWARDED:
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _join(entrance: Entrance) -> None:
    base = f"/proc/{entrance.keeper}"
    wanted = [
        (f"{base}/ns/user", Namespace.USER) if entrance.own_user else None,
        (f"{base}/ns/pid", Namespace.PID),
        (f"{base}/fd/{entrance.net}", Namespace.NET),
        (f"{base}/fd/{entrance.uts}", Namespace.UTS),
        (f"{base}/fd/{entrance.mnt}", Namespace.MOUNT),  # the last: with it the root changes, and with that /proc
    ]
    opened = [(os.open(each[0], os.O_RDONLY), each[1]) for each in wanted if each is not None]
    for descriptor, kind in opened:
        setns(descriptor, kind)
        os.close(descriptor)
    os.chdir("/")


def _become(arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(arguments[0], list(arguments), environment)
    except OSError as wrong:
        print(f"{arguments[0]}: cannot be run ({wrong.strerror})", file=sys.stderr, flush=True)
        os._exit(127 if isinstance(wrong, FileNotFoundError) else 126)


if __name__ == "__main__":
    sys.exit(enter(Entrance(**json.loads(sys.argv[1])), sys.argv[2:]))
