"""Plots of many members: one that has several partners, who have partners of their own, and one that cheats."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from meetme.model.addresses import parse_prefix
from meetme.model.agreement import MemberId
from meetme.model.members import MemberPolicy
from tests.simulation.layout import ALFA, BRAVO, Circuit, End, Home, Layout
from tests.simulation.schedule import TROUBLE, Action, Plot, some, two_members
from tests.simulation.scheduler import Skew

HUB, ZULU = MemberId("hub"), MemberId("zulu")
"""Between them, one whose id is lower than the hub's and one whose is higher: glare ends either way."""
CIRCUITS = (
    Circuit("c1", End(HUB, "r1", "p1"), End(ALFA, "r", "p1")),
    Circuit("c2", End(HUB, "r1", "p2"), End(BRAVO, "r", "p1"), named=True),
    Circuit("c3", End(HUB, "r2", "p1"), End(ZULU, "r", "p1")),
    Circuit("c4", End(ALFA, "r", "p2"), End(BRAVO, "r", "p2")),
    Circuit("c5", End(HUB, "r2", "p2"), End(ZULU, "r", "p2"), named=True),
    Circuit("c6", End(HUB, "r1", "p3"), End(ALFA, "r", "p3"), named=True),
)
SUBNETS = (
    "10.0.0.0/24",
    "10.0.0.0/24",
    "10.0.0.0/24",
    "10.0.0.0/23",
    "10.0.0.0/24 10.1.0.0/24",
    "10.0.1.0/24",
    "192.168.7.0/24",
)


def _layout(random: Random, *, crooked: bool = False) -> Layout:
    subnets = {id: random.choice(SUBNETS) for id in (ALFA, BRAVO, HUB, ZULU)}
    plain = all(networks.endswith("/24") and " " not in networks for networks in subnets.values())
    common = {
        "aliases": random.choice(["172.16.0.0/22", "172.16.0.0/23"] if plain else ["172.16.0.0/20", "172.16.0.0/19"]),
        "links": random.choice(["169.254.100.0/28", "169.254.100.0/29", "169.254.100.0/30"]),
        "unnumbered": random.random() < 0.5,
    }
    policies = {
        peer: _policy(random, subnets[peer], strict=crooked and peer == ZULU)
        for peer in (ALFA, BRAVO, ZULU)
        if random.random() < 0.4 or (crooked and peer == ZULU)
    }
    homes = (
        Home(ALFA, subnets[ALFA], **common),  # type: ignore[arg-type]
        Home(BRAVO, subnets[BRAVO], **common),  # type: ignore[arg-type]
        Home(HUB, subnets[HUB], routers=("r1", "r2"), policies=policies, **common),  # type: ignore[arg-type]
        Home(ZULU, subnets[ZULU], crooked=crooked, **common),  # type: ignore[arg-type]
    )
    return Layout(homes, CIRCUITS)


def _policy(random: Random, subnets: str, *, strict: bool) -> MemberPolicy:
    own = tuple(parse_prefix(p, field="announce") for p in subnets.split())
    other = (parse_prefix("192.0.2.0/24", field="announce"),)
    announce = own if strict else random.choice([own, own, other, ()])
    return MemberPolicy(announce, random.random() < 0.15, random.choice([None, 1, 1, 2]))


def hub(random: Random, turn: int) -> Plot:
    """Everybody starts with everybody, from both sides at once; some take it back; there may not be enough for all."""
    layout = _layout(random)
    actions = []
    for circuit in random.sample(CIRCUITS, random.choice([3, 4, 6])):
        at = random.choice([1.0, random.uniform(0, 6)])
        sides = random.choice([circuit.ends[:1], circuit.ends[1:], circuit.ends])
        actions += [Action(at + random.uniform(0, 0.03), "start", end.member, circuit.name) for end in sides]
        if random.random() < 0.5:
            later = at + random.choice([random.uniform(0, 0.3), random.uniform(1, 12)])
            actions.append(Action(later, "terminate", random.choice(circuit.ends).member, circuit.name))
            if random.random() < 0.5:
                again = random.choice(circuit.ends).member
                actions.append(Action(later + random.uniform(0, 3), "start", again, circuit.name))
        elif random.random() < 0.5:
            end = random.choice(circuit.ends)
            more = f"{layout.by_id[end.member].subnets} {random.choice(('10.8.0.0/24', '10.9.0.0/24'))}"
            actions.append(Action(at + random.uniform(0.5, 12), "change", end.member, circuit.name, wish=more))
    if turn % 2 == 0:  # one wants more than it may have: a second agreement, or another prefix in the one there is
        own = tuple(parse_prefix(p, field="announce") for p in layout.by_id[ALFA].subnets.split())
        strict = {**layout.by_id[HUB].policies, ALFA: MemberPolicy(own, max_agreements=1)}
        homes = tuple(replace(home, policies=strict) if home.id == HUB else home for home in layout.homes)
        layout = replace(layout, homes=homes)
        actions = [action for action in actions if action.circuit not in ("c1", "c6")]
        actions += [Action(1.0 + 0.1 * number, "start", ALFA, name) for number, name in enumerate(("c1", "c6"))]
        more = f"{layout.by_id[ALFA].subnets} 10.9.0.0/24"
        actions += [Action(random.uniform(2, 9), "change", ALFA, name, wish=more) for name in ("c1", "c6")]
    if random.random() < 0.4:
        what = random.choice(["kill negotiator", "kill configurator"])
        circuit = random.choice(CIRCUITS[:3])
        actions.append(Action(random.uniform(1, 6), what, HUB, circuit.name, random.uniform(0.1, 5)))
    trouble = some(random, *random.sample(sorted(TROUBLE), random.choice([0, 1, 1, 2])))
    return Plot(actions, trouble, 15.0, layout)


