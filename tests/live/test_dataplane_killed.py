"""The driver's process is killed at any moment: the next one completes what was wished, or takes back all of it."""

from __future__ import annotations

import pytest

from meetme.drivers.linux.device import LinuxDriver
from tests.live.killing import killed, persistently
from tests.live.pair import CIRCUIT, Announced, apply, drive, intents, pair, pending, remove, snapshot
from tests.live.world import ping, why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

BOTH = intents(
    [Announced("10.0.0.0/24", "100.64.1.0/24", by="owner")],
    [Announced("10.0.0.0/24", "100.64.2.0/24", by="viewer")],
    probe_a="10.0.0.1",
    probe_b="10.0.0.1",
)
MOMENTS = [0.003 * 1.25**n for n in range(16)]
"""Seconds after the start: closer together where more happens."""


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
