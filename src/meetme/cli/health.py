"""The health of an agreement's data plane in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meetme.negotiator.negotiation import Health


def health_text(health: Health | None) -> str:
    """State, round trip, loss, and why where it is not up. `unknown`: nothing has been seen of it."""
    if health is None:
        return "unknown"
    parts = [str(health.state)]
    if health.rtt_ms is not None:
        parts.append(f"{health.rtt_ms:.2f} ms")
    if health.loss:
        parts.append(f"loss {health.loss:.0%}")
    if health.reason is not None:
        parts.append(health.reason.code)
    return ", ".join(parts)
