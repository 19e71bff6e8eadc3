"""The own advertisement: from the settings and the exchange's connections, told anew when something changes."""

from __future__ import annotations

from dataclasses import replace

from meetme.composer.advertisement import Advertisement, check
from meetme.composer.own import Own, checked, word_of
from meetme.ixapi.orders import ExchangeConnection
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault
from tests.composer.advertisements import NOW, access, transit

ME = MemberId("ixp-a")
OWN = Own("DE", (access("p1", "csp-a"),), (transit(),))


def word(own: Own = OWN, known: Advertisement | None = None, floor: int = 0, now: float = NOW) -> Advertisement | None:
    ad = word_of(ME, own, known, floor=floor, now=now, lifetime=600.0)
    if ad is not None:
        check(ad, Fault.LOCAL)
        assert ad.expires - ad.issued == 600.0
    return ad


def test_a_word_stands_until_it_is_old_or_not_true_any_more() -> None:
    first = word()
    assert first is not None
    assert word(known=first, now=NOW + 199) is None
    assert word(known=first, now=NOW + 201) is not None
    other = replace(OWN, points=(access("p1", "csp-a", bandwidth=5),))
    again = word(other, known=first, now=NOW + 1)
    assert again is not None
    assert again.version > first.version
    assert again.points == other.points


def test_a_version_that_others_know_is_passed() -> None:
    first = word()
    assert first is not None
    again = word(known=first, floor=first.version + 10_000)
    assert again is not None
    assert again.version > first.version + 10_000


def test_a_clock_that_was_ahead_silences_nobody() -> None:
    for ahead in (3600.0, 86_400.0 * 400):
        wrong = word(now=NOW + ahead)
        assert wrong is not None
        right = word(known=wrong, now=NOW)
        assert right is not None
        assert right.issued == NOW


def test_nothing_is_free_where_the_exchange_has_nothing() -> None:
    own = replace(OWN, points=tuple(access(f"p{n}", "csp-a", bandwidth=1000) for n in range(5)))
    seen = [
        ExchangeConnection("p0", speed=10_000),
        ExchangeConnection("p1", usable=False, speed=10_000),
        ExchangeConnection("p2", speed=1000, limit=500),
        ExchangeConnection("p3", speed=1000, limit=800, allocated=800),
    ]
    assert [point.bandwidth for point in checked(own, seen).points] == [1000, 0, 500, 0, 0]