def replicas(random: Random, turn: int) -> Plot:
    """Several negotiators on one database, at one side or at both: they die, lose their line, and finish for others."""
    sides = ((ALFA,), (BRAVO,), (ALFA, BRAVO))[turn % 3]
    layout = two_members(random)
    homes = tuple(
        replace(home, replicas=random.choice([2, 2, 3])) if home.id in sides else home for home in layout.homes
    )
    circuits = random.sample([circuit.name for circuit in layout.circuits], random.choice([1, 2]))
    actions, who = [], (ALFA, BRAVO)
    for circuit in circuits:
        at = random.uniform(0, 2)
        both = random.random() < 0.3
        actions += [Action(at, "start", side, circuit) for side in (who if both else [random.choice(who)])]
        later = at + random.choice([random.uniform(0, 0.3), 5.0, 32.0])
        actions += [Action(later, "terminate", side, circuit) for side in who if random.random() < 0.6]
        for _ in range(random.choice([1, 2, 3])):
            when = random.choice([at + random.uniform(0.01, 0.3), later + random.uniform(0, 0.2)])
            away = random.choice([random.uniform(0.1, 3), 60.0])
            actions.append(Action(when, "kill negotiator", random.choice(sides), circuit, away, random.randrange(3)))
    wrong = {"lose the line to the database": 0.3} if turn % 2 else {}
    several = [home for home in homes if home.replicas > 1]
    skews = {f"{home.id}/{slot}": _wrong_clock(random) for home in several for slot in range(home.replicas)}
    skews |= {f"{home.id}/database": Skew(random.uniform(-3, 3), random.uniform(-5e-4, 5e-4)) for home in several}
    kinds = random.sample(["slow disk", "repeat", "delay", "lose answer", "crash", "slow device"], 2)
    rates = wrong | some(random, *kinds)
    return Plot(actions, rates, 20.0, replace(layout, homes=homes), skews)


def _wrong_clock(random: Random) -> Skew:
    return Skew(random.choice([0.0, random.uniform(-3, 3), random.uniform(-200, 200)]), random.uniform(-5e-4, 5e-4))


def clocks(random: Random, turn: int) -> Plot:
    """Every clock is wrong and drifts: the members' a little, their routers' by minutes; or one member's too much."""
    actions = [Action(random.uniform(0, 1), "start", random.choice((ALFA, BRAVO)), "c1")]
    if random.random() < 0.5:
        actions.append(Action(random.uniform(1, 2), "start", random.choice((ALFA, BRAVO)), "c2"))
    actions.append(Action(random.choice([1.2, 20.0, 70.0]), "terminate", random.choice((ALFA, BRAVO)), "c1"))
    if random.random() < 0.4:
        actions.append(Action(random.uniform(0.1, 3), "kill negotiator", random.choice((ALFA, BRAVO)), "c1", 1.0))
    far = turn % 2 == 1
    if far or random.random() < 0.5:
        more = "10.0.0.0/24 10.1.0.0/24"
        actions += [Action(random.uniform(2, 15), "change", member, "c1", wish=more) for member in (ALFA, BRAVO)]
    skews = {f"{member}/r": Skew(random.uniform(-300, 300), random.uniform(-5e-4, 5e-4)) for member in (ALFA, BRAVO)}
    for member in (ALFA, BRAVO):
        skews[f"{member}/0"] = Skew(random.uniform(-10, 10), random.uniform(-5e-4, 5e-4))
    if far:
        skews[f"{random.choice((ALFA, BRAVO))}/0"] = Skew(random.choice([-1, 1]) * random.uniform(60, 300), 0.0)
    rates = some(random, random.choice(sorted(TROUBLE)))
    return Plot(actions, rates, 20.0, two_members(random, probes=True), skews)


def crook(random: Random, turn: int) -> Plot:
    """One of the hub's partners says whatever it likes, for a while."""
    layout = _layout(random, crooked=True)
    actions = [
        Action(random.uniform(0, 12), "start", random.choice((HUB, ZULU)), random.choice(("c3", "c5")))
        for _ in range(random.choice([2, 3, 4]))
    ]
    honest = random.choice(CIRCUITS[:2])
    actions.append(Action(random.uniform(0, 2), "start", random.choice(honest.ends).member, honest.name))
    if random.random() < 0.5:
        actions.append(Action(random.uniform(2, 15), "terminate", HUB, random.choice(("c3", "c5"))))
    if random.random() < 0.3:
        actions.append(Action(random.uniform(6, 12), "lose the database", HUB, "c3", 1.0))
    actions.append(Action(0.5, "speak freely", ZULU, "c3", random.uniform(10, 25)))
    return Plot(actions, {"twist": random.choice([0.0, 0.1, 0.3, 0.6]), "lose order": 0.05}, 45.0, layout)
