"""What happens in a run: the actions of people and of fate, drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from meetme.model.agreement import MemberId
from tests.simulation.member import ALFA, BRAVO, CIRCUITS

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
    plot = PLOTS[seed % len(PLOTS)](random)
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


def _storm(random: Random) -> Plot:
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


def _glare(random: Random) -> Plot:
    """Both start at once, for one circuit or for two, and there may not be enough for both."""
    circuits = sorted(CIRCUITS)
    actions = [Action(1.0 + random.uniform(0, 0.03), "start", who, random.choice(circuits)) for who in (ALFA, BRAVO)]
    actions += [Action(1.0 + random.uniform(0, 0.03), "start", _who(random), random.choice(circuits))]
    return Plot(actions, _some(random, *random.sample(["delay", "repeat", "lose answer", "slow disk"], 1)), 2.0)


def _last_words(random: Random) -> Plot:
    """What is said last does not arrive, for longer than any deadline."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    lost = random.choice(["confirm", "confirm's answer", "terminate", "order to confirm"])
    rates = {f"lose {lost}": 1.0}
    if lost == "terminate" or random.random() < 0.3:
        after = random.choice([random.uniform(0, 0.2), random.uniform(0.5, 5)])
        actions.append(Action(at + after, "terminate", _who(random), circuit))
    if lost == "order to confirm":
        rates |= {"lose confirm's answer": float(random.random() < 0.7), "device fails": random.choice([0.0, 0.5])}
    return Plot(actions, rates, 85.0)


def _crashes(random: Random) -> Plot:
    """The negotiators die again and again."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    actions.append(Action(at + random.choice([0.1, 0.5, 5.0, 32.0]), "terminate", _who(random), circuit))
    return Plot(actions, {"crash": random.choice([0.03, 0.08])}, 5.0)


def _device_trouble(random: Random) -> Plot:
    """The configurators die and the devices fail."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    actions.append(Action(at + random.choice([0.1, 0.5, 5.0, 32.0]), "terminate", _who(random), circuit))
    rates = {"crash at an order": random.choice([0.1, 0.3])}
    return Plot(actions, rates | _some(random, random.choice(["device fails", "slow device", "lose order's answer"])))


def _nobody_home(random: Random) -> Plot:
    """A negotiator dies in the middle and stays away for longer than the device waits."""
    at, circuit = random.uniform(0, 1), _where(random)
    who, away = _who(random), random.uniform(70, 100)
    actions = [Action(at, "start", _who(random), circuit)]
    actions.append(Action(at + random.uniform(0.1, 0.35), "kill negotiator", who, circuit, away))
    if random.random() < 0.6:
        actions.append(Action(at + random.uniform(0.5, 30), "kill configurator", who, circuit, random.uniform(0.1, 20)))
    return Plot(actions, {}, 100.0)


def _lost_database(random: Random) -> Plot:
    """An agreement stands, and one side's disk breaks."""
    circuit = _where(random)
    actions = [Action(0.1, "start", _who(random), circuit)]
    actions.append(Action(random.uniform(5, 15), "lose the database", _who(random), circuit, 1.0))
    # No repetitions: until it expires, a message from before the loss is as good as a new one.
    return Plot(actions, _some(random, random.choice(["lose request", "lose answer"])), 40.0)


def _regret(random: Random) -> Plot:
    """Somebody takes it back while it is being made."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
    times = random.choice([1, 2])
    actions += [Action(at + random.uniform(0.0, 0.3), "terminate", _who(random), circuit) for _ in range(times)]
    if random.random() < 0.3:
        actions.append(Action(at + random.uniform(0.2, 0.6), "release", _who(random), circuit))
    actions.append(Action(at + random.uniform(1, 15), "start", _who(random), circuit))
    kinds = ["delay order", "slow device", "delay", "repeat", "lose order's answer"]
    return Plot(actions, _some(random, *random.sample(kinds, 2)), 25.0)


def _silence(random: Random) -> Plot:
    """The members cannot reach each other, from some moment on; or the circuit carries nothing."""
    at, circuit = random.uniform(0, 1), _where(random)
    what = random.choice(["cut the way to the peer", "cut the way to the peer", "darken"])
    actions = [Action(at, "start", _who(random), circuit)]
    when = at + random.choice([random.uniform(0, 0.3), random.uniform(5, 29)])
    actions.append(Action(when, what, ALFA, circuit, random.uniform(20, 80)))
    if random.random() < 0.5:
        actions.append(Action(when + random.uniform(0, 10), "terminate", _who(random), circuit))
    return Plot(actions, {}, 75.0)


def _too_late(random: Random) -> Plot:
    """What decides arrives when the time is just over."""
    at, circuit = random.uniform(0, 1), _where(random)
    actions = [Action(at, "start", _who(random), circuit)]
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
