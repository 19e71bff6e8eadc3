"""The envelope of every message between members: who sent it, to whom, and until when it is good."""

from __future__ import annotations

from collections.abc import Container

from meetme.model.errors import Fault, Forbidden, InvalidInput, Stale

SKEW_SECONDS = 5.0
"""How far the sender's clock may be behind ours before its messages count as expired."""


def check_envelope(
    *,
    sender: str,
    certificate: str,
    to: str,
    me: str,
    service: str,
    expires: float,
    now: float,
    skew: float = SKEW_SECONDS,
    kind: str | None = None,
    asks: Container[str] = (),
) -> None:
    """Refuse a message that is not what it says. `certificate`: the member of the TLS certificate it came under.

    `expires` and `now` are seconds since the epoch. `kind`: the type of a message that has to be one of those that
    `asks`. Raises Forbidden `sender_mismatch` or `receiver_mismatch`, Stale `message_expired`, InvalidInput
    `message_type_unknown`.
    """
    if sender != certificate:
        raise Forbidden(
            "sender_mismatch",
            f'message.from: must be the member of the certificate ("{sender}", certificate of "{certificate}")',
            hint="send it under the certificate of the member that it is from",
            field="from",
            fault=Fault.REMOTE,
        )
    if to != me:
        raise Forbidden(
            "receiver_mismatch",
            f'message.to: must be "{me}" ("{to}")',
            hint=f"compare the URL of this {service} in the sender's roster",
            field="to",
            fault=Fault.REMOTE,
        )
    late = now - expires
    if late > skew:
        raise Stale(
            "message_expired",
            f"message.expires: must not be over ({late:.0f} s ago)",
            hint="send it again with a new time; compare the clocks of both members",
            field="expires",
            fault=Fault.REMOTE,
        )
    if kind is not None and kind not in asks:
        raise InvalidInput(
            "message_type_unknown",
            f'message.type: must be one that asks ("{kind}")',
            field="type",
            fault=Fault.REMOTE,
        )
