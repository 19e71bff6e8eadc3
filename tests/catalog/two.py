"""Both sides of an order, moved by the rules, over a composer and negotiators that are as real as a dozen lines are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from uuid import UUID

from meetme.catalog import events as ev
from meetme.catalog.effects import Cancel, Effect, Make, Send, TakeBack, Verify, Wake, Watch
from meetme.catalog.events import Event
from meetme.catalog.lifecycle import step, stranger_answer
from meetme.catalog.messages import (
    ApprovedBody,
    AttachedBody,
    Body,
    DeclinedBody,
    MessageType,
    PendingBody,
    StateBody,
    TerminatedBody,
)
from meetme.catalog.order import End, Order, Reach
from meetme.catalog.undoing import terminate_body
from meetme.catalog.words import ENDED, Party, State, Wanted, What
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem

ID = UUID(int=7)
ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
NO = Problem("no", "it cannot be")
GHOST_SECONDS = 10.0
"""How long an order that its owner has given up may still arrive somewhere."""


@dataclass
class Side:
    party: Party
    me: MemberId
    partner: MemberId
    order: Order | None = None
    owed: dict[str, tuple[Effect, float]] = field(default_factory=dict)
    """By key: the effect, and when it is due."""
    answers: dict[UUID, Body | None] = field(default_factory=dict)
    made: list[State] = field(default_factory=list)
    """Every state it went through."""

    @property
    def now(self) -> Order:
        assert self.order is not None
        return self.order

    @property
    def state(self) -> State | None:
        return self.order.state if self.order else None


@dataclass
class Two:
    """The world: what there is of the circuit, the attachments and the negotiation."""

    wanted: Wanted
    refusal: Problem | None = None
    at: float = 1000.0
    circuit: str | None = None
    attachments: set[Party] = field(default_factory=set)
    negotiation: str | None = None
    circuits_made: int = 0
    broken: set[str] = field(default_factory=set)
    """What fails: `circuit`, `late circuit`, `attachment buyer`, `attachment seller`, `negotiation`, `verify`."""
    stuck: set[What] = field(default_factory=set)
    """What refuses to be taken back."""
    cut: bool = False
    ghosts: list[tuple[float, Party, Make]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.buyer = Side(Party.BUYER, ALFA, BRAVO)
        self.seller = Side(Party.SELLER, BRAVO, ALFA)
        self.sides = (self.buyer, self.seller)

    # --- events -------------------------------------------------------------------------------------------------------

    def place(self) -> None:
        self.give(self.buyer, ev.Placed(self.at, ID, ALFA, BRAVO, self.wanted))

    def give(self, side: Side, event: Event) -> None:
        """One event at one side; what is answered and owed is written down with it."""
        outcome = step(side.order, event)
        side.order = replace(outcome.order, answers=())
        if not side.made or side.made[-1] is not side.order.state:
            side.made.append(side.order.state)
        for answer in outcome.order.answers:
            side.answers[answer.to] = answer.body
        for effect in outcome.effects:
            old = side.owed.pop(effect.key, None)
            if old is not None and isinstance(old[0], Make) and isinstance(effect, TakeBack):
                self.ghosts.append((self.at + GHOST_SECONDS, side.party, old[0]))
            if not isinstance(effect, Cancel):
                side.owed[effect.key] = (effect, self.at + getattr(effect, "after", 0.0))

    # --- effects ------------------------------------------------------------------------------------------------------

    def due(self) -> list[tuple[Side, str]]:
        return [(side, key) for side in self.sides for key, (_, at) in side.owed.items() if at <= self.at]

    def perform(self, side: Side, key: str, *, lose: bool = False) -> bool:
        """Do one thing that is owed; whether anything came of it. `lose`: the process dies before it is written."""
        effect, _ = side.owed[key]
        event = self._perform(side, effect)
        if event is None or lose:
            return False
        del side.owed[key]
        self.give(side, event)
        return True

    def _perform(self, side: Side, effect: Effect) -> Event | None:
        match effect:
            case Send(type=kind, message=message):
                return None if self.cut else self._send(side, kind, message)
            case Make(what=what):
                return self._make(side, what)
            case Watch(what=what):
                seen = self._seen(side, what)
                known = side.now.thing(what).standing
                return seen if seen is not None and seen.standing != known else None
            case TakeBack(what=what):
                return None if what in self.stuck else self._take_back(side, what)
            case Verify():
                if "verify" in self.broken:
                    return ev.VerifyFailed(self.at, NO)
                return ev.Verified(self.at, Reach(words="there"))
            case Wake(event=kind):
                return kind(self.at)
            case _:
                raise AssertionError(effect)

    def _make(self, side: Side, what: What) -> Event | None:
        match what:
            case What.CIRCUIT:
                if "circuit" in self.broken:
                    return ev.MakingFailed(self.at, what, NO)
                if self.circuit is None:
                    self.circuits_made += 1
                    self.circuit = "held"
                return self._seen(side, what)
            case What.ATTACHMENT:
                if f"attachment {side.party}" in self.broken:
                    return ev.MakingFailed(self.at, what, NO)
                self.attachments.add(side.party)
                return ev.Attached(self.at, End(MemberId("ixp"), "p1", 100, 1500))
            case What.NEGOTIATION:
                if self.negotiation is None:
                    self.negotiation = "proposed"
                return self._seen(side, what)

    def _seen(self, side: Side, what: What) -> ev.CircuitSeen | ev.NegotiationSeen | None:
        if what is What.CIRCUIT:
            if self.circuit is None:
                return ev.CircuitSeen(self.at, "c", "gone", False, problem=NO)
            return ev.CircuitSeen(
                self.at, "c", self.circuit, self.circuit == "active", self.circuit in ("committed", "active")
            )
        if self.negotiation is None:
            if side.now.negotiation.known:
                return ev.NegotiationSeen(self.at, "n", "gone", False, problem=NO)
            return None
        if self.negotiation == "failed":
            return ev.NegotiationSeen(self.at, "n", "failed", False, problem=NO)
        return ev.NegotiationSeen(self.at, "n", self.negotiation, self.negotiation == "active")

    def _take_back(self, side: Side, what: What) -> Event | None:
        match what:
            case What.CIRCUIT:
                self.circuit = None
            case What.ATTACHMENT:
                self.attachments.discard(side.party)
            case What.NEGOTIATION:
                self.negotiation = None
        return ev.Gone(self.at, what)

    def live(self) -> None:
        """What others do meanwhile: circuits are built, negotiations become active, or fail."""
        following = {"held": "committed", "committed": "active"}
        if self.circuit is not None and not ("late circuit" in self.broken and self.circuit == "committed"):
            self.circuit = following.get(self.circuit, self.circuit)
        if self.negotiation == "proposed":
            ready = self.circuit == "active" and self.attachments == set(Party)
            self.negotiation = "active" if ready and "negotiation" not in self.broken else "failed"

    def haunt(self, random: Random) -> None:
        """What was given up arrives all the same."""
        for ghost in list(self.ghosts):
            until, party, make = ghost
            if self.at > until or random.random() < 0.3:
                self.ghosts.remove(ghost)
                if self.at <= until:
                    self._make(self.buyer if party is Party.BUYER else self.seller, make.what)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _send(self, side: Side, kind: MessageType, message: UUID) -> Event | None:
        other = self.seller if side is self.buyer else self.buyer
        if message not in other.answers:
            event = self._arrives(side, other, kind, message)
            if event is None:
                return self._heard(stranger_answer(kind))
            other.answers[message] = None
            self.give(other, event)
        answer = other.answers[message]
        return None if answer is None else self._heard(answer)

    def _arrives(self, side: Side, other: Side, kind: MessageType, message: UUID) -> Event | None:
        if kind is MessageType.REQUEST:
            return ev.RequestReceived(self.at, message, ID, BRAVO, ALFA, side.now.wanted, self.refusal)
        if other.order is None:
            return None
        match kind:
            case MessageType.ATTACH:
                return ev.AttachReceived(self.at, message, side.now.circuit.id or "")
            case MessageType.TERMINATE:
                return ev.TerminateReceived(self.at, message, terminate_body(side.now).reason)
            case MessageType.QUERY:
                return ev.QueryReceived(self.at, message, side.state)
            case _:
                raise AssertionError(kind)

    def _heard(self, body: Body) -> Event:
        match body:
            case ApprovedBody():
                return ev.ApprovedReceived(self.at)
            case DeclinedBody(problem=problem):
                return ev.DeclinedReceived(self.at, problem)
            case PendingBody(seconds=seconds):
                return ev.PendingReceived(self.at, seconds)
            case AttachedBody():
                return ev.AttachedReceived(self.at)
            case TerminatedBody():
                return ev.TerminatedReceived(self.at)
            case StateBody(state=state):
                return ev.StateReceived(self.at, state)
            case _:
                raise AssertionError(body)

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, most: int = 400) -> None:
        """Perform what is due until nothing comes of it any more; time stands still."""
        for _ in range(most):
            self.live()
            moved = [self.perform(side, key) for side, key in self.due() if key in side.owed]
            if not any(moved) and self.circuit in (None, "committed", "active") and self.negotiation != "proposed":
                return
        raise AssertionError("does not end")

    def pass_time(self, seconds: float) -> None:
        """Let time go by, performing what falls due."""
        until = self.at + seconds
        while True:
            self.run()
            later = [at for side in self.sides for _, at in side.owed.values() if self.at < at <= until]
            if not later:
                break
            self.at = min(later)
        self.at = until
        self.run()

    @property
    def nothing_left(self) -> bool:
        return self.circuit is None and not self.attachments and self.negotiation is None

    @property
    def ended(self) -> bool:
        return all(side.state in (*ENDED, None) for side in self.sides)
