"""Plots of two members: what people and fate do."""

from __future__ import annotations

from random import Random

from meetme.model.agreement import MemberId
from tests.simulation.layout import ALFA, BRAVO, TWO_CIRCUITS
from tests.simulation.process import CONFIGURATOR_POINTS, NEGOTIATOR_POINTS
from tests.simulation.schedule import TROUBLE, Action, Plot, some

CIRCUITS = [circuit.name for circuit in TWO_CIRCUITS]


def _who(random: Random) -> MemberId:
    return random.choice((ALFA, BRAVO))


def _where(random: Random) -> str:
    return random.choice(CIRCUITS)


def storm(random: Random, turn: int) -> Plot:
    """Anything, at any time."""
    actions = []
    for _ in range(random.choice([1, 1, 2, 3])):
        who, circuit, at = _who(random), _where(random), random.uniform(0, 20)
        actions.append(Action(at, "start", who, circuit))
        for _ in range(random.choice([0, 1, 1, 2])):
            later = at + random.choice([random.uniform(0, 0.3), random.uniform(0, 3), random.uniform(3, 40)])
            actions.append(Action(later, "terminate", _who(random), circuit))
            if random.random() < 0.2:
                actions.append(Action(later + random.uniform(0, 5), "release", _who(random), circuit))
    for what in ("kill negotiator", "kill configurator", "cut the way to the peer", "darken"):
        if random.random() < 0.25:
            seconds = random.choice([random.uniform(0.1, 3), random.uniform(3, 60)])
            actions.append(Action(random.uniform(0, 22), what, _who(random), _where(random), seconds))
    return Plot(actions, some(random, *random.sample(sorted(TROUBLE), random.choice([0, 1, 2, 3, 5]))))


def glare(random: Random, turn: int) -> Plot:
    """Both start at once, for one circuit or for two, and there may not be enough for both."""
    circuits = CIRCUITS
    actions = [Action(1.0 + random.uniform(0, 0.03), "start", who, random.choice(circuits)) for who in (ALFA, BRAVO)]
    actions += [Action(1.0 + random.uniform(0, 0.03), "start", _who(random), random.choice(circuits))]
    return Plot(actions, some(random, *random.sample(["delay", "repeat", "lose answer", "slow disk"], 1)), 2.0)


LAST_WORDS: tuple[tuple[str | None, dict[str, float]], ...] = (
    ("order to confirm", {"lose confirm's answer": 1.0, "lose query": 1.0, "device fails to restore": 0.9}),
    ("order to confirm", {"lose confirm's answer": 1.0, "lose query": 1.0, "device fails to restore": 0.5}),
    (None, {"lose confirm's answer": 1.0, "lose query": 1.0}),
    (None, {"lose terminate": 1.0}),
    (None, {"lose confirm": 1.0, "older backup": 0.5}),
    ("order to confirm", {"device fails to restore": 0.6}),
)
"""What is muted for a minute, and what is lost all the time."""


