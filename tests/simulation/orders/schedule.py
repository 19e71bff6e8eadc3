"""From a seed to what happens in its run: what people order, decide and take back, and what fate does meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from meetme.model.agreement import MemberId

NAMES = tuple(MemberId(name) for name in ("alfa", "bravo", "charlie", "delta", "echo", "foxtrot"))
SEVERE = {
    "lose request": 0.25,
    "lose answer": 0.25,
    "repeat": 0.3,
    "delay": 0.2,
    "crash": 0.03,
    "underlay request lost": 0.15,
    "underlay answer lost": 0.2,
    "underlay late": 0.15,
    "underlay answer lost to look": 0.05,
    "circuit refused": 0.3,
    "circuit fails": 0.3,
    "circuit fails late": 0.3,
    "compose slow": 0.2,
    "circuit slow": 0.3,
    "circuit lost": 0.4,
    "release slow": 0.4,
    "negotiation fails": 0.4,
    "negotiation slow": 0.3,
    "negotiation lost": 0.4,
    "end slow": 0.4,
    "service silent": 0.4,
    "lose the line to the database": 0.2,
}
"""Every kind of trouble, and how likely it is at most each time that it could strike."""
NETWORK = ("lose request", "lose answer", "repeat", "delay")
BENEATH = ("underlay request lost", "underlay answer lost", "underlay late", "underlay answer lost to look")
CIRCUIT = ("circuit refused", "circuit fails", "circuit fails late", "compose slow", "circuit slow", "release slow")
NEGOTIATION = ("negotiation fails", "negotiation slow", "end slow", "service silent")
CONNECTED = ("vault", "vault", "vault", "wire", "asked-vault")
ALL = (*CONNECTED, "page", "asked-page")


@dataclass(frozen=True)
class Action:
    """Something that is done at a moment of the run. `seconds`: how long it lasts, where it lasts."""

    at: float
    what: str
    member: MemberId
    order: int = 0
    """Which of those that were placed."""
    other: MemberId | None = None
    offer: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        about = f"{self.other}/{self.offer}" if self.offer else f"#{self.order}"
        return f"{self.at:7.3f}  {self.member}: {self.what} {about}{lasting}"


@dataclass(frozen=True)
class Schedule:
    """One run. The same seed gives the same schedule; shrinking takes actions and strokes out of it."""

    seed: int
    plot: str
    members: tuple[MemberId, ...]
    actions: tuple[Action, ...]
    rates: Mapping[str, float]
    replicas: int = 1
    crooks: frozenset[MemberId] = frozenset()
    dropped: frozenset[str] = frozenset()
    seconds: float = 60.0
    """How long there is trouble."""

    @property
    def backups(self) -> bool:
        """Some database goes back to an earlier day."""
        return any(action.what == "restore" for action in self.actions)


@dataclass
class Draft:
    """A schedule that is being drawn."""

    random: Random
    actions: list[Action] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    members: tuple[MemberId, ...] = NAMES[:3]
    replicas: int = 1
    crooks: frozenset[MemberId] = frozenset()
    seconds: float = 60.0

    def some(self, *kinds: str, share: float = 0.7) -> None:
        """Some of these kinds of trouble, moderate or as severe as they get."""
        for kind in kinds:
            if self.random.random() < share:
                self.rates[kind] = SEVERE[kind] * self.random.choice([0.3, 1.0])

    def orders(self, number: int, offers: tuple[str, ...] = ALL, within: float = 10.0) -> None:
        """People order."""
        for _ in range(number):
            buyer, seller = self.random.sample(self.members, 2)
            at = self.random.uniform(0.1, within)
            self.actions.append(Action(at, "place", buyer, other=seller, offer=self.random.choice(offers)))

    def decisions(self, number: int) -> None:
        """People at the sellers decide, early, late, or never."""
        for order in range(number):
            what = self.random.choice(["approve", "approve", "decline", "never"])
            at = self.random.choice([self.random.uniform(1, 20), self.random.uniform(15, 55)])
            if what != "never":
                self.actions.append(Action(at, what, self.members[0], order))

    def regrets(self, share: float, longest: float = 40.0) -> None:
        """People at either side change their minds: while it is built, as a rule, which takes a few seconds."""
        placed = sorted(action.at for action in self.actions if action.what == "place")
        for order, at in enumerate(placed):
            if self.random.random() < share:
                what = self.random.choice(["buyer regrets", "buyer regrets", "seller regrets"])
                later = self.random.uniform(0.0, self.random.choice([2.0, 6.0, longest]))
                self.actions.append(Action(at + later, what, self.members[0], order))

    def happens(self, what: str, times: int, shortest: float, longest: float) -> None:
        """Fate does something to some member for a while."""
        for _ in range(times):
            at, seconds = self.random.uniform(0.5, 40.0), self.random.uniform(shortest, longest)
            self.actions.append(Action(at, what, self.random.choice(self.members), seconds=seconds))


def storm(draft: Draft) -> None:
    """A little of everything."""
    draft.members = NAMES[: draft.random.randint(3, 4)]
    draft.orders(4)
    draft.decisions(4)
    draft.regrets(0.4)
    draft.some(*SEVERE, share=0.35)
    draft.happens("kill", 2, 0.1, 20.0)


def network(draft: Draft) -> None:
    """Messages alone go wrong, and members cannot reach each other for a while."""
    draft.orders(3)
    draft.decisions(3)
    draft.regrets(0.5)
    draft.some(*NETWORK, share=1.0)
    draft.happens("cut", draft.random.randint(0, 2), 5.0, 50.0)


def crashes(draft: Draft) -> None:
    """Processes die at every point."""
    draft.orders(2, CONNECTED)
    draft.decisions(2)
    draft.regrets(0.5)
    draft.rates["crash"] = draft.random.choice([0.02, 0.05])
    draft.some("underlay late", "underlay answer lost", share=0.5)


def beneath(draft: Draft) -> None:
    """What is asked of composers and negotiators is lost, late or answered in vain."""
    draft.orders(3, CONNECTED)
    draft.decisions(3)
    draft.regrets(0.8, 20.0)
    draft.some("crash", share=0.3)
    if draft.random.random() < 0.5:
        draft.some(*BENEATH, share=1.0)
    else:
        draft.rates |= {"underlay late": 0.4, "circuit refused": 0.3}
    draft.happens("away", draft.random.randint(0, 2), 3.0, 40.0)


def circuits(draft: Draft) -> None:
    """Circuits are refused, fail, and take long."""
    draft.orders(3, CONNECTED)
    draft.decisions(3)
    draft.regrets(0.3)
    draft.some(*CIRCUIT)
    draft.some("circuit lost", "underlay answer lost", share=0.4)


def negotiations(draft: Draft) -> None:
    """Negotiations fail, take long, and end by themselves."""
    draft.orders(3, ("vault", "vault", "asked-vault"))
    draft.decisions(3)
    draft.regrets(0.3)
    draft.some(*NEGOTIATION)
    draft.some("negotiation lost", "underlay answer lost", share=0.4)


def losses(draft: Draft) -> None:
    """What stood is lost: both have to find out."""
    draft.orders(3, CONNECTED)
    draft.decisions(3)
    draft.some("circuit lost", "negotiation lost", share=0.8)
    draft.some(*NETWORK, "crash", share=0.3)


def undoing(draft: Draft) -> None:
    """What has to go refuses to go for a while, or takes long."""
    draft.orders(3, CONNECTED, within=3.0)
    draft.decisions(3)
    draft.regrets(1.0, 30.0)
    draft.some("release slow", "end slow", "underlay answer lost", "underlay late", share=0.6)
    for what in ("circuit stuck", "attachment stuck", "negotiation stuck"):
        draft.happens(what, draft.random.randint(0, 2), 10.0, 60.0)
    draft.seconds = 80.0


def approvals(draft: Draft) -> None:
    """People decide, too late, or not at all, and change their minds meanwhile."""
    draft.orders(4, ("asked-vault", "asked-page"))
    draft.decisions(4)
    draft.decisions(4)
    draft.regrets(0.6)
    draft.some(*NETWORK, "crash", share=0.4)
    draft.happens("withdraw", draft.random.randint(0, 1), 1.0, 30.0)


def farewells(draft: Draft) -> None:
    """One is away for longer than the other waits for its word."""
    draft.members = NAMES[:2]
    draft.orders(2, ALL, within=3.0)
    draft.decisions(2)
    draft.regrets(1.0, 30.0)
    draft.actions.append(
        Action(draft.random.uniform(0.5, 25), draft.random.choice(["cut", "kill"]), NAMES[1], seconds=500.0)
    )
    draft.some(*NETWORK, share=0.3)
    draft.seconds = 520.0


def crook(draft: Draft) -> None:
    """One member says whatever it likes."""
    draft.orders(5, ("vault", "vault", "wire", "asked-vault", "asked-page"))
    draft.decisions(5)
    draft.regrets(0.4)
    draft.crooks = frozenset({draft.random.choice(draft.members)})
    draft.rates["lie"] = draft.random.choice([0.1, 0.4])
    draft.some("negotiation lost", "circuit lost", "delay", share=0.3)


def backups(draft: Draft) -> None:
    """A database goes back to what it was a while ago."""
    draft.orders(3)
    draft.decisions(3)
    draft.regrets(0.4)
    member = draft.random.choice(draft.members)
    draft.actions.append(Action(draft.random.uniform(0.1, 15.0), "backup", member))
    draft.actions.append(Action(draft.random.uniform(15.0, 45.0), "restore", member, seconds=3.0))
    draft.some(*NETWORK, share=0.3)


def replicas(draft: Draft) -> None:
    """Two processes on each database, which die and take over from each other."""
    draft.replicas = 2
    draft.orders(2, CONNECTED)
    draft.decisions(2)
    draft.regrets(0.4)
    draft.rates["crash"] = draft.random.choice([0.005, 0.02])
    draft.some("lose the line to the database", "underlay late", "underlay answer lost", share=0.5)


def crowd(draft: Draft) -> None:
    """Six members order of each other, all at once."""
    draft.members = NAMES
    draft.orders(9, within=3.0)
    draft.decisions(9)
    draft.regrets(0.2)
    draft.some(*NETWORK, *CIRCUIT, *NEGOTIATION, "crash", share=0.15)


PLOTS = (
    storm,
    network,
    crashes,
    beneath,
    circuits,
    negotiations,
    losses,
    undoing,
    approvals,
    farewells,
    crook,
    backups,
    replicas,
    crowd,
)


def draw(seed: int) -> Schedule:
    """The schedule of a seed. Plots take turns, so that a few seeds already meet every kind of trouble."""
    draft = Draft(Random(seed))
    PLOTS[seed % len(PLOTS)](draft)
    return Schedule(
        seed,
        plot_of(seed),
        draft.members,
        tuple(sorted(draft.actions, key=lambda action: action.at)),
        draft.rates,
        draft.replicas,
        draft.crooks,
        seconds=draft.seconds,
    )


def plot_of(seed: int) -> str:
    """The name of the plot that a seed has."""
    return PLOTS[seed % len(PLOTS)].__name__
