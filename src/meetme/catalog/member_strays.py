"""What this member has at its exchanges and at its own negotiator that orders have made: found, and taken back.

A circuit is told by the key that it was begun with, an agreement by the order that it names. An attachment names
neither: it counts where its circuit does, or where it lands at an own port and its circuit is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from meetme.catalog.member_ways import CIRCUITS
from meetme.catalog.settings import CatalogSettings
from meetme.catalog.stray_views import Made
from meetme.composer import wire as composer_wire
from meetme.composer.views import CIRCUIT_KEYS
from meetme.composer.words import ENDED as CIRCUIT_ENDED
from meetme.composer.words import State as CircuitState
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.states import ENDED, State
from meetme.runtime.peer_client import PeerClient

KEY = "order-"
"""What the Idempotency-Key of an order's circuit begins with; the order's id is the rest."""


class MemberStrays:
    """Asks them. `negotiator`: a client of the own one; None: there is none. Clients stay their owner's to close."""

    def __init__(self, settings: CatalogSettings, client: PeerClient, negotiator: NegotiatorClient | None) -> None:
        self._exchanges = tuple(dict.fromkeys(port.exchange for port in settings.port))
        self._landings = frozenset(settings.lands(port.exchange, port.port) for port in settings.port)
        self._client = client
        self._negotiator = negotiator

    async def made(self) -> Sequence[Made]:
        """All of it, one for each circuit. Raises Unreachable where one of those who know did not answer."""
        looks = await asyncio.gather(*(self._at(exchange) for exchange in self._exchanges))
        found = {made.circuit: made for ours, _ in looks for made in ours}
        live = frozenset(circuit for _, circuits in looks for circuit in circuits)
        if self._negotiator is not None:
            await self._agreed(self._negotiator, found)
            await self._attached(self._negotiator, found, live)
        return tuple(found[circuit] for circuit in sorted(found))

    async def _at(self, exchange: MemberId) -> tuple[list[Made], frozenset[str]]:
        """What orders of this member have begun there, and every circuit of its that there is."""
        try:
            raw = (await self._client.get(exchange, "composer", f"{CIRCUIT_KEYS}?beginning={KEY}")).document
        except NotFound:
            raw = []  # it runs a version that does not tell
        ours = [
            Made(str(each.circuit), order, None, exchange, each.state.value)
            for each in composer_wire.read_begun(raw)
            if (order := _uuid(each.key.removeprefix(KEY))) is not None
        ]
        shown = (await self._client.get(exchange, "composer", CIRCUITS)).document
        views = [composer_wire.read_view(each) for each in shown]
        return ours, frozenset(str(view.id) for view in views if view.state not in CIRCUIT_ENDED)

    async def _agreed(self, negotiator: NegotiatorClient, found: dict[str, Made]) -> None:
        for n in await negotiator.negotiations():
            order = None if n.agreement is None or n.agreement.order is None else _uuid(n.agreement.order)
            if order is None or n.state in ENDED:
                continue
            made = found.get(n.circuit, Made(n.circuit, order))
            found[n.circuit] = replace(made, partner=n.peer, negotiation=str(n.id), agreed=n.state.value)

    async def _attached(self, negotiator: NegotiatorClient, found: dict[str, Made], live: frozenset[str]) -> None:
        for circuit, landing in (await negotiator.attachments()).items():
            made = found.get(circuit)
            if made is None:
                own = (landing.router, landing.port) in self._landings
                if not own or landing.peer is None or circuit in live or _uuid(circuit) is None:
                    continue  # it is registered for something else than an order, or its circuit is in use
                made = Made(circuit, partner=landing.peer)
            found[circuit] = replace(made, partner=made.partner or landing.peer, attached=True)

    async def take_back(self, made: Made) -> bool:
        """In reverse, one after the other. False: that is under way, and is gone on with by the next call."""
        if self._negotiator is not None:
            if made.negotiation is not None:
                n = await self._negotiator.negotiation(made.negotiation)
                if n.state not in ENDED:
                    if n.state is not State.TERMINATING:
                        await self._negotiator.terminate(n.id)
                    return False
            if made.attached:
                with suppress(NotFound):
                    await self._negotiator.delete_attachment(made.circuit)
        if made.exchange is None:
            return True
        path = f"{CIRCUITS}/{made.circuit}"
        circuit = composer_wire.read_view((await self._client.get(made.exchange, "composer", path)).document)
        if circuit.state in CIRCUIT_ENDED:
            return True
        if circuit.state is not CircuitState.RELEASING:
            await self._client.request("DELETE", made.exchange, "composer", path, None)
        return False


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None
