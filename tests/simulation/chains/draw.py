"""From a seed to what happens in its run. Plots take turns, so that a few seeds already meet every kind of trouble."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from meetme.composer.circuit import CircuitRequest, MemberId, Redundancy
from tests.simulation.chains.federation import Federation, build
from tests.simulation.chains.places import end
from tests.simulation.chains.world import Action, Schedule

NETWORK = {"lose": 0.06, "lose answer": 0.06, "repeat": 0.05, "delay": 0.04}
CRASHES = {
    "crash before an effect": 0.004,
    "crash after an effect, before it is settled": 0.006,
    "crash after an effect was settled": 0.004,
    "crash before a message is handled": 0.006,
    "crash after a message was handled, before its answer left": 0.006,
}
EXCHANGE = {
    "exchange refuses": 0.06,
    "exchange slow": 0.03,
    "other vlan": 0.03,
    "order late": 0.08,
    "lose exchange's answer": 0.08,
    "exchange down": 0.15,
}


class Plot:
    """What a plot has decided."""

    def __init__(self, seed: int, name: str) -> None:
        self.seed, self.name = seed, name
        self.random = Random(seed * 7919 + 13)
        self.federation = build(self.random, self.random.randint(3, 6))
        self.actions: list[Action] = []
        self.rates: dict[str, float] = {}
        self.skews: dict[MemberId, tuple[float, float]] = {}
        self.backups = False

    def use(self, federation: Federation) -> None:
        """Another federation."""
        self.federation = federation

    def order(
        self,
        number: int,
        at: float,
        *,
        bandwidth: int = 100,
        redundancy: Redundancy | None = None,
        passed: float = 0.15,
        same_exchange: float = 0.1,
    ) -> tuple[MemberId, MemberId]:
        """One order: its two ends."""
        random, names = self.random, self.federation.exchanges
        a = random.choice(names)
        b = a if random.random() < same_exchange else random.choice([name for name in names if name != a])
        a_port = random.choice(self.federation.access[a])
        b_port = random.choice([port for port in self.federation.access[b] if (b, port) != (a, a_port)])
        kind = redundancy or random.choice(
            (Redundancy.NONE, Redundancy.NONE, Redundancy.STRICT, Redundancy.BEST_EFFORT)
        )
        if a == b:
            kind = Redundancy.NONE
        request = CircuitRequest(end(a, a_port), end(b, b_port), bandwidth, redundancy=kind)
        asked = random.choice(names) if random.random() < passed else a
        self.actions.append(Action(at, "order", (number, asked, a, request)))
        return a, b

    def orders(
        self, least: int, most: int, within: float = 20.0, **kinds: object
    ) -> list[tuple[int, float, MemberId, MemberId]]:
        """Several."""
        made = []
        for number in range(1, self.random.randint(least, most) + 1):
            at = self.random.uniform(0, within)
            made.append((number, at, *self.order(number, at, **kinds)))  # type: ignore[arg-type]
        return made

    def somewhere(self) -> MemberId:
        """Any composer."""
        return self.random.choice(self.federation.exchanges)

    def some_released(self, made: list[tuple[int, float, MemberId, MemberId]], share: float = 0.4) -> None:
        """People take some of them back, at either end or anywhere."""
        for number, at, a, b in made:
            if self.random.random() < share:
                soon = self.random.choice((0.3, 3.0, 60.0))
                where = self.random.choice((a, b, self.somewhere()))
                self.actions.append(Action(at + self.random.uniform(0, soon), "release", (number, where)))


def quiet(plot: Plot) -> None:
    """Nothing goes wrong."""
    plot.some_released(plot.orders(2, 6), 0.3)


def storm(plot: Plot) -> None:
    """Messages are lost, repeated, delayed, overtaken; exchanges have their moods; processes die."""
    plot.rates |= NETWORK | EXCHANGE | CRASHES
    plot.some_released(plot.orders(2, 6))


def crashes(plot: Plot) -> None:
    """Processes die at every point."""
    plot.rates |= {kind: rate * 4 for kind, rate in CRASHES.items()}
    made = plot.orders(1, 4)
    plot.some_released(made)
    for _ in range(plot.random.randint(1, 4)):
        plot.actions.append(
            Action(plot.random.uniform(0, 40), "kill", (plot.somewhere(), plot.random.uniform(0.1, 60)))
        )


def network(plot: Plot) -> None:
    """Only the network is bad."""
    plot.rates |= {kind: rate * 3 for kind, rate in NETWORK.items()}
    plot.some_released(plot.orders(1, 4))


def exchanges(plot: Plot) -> None:
    """Only the exchanges are."""
    plot.rates |= {kind: rate * 2 for kind, rate in EXCHANGE.items()}
    plot.some_released(plot.orders(2, 5))
    if plot.random.random() < 0.5:
        name, at = plot.somewhere(), plot.random.uniform(0, 20)
        plot.actions += [Action(at, "refuse", (name, True)), Action(at + 60, "refuse", (name, False))]


def partitions(plot: Plot) -> None:
    """Neighbours cannot reach each other for a while, or for long."""
    made = plot.orders(2, 5)
    plot.some_released(made, 0.6)
    for one in plot.random.sample(plot.federation.links, min(3, len(plot.federation.links))):
        at = plot.random.choice((plot.random.uniform(0, 30), made[0][1] + plot.random.uniform(0.02, 0.2)))
        plot.actions.append(Action(at, "cut", (one.a, one.b)))
        plot.actions.append(Action(at + plot.random.choice((2.0, 40.0, 400.0)), "join", (one.a, one.b)))


def scarce(plot: Plot) -> None:
    """Many want what few can have, from both ends."""
    labels = ((100, 103),) if plot.random.random() < 0.5 else ((100, 150),)
    plot.use(build(plot.random, plot.random.randint(3, 5), 300, labels))
    plot.rates |= {"lose": 0.01, "delay": 0.01}
    plot.some_released(plot.orders(8, 14, within=plot.random.choice((0.01, 2.0)), redundancy=Redundancy.NONE), 0.2)


def reuse(plot: Plot) -> None:
    """Room for one circuit, wanted by one after the other, and exchanges that take long to give it back."""
    capacity, last = plot.random.choice(((1000, 100), (100, 150)))
    plot.use(build(plot.random, 2, capacity, ((100, last),), ("p1", "p2")))
    plot.rates |= {"exchange down": 0.6, "lose": 0.02}
    kind = {"redundancy": Redundancy.NONE, "same_exchange": 0.0, "passed": 0.0}
    for number, at, a, b in plot.orders(12, 18, within=60.0, **kind):
        plot.actions.append(Action(at + plot.random.uniform(2, 10), "release", (number, plot.random.choice((a, b)))))


def detour(plot: Plot) -> None:
    """Operators of exchanges on the way take circuits back, although there are other routes."""
    plot.use(build(plot.random, plot.random.randint(5, 6)))
    for number, at, _, _ in plot.orders(3, 5, within=10.0, passed=0.0, same_exchange=0.0):
        for name in plot.federation.exchanges:
            plot.actions.append(Action(at + plot.random.uniform(3, 10), "release_between", (number, name)))


def redundant(plot: Plot) -> None:
    """Two paths, and what breaks one of them."""
    plot.use(build(plot.random, plot.random.randint(4, 6)))
    plot.rates |= {"exchange refuses": 0.05, "lose": 0.02}
    kind = plot.random.choice((Redundancy.STRICT, Redundancy.BEST_EFFORT))
    made = plot.orders(1, 4, redundancy=kind, same_exchange=0.0)
    for _ in range(plot.random.randint(1, 3)):
        plot.actions.append(Action(plot.random.uniform(5, 90), "lose", (plot.somewhere(),)))
    for number, _, a, b in made:
        if plot.random.random() < 0.3:
            plot.actions.append(Action(plot.random.uniform(40, 200), "release", (number, plot.random.choice((a, b)))))
    if plot.random.random() < 0.6:
        name, at = plot.somewhere(), plot.random.uniform(5, 40)
        plot.actions += [Action(at, "refuse", (name, True)), Action(at + 200, "refuse", (name, False))]


def liars(plot: Plot) -> None:
    """Exchanges say done when it is not, and lose what they had."""
    plot.rates |= {"exchange lies": 0.15, "exchange slow": 0.2}
    plot.some_released(plot.orders(2, 5), 0.3)
    for _ in range(plot.random.randint(1, 4)):
        plot.actions.append(Action(plot.random.uniform(3, 60), "lose", (plot.somewhere(),)))


def backups(plot: Plot) -> None:
    """A composer loses its disk and goes on from an old copy."""
    plot.backups = True
    plot.use(build(plot.random, plot.random.randint(3, 5), labels=((100, plot.random.choice((101, 110))),)))
    made = plot.orders(2, 5, same_exchange=0.0)
    plot.some_released(made, 0.4)
    name = plot.somewhere()
    for _ in range(plot.random.randint(1, 2)):
        at = plot.random.choice((0.0, plot.random.uniform(0, 30)))
        plot.actions.append(Action(at, "back_up", (name,)))
        plot.actions.append(Action(at + plot.random.uniform(1, 60), "restore", (name,)))


def asked(plot: Plot) -> None:
    """People ask another composer than the head, which the answer reaches late."""
    plot.rates |= {"lose": 0.2, "lose answer": 0.35, "delay": 0.05, "exchange refuses": 0.05}
    plot.some_released(plot.orders(2, 5, within=5.0, passed=1.0), 0.3)


def clocks(plot: Plot) -> None:
    """Clocks are wrong, and run wrong."""
    for name in plot.federation.exchanges:
        plot.skews[name] = (plot.random.uniform(-4000, 4000), plot.random.uniform(-0.02, 0.02))
    plot.rates |= {"lose": 0.05, "delay": 0.05}
    plot.some_released(plot.orders(1, 4))


def let_go(plot: Plot) -> None:
    """A person does not wait for a neighbour that is away for long."""
    for number, at, a, b in plot.orders(1, 4, within=5.0):
        where = plot.random.choice((a, b))
        plot.actions.append(Action(at + plot.random.uniform(1, 20), "release", (number, where)))
        for name in (a, b):
            plot.actions.append(Action(at + plot.random.uniform(30, 60), "let_go", (number, name)))
    for one in plot.random.sample(plot.federation.links, min(2, len(plot.federation.links))):
        at = plot.random.uniform(0, 10)
        plot.actions += [Action(at, "cut", (one.a, one.b)), Action(at + 200.0, "join", (one.a, one.b))]


PLOTS: tuple[Callable[[Plot], None], ...] = (
    quiet,
    storm,
    crashes,
    network,
    exchanges,
    partitions,
    scarce,
    reuse,
    detour,
    redundant,
    liars,
    backups,
    asked,
    clocks,
    let_go,
)


def plot_of(seed: int) -> str:
    """The name of the plot that a seed has."""
    return PLOTS[seed % len(PLOTS)].__name__


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    plot = Plot(seed, plot_of(seed))
    PLOTS[seed % len(PLOTS)](plot)
    actions = tuple(sorted(plot.actions, key=lambda action: action.at))
    seconds = max((action.at for action in actions), default=0.0) + plot.random.choice((5.0, 60.0))
    return Schedule(seed, plot.name, plot.federation, actions, plot.rates, plot.skews, seconds, plot.backups)
