"""Whether what a member's orders are made of answers: composers where it has ports, its own negotiator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meetme.catalog.settings import OwnPort
from meetme.composer import topology_views
from meetme.composer.topology_views import TOPOLOGY
from meetme.model.agreement import MemberId
from meetme.model.errors import MeetMeError
from meetme.negotiator.client import NegotiatorClient
from meetme.runtime.diagnosis import Finding
from meetme.runtime.peer_client import PeerClient


async def look(ports: Sequence[OwnPort], client: PeerClient, negotiator: NegotiatorClient | None) -> Sequence[Finding]:
    """All of them at once."""
    exchanges = sorted({port.exchange for port in ports})
    asked = (_exchange(each, [port.port for port in ports if port.exchange == each], client) for each in exchanges)
    looks = await asyncio.gather(_negotiator(negotiator), *asked)
    return [finding for found in looks for finding in found]


async def _exchange(exchange: MemberId, ports: Sequence[str], client: PeerClient) -> list[Finding]:
    what = f"composer of {exchange}"
    try:
        answer = await client.get(exchange, "composer", TOPOLOGY)
        known = topology_views.read_view(answer.document)
    except MeetMeError as error:
        return [Finding(what, False, error.text, error.hint or "ask its operator")]
    found = [Finding(what, True, "answers")]
    points = {point.port for each in known.exchanges if each.member == exchange for point in each.points}
    for port in ports:
        there = port in points
        said = "is known there" if there else f"must be one of {exchange}"
        hint = f"port in [[catalog.port]] has to be as {exchange} calls it: ask its operator"
        found.append(Finding(f"port {exchange} {port}", there, said, hint))
    return found


async def _negotiator(client: NegotiatorClient | None) -> list[Finding]:
    if client is None:
        said = "none: services that need layer 3 are neither bought nor sold"
        return [Finding("negotiator", False, said, "negotiator_token in [catalog]", needed=False)]
    try:
        await client.attachments()
    except MeetMeError as error:
        return [Finding("negotiator", False, error.text, error.hint or "start it: meetme serve negotiator")]
    return [Finding("negotiator", True, "answers")]
