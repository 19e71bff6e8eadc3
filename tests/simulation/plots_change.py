"""Plots of agreements that are changed while they are in force."""

from __future__ import annotations

from random import Random

from tests.simulation.layout import ALFA, BRAVO
from tests.simulation.process import CONFIGURATOR_POINTS, NEGOTIATOR_POINTS
from tests.simulation.schedule import TROUBLE, Action, Plot, some, two_members

WISHES = (
    "10.0.0.0/24 10.1.0.0/24",
    "10.0.0.0/24 10.2.0.0/24",
    "10.0.0.0/24 10.1.0.0/24 10.2.0.0/25",
    "10.0.0.0/24",
    "10.0.0.0/24 172.16.1.0/24",
    "10.1.0.0/24",
)
"""The last but one lies in a pool and is refused; the last gives up what there was."""
BOTH = (ALFA, BRAVO)


def _changes(random: Random, at: float, number: int) -> list[Action]:
    found = []
    for _ in range(number):
        found.append(Action(at, "change", random.choice(BOTH), "c1", wish=random.choice(WISHES[:4] * 3 + WISHES[4:])))
        at += random.choice([random.uniform(0, 0.03), random.uniform(0.05, 0.5), random.uniform(1, 12)])
    return found


def change(random: Random, turn: int) -> Plot:
    """Both sides change what they announce, one after the other and at once; some take the whole back meanwhile."""
    begun = random.uniform(1, 3)
    actions = [Action(0.1, "start", random.choice(BOTH), "c1"), *_changes(random, begun, random.choice([1, 2, 2, 4]))]
    if turn % 2 == 0:  # both at once
        actions += [Action(begun + random.uniform(0, 0.02), "change", side, "c1", wish=WISHES[0]) for side in BOTH]
    if random.random() < 0.3:
        actions.append(Action(0.2, "start", random.choice(BOTH), "c2"))
    if random.random() < 0.35:
        after = begun + random.choice([random.uniform(0, 0.2), random.uniform(0, 40)])
        actions.append(Action(after, "terminate", random.choice(BOTH), "c1"))
    match turn % 5:
        case 0:
            away = random.choice([random.uniform(0.5, 4), random.uniform(20, 60)])
            actions.append(Action(begun + random.uniform(0, 0.2), "cut the way to the peer", ALFA, "c1", away))
        case 1:
            actions.append(Action(begun - 0.01, "darken", ALFA, "c1", random.uniform(5, 40)))
        case 2:
            actions.append(Action(begun + random.uniform(0, 0.2), "kill negotiator", random.choice(BOTH), "c1", 2.0))
        case 3:
            actions.append(Action(begun + random.uniform(0, 3), "reboot the router", random.choice(BOTH), "c1", 2.0))
        case _:  # what decides arrives when the time is just over
            actions.append(Action(begun, "mute confirm", ALFA, "c1", random.uniform(28.0, 33.0)))
            actions += [Action(begun + 29.0, "slow disk", side, "c1", 15.0) for side in BOTH]
    rates = some(random, *random.sample(sorted(TROUBLE), random.choice([0, 1, 2])))
    layout = two_members(random, probes=True, aliases="172.16.0.0/20")
    return Plot(actions, rates, 60.0, layout, quiet=begun)


def change_crashes(random: Random, turn: int) -> Plot:
    """At every step of a change, one process or the other dies, or a message or an order is lost."""
    actions = [Action(0.1, "start", random.choice(BOTH), "c1"), *_changes(random, 2.0, random.choice([1, 2]))]
    points = (*NEGOTIATOR_POINTS, *CONFIGURATOR_POINTS)
    point = points[turn % len(points)]
    lost = random.choice(["propose", "commit", "confirm", "query", "change", "terminate"])
    rates = {f"crash {point}": 0.15}
    if turn % 2:
        rates |= {f"lose {lost}": 0.5, f"lose {lost}'s answer": 0.5, "repeat": 0.3}
    rates |= {"device fails": random.choice([0.0, 0.0, 0.4])}
    if turn % 3 == 0:  # the decision is made, and nothing is heard of it
        rates = {"lose confirm's answer": 1.0, "lose query": 1.0}
    return Plot(actions, rates, 70.0, two_members(random, probes=True, aliases="172.16.0.0/20"), quiet=2.0)


def backups(random: Random, turn: int) -> Plot:
    """The database of one side is restored from a backup: it knows an older revision, or of what has ended since."""
    actions = [Action(0.1, "start", random.choice(BOTH), "c1"), *_changes(random, 3.0, random.choice([1, 1, 2]))]
    kept = random.choice([1.5, 1.5, 20.0])
    actions.append(Action(kept, "back up, and restore", random.choice(BOTH), "c1", random.uniform(3, 30)))
    if turn % 3 == 1:
        actions.append(Action(random.uniform(3, 30), "terminate", random.choice(BOTH), "c1"))
    if turn % 3 == 2:
        actions.append(Action(random.uniform(2, 30), "start", random.choice(BOTH), "c2"))
    rates = some(random, random.choice(["lose request", "lose answer", "repeat", "slow disk"]))
    layout = two_members(random, probes=True, aliases="172.16.0.0/20")
    return Plot(actions, rates, 45.0, layout, quiet=2.0)
