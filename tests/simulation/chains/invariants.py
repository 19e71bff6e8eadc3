"""What has to hold: after every event, and once everything that went wrong has come to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meetme.composer.building import BUILD_SECONDS
from meetme.composer.capacity import leg_claims
from meetme.composer.circuit import ENDED, Circuit, Leg, Segment, State, reference
from meetme.composer.effects import Look, Send, Wake
from meetme.composer.heading import MOST_DETOURS, MOST_TRIES, SEARCH_SECONDS
from meetme.composer.messages import MessageType
from meetme.composer.releasing import OVERDUE_SECONDS
from tests.simulation.chains.places import place

if TYPE_CHECKING:
    from tests.simulation.chains.member import Composer
    from tests.simulation.chains.world import World

LONGEST_HOLD = 45.0
LONGEST_SETUP = SEARCH_SECONDS + LONGEST_HOLD + BUILD_SECONDS
"""A search, and the last attempt of it."""
TROUBLE_WITH_SEGMENTS = ("exchange lies",)


def after_an_event(world: World, composer: Composer, before: Circuit | None, after: Circuit) -> None:
    """What must hold at every moment."""
    if after.is_head and not world.schedule.backups:
        for path in (1, 2):
            if sum(leg.live for leg in after.legs if leg.path == path) > 1:
                world.fail(f"{composer.name}: two live legs of path {path} of #{world.number(after.id)}")
    reserving = [c for c in composer.disk.circuits.values() if c.is_head and c.searching and not c.composing]
    if len(reserving) > composer.rules.setups:
        world.fail(f"{composer.name}: {len(reserving)} circuits are being set up at a time")
    for search in after.searches:
        if search.tries > MOST_TRIES + 1 or search.detours > MOST_DETOURS + 1:
            world.fail(f"{composer.name}: a search for #{world.number(after.id)} goes on after {search.tries} refusals")
    known = {leg.key for leg in before.legs} if before else set()
    for leg in after.legs:
        overtaken = composer.disk.given_up.get((after.id, leg.path), 0)
        if leg.live and leg.key not in known and leg.before is not None and leg.attempt <= overtaken:
            world.fail(f"{composer.name}: leg {leg.key} of #{world.number(after.id)} begins after its release")
    was = before.state if before else None
    taken_back = after.id in world.release_asked or _segments_may_go(world)
    if after.state is State.ACTIVE and was is not State.ACTIVE and not taken_back:
        for leg in after.legs:
            if leg.state is State.ACTIVE:
                _in_production(world, after, leg, f"{composer.name} says active")
    for leg in after.legs:
        if world.schedule.plot == "reuse" and leg.problem is not None and leg.problem.code == "label_in_use":
            world.fail(f"{composer.name}: {leg.problem.text}: given out before both sides were done")
        if leg.state is State.RELEASED and leg.segment is not Segment.ABSENT:
            world.fail(f"{composer.name}: leg {leg.key} is over with its segment {leg.segment}")
    if after.state in ENDED and any(leg.state is not State.RELEASED for leg in after.legs):
        world.fail(f"{composer.name}: #{world.number(after.id)} is over, and not all of its legs are")


def now_and_then(world: World) -> None:
    """Nothing is held much longer than a hold may take, searched longer than a search may, or hoped for too long."""
    for composer in world.composers.values():
        if not composer.alive or world.now - composer.since < LONGEST_HOLD:
            continue
        for circuit in composer.disk.circuits.values():
            for leg in circuit.legs:
                if leg.state is State.HELD and composer.now() - leg.began > LONGEST_HOLD:
                    world.fail(f"{composer.name}: leg {leg.key} of #{world.number(circuit.id)} is held for ever")
                since = world.given_up.get((composer.name, circuit.id, leg.key), world.now)
                late = world.now - max(since, composer.since) > OVERDUE_SECONDS + 5.0
                passing = any(not claim.firm for claim in leg_claims(leg, circuit.request.bandwidth))
                if leg.state is State.RELEASING and late and passing:
                    world.fail(f"{composer.name}: leg {leg.key} of #{world.number(circuit.id)} is hoped for for ever")
            begun = circuit.turn if circuit.is_head and not (circuit.established or circuit.ending) else None
            if begun is not None and not circuit.composing and composer.now() - begun > LONGEST_SETUP:
                world.fail(f"{composer.name}: #{world.number(circuit.id)} is being set up for ever")


def _segments_may_go(world: World) -> bool:
    rates, actions = world.schedule.rates, world.schedule.actions
    return any(rates.get(kind) for kind in TROUBLE_WITH_SEGMENTS) or any(
        action.what in ("lose", "restore", "let_go") for action in actions
    )


def _in_production(world: World, circuit: Circuit, leg: Leg, who: str) -> None:
    """Every exchange of the route carries its segment, and neighbours use one label on the link between them."""
    name, label = reference(circuit.id, leg.path, leg.attempt), None
    for position, hop in enumerate(leg.hops):
        built = world.composers[hop.exchange].exchange.segments.get(name)
        if built is None or not built.ready:
            world.fail(f"{who}: {name[-3:]} of #{world.number(circuit.id)} is not in production at {hop.exchange}")
            return
        if position and built.in_vlan != label:
            world.fail(f"{who}: VLAN {label} leaves for {hop.exchange}, which takes {built.in_vlan}")
        label = built.out_vlan


def at_the_end(world: World) -> None:
    """Every circuit is whole or gone, at all composers alike, and nothing else is anywhere."""
    ids = {id for composer in world.composers.values() for id in composer.disk.circuits}
    expected: dict[tuple[str, str], int] = {}
    for id in sorted(ids):
        known = {name: c for name, x in world.composers.items() if (c := x.disk.circuits.get(id)) is not None}
        number = world.number(id)
        head = next((c for c in known.values() if c.is_head), None)
        for name, circuit in known.items():
            if circuit.state in (State.HELD, State.COMMITTED, State.RELEASING):
                world.fail(f"{name}: #{number} is still {circuit.state}")
        wanted = [] if head is None or head.state in ENDED else [leg for leg in head.legs if leg.live]
        if head is not None and head.state is State.ACTIVE and len(wanted) != head.wanted:
            world.fail(f"{head.me}: #{number} is active with {len(wanted)} of {head.wanted} paths")
        lives = head is not None and head.state not in ENDED
        if id in world.release_asked and lives and not world.schedule.backups:
            world.fail(f"#{number} was released, and is {head.state if head else None}")
        kept = id in world.established and id not in world.release_asked and not world.schedule.backups
        if kept and (head is None or head.state in ENDED):
            world.fail(f"#{number} was active, and is {head.state if head else None} although nobody took it back")
        if head is not None and head.state is State.DEGRADED and world.schedule.plot == "redundant":
            _no_way(world, head)
        for leg in wanted:
            _whole(world, known, leg, number)
            for hop in leg.hops:
                expected[hop.exchange, reference(id, leg.path, leg.attempt)] = number
        keys = {(hop.exchange, leg.key) for leg in wanted for hop in leg.hops}
        for name, circuit in known.items():
            extra = [leg.key for leg in circuit.legs if leg.state is not State.RELEASED and (name, leg.key) not in keys]
            if extra:
                world.fail(f"{name}: has legs {extra} of #{number} that the head has not")
            on_the_way = any(name == exchange for exchange, _ in keys)
            over = head is not None and head.state in ENDED and circuit.state in ENDED
            if head is not None and (on_the_way or circuit.passed) and circuit.state is not head.state and not over:
                world.fail(f"{name} says #{number} is {circuit.state}, its head {head.state}")
            if not on_the_way and not circuit.passed and circuit.state not in ENDED and circuit is not head:
                world.fail(f"{name}: #{number} is {circuit.state} without a route through it")
    for composer in world.composers.values():
        _nothing_left(world, composer, expected)


def _no_way(world: World, head: Circuit) -> None:
    """A circuit with a broken path heals when it can."""
    live = {leg.path: leg.hops for leg in head.legs if leg.live}
    lacking = tuple(path for path in range(1, head.wanted + 1) if path not in live)
    a, b = place(head.request.a), place(head.request.b)
    if lacking and world.federation.find(a, b, lacking, dict.fromkeys(lacking, ()), live.values(), strict=True):
        world.fail(f"#{world.number(head.id)} is degraded although there is a way for {lacking}")


def _whole(world: World, known: dict[str, Circuit], leg: Leg, number: int) -> None:
    if leg.state is not State.ACTIVE:
        world.fail(f"#{number}: leg {leg.key} is {leg.state} at its head")
    circuit = next(iter(known.values()))
    for hop in leg.hops:
        theirs = known[hop.exchange].leg(leg.path, leg.attempt) if hop.exchange in known else None
        if theirs is None or theirs.state is not State.ACTIVE or theirs.segment is not Segment.READY:
            world.fail(f"{hop.exchange}: leg {leg.key} of #{number} is {theirs.state if theirs else None}, not active")
    _in_production(world, circuit, leg, "at the end")


def _nothing_left(world: World, composer: Composer, expected: dict[tuple[str, str], int]) -> None:
    name = composer.name
    for known in composer.exchange.segments:
        if (name, known) not in expected:
            world.fail(f"{name}: its exchange still carries {known}")
    for id, claims in composer.disk.claims.items():
        circuit = composer.disk.circuits[id]
        if claims != composer.rules.claims(circuit) or circuit.state in ENDED:
            world.fail(f"{name}: #{world.number(id)} is {circuit.state} and claims {sorted(map(str, claims))}")
    for (id, key), owed in composer.disk.owed.items():
        asking = isinstance(owed.effect, Send) and owed.effect.type is MessageType.QUERY
        if not (asking or isinstance(owed.effect, Wake | Look) or key == "compose"):
            world.fail(f"{name}: still owes {key} for #{world.number(id)}")
        if composer.disk.circuits[id].state in ENDED:
            world.fail(f"{name}: #{world.number(id)} is over and still owes {key}")