def last_words(random: Random, turn: int) -> Plot:
    """What is said last does not arrive, for longer than any deadline."""
    at, circuit = random.uniform(0, 1), _where(random)
    muted, rates = LAST_WORDS[turn % len(LAST_WORDS)]
    actions = [Action(at, "start", ALFA, circuit)]
    if muted is not None:
        actions.append(Action(0.0, f"mute {muted}", ALFA, circuit, random.uniform(48, 60)))
    if "lose terminate" in rates:
        early = turn // len(LAST_WORDS) % 2 == 0
        after = random.uniform(0, 0.05) if early else random.uniform(0.5, 5)
        actions.append(Action(at + after, "terminate", _who(random), circuit))
    elif turn % 3 == 2:
        actions.append(Action(at + random.uniform(0.5, 29), "terminate", (ALFA, BRAVO)[turn // 6 % 2], circuit))
    return Plot(actions, dict(rates), 85.0)


def crashes(random: Random, turn: int) -> Plot:
    """The negotiators die again and again: anywhere, always at one point, or only once it is taken back."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    ended = at + random.choice([0.1, 0.5, 5.0, 32.0])
    actions.append(Action(ended, "terminate", _who(random), circuit))
    if turn % 2 == 0:
        actions += [Action(ended + 0.002, "fall ill", who, circuit, 15.0) for who in (ALFA, BRAVO)]
        return Plot(actions, {"crash when ill": 0.2}, 15.0)
    if turn % 4 == 1:
        return Plot(actions, {"crash": random.choice([0.05, 0.1])}, 5.0)
    point = NEGOTIATOR_POINTS[turn // 4 % len(NEGOTIATOR_POINTS)]
    return Plot(actions, {f"crash {point}": 0.25}, 5.0)


def device_trouble(random: Random, turn: int) -> Plot:
    """The configurators die and the devices fail."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    actions.append(Action(at + random.choice([0.1, 0.5, 5.0, 32.0]), "terminate", _who(random), circuit))
    if random.random() < 0.3:
        actions.append(Action(at + random.uniform(0.2, 2), "release", _who(random), circuit))
    point = CONFIGURATOR_POINTS[turn % len(CONFIGURATOR_POINTS)]
    rates = {f"crash {point}": 0.4} | ({}, {"device fails": 0.4, "older backup": 0.5})[turn // 2 % 2]
    return Plot(actions, rates | some(random, random.choice(["slow device", "lose order's answer"])))


def nobody_home(random: Random, turn: int) -> Plot:
    """A negotiator dies in the middle and stays away for longer than the device waits."""
    at, circuit = random.uniform(0, 1), _where(random)
    away = random.uniform(90, 105)
    actions = [Action(at, "start", ALFA, circuit)]
    if turn % 2 == 0:
        actions.append(Action(0.0, "mute confirm", ALFA, circuit, 60.0))
        actions.append(Action(at + random.uniform(0.3, 4), "kill negotiator", BRAVO, circuit, away))
        actions.append(Action(at + random.uniform(5, 35), "kill configurator", BRAVO, circuit, random.uniform(0.1, 10)))
    else:
        actions.append(Action(at + random.uniform(0.1, 0.2), "kill negotiator", _who(random), circuit, away))
    return Plot(actions, {}, 100.0)


def lost_database(random: Random, turn: int) -> Plot:
    """An agreement stands, and one side's disk breaks."""
    circuit = _where(random)
    actions = [Action(0.1, "start", _who(random), circuit)]
    lost = random.uniform(5, 15)
    actions.append(Action(lost, "lose the database", _who(random), circuit, 1.0))
    if turn % 2 == 0:  # before the lost agreement is known again, the next one is made
        other = CIRCUITS[circuit == CIRCUITS[0]]
        actions.append(Action(lost + random.uniform(1.2, 12), "start", _who(random), other))
        return Plot(actions, some(random, random.choice(["lose request", "lose answer"])), 40.0)
    # What was said before the loss is said again after it.
    return Plot(actions, {"repeat": 0.7, "delay": 0.1}, 40.0)


def regret(random: Random, turn: int) -> Plot:
    """Somebody takes it back while it is being made."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    actions.append(Action(at + random.uniform(2, 15), "start", _who(random), circuit))
    if turn % 2 == 0:  # an order is overtaken by the one that takes it back
        who = _who(random)
        actions.append(Action(at + random.uniform(0.11, 0.2), "kill negotiator", who, circuit, 0.1))
        actions.append(Action(at + random.uniform(0.4, 1.5), "terminate", who, circuit))
        return Plot(actions, {"delay order to apply": 0.8}, 25.0)
    times = random.choice([1, 2])
    actions += [Action(at + random.uniform(0.0, 0.3), "terminate", _who(random), circuit) for _ in range(times)]
    if random.random() < 0.3:
        actions.append(Action(at + random.uniform(0.2, 0.6), "release", _who(random), circuit))
    kinds = ["slow device", "delay", "repeat", "lose order's answer"]
    return Plot(actions, {"older backup": 0.5} | some(random, *random.sample(kinds, 2)), 25.0)


def silence(random: Random, turn: int) -> Plot:
    """The members cannot reach each other, from some moment on; or the circuit carries nothing."""
    at, circuit = random.uniform(0, 1), _where(random)
    who = _who(random)
    actions = [Action(at, "start", who, circuit)]
    match turn % 4:
        case 0:  # while the offer is made, for longer than anybody waits; somebody loses patience
            actions.append(Action(at + random.uniform(0, 0.04), "cut the way to the peer", who, circuit, 110.0))
            actions.append(Action(at + random.uniform(20, 60), "release", who, circuit))
        case 1:
            seconds = random.uniform(20, 80)
            actions.append(Action(at + random.uniform(0, 0.3), "cut the way to the peer", who, circuit, seconds))
        case 2:
            seconds = random.uniform(40, 80)
            actions.append(Action(at + random.uniform(1, 29), "cut the way to the peer", who, circuit, seconds))
            actions.append(Action(at + random.uniform(29, 40), "terminate", _who(random), circuit))
            actions.append(Action(at + random.uniform(40, 60), "release", _who(random), circuit))
        case _:
            when = random.choice([random.uniform(0, 0.3), random.uniform(28, 32)])
            actions.append(Action(at + when, "darken", who, circuit, random.uniform(20, 80)))
    return Plot(actions, {}, 100.0)


def routers(random: Random, turn: int) -> Plot:
    """A router is rebooted or replaced while an agreement is made, while it stands, or while it is taken back."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    when = at + random.choice([random.uniform(0.03, 0.3), random.uniform(2, 20), 30.0])
    what = ("replace the router", "reboot the router")[turn % 2]
    actions.append(Action(when, what, _who(random), circuit, random.uniform(0.5, 8)))
    if random.random() < 0.3:
        actions.append(Action(when + random.uniform(0, 9), what, _who(random), circuit, random.uniform(0.5, 8)))
    if random.random() < 0.5:
        actions.append(Action(when + random.uniform(-0.2, 12), "terminate", _who(random), circuit))
    if random.random() < 0.3:
        actions.append(Action(when + random.uniform(0, 3), "kill negotiator", _who(random), circuit, 1.0))
    return Plot(actions, {"device fails": random.choice([0.0, 0.2]), "slow device": random.choice([0.0, 0.3])}, 20.0)


def too_late(random: Random, turn: int) -> Plot:
    """What decides arrives when the time is just over."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", ALFA, circuit)]
    if turn % 2 == 0:
        actions.append(Action(at, "mute confirm", ALFA, circuit, random.uniform(28.0, 33.0)))
        actions.append(Action(at + 29.0, "slow disk", BRAVO, circuit, 15.0))
        return Plot(actions, {}, 20.0)
    away = random.uniform(29.5, 31.5)
    actions.append(Action(at + random.uniform(0.15, 0.3), "kill negotiator", _who(random), circuit, away))
    return Plot(actions, {"slow disk": random.choice([0.1, 0.3])}, 40.0)
