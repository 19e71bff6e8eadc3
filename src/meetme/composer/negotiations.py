"""`"then": "negotiate"`: once a circuit is active, the negotiation over it is started at the member at end a."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meetme.composer.circuit import Circuit
from meetme.composer.settings import NegotiatorAccess
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.views import StartRequest


class Negotiations:
    """The negotiators that let this composer start something."""

    def __init__(self, known: Iterable[NegotiatorAccess]) -> None:
        self._known = {MemberId(each.member): each for each in known}

    def __contains__(self, member: object) -> bool:
        return member in self._known

    async def start(self, c: Circuit) -> None:
        """Start the negotiation over `c`, once, however often this is called. Raises what the negotiator raises."""
        access = self._known.get(c.request.a.member)
        if access is None:
            raise NotFound(
                "negotiator_missing",
                f"negotiator: must be set for the member at end a ('{c.request.a.member}')",
                hint="[[composer.negotiator]] in the settings",
                field="negotiator",
            )
        async with NegotiatorClient(access.url, _token(access.token)) as client:
            await client.start(
                StartRequest(peer=c.request.b.member, circuit=str(c.id)), idempotency_key=f"circuit-{c.id}"
            )


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise NotFound(
            "tokens_missing", f"negotiator.token: must be a file that can be read ('{path}': {error})", field="token"
        ) from None
