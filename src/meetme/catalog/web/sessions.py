"""Who is logged in: how long that holds, and what a browser has to show for it.

Rules of this file:

1. The browser holds a secret; the database holds its hash alone. Whoever reads the database cannot act as anybody.
2. A session ends when it is left, when its account is changed or removed, `IDLE_SECONDS` after it was used
   last, and `LONGEST_SECONDS` after it began.
3. Every form carries a word that only the page which the browser was given can know: it follows from the secret, and
   the secret does not follow from it.
4. Failed logins are counted for each name, each address, and both together; who has too many waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

IDLE_SECONDS = 2 * 3600.0
LONGEST_SECONDS = 12 * 3600.0
TOUCH_SECONDS = 60.0
"""A session's last use is noted this often at most."""
WINDOW_SECONDS = 300.0
"""Failed logins are forgotten after so long."""
MOST_TOGETHER, MOST_FROM, MOST_OF = 5, 30, 50
"""Failed logins in that time: of one name from one address, from one address, of one name."""


@dataclass(frozen=True, slots=True)
class Session:
    """A login that holds."""

    begun: float
    """Epoch seconds."""
    seen: float
    """When it was used last, to within `TOUCH_SECONDS`."""

    def good(self, now: float) -> bool:
        """Whether it still holds."""
        return now < self.begun + LONGEST_SECONDS and now < self.seen + IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed logins of one name, from one address, or of both."""

    count: int
    since: float

    def left(self, most: int, now: float) -> float:
        """Seconds to wait before the next try; 0: none."""
        over = self.since + WINDOW_SECONDS - now
        return over if self.count >= most and over > 0 else 0.0

    def more(self, now: float) -> Failures:
        """One more, now."""
        return Failures(self.count + 1, self.since) if now < self.since + WINDOW_SECONDS else Failures(1, now)


def counters(name: str, address: str) -> tuple[tuple[str, int], ...]:
    """Under which names a failed login is counted, and how many are allowed there."""
    named = sha256(name.encode()).hexdigest()[:32]
    return (f"{address} {named}", MOST_TOGETHER), (f"{address} *", MOST_FROM), (f"* {named}", MOST_OF)


def hash_of(secret: str) -> str:
    """What the database knows a secret by."""
    return sha256(b"session " + secret.encode()).hexdigest()


def form_word(secret: str) -> str:
    """What a form of a page has to carry that was given to the browser with this secret."""
    return sha256(b"form " + secret.encode()).hexdigest()


def same(a: str, b: str) -> bool:
    """Whether two words are the same, in a time that does not tell how much of them is."""
    return compare_digest(a.encode(), b.encode())
