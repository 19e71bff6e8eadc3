"""The driver's process is killed at any moment: the next one completes what was wished, or takes back all of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from meetme.drivers.linux.device import LinuxDriver
from meetme.model.errors import MeetMeError
from tests.live.pair import CIRCUIT, Announced, apply, drive, intents, pair, pending, remove, snapshot
from tests.live.world import Machine, ping, why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

BOTH = intents(
    [Announced("10.0.0.0/24", "100.64.1.0/24", by="owner")],
    [Announced("10.0.0.0/24", "100.64.2.0/24", by="viewer")],
    probe_a="10.0.0.1",
    probe_b="10.0.0.1",
)
MOMENTS = [0.003 * 1.25**n for n in range(16)]
"""Seconds after the start: closer together where more happens."""


def killed(router: Machine, work: Callable[[Machine], object], after: float) -> None:
    """Do `work` in a process that dies, with all it has started, `after` seconds into it."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        work(router)
        os._exit(0)
    os.setpgid(child, child)  # here too: whoever of the two comes first
    time.sleep(after + 0.03)  # about what it takes to get into the router
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def persistently(work: Callable[[], object]) -> None:
    """As the configurator does it: again, after a failure."""
    for _ in range(4):
        try:
            work()
            return
        except MeetMeError:
            time.sleep(0.05)
    work()


@pytest.mark.slow
def test_killed_while_applying_then_removed() -> None:
    with pair() as made:
        before = snapshot(made.router_a)
        for after in MOMENTS:
            killed(made.router_a, lambda router: apply(router, BOTH[0]), after)
            persistently(lambda: remove(made.router_a))
            assert snapshot(made.router_a) == before, after


def test_killed_while_applying_then_applied_killed_while_removing_then_removed() -> None:
    with pair() as made:
        apply(made.router_b, BOTH[1])
        before = snapshot(made.router_a)
        for after in MOMENTS:
            killed(made.router_a, lambda router: apply(router, BOTH[0]), after)
            persistently(lambda: apply(made.router_a, BOTH[0]))
            assert pending(made.router_a, BOTH[0]) == ()
            assert ping(made.host_a, "100.64.2.2"), after
            killed(made.router_a, remove, after)
            persistently(lambda: remove(made.router_a))
            assert snapshot(made.router_a) == before, after
        assert drive(made.router_a, LinuxDriver.circuits) == frozenset()
        assert CIRCUIT not in made.router_a.sh("ip link")
