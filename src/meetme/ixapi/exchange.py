"""What a composer sees of its exchange: the seam behind which an IX-API lies, or a fake.

`meetme.ixapi.ordering.IxApiExchange` orders over IX-API 2.x, `meetme.ixapi.fake.FakeExchange` keeps all in memory.
"""

from __future__ import annotations

from typing import Protocol

from meetme.ixapi.orders import BuiltSegment, ExchangeConnection, SegmentOrder, SegmentView


class Exchange(Protocol):
    """An exchange, as its composer uses it. Every method may be repeated, after any failure, without harm.

    Errors that trying again may mend: Unreachable (nothing is known about what became of it) and its subclass Pending
    (ordered, and not finished yet). Every other MeetMeError is for good, and then nothing of the order is left; but an
    exchange that does not know our credentials (Unauthenticated) has not said what it has of ours.
    """

    async def build(self, order: SegmentOrder) -> BuiltSegment:
        """Have a segment, in production. The same reference again gives the same segment.

        Raises Conflict (a VLAN or the reference is taken), Exhausted (capacity), Refused (anything else that the
        exchange or our limits refuse), NotFound (no such connection), Unauthenticated, Pending, Unreachable.
        """

    async def look(self, reference: str) -> SegmentView:
        """What the exchange shows under a reference. Raises Unreachable."""

    async def change(self, reference: str, bandwidth: int) -> BuiltSegment:
        """Another bandwidth (Mbit/s) for a segment that is there; refused, it is as before.

        Raises NotFound `segment_unknown`, Exhausted, Refused, Pending, Unreachable.
        """

    async def remove(self, reference: str) -> None:
        """Have no such segment, verified; fine where there is none.

        Raises Pending while it is leaving (also where its notice period lets it go only on a later day), Refused where
        the exchange refuses to cancel it, Unreachable.
        """

    async def references(self) -> tuple[str, ...]:
        """The references of all segments of ours that are there, or leaving. Raises Unreachable."""

    async def connections(self) -> tuple[ExchangeConnection, ...]:
        """The connections that can be ordered at. Raises Unreachable."""

    async def close(self) -> None:
        """Let go of the connection to it."""
