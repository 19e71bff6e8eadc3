"""Health of the data plane of one agreement, judged from its probes. Pure.

A *round* asks once: a small packet, and one as large as was agreed. Three latches follow from the rounds; each takes
several of them to turn, so that a single lost packet turns none, and a link that comes and goes is not reported with
every packet:

- *down*: nothing was answered three times in a row, until something was three times in a row;
- *narrow*: small packets cross and full ones do not, or one family does and the other does not, three times in a row,
  until all do three times in a row;
- *lossy*: of the window's packets one in twenty was lost, and three at least, until twelve rounds lost nothing.

What was seen before down or narrow turned is another story: the window begins anew with the rounds that turned it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from statistics import median

from meetme.model.errors import Fault, Problem
from meetme.negotiator.negotiation import Health, HealthState

TO_TURN = 3
"""Rounds in a row that say down or narrow, or no longer."""
TO_CLEAR = 12
"""Rounds without a loss after which a link is not lossy any more: a minute."""
WINDOW = 24
"""Rounds that RTT and loss are taken over: two minutes."""
LOSSY = 0.05
"""Share of packets lost from which on a link is lossy."""
LEAST_LOST = 3
"""Packets: fewer may be chance."""


class Crossed(Enum):
    """What was answered in a round."""

    ALL = "all"
    SMALL = "small"
    """Packets of the agreed MTU were not, or those of one of two families."""
    NOTHING = "nothing"
    UNKNOWN = "unknown"
    """Nobody could be asked: the configurator is away."""


@dataclass(frozen=True, slots=True)
class Round:
    """One look at the data plane. `at` is epoch seconds; `problem` says what was not answered, and why."""

    at: float
    crossed: Crossed
    sent: int = 0
    lost: int = 0
    rtt_ms: float | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How the data plane of one agreement has been doing."""

    rounds: tuple[Round, ...] = ()
    """The window."""
    down: bool = False
    narrow: bool = False
    lossy: bool = False
    unseen: tuple[Round, ...] = ()
    """The last rounds in a row in which nobody could be asked."""
    health: Health | None = None
    """None: not known yet."""

    @staticmethod
    def taken_up(health: Health | None) -> Course:
        """Go on from what was known when an earlier process ended."""
        if health is None or health.state is HealthState.UP:
            return Course(health=health)
        code = health.reason.code if health.reason else ""
        down = health.state is HealthState.DOWN
        return Course(down=down, narrow=not down and code in NARROW, lossy=code == PACKETS_LOST, health=health)

    @property
    def in_doubt(self) -> bool:
        """Whether the last round speaks against the present state: then look again soon."""
        if self.unseen or self.health is None:
            return True
        if not self.rounds:
            return False
        last = self.rounds[-1].crossed
        return (last is Crossed.NOTHING) != self.down or (last is Crossed.SMALL) != self.narrow

    def see(self, seen: Round) -> Course:
        """What one more round makes of it."""
        if seen.crossed is Crossed.UNKNOWN:
            return replace(self, unseen=(*self.unseen, seen)[-TO_TURN:])._judged(seen)
        rounds = (*self.rounds, seen)[-WINDOW:]
        down = _turned(self.down, rounds, lambda r: r.crossed is Crossed.NOTHING)
        crossing = tuple(r for r in rounds if r.crossed is not Crossed.NOTHING)
        narrow = not down and _turned(self.narrow, crossing, lambda r: r.crossed is Crossed.SMALL)
        if (down, narrow) != (self.down, self.narrow):
            rounds = rounds[-TO_TURN:]
        lossy = self.lossy and not down and not narrow
        # While a packet is missing it may be the beginning of something worse: that is said first.
        if not (down or narrow) and seen.crossed is Crossed.ALL:
            lossy = _loses(rounds) or lossy
            if lossy and _last(rounds, TO_CLEAR, lambda r: r.lost == 0):
                lossy, rounds = False, rounds[-TO_CLEAR:]
        return replace(self, rounds=rounds, down=down, narrow=narrow, lossy=lossy, unseen=())._judged(seen)

    def _judged(self, seen: Round) -> Course:
        state, reason = self._verdict()
        if state is None:
            return replace(self, health=None)
        before = self.health
        since = before.since if before and before.state is state else datetime.fromtimestamp(seen.at, UTC)
        times = [r.rtt_ms for r in self.rounds if r.rtt_ms is not None]
        rtt = median(times) if times and not self.down else None
        if not self.rounds and before is not None:
            return replace(self, health=replace(before, state=state, since=since, reason=reason))
        loss = _lost(self.rounds) / (_sent(self.rounds) or 1)
        return replace(self, health=Health(state, rtt, loss, since, reason))

    def _verdict(self) -> tuple[HealthState | None, Problem | None]:
        unseen = len(self.unseen) == TO_TURN
        if self.down:
            return HealthState.DOWN, self._why(Crossed.NOTHING)
        if unseen:
            return HealthState.DEGRADED, self.unseen[-1].problem
        if self.narrow:
            return HealthState.DEGRADED, self._why(Crossed.SMALL)
        if self.lossy:
            return HealthState.DEGRADED, _packets_lost(self.rounds) or self._known
        last = self.rounds[-1] if self.rounds else None
        if (self.health and self.health.state is HealthState.UP) or (last and last.crossed is Crossed.ALL):
            return HealthState.UP, None
        if self.health is None:
            return None, None
        # What made it bad is over, and what is now is not good: it rises when everything crosses.
        return HealthState.DEGRADED, (last.problem if last else None) or self._known

    def _why(self, crossed: Crossed) -> Problem | None:
        return next((r.problem for r in reversed(self.rounds) if r.crossed is crossed), self._known)

    @property
    def _known(self) -> Problem | None:
        return self.health.reason if self.health else None


def turned(before: Health | None, after: Health | None) -> bool:
    """Whether people are to be told: another state, or another reason for it."""
    return _sign(before) != _sign(after)


def _sign(health: Health | None) -> tuple[HealthState, str] | None:
    return None if health is None else (health.state, health.reason.code if health.reason else "")


def _turned(latch: bool, rounds: tuple[Round, ...], says: Callable[[Round], bool]) -> bool:
    """The latch after `rounds`: over when the last ones all speak against it."""
    return _last(rounds, TO_TURN, lambda r: says(r) is not latch) is not latch


def _last(rounds: tuple[Round, ...], number: int, holds: Callable[[Round], bool]) -> bool:
    return len(rounds) >= number and all(holds(r) for r in rounds[-number:])


def _loses(rounds: tuple[Round, ...]) -> bool:
    return _lost(rounds) >= LEAST_LOST and _lost(rounds) >= LOSSY * _sent(rounds)


def _lost(rounds: tuple[Round, ...]) -> int:
    return sum(r.lost for r in rounds)


def _sent(rounds: tuple[Round, ...]) -> int:
    return sum(r.sent for r in rounds)


PACKETS_LOST = "packets_lost"
MTU_NOT_CARRIED, FAMILY_NOT_CARRIED = NARROW = ("mtu_not_carried", "family_not_carried")
"""Something crosses, and not everything that was agreed."""


def _packets_lost(rounds: tuple[Round, ...]) -> Problem | None:
    if not _lost(rounds):
        return None
    return Problem(
        PACKETS_LOST,
        f"probe: {_lost(rounds)} of {_sent(rounds)} packets were lost",
        "see whether the circuit is congested, and its ports for errors",
        fault=Fault.REMOTE,
    )
