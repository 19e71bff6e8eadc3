"""Where members have their ports."""

from __future__ import annotations

from meetme.composer.circuit import End, MemberId


def end(exchange: MemberId, port: str) -> End:
    """An end, whose member is named after its exchange."""
    return End(MemberId(f"csp@{exchange}"), port)


def place(at: End) -> tuple[MemberId, str]:
    """The exchange of an end, and its port there."""
    return MemberId(at.member.partition("@")[2]), at.port
