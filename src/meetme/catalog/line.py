"""The way to the other catalog servers: HTTP with mutual TLS."""

from __future__ import annotations

import structlog

from meetme.catalog import wire
from meetme.catalog.mirroring import Fetched
from meetme.model.agreement import MemberId
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.peer_figures import PeerFigures, Way

HANDLE_PATH = "/api/v1/handle_order"
LISTING_PATH = "/api/v1/listing"


class Line:
    """Sends messages about orders, and fetches what others offer."""

    def __init__(self, client: PeerClient, figures: PeerFigures | None = None) -> None:
        self._client = client
        self._figures = figures or PeerFigures()

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """POST the message: the answer's JSON value; None: the peer has it and no answer yet.

        Raises what `PeerClient.post` raises.
        """
        with self._figures.exchange(Way.SENT, message.type, peer) as exchange:
            answer = await self._client.post(peer, "catalog", HANDLE_PATH, wire.message_json(message))
            exchange.pending = answer.status == 202
        structlog.get_logger().info("message sent", type=message.type, message=str(message.message), peer=peer)
        return None if exchange.pending else answer.document

    async def fetch(self, member: MemberId, etag: str) -> Fetched | None:
        """What a member offers; None: still what it called `etag`. Raises what `PeerClient.get_changed` raises."""
        with self._figures.exchange(Way.SENT, "listing", member):
            found = await self._client.get_changed(member, "catalog", LISTING_PATH, etag)
        return None if found is None else Fetched(found.text, found.etag)
