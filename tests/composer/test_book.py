"""What is believed: the newest genuine word of each member of the roster, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meetme.composer.advertisement import Advertisement
from meetme.composer.advertisement_wire import Signatures, sign_advertisement
from meetme.composer.book import SKEW_SECONDS, Book
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault
from meetme.model.members import Member, MemberKind
from meetme.runtime.identity import create_identity
from tests.composer.advertisements import NOW, access, advertisement
from tests.composer.federations import Stamps, roster

MEMBERS = roster("ixp-a", "ixp-b", "ixp-c")


@pytest.fixture
def book() -> Book:
    return Book(MemberId("ixp-a"))


def consider(book: Book, stamps: Stamps, ad: Advertisement, signer: str | None = None) -> str | None:
    problem = book.consider(stamps.sign(ad, signer), stamps, now=NOW, members=MEMBERS)
    return problem.code if problem else None


def test_the_newest_word_counts(book: Book) -> None:
    stamps = Stamps()
    first, second = (advertisement("ixp-b", version=version) for version in (1, 2))
    assert consider(book, stamps, first) is None
    assert consider(book, stamps, second) is None
    assert book.advertisements() == (second,)
    assert consider(book, stamps, second) is None
    assert consider(book, stamps, first) == "advertisement_superseded"
    assert book.advertisements() == (second,)


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("advertisement_stranger", advertisement("ixp-z")),
        ("advertisement_kind", advertisement("ixp-b", kind=MemberKind.CSP)),
        ("advertisement_future", advertisement("ixp-b", version=9, issued=NOW + SKEW_SECONDS + 1)),
        ("advertisement_expired", advertisement("ixp-b", version=9, issued=NOW - 3600)),
        ("advertisement_superseded", advertisement("ixp-b", version=4)),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(book: Book, code: str, wrong: Advertisement) -> None:
    stamps = Stamps()
    known = advertisement("ixp-b", access("p1", "csp-a"), version=5)
    assert consider(book, stamps, known) is None
    sums, looks = book.sums(), stamps.looks
    problem = book.consider(stamps.sign(wrong), stamps, now=NOW, members=MEMBERS)
    assert problem is not None
    assert (problem.code, problem.fault) == (code, Fault.REMOTE)
    assert problem.field
    assert problem.field.startswith("advertisement.")
    assert (book.advertisements(), book.sums()) == ((known,), sums)
    assert stamps.looks == looks, "what is refused anyway costs no look at its signature"


def test_a_clock_that_is_a_little_ahead_is_no_reason(book: Book) -> None:
    assert consider(book, Stamps(), advertisement("ixp-b", issued=NOW + SKEW_SECONDS - 1)) is None


def test_the_signature_of_somebody_else_counts_for_nothing(book: Book) -> None:
    assert consider(book, Stamps(), advertisement("ixp-b", version=7), "ixp-c") == "advertisement_forged"
    assert len(book) == 0
    assert book.mark("ixp-b") is None, "a forged version must not stand in the way of the true ones"


def test_the_country_is_the_rosters_where_it_says_one(book: Book) -> None:
    members = MEMBERS | {"ixp-b": replace(MEMBERS["ixp-b"], country="FR")}
    stamps = Stamps()
    word = stamps.sign(advertisement("ixp-b", country="DE"))
    problem = book.consider(word, stamps, now=NOW, members=members)
    assert problem is not None
    assert problem.code == "advertisement_country"


def test_two_words_of_one_version_end_the_same_everywhere() -> None:
    stamps = Stamps()
    one, other = advertisement("ixp-b", version=3), advertisement("ixp-b", access("p1", "csp-a"), version=3)
    books = []
    for order in ((one, other), (other, one)):
        book = Book(MemberId("ixp-a"))
        for ad in order:
            consider(book, stamps, ad)
        books.append(book.advertisements())
    assert books[0] == books[1]


def test_what_has_expired_goes_and_does_not_come_back(book: Book) -> None:
    stamps = Stamps()
    assert consider(book, stamps, advertisement("ixp-b", version=5)) is None
    assert book.forget(NOW + 3599, MEMBERS) == ()
    assert book.forget(NOW + 3600, MEMBERS) == ("ixp-b",)
    assert len(book) == 0
    longer = advertisement("ixp-b", version=4, expires=NOW + 86400)
    assert consider(book, stamps, longer) == "advertisement_superseded"


def test_who_leaves_the_roster_is_forgotten_whole(book: Book) -> None:
    stamps = Stamps()
    assert consider(book, stamps, advertisement("ixp-b", version=5)) is None
    assert book.forget(NOW, MEMBERS) == ()
    assert book.forget(NOW, roster("ixp-a", "ixp-c")) == ("ixp-b",)
    assert (len(book), book.mark("ixp-b")) == (0, None)


def test_an_own_word_from_before_is_outrun_and_not_taken(book: Book) -> None:
    stamps = Stamps()
    book.take(stamps.sign(advertisement("ixp-a", version=3)))
    assert consider(book, stamps, advertisement("ixp-a", access("p1", "csp-a"), version=8)) is None
    assert book.outrun == 8
    assert consider(book, stamps, advertisement("ixp-a", version=9), "ixp-b") == "advertisement_forged"
    assert book.outrun == 8
    assert [ad.version for ad in book.advertisements()] == [3]


def test_two_books_differ_where_their_words_do(book: Book) -> None:
    stamps, other = Stamps(), Book(MemberId("ixp-c"))
    assert book.differing(other.sums()) == ()
    assert consider(book, stamps, advertisement("ixp-b", version=1)) is None
    assert consider(other, stamps, advertisement("ixp-b", version=2)) is None
    (bucket,) = book.differing(other.sums())
    assert book.lacking(other.marks((bucket,)), MEMBERS).keys() == {"ixp-b"}
    assert book.lacking(other.marks((bucket,)), {"ixp-c"}) == {}
    assert book.surplus(other.marks((bucket,)), (bucket,)) == ()
    assert other.surplus(book.marks((bucket,)), (bucket,)) == ("ixp-b",)
    assert consider(book, stamps, advertisement("ixp-b", version=2)) is None
    assert book.differing(other.sums()) == ()


def test_real_signatures() -> None:
    keys = {name: create_identity(name) for name in ("ixp-a", "ixp-b", "ixp-c")}
    members = {
        name: Member(MemberId(name), MemberKind.IXP, (key.pin,), (key.certificate,)) for name, key in keys.items()
    }
    notary, book = Signatures(), Book(MemberId("ixp-a"))
    good = notary.read(sign_advertisement(advertisement("ixp-b"), keys["ixp-b"]))
    forged = notary.read(sign_advertisement(advertisement("ixp-b", version=2), keys["ixp-c"]))
    assert book.consider(good, notary, now=NOW, members=members) is None
    problem = book.consider(forged, notary, now=NOW, members=members)
    assert problem is not None
    assert problem.code == "advertisement_forged"
    assert book.advertisements() == (good.advertisement,)
