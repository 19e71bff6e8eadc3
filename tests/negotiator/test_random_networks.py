"""Random networks agree by the rules; where every packet then goes is followed by a model that knows no rules."""

from __future__ import annotations

from itertools import combinations
from random import Random
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from meetme.model.addresses import Prefix
from meetme.model.agreement import Agreement, Role, Translation
from meetme.negotiator.states import State
from tests.networks import oracle
from tests.networks.generator import network
from tests.networks.members import Talks, at_once, one_by_one, start
from tests.networks.oracle import Roads, Span, Uses, span
from tests.networks.plan import Circuit, Network, Site

# A seed is not made simpler by making it smaller: no shrinking, and a failure is replayed by its seed.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
THOROUGH = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=PHASES)
SEEDS = st.integers(0, 1 << 32)
NETWORKS = SEEDS.map(lambda seed: network(Random(seed)))
ORDERS = SEEDS.map(Random)


def agreements(talks: Talks) -> dict[UUID, Agreement]:
    """What is active, by id."""
    found = {}
    for id, circuit in talks.active().items():
        agreement = talks.members[circuit.starter].known[id].agreement
        assert agreement is not None
        found[id] = agreement
    return found


def roads(talks: Talks) -> Roads:
    return Roads(
        talks.network,
        {(name, circuit): intent for name, m in talks.members.items() for circuit, intent in m.device.items()},
    )


# --- packets ----------------------------------------------------------------------------------------------------------


def check_packets(talks: Talks) -> None:
    """From everybody to everything that has a meaning anywhere: it arrives where it was agreed, or nowhere."""
    agreed = tuple(agreements(talks).values())
    way = roads(talks)
    targets = {oracle.point(p) for site in talks.network.sites for p in (*site.hosts(), *site.routers())}
    for agreement in agreed:
        for role, entry in oracle.entries(agreement):
            owner = talks.network.site(agreement.side(role).member)
            mine = [p for p in oracle.points(owner) if oracle.holds(span(entry.real), p)]
            targets |= {oracle.moved(p, entry.real, entry.alias) for p in mine}
    arrived = 0
    for site in talks.network.sites:
        for source in oracle.points(site):
            for target in targets:
                if target[0] != source[0]:
                    continue
                found = way.send(site.name, source, target)
                allowed = oracle.reachable(agreed, site.name, source, target)
                assert len(allowed) <= 1, f"{site.name} reaches two under {target}"
                if found is not None and found.site == site.name:
                    assert not allowed, f"{target} is its own and a peer's at {site.name}"
                    continue
                assert found is None or {(found.site, found.at)} <= allowed
                if allowed and way_is_open(talks, agreed, site, source, target):
                    assert found is not None, f"{source} of {site.name} does not reach {target}"
                    assert (found.site, found.at) in allowed
                    back = way.send(found.site, found.at, found.seen_from)
                    assert back is not None, f"no answer from {found.site} to {source} of {site.name}"
                    assert (back.site, back.at, back.seen_from) == (site.name, source, target)
                    arrived += 1
    assert arrived or not agreed


def way_is_open(talks: Talks, agreed: tuple[Agreement, ...], site: Site, source: tuple[int, int], target) -> bool:
    """Whether the one who is reached has the target's address at its router, and nobody on the way knows better.

    A route that the router has already and that is more specific than what was agreed wins, as it did before.
    """
    ((name, at),) = oracle.reachable(agreed, site.name, source, target)
    return oracle.lan_of(talks.network.site(name), at) is not None


@THOROUGH
@given(NETWORKS)
def test_what_was_agreed_reaches_and_nothing_else(drawn: Network) -> None:
    check_packets(one_by_one(drawn))


@THOROUGH
@given(NETWORKS, ORDERS)
def test_so_it_does_when_all_start_at_once(drawn: Network, order: Random) -> None:
    check_packets(at_once(drawn, order))


@THOROUGH
@given(NETWORKS, ORDERS)
def test_ending_one_leaves_the_others_as_they_are(drawn: Network, order: Random) -> None:
    talks = at_once(drawn, order)
    before = agreements(talks)
    devices = {name: dict(member.device) for name, member in talks.members.items()}
    for id in order.sample(sorted(before), len(before)):
        circuit = talks.active()[id]
        ending = before.pop(id)
        claimed = {m.site.name: set(m.claimed(("prefix", "local"), id)) for m in talks.members.values()}
        talks.end(id, order.choice((circuit.starter, circuit.other)))
        talks.settle()
        for name, member in talks.members.items():
            assert set(member.claimed(("prefix", "local"), None)) == claimed[name], "its own is free, and nothing more"
            devices[name].pop(ending.circuit, None)
            assert member.device == devices[name]
        assert agreements(talks) == before
        check_packets(talks)
    assert not any(member.claimed(("prefix", "local"), None) for member in talks.members.values())


