"""How often each peer has begun a negotiation of late: what the policy's rate is held against.

Kept in memory, so that a peer that asks too often costs no write: dry runs and refusals count as well. A replica counts
what it has received itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.model.agreement import MemberId
from meetme.model.errors import Problem
from meetme.model.members import MemberPolicy
from meetme.negotiator.policy import rate_problem
from meetme.negotiator.reactions import MAX_ROUNDS
from meetme.runtime.clock import Clock

WINDOW_SECONDS = 60.0


@dataclass(slots=True)
class _Begun:
    at: float
    rounds: int = 1


class Pace:
    """Counts the negotiations that each peer has begun within the last minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun: dict[MemberId, dict[UUID, _Begun]] = {}

    def take(self, peer: MemberId, policy: MemberPolicy, negotiation: UUID) -> Problem | None:
        """Count a proposal of `peer`; or the rule that forbids it, and then it does not count.

        The further rounds of one `negotiation` are free, as many as it may have.
        """
        if policy.proposals_per_minute is None:
            self._begun.pop(peer, None)
            return None
        now = self._clock.monotonic()
        begun = {id: entry for id, entry in self._begun.get(peer, {}).items() if entry.at > now - WINDOW_SECONDS}
        self._begun[peer] = begun
        known = begun.get(negotiation)
        if known is not None and known.rounds < MAX_ROUNDS:
            known.rounds += 1
            return None
        oldest = min((entry.at for entry in begun.values()), default=now)
        problem = rate_problem(policy, len(begun), oldest + WINDOW_SECONDS - now)
        if problem is None:
            begun[negotiation] = _Begun(now)
        return problem
