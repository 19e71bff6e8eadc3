"""Federations of composers for tests: only the rules, over wires that lose, repeat, reorder and cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from meetme.composer.advertisement import Advertisement
from meetme.composer.book import Book, Mark, Word
from meetme.composer.spreading import Heard, Message, Spreading
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput
from meetme.model.members import Member, MemberKind
from tests.composer.advertisements import NOW, advertisement


class Stamps:
    """A notary without cryptography: a document is a name for what was said, and by whom it is signed."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Advertisement, str]] = {}
        self.looks = 0

    def sign(self, ad: Advertisement, signer: str | None = None) -> Word:
        """A word of `ad.member`, signed by it, or by another."""
        signer = signer or ad.member
        document = f"{signer} {ad.member} {ad.version} {ad.issued} {hash(ad):x}"
        self.known[document] = (ad, signer)
        return self.read(document)

    def read(self, document: str) -> Word:
        if document not in self.known:
            raise InvalidInput("advertisement_malformed", "advertisement: must be JSON")
        ad, _ = self.known[document]
        return Word(ad, Mark(ad.version, f"{hash(ad) % 2**64:016x}"), document)

    def is_genuine(self, word: Word, member: Member) -> bool:
        self.looks += 1
        return self.known[word.document][1] == member.id


def roster(*names: str) -> dict[str, Member]:
    """Exchanges by id."""
    return {name: Member(MemberId(name), MemberKind.IXP, (f"pin of {name}",)) for name in names}


@dataclass
class Parcel:
    """One message under way, or its answer."""

    source: MemberId
    target: MemberId
    message: Message
    is_answer: bool = False


@dataclass
class Network:
    """Composers and what is under way between them. Time stands still unless a test moves it."""

    links: dict[str, tuple[str, ...]]
    every: float = 30.0
    now: float = NOW
    stamps: Stamps = field(default_factory=Stamps)
    parcels: list[Parcel] = field(default_factory=list)
    cut: Callable[[str, str], bool] = lambda a, b: False
    heard: list[tuple[str, Heard]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.members = roster(*self.links)
        self.nodes = {name: Spreading(Book(MemberId(name)), self.stamps, every=self.every) for name in self.links}
        for name, others in self.links.items():
            self.nodes[name].meet([MemberId(other) for other in others], self.now)

    def say(self, member: str, version: int, *, signer: str | None = None, **facts: object) -> Word:
        """A member publishes its word of this version."""
        word = self.stamps.sign(advertisement(member, version=version, issued=self.now, **facts), signer)
        self.nodes[member].publish(word, self.now)
        return word

    def send_due(self) -> None:
        """Put everything that is due on its way."""
        for name, node in self.nodes.items():
            for neighbour, message in node.due(self.now):
                self.parcels.append(Parcel(MemberId(name), neighbour, message))

    def deliver(self, parcel: Parcel, *, again: bool = False) -> None:
        """It arrives. `again`: as a duplicate, whose answer nobody awaits."""
        source, target = self.nodes[parcel.source], self.nodes[parcel.target]
        if parcel.is_answer:
            heard = target.answered(parcel.source, parcel.message, self.now, self.members)
            self.heard.append((parcel.target, heard))
            if heard.answer is not None:
                self.parcels.append(Parcel(parcel.target, parcel.source, heard.answer))
            return
        heard = target.receive(parcel.source, parcel.message, self.now, self.members)
        self.heard.append((parcel.target, heard))
        if again:
            return
        if heard.answer is None:
            source.failed(parcel.target, "too much", self.now)
        else:
            self.parcels.append(Parcel(parcel.target, parcel.source, heard.answer, is_answer=True))

    def lose(self, parcel: Parcel) -> None:
        """It never arrives: whoever asked gives up."""
        asker, asked = (parcel.target, parcel.source) if parcel.is_answer else (parcel.source, parcel.target)
        self.nodes[asker].failed(asked, "lost", self.now)

    def run(self, seconds: float, random: Random | None = None, *, loss: float = 0.0) -> None:
        """Let time pass: what is due is sent, what is under way arrives in any order, or does not."""
        random = random or Random(0)
        end = self.now + seconds
        while True:
            self.send_due()
            while self.parcels:
                parcel = self.parcels.pop(random.randrange(len(self.parcels)))
                if self.cut(parcel.source, parcel.target) or random.random() < loss:
                    self.lose(parcel)
                else:
                    if not parcel.is_answer and random.random() < loss:
                        self.deliver(parcel, again=True)
                    self.deliver(parcel)
                self.send_due()
            self.now = min(node.next_due() for node in self.nodes.values())
            if self.now > end:
                self.now = end
                return

    def marks(self) -> dict[str, dict[str, Mark]]:
        """What every book says."""
        return {
            name: {word.member: word.mark for word in sorted(node.book.words(), key=lambda word: word.member)}
            for name, node in self.nodes.items()
        }


def ring(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each with the next and the one before."""
    names = list(names)
    return {
        name: tuple(sorted({names[index - 1], names[(index + 1) % len(names)]} - {name}))
        for index, name in enumerate(names)
    }
