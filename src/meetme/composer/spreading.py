"""How words spread between neighbours (anti-entropy, Demers et al. 1987): what is new is pushed, the rest compared.

    Summary    one figure for each bucket       -> Marks       which words stand where the figures differ
    Documents  what the other lacks, and a list -> Documents   what was on the list, and what was refused
               of what is lacked here

Rules of this file:

1. Pure: every composer runs this very class, in the service as in the simulation of a thousand of them.
2. What is believed is decided in `book` alone; a neighbour can delay words by what it leaves out, and nothing else.
3. Whoever is a member gets answers, at a bounded rate; only neighbours are asked. One exchange with each at a time.
4. A message is as large as one request may be; what does not fit goes with the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from meetme.composer.book import BUCKETS, Book, Mark, Notary, Word
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, MeetMeError, Problem
from meetme.model.members import Member

ROOM = 52 * 1024
"""Octets of documents in a message; the largest document alone fits."""
ANSWER_ROOM = 192 * 1024
MOST_MARKS = 2000
MOST_WANTED = 256
MOST_REFUSED = 32
"""Of what was refused, so many are told."""
GATHER_SECONDS = 0.05
"""How long what is new waits for more of it, before it is pushed."""
RATE, BURST = 100.0, 400.0
"""What one member may cost: a second, and at once on top of twice the roster."""
REFUSED_COST = 10.0
"""Beside 1 for each document and each message: who sends what is refused soon has to wait."""
ASKED_FOR_ONE = 16
"""So many words, or marks, that are asked for cost as much as one that is brought: it has to be read and believed."""
RETRY_SECONDS = 0.5
"""Until a neighbour that could not be reached is tried again; doubles,"""
LONGEST_WAIT = 4
"""up to so many times the interval. Also after it has been heard of."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the sender's book comes to, bucket by bucket."""

    sums: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """Which words stand in some buckets of the sender's book; no bucket: the two books are the same."""

    buckets: tuple[int, ...] = ()
    marks: Mapping[MemberId, Mark] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Declined:
    """A word that was not taken, and why."""

    member: MemberId
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Documents:
    """Words, and whose the sender asks for."""

    documents: tuple[str, ...] = ()
    wanted: tuple[MemberId, ...] = ()
    refused: tuple[Declined, ...] = ()
    """Of those in the message that this one answers."""


