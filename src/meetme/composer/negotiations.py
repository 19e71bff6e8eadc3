"""`"then": "negotiate"`: once a circuit is active, the negotiation over it is started at the member at end a.

The members' negotiators have to know where the circuit lands. The composer at either end tells the negotiator of the
member there, where the settings say so (`lands`); else the member does. The negotiation is started by the composer at
end a. Should the member at end b not know yet where the circuit lands, it is started again. With the circuit it ends.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from meetme.composer.circuit import Circuit, End, Leg
from meetme.composer.settings import NegotiatorAccess
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import NegotiationView, StartRequest
from meetme.runtime.tokens import read_one

MOST_TRIES = 16
"""How many negotiations are started over one circuit, while the other side does not know where it lands."""
NOT_YET = "attachment_unknown"


class Negotiations:
    """The negotiators that let this composer start something."""

    def __init__(self, known: Iterable[NegotiatorAccess]) -> None:
        self._known = {MemberId(each.member): each for each in known}

    def __contains__(self, member: object) -> bool:
        return member in self._known

    async def bring(self, c: Circuit) -> str | None:
        """Have the negotiation over `c` as it is to be, once, however often this is called: started while the circuit
        is there, ended with it. None: done; else what it waits for. Raises what the negotiators raise.
        """
        if c.ending:
            return await self._end(c)
        leg = next((leg for leg in c.legs if leg.live), None)
        if leg is not None and leg.beyond is None:
            await self._register(c, leg, c.request.b, c.request.a)
        if not c.is_head:
            return None
        if leg is not None:
            await self._register(c, leg, c.request.a, c.request.b)
        return await self._start(c)

    async def _start(self, c: Circuit) -> str | None:
        request = StartRequest(peer=c.request.b.member, circuit=str(c.id))
        async with self._client(c.request.a.member) as client:
            for number in range(MOST_TRIES):
                n = await client.start(request, idempotency_key=f"circuit-{c.id}-{number}")
                if n.state is State.ACTIVE:
                    return None
                if n.state not in ENDED:
                    return f"negotiation_under_way: {n.id} is {n.state}"
                if n.problem is None or n.problem.code != NOT_YET:
                    break
        problem = n.problem.text if n.problem is not None else None
        structlog.get_logger().warning("no negotiation over the circuit", negotiation=str(n.id), problem=problem)
        return None

    async def _end(self, c: Circuit) -> str | None:
        waits: list[str] = []
        ends = [c.request.a] if c.is_head else []
        if any(leg.beyond is None for leg in c.legs):
            ends.append(c.request.b)
        for end in ends:
            if end.member not in self._known:
                continue
            async with self._client(end.member) as client:
                rest = [n for n in await client.negotiations() if n.circuit == str(c.id) and n.state not in ENDED]
                waits += [await _terminated(client, n) for n in rest if c.is_head]
                if rest and not c.is_head:
                    waits.append(f"negotiation_under_way: {rest[0].id} is {rest[0].state}")
                if not rest and self._known[end.member].landing(end.port) is not None:
                    try:
                        await client.delete_attachment(str(c.id))
                    except NotFound:
                        continue  # it was never registered, or is gone already
        return waits[0] if waits else None

    async def _register(self, c: Circuit, leg: Leg, end: End, other: End) -> None:
        access = self._known.get(end.member)
        landing = access.landing(end.port) if access is not None else None
        if landing is None or leg.own is None:
            return
        vlan = leg.own.in_label if end == c.request.a else leg.own.out_label
        attachment = Attachment(*landing, vlan, leg.mtu, other.member)
        async with self._client(end.member) as client:
            await client.put_attachment(str(c.id), attachment)

    def _client(self, member: MemberId) -> NegotiatorClient:
        access = self._known.get(member)
        if access is None:
            raise NotFound(
                "negotiator_missing",
                f"negotiator: must be set for the member at end a ('{member}')",
                hint="[[composer.negotiator]] in the settings",
                field="negotiator",
            )
        return NegotiatorClient(access.url, read_one(access.token))


async def _terminated(client: NegotiatorClient, n: NegotiationView) -> str:
    if n.state is not State.TERMINATING:
        await client.terminate(n.id)
    return f"negotiation_under_way: {n.id} is being terminated"