# --- agreements -------------------------------------------------------------------------------------------------------


def announced(circuit: Circuit, site: Site, agreement: Agreement | None = None) -> tuple[Prefix, ...]:
    """What a site announces over a circuit."""
    if circuit.starter == site.name and circuit.local_subnets is not None and not circuit.both:
        return circuit.local_subnets
    return site.prefixes


def check_agreement(agreement: Agreement, before: dict[Role, Uses], pools: dict[Role, list[Span]]) -> None:
    """Everything that can be said of one agreement, knowing what its two sides used before it."""
    reals = [span(entry.real) for _, entry in oracle.entries(agreement)]
    taken: list[Span] = []
    for owner, entry in oracle.entries(agreement):
        viewer = owner.other
        needed = before[viewer].forbid(span(entry.real))
        assert (entry.alias != entry.real) == needed, f"{entry.real} of the {owner}: {entry}"
        if not needed:
            continue
        alias = span(entry.alias)
        assert (entry.alias.version, entry.alias.prefixlen) == (entry.real.version, entry.real.prefixlen)
        assert not any(oracle.share(alias, real) for real in reals)
        assert entry.translator is not None
        for side in {viewer, entry.translator}:
            assert not before[side].busy(alias, pools[side]), f"{entry.alias} is not free at the {side}"
        viewers = Role if oracle.shared(agreement) else (viewer,)
        assert any(oracle.inside(alias, pool) for role in viewers for pool in pools[role])
        taken.append(alias)
    if oracle.shared(agreement):
        assert agreement.translation is Translation.SINGLE
        taken.pop()
    for one, other in combinations(taken, 2):
        assert not oracle.share(one, other)
    translators = {entry.translator for _, entry in oracle.entries(agreement)} - {None}
    assert (agreement.translation is Translation.NONE) == (not translators)
    if agreement.link.initiator is not None:
        link = span(agreement.link.initiator.network)
        assert not any(oracle.share(link, other) for other in (*reals, *taken))
        assert not any(any(oracle.share(link, s) for s in uses.fixed) for uses in before.values())


@THOROUGH
@given(NETWORKS)
def test_every_agreement_is_the_least_that_keeps_both_apart(drawn: Network) -> None:
    talks = Talks(drawn)
    made: list[Agreement] = []
    for circuit in drawn.circuits:
        earlier = tuple(made)
        start(talks, circuit)
        talks.settle()
        fresh = [a for a in agreements(talks).values() if a not in made]
        for agreement in fresh:
            sides = {role: drawn.site(agreement.side(role).member) for role in Role}
            reals = {role: tuple(entry.real for entry in agreement.side(role).prefixes) for role in Role}
            before = {role: oracle.uses(sides[role], reals[role], earlier) for role in Role}
            check_agreement(agreement, before, {role: aliases_of(circuit, sides[role]) for role in Role})
            made.append(agreement)


def aliases_of(circuit: Circuit, site: Site) -> list[Span]:
    override = circuit.private_networks if circuit.starter == site.name else None
    pools = site.private_networks if override is None else override
    return [span(p) for p in (*pools, *(site.private_networks if circuit.both else ()))]


# --- refusals ---------------------------------------------------------------------------------------------------------

NEVER = {"rounds_exhausted", "agreement_overlap", "agreement_alias", "agreement_not_offered", "claim_conflict"}


@THOROUGH
@given(NETWORKS, ORDERS)
def test_nothing_fails_for_what_only_the_rules_could_have_avoided(drawn: Network, order: Random) -> None:
    talks = at_once(drawn, order)
    assert not {problem.code for problem in talks.refused.values()} & NEVER
    for member in talks.members.values():
        assert {n.state for n in member.known.values()} <= {
            State.ACTIVE, State.REFUSED, State.FAILED, State.SUPERSEDED, State.TERMINATED,
        }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_more_of_all_of_it() -> None:
    """Every test above, on the networks of three hundred fixed seeds."""
    for seed in range(300):
        for test in (
            test_what_was_agreed_reaches_and_nothing_else,
            test_every_agreement_is_the_least_that_keeps_both_apart,
        ):
            test.hypothesis.inner_test(network(Random(seed)))
        for test in (
            test_so_it_does_when_all_start_at_once,
            test_ending_one_leaves_the_others_as_they_are,
            test_nothing_fails_for_what_only_the_rules_could_have_avoided,
        ):
            test.hypothesis.inner_test(network(Random(seed)), Random(seed))