Message: TypeAlias = Summary | Marks | Documents


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a message."""

    answer: Message | None = None
    taken: tuple[Word, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class Neighbour:
    """What is known of one neighbour."""

    compare_at: float
    """When to compare books next."""
    pending: dict[MemberId, float] = field(default_factory=dict)
    """Whose words are to be pushed, and since when."""
    busy: bool = False
    """An answer of it is awaited."""
    surplus: list[MemberId] = field(default_factory=list)
    """Whose words it is still to get,"""
    lacking: dict[MemberId, Mark] = field(default_factory=dict)
    """and which ones it is still to be asked for."""
    gained: bool = False
    """Whether the last comparison brought something: then there may be more."""
    sent: tuple[Word, ...] = ()
    declined: dict[MemberId, Mark] = field(default_factory=dict)
    """What it does not take: not pushed again until it is another word."""
    failures: int = 0
    agreed_at: float | None = None
    """When the books were last found the same."""
    problem: str = ""
    """Why it cannot be reached."""


class Spreading:
    """One composer's part in it."""

    def __init__(self, book: Book, notary: Notary, *, every: float) -> None:
        """`every`: seconds between two comparisons with each neighbour."""
        self.book = book
        self.neighbours: dict[MemberId, Neighbour] = {}
        self._notary = notary
        self._every = every
        self._spent: dict[MemberId, tuple[float, float]] = {}

    def meet(self, names: Collection[MemberId], now: float) -> None:
        """These are the neighbours from now on. A new one is compared with at once."""
        for gone in self.neighbours.keys() - set(names):
            del self.neighbours[gone]
        for name in names:
            if name != self.book.me and name not in self.neighbours:
                self.neighbours[name] = Neighbour(now)

    def publish(self, word: Word, now: float) -> None:
        """Take and push an own word."""
        self.book.take(word)
        self._push(word.member, now, source=None)

    # --- what goes out ------------------------------------------------------------------------------------------------

    def due(self, now: float) -> Iterator[tuple[MemberId, Message]]:
        """What is to be sent now; each has to be followed by `answered` or `failed` of that neighbour."""
        for name, neighbour in self.neighbours.items():
            if neighbour.busy:
                continue
            # Somebody may have set the clock back.
            neighbour.compare_at = min(neighbour.compare_at, now + self._every * LONGEST_WAIT)
            if neighbour.compare_at <= now:
                neighbour.busy, neighbour.gained = True, False
                neighbour.compare_at = now + self._every
                # The comparison finds whatever was to be pushed.
                neighbour.pending.clear()
                yield name, Summary(self.book.sums())
            elif self._next(neighbour) <= now:
                neighbour.surplus = list(neighbour.pending)
                neighbour.pending.clear()
                message = self._documents(neighbour)
                if message is not None:
                    neighbour.busy = True
                    yield name, message

    def next_due(self) -> float:
        """When there is something to send next."""
        return min((self._next(n) for n in self.neighbours.values() if not n.busy), default=float("inf"))

    def answered(self, name: MemberId, answer: Message, now: float, members: Mapping[str, Member]) -> Heard:
        """A neighbour's answer; `Heard.answer` is what to send it next, and is answered or fails in turn."""
        neighbour = self.neighbours.get(name)
        if neighbour is None:
            return Heard()
        neighbour.failures, neighbour.problem = 0, ""
        heard = Heard()
        if isinstance(answer, Marks):
            heard = self._compared(neighbour, answer, now, members)
        elif isinstance(answer, Documents):
            heard = self._exchanged(name, neighbour, answer, now, members)
        neighbour.gained = neighbour.gained or bool(heard.taken)
        neighbour.busy = heard.answer is not None
        if neighbour.gained and not neighbour.busy:
            neighbour.compare_at = now
        return heard

    def failed(self, name: MemberId, problem: str, now: float) -> None:
        """It could not be reached, or made no sense: it is compared with later, again and again."""
        neighbour = self.neighbours.get(name)
        if neighbour is None:
            return
        neighbour.busy = False
        neighbour.pending.clear()
        neighbour.surplus.clear()
        neighbour.lacking.clear()
        neighbour.compare_at = now + min(RETRY_SECONDS * 2**neighbour.failures, LONGEST_WAIT * self._every)
        neighbour.failures = min(30, neighbour.failures + 1)
        neighbour.problem = problem

    def _compared(self, neighbour: Neighbour, theirs: Marks, now: float, members: Mapping[str, Member]) -> Heard:
        buckets = [bucket for bucket in theirs.buckets if 0 <= bucket < BUCKETS]
        if not buckets:
            neighbour.agreed_at = now
            neighbour.declined.clear()
        neighbour.surplus = list(self.book.surplus(theirs.marks, buckets))
        neighbour.lacking = self.book.lacking(theirs.marks, members)
        return Heard(self._documents(neighbour))

    def _exchanged(
        self, name: MemberId, neighbour: Neighbour, theirs: Documents, now: float, members: Mapping[str, Member]
    ) -> Heard:
        refused = {declined.member for declined in theirs.refused}
        neighbour.declined |= {word.member: word.mark for word in neighbour.sent if word.member in refused}
        neighbour.sent = ()
        if not self._affordable(name, len(theirs.documents), now, members):
            neighbour.surplus.clear()
            neighbour.lacking.clear()
            return Heard(problems=(_too_much(name),))
        taken, problems, _ = self._consider(name, theirs.documents, now, members)
        if not taken:
            # What was asked for and did not come is asked for again after the next comparison, not now.
            neighbour.lacking = dict(list(neighbour.lacking.items())[MOST_WANTED:])
        return Heard(self._documents(neighbour), taken, problems)

    def _documents(self, neighbour: Neighbour) -> Documents | None:
        """The next part of what is to be exchanged; None: nothing is left."""
        words = []
        for member in neighbour.surplus:
            word = self.book.word(member)
            if word is not None and neighbour.declined.get(member) != word.mark:
                words.append(word)
        neighbour.sent = tuple(_fitting(words, ROOM))
        neighbour.surplus = [word.member for word in words[len(neighbour.sent) :]]
        neighbour.lacking = self.book.lacking(neighbour.lacking, neighbour.lacking)
        wanted = tuple(neighbour.lacking)[:MOST_WANTED]
        if not neighbour.sent and not wanted:
            return None
        return Documents(tuple(word.document for word in neighbour.sent), wanted)

    @staticmethod
    def _next(neighbour: Neighbour) -> float:
        if not neighbour.pending or neighbour.failures:
            return neighbour.compare_at
        return min(neighbour.compare_at, next(iter(neighbour.pending.values())) + GATHER_SECONDS)

    def _push(self, member: MemberId, now: float, source: MemberId | None) -> None:
        for name, neighbour in self.neighbours.items():
            if name not in (source, member):
                neighbour.pending.setdefault(member, now)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def receive(self, sender: MemberId, message: Message, now: float, members: Mapping[str, Member]) -> Heard:
        """What another member asks or brings, and the answer; without one it asks too much, as the problem says."""
        if not self._affordable(sender, _cost(message), now, members):
            return Heard(problems=(_too_much(sender),))
        self.book.forget(now, members)
        asker = self.neighbours.get(sender)
        if asker is not None and asker.failures:
            asker.compare_at = min(asker.compare_at, now + RETRY_SECONDS)  # it is back, it seems
        match message:
            case Summary(sums):
                answer = self._marks(self.book.differing(sums[:BUCKETS]))
                self._spend(sender, len(answer.marks) / ASKED_FOR_ONE)
                return Heard(answer)
            case Documents(documents, wanted):
                taken, problems, refused = self._consider(sender, documents, now, members)
                words = [word for name in wanted[:MOST_WANTED] if (word := self.book.word(name)) is not None]
                found = tuple(word.document for word in _fitting(words, ANSWER_ROOM))
                return Heard(Documents(found, (), refused), taken, problems)
            case Marks():
                return Heard(Documents())

    def _marks(self, buckets: Sequence[int]) -> Marks:
        chosen: list[int] = []
        marks: dict[MemberId, Mark] = {}
        for bucket in buckets:
            more = self.book.marks((bucket,))
            if chosen and len(marks) + len(more) > MOST_MARKS:
                break
            chosen.append(bucket)
            marks |= more
        return Marks(tuple(chosen), marks)

    def _consider(
        self, sender: MemberId, documents: Iterable[str], now: float, members: Mapping[str, Member]
    ) -> tuple[tuple[Word, ...], tuple[Problem, ...], tuple[Declined, ...]]:
        taken: list[Word] = []
        problems: list[Problem] = []
        refused: list[Declined] = []
        for document in documents:
            member, news = MemberId(""), False
            try:
                word = self._notary.read(document)
                member, news = word.member, self.book.mark(word.member) != word.mark
                problem = self.book.consider(word, self._notary, now=now, members=members)
            except MeetMeError as error:
                problem = error.problem
            if problem is not None:
                self._spend(sender, REFUSED_COST)
                problems.append(problem)
                refused.append(Declined(member, problem.code, problem.text[:300]))
            elif news and member != self.book.me:
                taken.append(word)
                self._push(member, now, sender)
        return tuple(taken), tuple(problems), tuple(refused[:MOST_REFUSED])

    def _affordable(self, sender: MemberId, cost: float, now: float, members: Mapping[str, Member]) -> bool:
        """Whether a member may ask for so much now: a bucket that fills at RATE."""
        most = BURST + 2 * len(members)
        if len(self._spent) > len(members) + 1:
            self._spent = {member: spent for member, spent in self._spent.items() if member in members}
        left, at = self._spent.get(sender, (most, now))
        left = min(most, left + max(0.0, now - at) * RATE)
        self._spent[sender] = (left - cost if left >= cost else left, now)
        return left >= cost

    def _spend(self, sender: MemberId, cost: float) -> None:
        left, at = self._spent[sender]
        self._spent[sender] = (left - cost, at)


def _fitting(words: Iterable[Word], room: int) -> Iterator[Word]:
    for word in words:
        room -= len(word.document)
        if room < 0:
            return
        yield word


def _cost(message: Message) -> float:
    match message:
        case Documents(documents, wanted):
            return 1 + len(documents) + len(wanted) / ASKED_FOR_ONE
        case _:
            return 1


def _too_much(sender: MemberId) -> Problem:
    return Problem(
        "advertisements_too_many",
        f"advertisements: '{sender}' must send less at a time",
        "try again later",
        None,
        Fault.REMOTE,
    )
