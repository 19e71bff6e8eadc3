"""Any interleaving of troubles, lives and orders ends in exactly one service with two ends, or in none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meetme.ixapi.orders import SegmentOrder, SegmentState
from meetme.model.errors import MeetMeError, Unauthenticated, Unreachable
from tests.ixapi.misbehaving import GONE, Killed, Manners, Trouble
from tests.ixapi.ordering_at import Bench, order

TROUBLES = strategies.lists(
    strategies.one_of(strategies.none(), strategies.none(), strategies.none(), strategies.sampled_from(Trouble)),
    max_size=40,
)
MANNERS = strategies.builds(
    Manners,
    looks=strategies.integers(0, 4),
    vlan_other=strategies.booleans(),
    vlan_deaf=strategies.booleans(),
    smaller=strategies.sampled_from([None, None, 50]),
    smaller_deaf=strategies.booleans(),
    wants_number=strategies.booleans(),
    loses=strategies.integers(0, 2),
    loses_services=strategies.integers(0, 1),
    half_delete=strategies.booleans(),
    configs_first=strategies.booleans(),
    deaf=strategies.booleans(),
    fails=strategies.sampled_from([False, False, False, True]),
    stuck=strategies.sampled_from([None, None, None, "operator", "polishing"]),
    page=strategies.sampled_from([None, None, 1, 3]),
    ignores_filters=strategies.booleans(),
    strange=strategies.booleans(),
    token_seconds=strategies.sampled_from([0.5, 3600.0]),
)
ORDERS = {"c1": order("c1"), "c2#1": order("c2#1", a=11, b=101, bandwidth=300)}


class Life(RuleBasedStateMachine):
    """One exchange, and clients that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.wanted: dict[str, bool | None] = dict.fromkeys(ORDERS, False)
        """Whether a segment is known to be there; None: the last attempt did not come to its end."""

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.heal_and_remove_everything()
        self.loop.close()

    @initialize(manners=MANNERS)
    def begin(self, manners: Manners) -> None:
        self.bench = Bench(manners, build=20.0, remove=20.0, person=8.0, settle=3.0)
        self.client = self.bench.client

    @rule(reference=strategies.sampled_from(sorted(ORDERS)), troubles=TROUBLES)
    def build(self, reference: str, troubles: list[Trouble | None]) -> None:
        self.bench.trouble(*troubles)
        order = ORDERS[reference]
        try:
            built = self.run(self.client.build(order))
        except Killed:
            self.wanted[reference] = None
            self.client = self.bench.new_client()
        except (Unreachable, Unauthenticated):
            self.wanted[reference] = None  # an exchange that does not know us has not said what it has of ours
        except MeetMeError as error:
            self.wanted[reference] = None if "not cancelled yet" in error.hint else False
        else:
            assert (built.b_vlan, built.bandwidth) == (order.b.vlan, order.bandwidth)
            assert order.a.vlan in (built.a_vlan, None)
            self.wanted[reference] = True

    @rule(reference=strategies.sampled_from(sorted(ORDERS)), troubles=TROUBLES)
    def remove(self, reference: str, troubles: list[Trouble | None]) -> None:
        self.bench.trouble(*troubles)
        try:
            self.run(self.client.remove(reference))
            self.wanted[reference] = False
        except Killed:
            self.wanted[reference] = None
            self.client = self.bench.new_client()
        except MeetMeError:
            self.wanted[reference] = None

    @rule()
    def die(self) -> None:
        self.client = self.bench.new_client()

    @invariant()
    def what_is_said_is_true(self) -> None:
        for reference, wanted in self.wanted.items():
            if wanted is not None:
                self.bench.trouble()
                self.bench.exchange.finish()
                self.whole(ORDERS[reference]) if wanted else self.none(reference)

    def heal_and_remove_everything(self) -> None:
        self.bench.trouble()
        manners = self.bench.exchange.manners
        self.bench.exchange.finish()
        manners.fails, manners.stuck, manners.vlan_other, manners.smaller = False, None, False, None
        manners.loses = manners.loses_services = 0
        for thing in self.bench.exchange.things.values():
            if thing.facts["state"] not in GONE and "decommission_requested" not in thing.course:
                thing.course = ["production"]
        client = self.bench.new_client()
        self.run(client.build(ORDERS["c1"]))
        assert self.run(client.look("c1")).state is SegmentState.READY
        self.bench.exchange.finish()
        self.whole(ORDERS["c1"])
        for reference in ORDERS:
            self.run(client.remove(reference))
        self.bench.exchange.finish()
        assert [t.facts for t in self.bench.exchange.things.values() if t.facts["state"] not in GONE] == []

    def whole(self, order: SegmentOrder) -> None:
        services = [s for s in self.bench.exchange.live("ns") if s["external_ref"] == order.reference]
        assert len(services) == 1, services
        ends = [c for c in self.bench.exchange.live("nsc") if c["external_ref"].startswith(f"{order.reference}/")]
        assert len(ends) == 2, ends
        assert {end["network_service"] for end in ends} == {services[0]["id"]}
        b = next(end for end in ends if end["external_ref"].endswith("/b"))
        assert b["vlan_config"]["vlan"] == order.b.vlan
        assert min(end["capacity"] for end in ends) >= order.bandwidth

    def none(self, reference: str) -> None:
        found = [each for each in self.bench.exchange.live() if str(each["external_ref"]).startswith(reference)]
        assert found == []

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)


class Longer(Life):
    """The same, for as long as it takes to meet what is rare."""


Life.TestCase.settings = settings(
    max_examples=8, stateful_step_count=5, deadline=None, suppress_health_check=list(HealthCheck)
)
Longer.TestCase.settings = settings(Life.TestCase.settings, max_examples=400, stateful_step_count=8)
TestLife = Life.TestCase
TestLongerLife = pytest.mark.slow(pytest.mark.timeout(900)(Longer.TestCase))
