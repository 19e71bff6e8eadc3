"""The way to the other composers: HTTP with mutual TLS."""

from __future__ import annotations

import structlog

from meetme.composer import wire
from meetme.model.agreement import MemberId
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.peer_figures import PeerFigures, Way

HANDLE_PATH = "/api/v1/handle_circuit"


class Line:
    """Sends messages about circuits."""

    def __init__(self, client: PeerClient, figures: PeerFigures | None = None) -> None:
        self._client = client
        self._figures = figures or PeerFigures()

    async def send(self, peer: MemberId, message: wire.Message) -> object | None:
        """POST the message: the answer's JSON value; None: the peer has it and no answer yet.

        Raises what `PeerClient.post` raises.
        """
        with self._figures.exchange(Way.SENT, message.type, peer) as exchange:
            answer = await self._client.post(peer, "composer", HANDLE_PATH, wire.message_json(message))
            exchange.pending = answer.status == 202
        structlog.get_logger().info("message sent", type=message.type, message=str(message.message), peer=peer)
        return None if exchange.pending else answer.document
