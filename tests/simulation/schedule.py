"""What happens in a run: the actions of people and of fate, drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from meetme.model.agreement import MemberId
from tests.simulation.member import ALFA, BRAVO, CIRCUITS
from tests.simulation.process import CONFIGURATOR_POINTS, NEGOTIATOR_POINTS

TROUBLE = {
    "lose request": 0.25,
    "lose answer": 0.25,
    "repeat": 0.3,
    "delay": 0.3,
    "crash": 0.03,
    "crash at an order": 0.15,
    "device fails": 0.3,
    "slow device": 0.4,
    "slow disk": 0.1,
    "lose order": 0.2,
    "lose order's answer": 0.2,
    "delay order": 0.2,
}
"""Every kind of trouble, and how likely it is at most each time that it could strike."""


@dataclass(frozen=True)
class Action:
    """Something that is done at a moment of the run. `seconds`: how long it lasts, where it lasts."""

    at: float
    what: str
    member: MemberId
    circuit: str = "c1"
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:7.3f}  {self.member}: {self.what} {self.circuit}{lasting}"


@dataclass(frozen=True)
class Schedule:
    """One run. The same seed gives the same schedule; shrinking takes actions and strokes out of it."""

    seed: int
    actions: tuple[Action, ...]
    rates: Mapping[str, float]
    aliases: str = "172.16.0.0/22"
    links: str = "169.254.100.0/29"
    unnumbered: bool = False
    probes: Mapping[MemberId, bool] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    seconds: float = 0.0
    """How long there is trouble."""


def draw(seed: int) -> Schedule:
    """The schedule of a seed. Plots take turns, so that a few seeds already meet every kind of trouble."""
    random = Random(seed)
    plot = PLOTS[seed % len(PLOTS)](random, seed // len(PLOTS))
    both = (ALFA, BRAVO)
    return Schedule(
        seed,
        tuple(sorted(plot.actions, key=lambda action: action.at)),
        plot.rates,
        aliases=random.choice(["172.16.0.0/22", "172.16.0.0/23", "172.16.0.0/24"]),
        links=random.choice(["169.254.100.0/29", "169.254.100.0/30", "169.254.100.0/31"]),
        unnumbered=random.random() < 0.5,
        probes={member: random.random() < 0.95 for member in both},
        seconds=max(action.at for action in plot.actions) + plot.longer,
    )


# --- plots ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plot:
    """What happens, how likely what goes wrong, and how long trouble goes on after the last action."""

    actions: list[Action]
    rates: dict[str, float]
    longer: float = 10.0


def _who(random: Random) -> MemberId:
    return random.choice((ALFA, BRAVO))


def _where(random: Random) -> str:
    return random.choice(sorted(CIRCUITS))


def _some(random: Random, *kinds: str) -> dict[str, float]:
    return {kind: TROUBLE[kind] * random.choice([0.3, 1.0]) for kind in kinds}


def _storm(random: Random, turn: int) -> Plot:
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
    return Plot(actions, _some(random, *random.sample(sorted(TROUBLE), random.choice([0, 1, 2, 3, 5]))))


def _glare(random: Random, turn: int) -> Plot:
    """Both start at once, for one circuit or for two, and there may not be enough for both."""
    circuits = sorted(CIRCUITS)
    actions = [Action(1.0 + random.uniform(0, 0.03), "start", who, random.choice(circuits)) for who in (ALFA, BRAVO)]
    actions += [Action(1.0 + random.uniform(0, 0.03), "start", _who(random), random.choice(circuits))]
    return Plot(actions, _some(random, *random.sample(["delay", "repeat", "lose answer", "slow disk"], 1)), 2.0)


LAST_WORDS: tuple[tuple[str | None, dict[str, float]], ...] = (
    ("order to confirm", {"lose confirm's answer": 1.0, "lose query": 1.0, "device fails to restore": 0.6}),
    ("order to confirm", {"device fails to restore": 0.6}),
    (None, {"lose confirm's answer": 1.0, "lose query": 1.0}),
    (None, {"lose terminate": 1.0}),
    (None, {"lose confirm": 1.0, "older backup": 0.5}),
    (None, {"lose confirm's answer": 1.0}),
)
"""What is muted for a minute, and what is lost all the time."""


def _last_words(random: Random, turn: int) -> Plot:
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
        actions.append(Action(at + random.uniform(0.5, 29), "terminate", (ALFA, BRAVO)[turn % 2], circuit))
    return Plot(actions, dict(rates), 85.0)


def _crashes(random: Random, turn: int) -> Plot:
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


def _device_trouble(random: Random, turn: int) -> Plot:
    """The configurators die and the devices fail."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    actions.append(Action(at + random.choice([0.1, 0.5, 5.0, 32.0]), "terminate", _who(random), circuit))
    if random.random() < 0.3:
        actions.append(Action(at + random.uniform(0.2, 2), "release", _who(random), circuit))
    point = CONFIGURATOR_POINTS[turn // 2 % len(CONFIGURATOR_POINTS)]
    rates = ({f"crash {point}": 0.4}, {"device fails": 0.4, "older backup": 0.5})[turn % 2]
    return Plot(actions, rates | _some(random, random.choice(["slow device", "lose order's answer"])))


def _nobody_home(random: Random, turn: int) -> Plot:
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


def _lost_database(random: Random, turn: int) -> Plot:
    """An agreement stands, and one side's disk breaks."""
    circuit = _where(random)
    actions = [Action(0.1, "start", _who(random), circuit)]
    actions.append(Action(random.uniform(5, 15), "lose the database", _who(random), circuit, 1.0))
    # No repetitions: until it expires, a message from before the loss is as good as a new one.
    return Plot(actions, _some(random, random.choice(["lose request", "lose answer"])), 40.0)


def _regret(random: Random, turn: int) -> Plot:
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
    return Plot(actions, {"older backup": 0.5} | _some(random, *random.sample(kinds, 2)), 25.0)


def _silence(random: Random, turn: int) -> Plot:
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


def _too_late(random: Random, turn: int) -> Plot:
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


PLOTS = (
    _storm,
    _glare,
    _last_words,
    _crashes,
    _device_trouble,
    _nobody_home,
    _lost_database,
    _regret,
    _silence,
    _too_late,
)


def plot_of(seed: int) -> str:
    """The name of the plot that a seed has."""
    return PLOTS[seed % len(PLOTS)].__name__.removeprefix("_")
