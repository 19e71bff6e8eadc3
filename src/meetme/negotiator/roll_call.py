"""All active agreements with a peer are compared in one message: the roll. What differs is asked about one by one.

An agreement costs a line of a message, not a message, so that a thousand of them that are alike cost next to nothing.
Rules of this file:

1. The roll decides nothing. Where the two sides differ, the negotiation hears that it is time to compare, and asks as
   it would for any other reason. So a roll that is lost, late or made up does no more than cause questions.
2. Listed is what is settled: active, no change wanted or under way. Everything else that is active is asked about.
3. The answer to a peer says nothing of negotiations that are not its own: those differ, as unknown ones do.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from meetme.model.agreement import MemberId
from meetme.model.envelope import check_envelope
from meetme.model.errors import MeetMeError, NotFound
from meetme.negotiator import events as ev
from meetme.negotiator import store, wire
from meetme.negotiator.endings import COMPARE_SECONDS
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.performer import MESSAGE_SECONDS
from meetme.negotiator.roll import Listed, Roll, RollAnswer, Standing, differs
from meetme.negotiator.states import State
from meetme.negotiator.views import Due
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database
from meetme.runtime.peer_figures import PeerFigures, Way

AGAIN_SECONDS = 5.0
"""Between two attempts at a peer that was not reached: once it is, both compare at once."""
KIND = "roll"
"""What figures call such a message."""


class RollLine(Protocol):
    """The way to the other negotiators."""

    async def compare(self, peer: MemberId, roll: Roll) -> object | None:
        """The answer's JSON value. Raises MeetMeError, NotFound `route_unknown` where the peer knows no rolls."""


class RollCall:
    """Calls the roll of every peer now and then, and answers theirs."""

    def __init__(
        self,
        database: Database,
        line: RollLine,
        deliver: Callable[[str, ev.CompareDue], Awaitable[object]],
        me: MemberId,
        clock: Clock,
        figures: PeerFigures | None = None,
        *,
        every: float | None = None,
    ) -> None:
        """`every`: seconds between two rolls, if not the usual."""
        self._database = database
        self._line = line
        self._deliver = deliver
        self._me = me
        self._clock = clock
        self._figures = figures or PeerFigures()
        self._every = COMPARE_SECONDS if every is None else every
        self._again = min(AGAIN_SECONDS, self._every)
        self._in_vain: dict[MemberId, tuple[int, str]] = {}
        """How often in a row a peer was called without an answer, and why the last time."""
        self._log = structlog.get_logger().bind(service="negotiator")

    # --- asking -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled: at once, because a process that starts may have missed something, and then now and again.

        A peer that does not answer is called more often.
        """
        everybody = 0.0
        while True:
            now = self._clock.monotonic()
            whole = now >= everybody
            if whole:
                everybody = now + self._every
            try:
                await self.call(None if whole else frozenset(self._in_vain))
            except Exception:
                self._log.exception("comparing with the peers failed unexpectedly")
            rest = everybody - self._clock.monotonic()
            await asyncio.sleep(max(0.01, min(rest, self._again) if self._in_vain else rest))

    async def call(self, peers: Collection[MemberId] | None = None) -> None:
        """Compare every active agreement with its peer once, or only those with `peers`."""
        by_peer: defaultdict[MemberId, list[Standing]] = defaultdict(list)
        for standing in await self._database.read(store.standings):
            if peers is None or standing.peer in peers:
                by_peer[standing.peer].append(standing)
        for peer in self._in_vain.keys() - by_peer.keys():
            if peers is None or peer in peers:
                del self._in_vain[peer]  # there is nothing left to compare
        await asyncio.gather(*(self._compare(peer, standings) for peer, standings in by_peer.items()))

    def owed(self, n: Negotiation) -> Due | None:
        """What a person wants to know of it: that the peer of an active agreement could not be compared with."""
        found = self._in_vain.get(n.peer)
        if found is None or n.state is not State.ACTIVE:
            return None
        return Due("compare", *found, self._again)

    async def _compare(self, peer: MemberId, standings: Sequence[Standing]) -> None:
        due = [standing.negotiation for standing in standings if standing.listed is None]
        listed = [standing.listed for standing in standings if standing.listed is not None]
        try:
            for first in range(0, len(listed), wire.LISTED_AT_MOST):
                due += await self._differing(peer, listed[first : first + wire.LISTED_AT_MOST])
        except NotFound as error:
            if error.code != "route_unknown":
                self._missed(peer, error)
            else:
                self._in_vain.pop(peer, None)
                due = [standing.negotiation for standing in standings]
        except MeetMeError as error:
            self._missed(peer, error)
        else:
            self._in_vain.pop(peer, None)
        for negotiation in due:
            await self._deliver(str(negotiation), ev.CompareDue(self._clock.now()))

    def _missed(self, peer: MemberId, error: MeetMeError) -> None:
        attempts, _ = self._in_vain.get(peer, (0, ""))
        self._in_vain[peer] = attempts + 1, f"{error.code}: {error.text}"
        self._log.info("a peer cannot be compared with", peer=peer, problem=error.text)

    async def _differing(self, peer: MemberId, listed: Sequence[Listed]) -> list[UUID]:
        roll = Roll(self._me, peer, self._clock.now() + MESSAGE_SECONDS, tuple(listed))
        answer = wire.read_roll_answer(await self._line.compare(peer, roll))
        told = set(answer.differ)
        return [each.negotiation for each in listed if each.negotiation in told]

    # --- answering ----------------------------------------------------------------------------------------------------

    async def answer(self, raw: str, sender: MemberId) -> str:
        """What differs here from a roll of `sender`, whose certificate was checked, as JSON text.

        Raises InvalidInput `message_malformed`, `version_unknown`, Forbidden `sender_mismatch`, `receiver_mismatch`,
        Stale `message_expired`.
        """
        with self._figures.exchange(Way.RECEIVED, KIND):
            roll = wire.read_roll(raw)
            check_envelope(
                sender=roll.sender,
                certificate=sender,
                to=roll.to,
                me=self._me,
                service="negotiator",
                expires=roll.expires,
                now=self._clock.now(),
            )
            here = {
                standing.negotiation: standing
                for standing in await self._database.read(lambda tx: store.standings(tx, sender))
            }
            differ = []
            for theirs in roll.agreements:
                ours = here.get(theirs.negotiation)
                if ours is None or ours.listed is None or differs(ours.listed, theirs, ours.role):
                    differ.append(theirs.negotiation)
            return wire.write_roll_answer(RollAnswer(self._me, sender, tuple(differ)))
