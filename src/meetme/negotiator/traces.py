"""Which spans a negotiation has: all of it from its start to active, and each effect that is performed for it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from meetme.model.agreement import Role
from meetme.negotiator.figures import CourseFigures
from meetme.negotiator.machine import Entered
from meetme.negotiator.negotiation import Negotiation
from meetme.negotiator.states import ENDED, State
from meetme.runtime.ledger import Lease
from meetme.runtime.tracing import Kind, Tracer

T = TypeVar("T")


def traced(perform: Callable[[Lease], Awaitable[T]], tracer: Tracer) -> Callable[[Lease], Awaitable[T]]:
    """`perform` with a span around every effect but timers."""

    async def performed(lease: Lease) -> T:
        if lease.kind == "wake":
            return await perform(lease)
        body = json.loads(lease.body)
        name = " ".join((lease.kind, str(body.get("type") or body.get("verb") or ""))).strip()
        about = {"meetme.effect": lease.key, "meetme.attempt": str(lease.attempts + 1)}
        with tracer.span(name, Kind.CLIENT, negotiation=lease.instance, attributes=about):
            return await perform(lease)

    return performed


def entered(figures: CourseFigures, tracer: Tracer | None) -> Entered:
    """What the machine tells of every change of state: it is counted, and once it is decided the first span is sent."""
    if tracer is None:
        return figures.entered

    def told(before: Negotiation | None, after: Negotiation, now: float) -> None:
        figures.entered(before, after, now)
        undecided = before is None or before.state not in (State.ACTIVE, State.TERMINATING, *ENDED)
        if undecided and after.state in (State.ACTIVE, *ENDED):
            initiator = after.role is Role.INITIATOR
            tracer.negotiated(str(after.id), initiator=initiator, begin=after.started, end=now, state=after.state.value)

    return told
