"""The newest word of every member, and what makes a word worth believing. Pure: time and signatures come from outside.

Rules of this file:

1. A word counts by its own signature, whoever passed it on. What is wrong with it is told, and changes nothing.
2. Of two words of one member the later counts (`Mark`): the higher version, and of two with the same version, which an
   honest member never signs, the one whose fingerprint is higher. So everybody ends with the same one.
3. What was forgotten when it expired does not come back: the mark of it stays.
4. Nothing is kept of who is not in the roster: the memory is bounded by it, whatever anybody sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from meetme.composer.advertisement import Advertisement
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Problem
from meetme.model.members import Member

SKEW_SECONDS = 60.0
"""By how much the clock of another may be ahead of ours."""
BUCKETS = 64
"""Into which members are divided by the hash of their ids, so that two books are compared by few figures."""
_SAME = "0" * 16


class Mark(NamedTuple):
    """Which word of a member it is; the later one is the larger."""

    version: int
    fingerprint: str
    """16 hex digits: the same for every signature of the same words."""


@dataclass(frozen=True, slots=True)
class Word:
    """One signed document as it was read. Whether the signature is good is another question."""

    advertisement: Advertisement
    mark: Mark
    document: str
    """JSON text of the JWS: what is passed on is what came, to the octet."""

    @property
    def member(self) -> MemberId:
        """Whose word it says it is."""
        return self.advertisement.member


class Notary(Protocol):
    """Who can read documents and tell whose signature is on them."""

    def read(self, document: str) -> Word:
        """What a document says. Raises InvalidInput or TooLarge."""

    def is_genuine(self, word: Word, member: Member) -> bool:
        """Whether `member` has signed it."""


def bucket_of(member: str) -> int:
    """To which bucket a member belongs."""
    return hashlib.sha256(member.encode()).digest()[0] % BUCKETS


class Book:
    """The newest word of every member, as one composer knows them."""

    def __init__(self, me: MemberId) -> None:
        self.me = me
        self.outrun = 0
        """The highest version of ours that others have seen and we do not know: the next one has to be higher."""
        self._words: list[dict[MemberId, Word]] = [{} for _ in range(BUCKETS)]
        self._marks: dict[MemberId, Mark] = {}
        self._sums: list[str | None] = [None] * BUCKETS
        self._earliest = float("inf")
        self._members: Mapping[str, Member] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._words))

    def words(self) -> Iterator[Word]:
        """All of them."""
        for bucket in self._words:
            yield from bucket.values()

    def advertisements(self) -> tuple[Advertisement, ...]:
        """What they say, by member."""
        return tuple(sorted((word.advertisement for word in self.words()), key=lambda ad: ad.member))

    def word(self, member: str) -> Word | None:
        """The newest word of a member; None: it has said nothing, or that has expired."""
        return self._words[bucket_of(member)].get(MemberId(member))

    def mark(self, member: str) -> Mark | None:
        """The latest mark of a member that was ever seen here."""
        return self._marks.get(MemberId(member))

    # --- what comes in ------------------------------------------------------------------------------------------------

    def consider(self, word: Word, notary: Notary, *, now: float, members: Mapping[str, Member]) -> Problem | None:
        """Take `word` where it is right and news; else what is wrong with it. What is known already is no problem.

        The signature is looked at last: that costs more than all the rest.
        """
        known = self._marks.get(word.member)
        if known == word.mark:
            return None
        problem = self._objection(word, known, now, members)
        if problem is not None:
            return problem
        if not notary.is_genuine(word, members[word.member]):
            return _problem(
                "advertisement_forged",
                f"advertisement: must be signed by '{word.member}' (no signature of it is good)",
                "whoever passed it on has altered it or made it up; or the member has a new key: meetme peer list",
            )
        if word.member == self.me:
            self.outrun = max(self.outrun, word.mark.version)
        else:
            self.take(word)
        return None

    def take(self, word: Word) -> None:
        """Put down a word that was found right: an own one, or one from the own store."""
        bucket = bucket_of(word.member)
        self._words[bucket][word.member] = word
        self._marks[word.member] = max(word.mark, self._marks.get(word.member, word.mark))
        self._sums[bucket] = None
        self._earliest = min(self._earliest, word.advertisement.expires)

    def remember(self, member: MemberId, mark: Mark) -> None:
        """Note the mark of a word that is over."""
        self._marks[member] = max(mark, self._marks.get(member, mark))

    def forget(self, now: float, members: Mapping[str, Member]) -> tuple[MemberId, ...]:
        """Drop what has expired and whoever is not in the roster any more; says whose words are gone."""
        strangers: set[MemberId] = set()
        if members is not self._members:  # a roster that has changed is another one
            self._members = members
            strangers = {member for member in self._marks if member not in members and member != self.me}
        if now < self._earliest and not strangers:
            return ()
        gone = [word.member for word in self.words() if word.advertisement.expires <= now or word.member in strangers]
        for member in gone:
            bucket = bucket_of(member)
            del self._words[bucket][member]
            self._sums[bucket] = None
        for member in strangers:
            del self._marks[member]
        self._earliest = min((word.advertisement.expires for word in self.words()), default=float("inf"))
        return tuple(gone)

    def _objection(self, word: Word, known: Mark | None, now: float, members: Mapping[str, Member]) -> Problem | None:
        ad = word.advertisement
        member = members.get(word.member)
        if member is None:
            return _problem(
                "advertisement_stranger",
                f"advertisement.member: must be in the roster ('{word.member}')",
                f"meetme peer add {word.member} makes it known",
                "member",
            )
        if ad.kind is not member.kind:
            text = f"advertisement.kind: must be that of the roster ('{ad.kind}' of '{word.member}')"
            return _problem("advertisement_kind", text, f"the roster says {member.kind}", "kind")
        if member.country is not None and ad.country != member.country:
            text = f"advertisement.country: must be that of the roster ('{ad.country}' of '{word.member}')"
            return _problem("advertisement_country", text, f"the roster says {member.country}", "country")
        if ad.issued > now + SKEW_SECONDS:
            text = f"advertisement.issued: must not be in the future ('{_time(ad.issued)}' of '{word.member}')"
            return _problem("advertisement_future", text, "are the clocks right, here and there?", "issued")
        if ad.expires <= now:
            text = f"advertisement.expires: must be in the future ('{_time(ad.expires)}' of '{word.member}')"
            return _problem("advertisement_expired", text, "its member issues a new one, if it still runs", "expires")
        if known is not None and word.mark < known:
            text = (
                f"advertisement.version: must not be older than what is known"
                f" ('{ad.version}' of '{word.member}', known {known.version})"
            )
            return _problem("advertisement_superseded", text, "", "version")
        return None

    # --- how two books are compared -----------------------------------------------------------------------------------

    def sums(self) -> tuple[str, ...]:
        """One figure for each bucket: the same where two books say the same."""
        return tuple(self._sum(bucket) for bucket in range(BUCKETS))

    def differing(self, sums: Iterable[str]) -> tuple[int, ...]:
        """The buckets in which the other book, of these figures, says something else."""
        return tuple(bucket for bucket, theirs in enumerate(sums) if theirs != self._sum(bucket))

    def marks(self, buckets: Iterable[int]) -> dict[MemberId, Mark]:
        """What stands in some buckets."""
        return {member: word.mark for bucket in buckets for member, word in self._words[bucket].items()}

    def lacking(self, marks: Mapping[MemberId, Mark], members: Collection[str]) -> dict[MemberId, Mark]:
        """Of which members the other book, with these marks, has a later word than was ever seen here."""
        return {
            member: mark
            for member, mark in marks.items()
            if member in members and ((known := self._marks.get(member)) is None or known < mark)
        }

    def surplus(self, marks: Mapping[MemberId, Mark], buckets: Iterable[int]) -> tuple[MemberId, ...]:
        """Of which members in `buckets` this book has a later word than the other, with these marks."""
        return tuple(
            member
            for bucket in buckets
            for member, word in self._words[bucket].items()
            if (theirs := marks.get(member)) is None or theirs < word.mark
        )

    def _sum(self, bucket: int) -> str:
        known = self._sums[bucket]
        if known is None:
            lines = sorted(f"{m} {w.mark.version} {w.mark.fingerprint}\n" for m, w in self._words[bucket].items())
            known = hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else _SAME
            self._sums[bucket] = known
        return known


def _problem(code: str, text: str, hint: str, field: str | None = None) -> Problem:
    return Problem(code, text, hint, f"advertisement.{field}" if field else "advertisement", Fault.REMOTE)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
