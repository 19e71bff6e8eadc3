"""Two negotiations by the rules alone: what they owe is performed here, in any order, and may be lost.

No clock, no store, no network: a message is an event at the other side, an order changes a router that is a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from uuid import UUID

from meetme.model.addresses import Prefix
from meetme.model.agreement import Agreement, MemberId, Role
from meetme.model.errors import Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator import events as ev
from meetme.negotiator.addressing import Can, Own, Usage
from meetme.negotiator.effects import Cancel, Effect, ForChange, Probe, Program, Send, Verb, Wake
from meetme.negotiator.events import Event
from meetme.negotiator.messages import (
    ActiveBody,
    Body,
    CommittedBody,
    CounterBody,
    FailedBody,
    HoldBody,
    MessageType,
    RefuseBody,
    StateBody,
    TerminatedBody,
    Verified,
)
from meetme.negotiator.negotiation import Attachment, Negotiation, Wish
from meetme.negotiator.protocol import step, stranger_answer
from meetme.negotiator.roll import differs, listed
from meetme.negotiator.states import State

ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
ID = UUID(int=77)
TROUBLE = Problem("trouble", "it did not work")


def net(text: str) -> Prefix:
    return ip_network(text)


def nets(*texts: str) -> tuple[Prefix, ...]:
    return tuple(map(net, texts))


@dataclass(frozen=True)
class Carried:
    """What a router carries, and what it goes back to when nobody confirms."""

    agreement: Agreement | None = None
    base: Agreement | None = None
    tentative: bool = False
    generation: int = 0


@dataclass
class Half:
    """One side: its negotiation, what it owes, its router, its settings."""

    member: MemberId
    prefixes: tuple[Prefix, ...]
    n: Negotiation | None = None
    owed: dict[str, Effect] = field(default_factory=dict)
    answers: dict[UUID, tuple[Body, int] | None] = field(default_factory=dict)
    router: Carried = Carried()
    broken: str = ""
    """`apply`: the router refuses; `probe`: nothing crosses."""
    policy: MemberPolicy = field(default_factory=MemberPolicy)
    mtu: int = 1500
    can: Can = field(default_factory=Can)
    in_use: tuple[Prefix, ...] = ()

    @property
    def now(self) -> Negotiation:
        assert self.n is not None
        return self.n

    @property
    def revision(self) -> int:
        return self.now.agreement.revision if self.now.agreement else 0

    def own(self, about: Negotiation | None = None, wish: Wish | None = None) -> Own:
        """The own half of the facts, as `Side` makes them."""
        wish = wish or (about.wish if about else Wish())
        base = about.base or about.agreement if about else None
        agreed = tuple(e.real for e in base.side(about.role).prefixes) if base and about else self.prefixes
        prefixes = wish.local_subnets or agreed
        return Own(
            self.member,
            prefixes,
            Usage(held=tuple(dict.fromkeys((*prefixes, *self.prefixes, *self.in_use)))),
            wish.private_networks or nets("100.64.0.0/16"),
            (),
            wish.mtu or self.mtu,
            self.can,
        )


@dataclass
class Two:
    """Both sides. `at` is the time that the next event has."""

    a: Half
    b: Half
    at: float = 1000.0
    lost: Callable[[str], bool] = lambda _what: False
    stuck: bool = False
    """Nothing else goes on: whoever waits for packets to cross gives up."""

    # --- events -------------------------------------------------------------------------------------------------------

    def give(self, half: Half, event: Event) -> Negotiation:
        outcome = step(half.n, event)
        half.n = replace(outcome.negotiation, answers=())
        for answer in outcome.negotiation.answers:
            half.answers[answer.to] = (answer.body, answer.change)
        for effect in outcome.effects:
            inner = effect.effect if isinstance(effect, ForChange) else effect
            if isinstance(inner, Cancel):
                half.owed.pop(effect.key, None)
            else:
                half.owed[effect.key] = effect
        self.document(half)
        return half.now

    def document(self, half: Half) -> None:
        """What the machine does: it signs what is agreed."""
        n = half.now
        if n.change is not None and n.change.agreement is not None and n.change.document is None:
            change = replace(n.change, document=f"revision {n.change.agreement.revision}")
            half.n = replace(n, change=change)

    def ask(self, half: Half, *prefixes: str, mtu: int | None = None) -> Negotiation:
        """A person wants other prefixes, or another mtu."""
        wish = Wish(nets(*prefixes) if prefixes else None, None, mtu)
        return self.give(half, ev.ChangeAsked(self.at, wish, half.own(half.now, wish)))

    # --- effects ------------------------------------------------------------------------------------------------------

    def other(self, half: Half) -> Half:
        return self.b if half is self.a else self.a

    def due(self) -> list[tuple[Half, str]]:
        """What can be performed, timers aside."""
        return [(half, key) for half in (self.a, self.b) for key, e in half.owed.items() if not is_timer(e)]

    def timers(self) -> list[tuple[Half, str]]:
        return [(half, key) for half in (self.a, self.b) for key, e in half.owed.items() if is_timer(e)]

    def perform(self, half: Half, key: str) -> None:
        """Do one thing that is owed. What fails stays owed."""
        effect = half.owed[key]
        inner = effect.effect if isinstance(effect, ForChange) else effect
        about = half.now.change if isinstance(effect, ForChange) else half.now
        if about is None:
            half.owed.pop(key)
            return
        event = self._perform(half, about, inner)
        if event is not None and half.owed.get(key) is effect:
            half.owed.pop(key)
            self.give(half, ev.OfChange(about.number, event) if isinstance(effect, ForChange) else event)

    def _perform(self, half: Half, about: Negotiation, effect: Effect) -> Event | None:
        match effect:
            case Send(type=kind, message=message):
                return self._send(half, about, kind, message)
            case Program():
                return self._program(half, about, effect)
            case Probe():
                if half.broken == "probe":
                    return ev.ProbeFailed(self.at, TROUBLE)
                there = self.other(half).router.agreement
                if about.state is State.ACTIVE or there == half.router.agreement:
                    return ev.Probed(self.at, Verified.PATH, 1.0)
                return ev.ProbeFailed(self.at, TROUBLE) if self.stuck else None
            case Wake(event=ev.Deadline):
                return ev.Deadline(self.at)
            case Wake(event=ev.CompareDue):
                return ev.CompareDue(self.at)
            case Wake(event=ev.ChangeDue):
                return ev.ChangeDue(self.at, half.own(half.now))
            case _:
                raise AssertionError(effect)

    def _program(self, half: Half, n: Negotiation, order: Program) -> Event | None:
        router = half.router
        if order.generation < router.generation:
            return ev.DeviceAhead(self.at, router.generation)
        if half.broken == "apply" and order.verb is Verb.APPLY:
            return ev.ApplyFailed(self.at, TROUBLE)
        match order.verb:
            case Verb.APPLY if order.confirm_seconds is not None:
                base = router.base if router.tentative else router.agreement
                half.router = Carried(n.agreement, base, True, order.generation)
                return ev.Applied(self.at)
            case Verb.APPLY:
                half.router = Carried(n.agreement, None, False, order.generation)
                return ev.Applied(self.at)
            case Verb.CONFIRM:
                if router.agreement is None:
                    return ev.DeviceLost(self.at)
                half.router = Carried(router.agreement, None, False, order.generation)
                return ev.DeviceConfirmed(self.at)
            case Verb.REMOVE:
                half.router = Carried(generation=order.generation)
                return ev.Removed(self.at)

    def roll_back(self, half: Half) -> None:
        """Nobody has confirmed in time: the router goes back by itself, and says so."""
        if half.router.tentative:
            half.router = replace(half.router, agreement=half.router.base, base=None, tentative=False)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _send(self, half: Half, about: Negotiation, kind: MessageType, message: UUID) -> Event | None:
        if self.lost(f"{kind}"):
            return None
        other = self.other(half)
        if message not in other.answers:
            other.answers[message] = None
            self._deliver(half, other, about, kind, message)
        answer = other.answers[message]
        if answer is None or self.lost(f"answer to {kind}"):
            return None
        body, number = answer
        assert number == about.number, f"{kind} about {about.number} is answered about {number}"
        return self._heard(half, about, body)

    def _deliver(self, half: Half, other: Half, about: Negotiation, kind: MessageType, message: UUID) -> None:
        event = self.received(half, other, about, kind, message)
        if other.n is None and not isinstance(event, ev.ProposeReceived | ev.Restored):
            other.answers[message] = (stranger_answer(kind), about.number)
            return
        self.give(other, ev.OfChange(about.number, event) if about.number else event)

    def received(self, half: Half, other: Half, about: Negotiation, kind: MessageType, message: UUID) -> Event:
        at = self.at
        match kind:
            case MessageType.PROPOSE:
                assert about.offer is not None
                there = other.n
                if there and about.number:
                    c = there.change
                    wish = c.wish if c and c.number == about.number else there.wanted or there.wish
                    own = other.own(there, wish)
                else:
                    own = other.own()
                base = about.base.revision if about.base else 0
                port = Attachment("r", "p")
                return ev.ProposeReceived(
                    at, message, ID, half.member, "c", None, port, own, 50, about.offer, other.policy, 1, None, base
                )
            case MessageType.COMMIT:
                assert about.agreement is not None
                return ev.CommitReceived(at, message, about.agreement)
            case MessageType.CONFIRM:
                return ev.ConfirmReceived(at, message, about.verified)
            case MessageType.TERMINATE:
                return ev.TerminateReceived(at, message, about.problem)
            case MessageType.QUERY:
                return self._query(about, other, message)
            case MessageType.CHANGE:
                return ev.ChangeWanted(at, message, other.own(other.now))
            case _:
                raise AssertionError(kind)

    def _query(self, about: Negotiation, other: Half, message: UUID) -> Event:
        agreement, at = about.agreement, self.at
        if other.n is None and about.peer_lost and agreement is not None:
            role = about.role.other
            return ev.Restored(at, message, agreement, role, Attachment("r", "p"), 900, "restored")
        agreed = agreement.revision if agreement and not about.number else 0
        handed = None
        if about.peer_lost and agreement is not None and other.n is not None and agreed > other.revision:
            handed = ev.Handed(agreement, f"revision {agreed}", other.policy)
        return ev.QueryReceived(at, message, about.state, about.revision, agreed, about.changes, handed)

    def _heard(self, half: Half, about: Negotiation, body: Body) -> Event | None:
        at = self.at
        match body:
            case HoldBody(agreement=agreement):
                return ev.HoldReceived(at, agreement, half.own(about), half.policy)
            case CounterBody(counter=counter):
                return ev.CounterReceived(at, counter, half.own(about))
            case RefuseBody(problems=problems) if about.number == 0 and half.now.state is State.ACTIVE:
                return ev.ChangeRefused(at, problems)
            case RefuseBody(problems=problems, superseded_by=by):
                return ev.RefuseReceived(at, problems, by)
            case CommittedBody(verified=verified):
                return ev.CommittedReceived(at, verified)
            case ActiveBody(verified=verified):
                return ev.ActiveReceived(at, verified)
            case FailedBody(problem=problem):
                return ev.FailedReceived(at, problem)
            case TerminatedBody():
                return ev.TerminatedReceived(at)
            case StateBody() as b:
                handed = None
                if b.agreement is not None:
                    handed = ev.Handed(b.agreement, f"revision {b.agreement.revision}", half.policy)
                return ev.StateReceived(at, b.state, b.revision, b.agreed, b.changes, handed)
            case _:
                raise AssertionError(body)

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, *, until: Callable[[], bool] = lambda: False, most: int = 200) -> None:
        """Perform what is due, oldest first, until nothing is (or `until`)."""
        for _ in range(most):
            due = self.due()
            if until() or not due:
                self.stuck = False
                return
            before = (self.a.n, self.b.n)
            for half, key in due:
                if key in half.owed and not until():
                    self.perform(half, key)
            self.stuck = before == (self.a.n, self.b.n)
        raise AssertionError(f"does not end: {self.due()}")

    def quiet(self, most: int = 60) -> None:
        """Let every timer fire, until all that is left is the comparison and nothing comes of it any more."""
        for _ in range(most):
            before = (self.a.n, self.b.n)
            self.at += 40.0
            for half, key in self.timers():
                if key in half.owed:
                    self.perform(half, key)
            self.call_rolls()
            self.run()
            if all(h.n is None or settled(h.now, was) for h, was in zip((self.a, self.b), before, strict=True)):
                return
        raise AssertionError("never quiet")

    def call_rolls(self) -> None:
        """Both compare what is active, as `roll_call` does for many."""
        for half in (self.a, self.b):
            other = self.other(half)
            if half.n is None or half.n.state is not State.ACTIVE:
                continue
            ours, theirs = listed(half.n), listed(other.n) if other.n else None
            if ours is None or theirs is None or differs(theirs, ours, other.now.role):
                self.give(half, ev.CompareDue(self.at))


def settled(now: Negotiation, before: Negotiation | None) -> bool:
    """The same as before, but for the count of questions."""
    return before is not None and replace(now, queries=0, steps=()) == replace(before, queries=0, steps=())


def is_timer(effect: Effect) -> bool:
    inner = effect.effect if isinstance(effect, ForChange) else effect
    return isinstance(inner, Wake)


def active(**changes: object) -> Two:
    """Alfa has 10.0.0.0/24 and 10.1.0.0/24, bravo 10.0.0.0/24 and 10.2.0.0/24; they have agreed."""
    two = Two(Half(ALFA, nets("10.0.0.0/24", "10.1.0.0/24")), Half(BRAVO, nets("10.0.0.0/24", "10.2.0.0/24")))
    two.give(two.a, ev.Start(two.at, ID, BRAVO, "c", None, Attachment("r", "p"), two.a.own(), 10))
    two.run()
    assert (two.a.now.state, two.b.now.state) == (State.ACTIVE, State.ACTIVE)
    for half in (two.a, two.b):
        half.n = replace(half.now, document="revision 1")
    return replace(two, **changes) if changes else two  # type: ignore[arg-type]


def prefixes(half: Half, role: Role) -> tuple[str, ...]:
    """What the agreement in force says of `role`'s prefixes."""
    assert half.now.agreement is not None
    return tuple(str(e.real) for e in half.now.agreement.side(role).prefixes)
