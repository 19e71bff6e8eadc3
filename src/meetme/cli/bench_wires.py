"""Composers that tell each other what they know, in one process and in virtual time: for `meetme bench federation`."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from meetme.cli.federation_model import Line, Model
from meetme.composer import spread_wire
from meetme.composer.advertisement_wire import Signatures, sign_advertisement
from meetme.composer.book import Book, Word
from meetme.composer.spreading import Documents, Message, Spreading
from meetme.model.agreement import MemberId
from meetme.model.members import Member, MemberKind
from meetme.runtime.identity import Identity, create_identity

BEGIN = 1_800_000_000.0
"""Virtual time at which it begins."""
EVERY = 30.0
HANDLING = 0.001
TIMEOUT = 3.0
"""Until an exchange that is down counts as not reached."""
SAMPLE = 100


class Once:
    """A notary that remembers what it has read and verified: a thousand composers in one process ask the same."""

    def __init__(self) -> None:
        self._notary = Signatures()
        self._words: dict[str, Word] = {}
        self._genuine: dict[tuple[str, str], bool] = {}

    def read(self, document: str) -> Word:
        """What a document says."""
        if document not in self._words:
            self._words[document] = self._notary.read(document)
        return self._words[document]

    def is_genuine(self, word: Word, member: Member) -> bool:
        """Whether `member` has signed it."""
        key = (word.document, member.id)
        if key not in self._genuine:
            self._genuine[key] = self._notary.is_genuine(word, member)
        return self._genuine[key]


@dataclass(slots=True)
class Count:
    """What crossed the wires."""

    messages: int = 0
    octets: int = 0
    documents: int = 0
    """Copies of documents among it."""

    def add(self, message: Message, octets: int) -> None:
        """One more."""
        self.messages += 1
        self.octets += octets
        if isinstance(message, Documents):
            self.documents += len(message.documents)


@dataclass(slots=True)
class Wires:
    """A thousand composers, and the messages under way between them, in virtual time."""

    model: Model
    nodes: list[Spreading]
    words: list[Word]
    members: dict[str, Member]
    identities: list[Identity]
    notary: Once
    now: float = BEGIN
    down: set[int] = field(default_factory=set)
    count: Count = field(default_factory=Count)
    missing: int = 0
    """How many have not heard yet what is being waited for,"""
    among: int = 0
    """of so many who can be reached."""
    _awaited: dict[str, Word] = field(default_factory=dict)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0
    _wake: list[float] = field(default_factory=list)
    _index: dict[str, int] = field(default_factory=dict)
    delays: dict[tuple[int, int], float] = field(default_factory=dict)
    _overhead: int = 0

    @classmethod
    def of(cls, model: Model) -> Wires:
        """Everybody with a key, a neighbourhood and something to say; nobody has said anything yet."""
        identities = [create_identity(site.name) for site in model.sites]
        members: dict[str, Member] = {
            site.name: Member(site.name, MemberKind.IXP, (key.pin,), (key.certificate,), site.country)
            for site, key in zip(model.sites, identities, strict=True)
        }
        notary = Once()
        nodes = [Spreading(Book(site.name), notary, every=EVERY) for site in model.sites]
        wires = cls(model, nodes, [], members, identities, notary)
        lines = model.lines_of()
        for index, (key, near) in enumerate(zip(identities, lines, strict=True)):
            ad = model.advertisement(index, near, now=BEGIN, version=1)
            wires.words.append(notary.read(sign_advertisement(ad, key)))
        wires._index = {site.name: index for index, site in enumerate(model.sites)}
        wires._wake = [float("inf")] * len(nodes)
        for line in model.lines:
            for ends in ((line.a, line.b), (line.b, line.a)):
                known = wires.delays.get(ends, float("inf"))
                wires.delays[ends] = min(known, HANDLING + line.latency_ms / 1000)
        for index, near in enumerate(lines):
            wires.meet(index, near)
        wires._overhead = len(spread_wire.write(Documents(), members_id(0, model), members_id(0, model), BEGIN))
        return wires

    def meet(self, index: int, lines: Iterable[Line]) -> None:
        """Its neighbours are those at the other ends of these lines."""
        others = {line.b if line.a == index else line.a for line in lines}
        # Composers do not all begin to compare in the same moment.
        self.nodes[index].meet([self.model.sites[other].name for other in sorted(others)], self.now)

    def publish(self, index: int, word: Word) -> None:
        """It says something new."""
        self.words[index] = word
        self.nodes[index].publish(word, self.now)
        self._look(index)

    def say_anew(self, index: int, lines: Iterable[Line]) -> Word:
        """The next word of an exchange with these lines, signed."""
        version = self.words[index].mark.version + 1
        ad = self.model.advertisement(index, lines, now=self.now, version=version)
        return self.notary.read(sign_advertisement(ad, self.identities[index]))

    def wait_for(self, words: Iterable[Word], among: Iterable[int]) -> None:
        """From now on count down how many of `among` lack one of `words`."""
        self._awaited = {word.member: word for word in words}
        among = tuple(among)
        self.among = len(among)
        self.missing = sum(
            (known := self.nodes[index].book.word(name)) is None or known.mark < word.mark
            for index in among
            for name, word in self._awaited.items()
        )

    def run(self, until: Callable[[], bool], seconds: float) -> float:
        """Let virtual time pass until something holds, for so many seconds at most; how many went by."""
        begin = self.now
        for index in range(len(self.nodes)):
            self._look(index)
        while self._events and not until() and self._events[0][0] <= begin + seconds:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
        if not until():
            self.now = begin + seconds
        return self.now - begin

    # --- what happens -------------------------------------------------------------------------------------------------

    def _later(self, after: float, happens: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + after, self._number, happens))

    def _look(self, index: int) -> None:
        """Send what is due there, and come back when there is something to send next."""
        if index in self.down:
            return
        node = self.nodes[index]
        for name, message in node.due(self.now):
            self._send(index, self._index[name], message)
        at = node.next_due()
        if at < self._wake[index] or self._wake[index] <= self.now:
            self._wake[index] = at
            if at < float("inf"):
                self._later(max(0.0, at - self.now), lambda: self._woken(index, at))

    def _woken(self, index: int, at: float) -> None:
        if self._wake[index] == at:
            self._wake[index] = float("inf")
            self._look(index)

    def _send(self, source: int, target: int, message: Message) -> None:
        self.count.add(message, self._octets(message))
        delay = self.delays[source, target]

        def arrives() -> None:
            if target in self.down:
                self._later(TIMEOUT, lambda: self._failed(source, target))
                return
            name = self.model.sites[source].name
            heard = self.nodes[target].receive(name, message, self.now, self.members)
            self._taken(heard.taken)
            self._look(target)
            if heard.answer is None:
                self._later(delay, lambda: self._failed(source, target))
                return
            answer = heard.answer
            self.count.add(answer, self._octets(answer))
            self._later(delay, lambda: self._answered(source, target, answer))

        self._later(delay, arrives)

    def _answered(self, source: int, target: int, answer: Message) -> None:
        if source in self.down:
            return
        name = self.model.sites[target].name
        heard = self.nodes[source].answered(name, answer, self.now, self.members)
        self._taken(heard.taken)
        if heard.answer is not None:
            self._send(source, target, heard.answer)
        self._look(source)

    def _failed(self, source: int, target: int) -> None:
        self.nodes[source].failed(self.model.sites[target].name, "no answer", self.now)
        self._look(source)

    def _taken(self, words: Iterable[Word]) -> None:
        for word in words:
            awaited = self._awaited.get(word.member)
            if awaited is not None and awaited.mark == word.mark:
                self.missing -= 1

    def _octets(self, message: Message) -> int:
        """How long it is as it is written; documents go in as they are, so they need not be copied to know that."""
        if isinstance(message, Documents) and not message.wanted and not message.refused:
            return self._overhead + sum(len(document) + 1 for document in message.documents)
        me = self.model.sites[0].name
        return len(spread_wire.write(message, me, me, self.now))


def members_id(index: int, model: Model) -> MemberId:
    """The name of an exchange."""
    return model.sites[index].name
