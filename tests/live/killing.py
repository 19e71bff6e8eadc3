"""Work on a device that is killed in the middle, and what comes after it."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable

from meetme.model.errors import MeetMeError
from tests.live.world import Machine

_SET_CHILD_SUBREAPER = 36
_ENTERING_SECONDS = 0.03
"""About what it takes to get into a machine."""


def killed(machine: Machine, work: Callable[[Machine], object], after: float) -> None:
    """Do `work` in a process that dies, with all it has started, `after` seconds into it. Then nothing of it is left:
    who is killed inside the kernel ends what the kernel is at, and that may take longer than the next one's beginning.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # its children become ours when it dies
    try:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            work(machine)
            os._exit(0)
        os.setpgid(child, child)  # here too: whoever of the two comes first
        time.sleep(after + _ENTERING_SECONDS)
        os.killpg(child, signal.SIGKILL)
        try:
            while True:
                os.waitpid(-child, 0)
        except ChildProcessError:
            return
    finally:
        libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def persistently(work: Callable[[], object]) -> None:
    """As the configurator does it: again, after a failure."""
    for _ in range(4):
        try:
            work()
            return
        except MeetMeError:
            time.sleep(0.05)
    work()
