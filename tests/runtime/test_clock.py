"""The clock that is set by another."""

from __future__ import annotations

import pytest

from meetme.runtime.clock import ManualClock, SharedClock


def test_a_shared_clock_shows_its_own_time_until_it_is_told() -> None:
    assert SharedClock(ManualClock(100.0)).now() == 100.0


def test_a_shared_clock_goes_on_from_what_it_was_told_and_says_how_far_off_it_was() -> None:
    own = ManualClock(100.0)
    clock = SharedClock(own)
    assert clock.set(160.0) == pytest.approx(60.0)
    own.advance(5.0)
    assert clock.now() == pytest.approx(165.0)
    assert clock.monotonic() == own.monotonic()
    assert clock.set(165.0) == pytest.approx(60.0)
