"""An exchange in memory: what tests and simulations order at. No clock, no chance: the same calls, the same answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from meetme.ixapi.orders import (
    VLAN_MAX,
    BuiltSegment,
    ExchangeConnection,
    OrderEnd,
    SegmentOrder,
    SegmentState,
    SegmentView,
)
from meetme.model.errors import Conflict, Exhausted, Fault, MeetMeError, NotFound, Pending, Problem, Refused

_FIRST_VLAN = 2


@dataclass(slots=True)
class _Segment:
    order: SegmentOrder
    built: BuiltSegment
    view: SegmentView


class FakeExchange:
    """Keeps what was ordered. Misbehaves on demand:

    `fail(error)` lets the next call fail before anything is done, `fail(error, after=True)` after it is done, as where
    the answer is lost; `delay(n)` lets the next n calls of `build` say Pending; `lose` and `tamper` change what it has.
    """

    def __init__(self, connections: Iterable[ExchangeConnection] = ()) -> None:
        """With no `connections`, every one that is named exists, of any capacity."""
        self._connections = {connection.id: connection for connection in connections}
        self._segments: dict[str, _Segment] = {}
        self._faults: deque[tuple[MeetMeError, bool]] = deque()
        self._pending = 0
        self._numbers = 0
        self.calls: list[tuple[str, str]] = []
        """Every call, as (method, reference)."""

    # --- Exchange ----------------------------------------------------------------------------------------------------

    async def build(self, order: SegmentOrder) -> BuiltSegment:
        """Have a segment."""
        with self._call("build", order.reference):
            known = self._segments.get(order.reference)
            if known is not None and known.view.state is SegmentState.FAILED:
                del self._segments[order.reference]
                known = None
            if known is None:
                known = self._segments[order.reference] = self._new(order)
            elif known.order != order:
                raise Conflict(
                    "reference_in_use",
                    f"reference: must not be that of another order ('{order.reference}')",
                    field="reference",
                    fault=Fault.LOCAL,
                    existing=known.built.service,
                )
            if self._pending:
                self._pending -= 1
                known.view = replace(known.view, state=SegmentState.PENDING)
                raise Pending("exchange_pending", f"segment '{order.reference}': is not in production yet")
            known.view = _shown(known.built)
            return known.built

    async def look(self, reference: str) -> SegmentView:
        """What there is under a reference."""
        with self._call("look", reference):
            known = self._segments.get(reference)
            return known.view if known is not None else SegmentView(reference, SegmentState.ABSENT)

    async def change(self, reference: str, bandwidth: int) -> BuiltSegment:
        """Another bandwidth for a segment."""
        with self._call("change", reference):
            known = self._segments.get(reference)
            if known is None:
                raise NotFound("segment_unknown", f"reference: must be that of a segment ('{reference}')")
            for end in (known.order.a, known.order.b):
                self._admit(end, bandwidth, reference)
            known.order = replace(known.order, bandwidth=bandwidth)
            known.built = replace(known.built, bandwidth=bandwidth)
            known.view = _shown(known.built)
            return known.built

    async def remove(self, reference: str) -> None:
        """Have no such segment."""
        with self._call("remove", reference):
            self._segments.pop(reference, None)

    async def references(self) -> tuple[str, ...]:
        """Those of all that there is. Asked now and then by whoever runs: no fault is meant for it."""
        return tuple(self._segments)

    async def connections(self) -> tuple[ExchangeConnection, ...]:
        """Those it was made with."""
        with self._call("connections", ""):
            return tuple(replace(c, allocated=self._used(c.id, "")) for c in self._connections.values())

    async def close(self) -> None:
        """Nothing to let go of."""

    # --- for tests ---------------------------------------------------------------------------------------------------

    @property
    def segments(self) -> dict[str, BuiltSegment]:
        """All that there is, by reference: after a clean end, what should be there and nothing else."""
        return {reference: segment.built for reference, segment in self._segments.items()}

    def fail(self, error: MeetMeError, *, after: bool = False) -> None:
        """Let one more call end in `error`; `after` it was carried out."""
        self._faults.append((error, after))

    def delay(self, calls: int) -> None:
        """Let the next `calls` calls of `build` find the segment unfinished."""
        self._pending = calls

    def lose(self, reference: str) -> None:
        """Forget a segment, as if somebody else had cancelled it."""
        self._segments.pop(reference, None)

    def tamper(self, view: SegmentView) -> None:
        """Show a segment as `view` says, whatever was ordered."""
        self._segments[view.reference].view = view

    def break_down(self, reference: str) -> None:
        """Say that a segment has failed."""
        known = self._segments[reference]
        problem = Problem("exchange_order_failed", f"segment '{reference}': failed", fault=Fault.REMOTE)
        known.view = replace(known.view, state=SegmentState.FAILED, problem=problem)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _call(self, method: str, reference: str) -> _Call:
        self.calls.append((method, reference))
        return _Call(self._faults.popleft() if self._faults else None)

    def _new(self, order: SegmentOrder) -> _Segment:
        vlans: list[int | None] = []
        for end in (order.a, order.b):
            self._admit(end, order.bandwidth, order.reference)
            taken = set(self._taken(end.connection, order.reference))
            if end is order.b and end.connection == order.a.connection:
                taken.add(vlans[0])
            vlans.append(self._vlan(end, taken, order.reference))
        self._numbers += 1
        built = BuiltSegment(order.reference, f"ns-{self._numbers}", vlans[0], vlans[1], order.bandwidth)
        return _Segment(order, built, _shown(built))

    def _admit(self, end: OrderEnd, bandwidth: int, reference: str) -> None:
        connection = self._connections.get(end.connection)
        if connection is None:
            if self._connections:
                raise NotFound("connection_unknown", f"connection: must be one of the exchange's ('{end.connection}')")
            return
        if not connection.usable:
            raise Refused("connection_unusable", f"connection: must be in production ('{end.connection}')")
        limit = connection.limit if connection.limit is not None else connection.speed
        if limit is not None and self._used(end.connection, reference) + bandwidth > limit:
            raise Exhausted(
                "exchange_capacity",
                f"bandwidth: must fit into connection '{end.connection}' ({bandwidth} Mbit/s)",
                field="bandwidth",
                fault=Fault.REMOTE,
            )

    def _vlan(self, end: OrderEnd, taken: set[int | None], reference: str) -> int | None:
        connection = self._connections.get(end.connection)
        whole = end.whole or (end.vlan is None and connection is not None and connection.tags == frozenset({"port"}))
        if whole:
            if taken:
                raise Conflict("exchange_vlan_taken", f"connection '{end.connection}': must be free", field="vlan")
            return None
        wanted = end.vlan
        if wanted is None:
            twin = self._twin(end.connection, reference)
            wanted = twin or next((v for v in range(_FIRST_VLAN, VLAN_MAX + 1) if v not in taken), None)
        if wanted is None or wanted in taken or None in taken:
            raise Conflict(
                "exchange_vlan_taken",
                f"vlan: must be free at connection '{end.connection}' ({wanted})",
                field="vlan",
                fault=Fault.REMOTE,
            )
        return wanted

    def _ends(self, connection: str, reference: str) -> Iterator[tuple[str, int | None, int]]:
        for known in self._segments.values():
            if known.order.reference != reference:
                for end, vlan in ((known.order.a, known.built.a_vlan), (known.order.b, known.built.b_vlan)):
                    if end.connection == connection:
                        yield known.order.reference, vlan, known.built.bandwidth

    def _taken(self, connection: str, reference: str) -> Iterator[int | None]:
        # The two paths of a protected circuit share their access.
        return (vlan for other, vlan, _ in self._ends(connection, reference) if not _protect(other, reference))

    def _twin(self, connection: str, reference: str) -> int | None:
        return next((vlan for other, vlan, _ in self._ends(connection, reference) if _protect(other, reference)), None)

    def _used(self, connection: str, reference: str) -> int:
        # A protected circuit carries each frame over one of its paths: it is counted once.
        circuits: dict[tuple[str, int | None], int] = {}
        for other, vlan, bandwidth in self._ends(connection, reference):
            if not (reference and _protect(other, reference)):
                key = (_circuit(other), vlan)
                circuits[key] = max(circuits.get(key, 0), bandwidth)
        return sum(circuits.values())


class _Call:
    """One call: fails before it does anything, or after it has."""

    def __init__(self, fault: tuple[MeetMeError, bool] | None) -> None:
        self._fault = fault

    def __enter__(self) -> None:
        if self._fault is not None and not self._fault[1]:
            raise self._fault[0]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._fault is not None:
            raise self._fault[0]


def _protect(one: str, other: str) -> bool:
    """Whether they are the two paths of one circuit."""
    return "#" in one and "#" in other and one != other and _circuit(one) == _circuit(other)


def _circuit(reference: str) -> str:
    circuit, mark, _ = reference.rpartition("#")
    return circuit if mark else reference


def _shown(built: BuiltSegment) -> SegmentView:
    return SegmentView(built.reference, SegmentState.READY, built.service, built.a_vlan, built.b_vlan, built.bandwidth)
