"""A configurator that lost its database: the links stay, and what is ordered again is taken over untouched."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from meetme.configurator.keeper import Keeper
from meetme.drivers.linux.device import LinuxDriver
from meetme.model.intent import LinkIntent
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.live.pair import Announced, apply, intents
from tests.live.world import ping, why_not, world

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

HERE = [Announced("10.0.0.0/24", "172.16.0.0/24", "viewer")]
THERE = [Announced("10.0.0.0/24", "172.16.1.0/24", "viewer")]


async def start_with_nothing(intent: LinkIntent) -> tuple[frozenset[str], tuple[str, ...], frozenset[str], int]:
    """A keeper with an empty database: what it found, what an order anew took, what is left to find, how many links."""
    keeper = Keeper(LinuxDriver(), Database.open("sqlite://"), SystemClock(), stray_seconds=60)
    await keeper.start()
    keeper.strays.heard()
    found = keeper.strays.circuits
    commands = await keeper.apply(replace(intent, generation=7), confirm_seconds=60)
    await keeper.tend()
    left, links = keeper.strays.circuits, len((await keeper.observe()).links)
    await keeper.stop()
    return found, commands, left, links


def test_the_link_is_taken_over_as_it_is() -> None:
    with world() as w:
        routers = one, two = w.machine("router1", forwards=True), w.machine("router2", forwards=True)
        w.cable(one, "x", two, "x")
        for router in routers:
            w.cable(router, "lan", w.machine(f"host of {router.name}"), "lan")
            router.sh("ip address add 10.0.0.1/24 dev lan")
        here, there = intents(HERE, THERE, probe_a="10.0.0.1", probe_b="10.0.0.1")
        apply(one, here)
        apply(two, there)
        assert ping(one, str(here.peer_probe), own="10.0.0.1")
        before = one.sh("ip -o link; ip route show table all; ls -i /run/netns")
        found, commands, left, links = one.call(lambda: asyncio.run(start_with_nothing(here)))
        assert found == {here.circuit}
        assert commands == (), "nothing is touched, so no packet is lost"
        assert (left, links) == (frozenset(), 1)
        assert one.sh("ip -o link; ip route show table all; ls -i /run/netns") == before
        assert ping(one, str(here.peer_probe), own="10.0.0.1")
