"""What people read: states, steps, times and prices in their words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from meetme.catalog.offers import Per, Price
from meetme.catalog.views import OrderView, ThingView
from meetme.catalog.words import ENDED, UNDER_WAY, Connectivity, Party, Presence, State, What
from meetme.model.errors import Fault, Problem


class Tone(StrEnum):
    """How something stands, as a colour and a sign say it; never alone: words say it too."""

    GOOD = "good"
    BUSY = "busy"
    WAIT = "wait"
    BAD = "bad"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Word:
    """A few words, and their tone."""

    text: str
    tone: Tone


STATES: dict[State, Word] = {
    State.PLACED: Word("Asking the provider", Tone.BUSY),
    State.APPROVING: Word("Waiting for approval", Tone.WAIT),
    State.COMPOSING: Word("Finding a way", Tone.BUSY),
    State.LINKING: Word("Building the circuit", Tone.BUSY),
    State.NEGOTIATING: Word("Agreeing on addresses", Tone.BUSY),
    State.VERIFYING: Word("Sending packets", Tone.BUSY),
    State.ACTIVE: Word("Active", Tone.GOOD),
    State.TERMINATING: Word("Being taken back", Tone.WAIT),
    State.TERMINATED: Word("Ended", Tone.OVER),
    State.DECLINED: Word("Declined", Tone.BAD),
    State.CANCELLED: Word("Cancelled", Tone.OVER),
    State.FAILED: Word("Failed", Tone.BAD),
}
HEALTHS = {"up": Word("Healthy", Tone.GOOD), "degraded": Word("Degraded", Tone.WAIT), "down": Word("Down", Tone.BAD)}
CONNECTIVITIES = {
    Connectivity.NONE: "No connection needed",
    Connectivity.L2: "Circuit",
    Connectivity.L3: "Routed circuit",
}
REDUNDANCIES = {"none": "One path", "best_effort": "Two paths where possible", "strict": "Two separate paths"}
FAULTS = {
    Fault.LOCAL: "This has to be put right on our side.",
    Fault.REMOTE: "This has to be put right on the other side.",
    Fault.DEVICE: "This has to be put right at a router or switch.",
}
WHATS = {
    What.NEGOTIATION: "The agreement about addresses",
    What.ATTACHMENT: "Our end of the circuit",
    What.CIRCUIT: "The circuit",
}


class Stage(StrEnum):
    """Where a step of an order is."""

    DONE = "done"
    NOW = "now"
    BROKE = "broke"
    TO_COME = "to come"
    LEFT_OUT = "left out"


STAGES = {
    Stage.DONE: "done",
    Stage.NOW: "under way",
    Stage.BROKE: "did not work",
    Stage.TO_COME: "to come",
    Stage.LEFT_OUT: "not reached",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an order, as its page shows it."""

    name: str
    text: str
    stage: Stage
    at: float | None = None
    """Seconds from the order to its end."""
    took: float | None = None
    """Seconds."""

    @property
    def word(self) -> str:
        """Where it is."""
        return STAGES[self.stage]


_APPROVE = {
    Party.BUYER: ("approve", "The provider approves"),
    Party.SELLER: ("approve", "We approve"),
}
_COMPOSE = ("compose", "A way through the federation is reserved")
_LINK = ("link", "The exchanges build the circuit")
_ATTACH = {
    Party.BUYER: ("attach", "Both ends are ready"),
    Party.SELLER: ("attach", "Our end is ready"),
}
_NEGOTIATE = ("negotiate", "Both networks agree on addresses")
_VERIFY = ("verify", "Packets reach the service")
_ACTIVE = ("active", "In service")


def course(party: Party, connectivity: Connectivity) -> tuple[tuple[str, str], ...]:
    """The steps of such an order, in order."""
    buyer = party is Party.BUYER
    steps = [_APPROVE[party]]
    if connectivity is not Connectivity.NONE:
        steps += [_COMPOSE, _LINK] if buyer else []
        steps.append(_ATTACH[party])
    if connectivity is Connectivity.L3:
        steps.append(_NEGOTIATE)
        steps += [_VERIFY] if buyer else []
    return (*steps, _ACTIVE)


def steps(order: OrderView) -> tuple[Step, ...]:
    """Every step of an order: what is done and how long it took, where it stands, what is to come."""
    done = {step.name: step.seconds for step in order.steps}
    shown: list[Step] = []
    before, stands = 0.0, False
    for name, text in course(order.party, order.connectivity):
        if name in done and not stands:
            shown.append(Step(name, text, Stage.DONE, done[name], max(0.0, done[name] - before)))
            before = done[name]
            continue
        stage = Stage.TO_COME if order.state in UNDER_WAY else Stage.LEFT_OUT
        if not stands and order.state in UNDER_WAY:
            stage = Stage.NOW
        elif not stands and order.problem is not None:
            stage = Stage.BROKE
        stands = True
        shown.append(Step(name, text, stage))
    return tuple(shown)


def undoing(order: OrderView) -> tuple[Step, ...]:
    """What was, or is being, taken back; in that order."""
    if order.state not in ENDED and order.state is not State.TERMINATING:
        return ()
    things: dict[What, ThingView] = {thing.what: thing for thing in order.things}
    shown = []
    for what in What:
        thing = things.get(what)
        if thing is None or thing.presence in (Presence.ABSENT, Presence.MAKING, Presence.THERE):
            continue
        gone = thing.presence in (Presence.GONE, Presence.SWEEPING)
        shown.append(Step(what.value, WHATS[what], Stage.DONE if gone else Stage.NOW))
    return tuple(shown)


def summary(order: OrderView) -> str:
    """Where it stands, as one sentence: what a screen reader is told when that changes."""
    every = steps(order)
    done = sum(step.stage is Stage.DONE for step in every)
    now = next((step.text for step in every if step.stage is Stage.NOW), None)
    where = f"{STATES[order.state].text}."
    return f"{where} Step {done + 1} of {len(every)}: {now}." if now is not None else where


def blame(problem: Problem) -> str:
    """Who has to act."""
    return FAULTS[problem.fault]


def duration(seconds: float) -> str:
    """A time as people say it: `340 ms`, `2.4 s`, `3 min 12 s`, `5 h`, `2 days`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 86_400:.0f} days"


def amount(value: Decimal | float) -> str:
    """An amount of money, in its own number of digits but for a fraction that is cut short."""
    number = Decimal(str(value))
    return f"{number:,.0f}" if number == number.to_integral_value() else f"{number:,.2f}"


def price(of: Price) -> str:
    """A price, with what it is paid in."""
    return f"{amount(of.amount)} {of.currency}"


PERS = {Per.MONTH: "per month", Per.HOUR: "per hour", Per.ONCE: "once"}
