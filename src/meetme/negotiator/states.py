"""The states of a negotiation and of its half of the device (thesis 7.2, protocol in `protocol`)."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a negotiation stands, at either side."""

    PROPOSED = "proposed"
    """Offers are being exchanged; the initiator has leased its candidates."""
    HELD = "held"
    """The responder holds what was agreed, until a deadline."""
    COMMITTED = "committed"
    """Both configure and probe; nothing is final."""
    CONFIRMING = "confirming"
    """Initiator only: `confirm` is out, the responder decides."""
    ACTIVE = "active"
    TERMINATING = "terminating"
    """Being taken back; what is not yet verified stays quarantined."""
    TERMINATED = "terminated"
    REFUSED = "refused"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """Both sides had started; the other's negotiation survives."""


LIVE = frozenset(
    {State.PROPOSED, State.HELD, State.COMMITTED, State.CONFIRMING, State.ACTIVE, State.TERMINATING},
)
ENDED = frozenset(State) - LIVE


class Device(StrEnum):
    """What the own router carries for a negotiation, as far as the negotiator knows."""

    ABSENT = "absent"
    APPLYING = "applying"
    APPLIED = "applied"
    """With a confirm timer: the device takes it back by itself."""
    CONFIRMED = "confirmed"
    REMOVING = "removing"
