"""JSON and values: the envelope between catalog servers, and orders as they are stored.

Rules of this file:

1. It reads and writes JSON and knows nothing else. Values are dataclasses; JSON follows from them.
2. An unknown field from a peer is ignored here (the stored message keeps it); one from a person is an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime

from meetme.catalog.messages import BODIES, Body, MessageType, type_of
from meetme.catalog.offers import Offer
from meetme.catalog.order import Order
from meetme.catalog.stray_views import Stray
from meetme.catalog.views import EntryView, OrderView
from meetme.catalog.ways import Ways
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput
from meetme.runtime.reading import adapter, load, read

VERSION = 1
_MALFORMED = "message_malformed"


@dataclass(frozen=True, slots=True)
class Message:
    """One message between two catalog servers about an order."""

    order: UUID
    message: UUID
    sender: MemberId
    to: MemberId
    expires: float
    """Epoch seconds."""
    body: Body

    @property
    def type(self) -> MessageType:
        """What kind of message it is."""
        return type_of(self.body)


def warm_up() -> None:
    """Build every adapter now, so that the first order is as quick as the others."""
    for kind in (_Envelope, Order, *BODIES.values()):
        adapter(kind)


# --- the envelope -----------------------------------------------------------------------------------------------------


def write_message(message: Message) -> str:
    """The envelope as JSON text."""
    return json.dumps(message_json(message), separators=(",", ":"), ensure_ascii=False)


def message_json(message: Message) -> dict[str, Any]:
    """The envelope as a JSON value."""
    return {
        "version": VERSION,
        "order": str(message.order),
        "message": str(message.message),
        "type": message.type.value,
        "from": message.sender,
        "to": message.to,
        "expires": datetime.fromtimestamp(message.expires, UTC).isoformat().replace("+00:00", "Z"),
        "body": adapter(type(message.body)).dump_python(message.body, mode="json"),
    }


@dataclass(frozen=True, slots=True)
class _Envelope:
    order: UUID
    message: UUID
    type: str
    sender: str
    to: str
    expires: AwareDatetime
    body: dict[str, Any]


def read_message(source: str | bytes | dict[str, Any]) -> Message:
    """Read an envelope, from text or from its JSON value.

    Raises InvalidInput `message_malformed`, `version_unknown` or `message_type_unknown`.
    """
    raw = load(source, path="message", code=_MALFORMED) if isinstance(source, str | bytes) else source
    if not isinstance(raw, dict):
        raise InvalidInput(_MALFORMED, "message: must be a JSON object", field="message", fault=Fault.REMOTE)
    if raw.get("version") != VERSION or isinstance(raw["version"], bool):
        seen = str(raw.get("version"))[:20]
        raise InvalidInput(
            "version_unknown",
            f"message.version: must be {VERSION} ({seen})",
            hint="the two members run versions of the protocol that do not meet",
            field="message.version",
            fault=Fault.REMOTE,
        )
    envelope = read(_Envelope, {**raw, "sender": raw.get("from")}, path="message", code=_MALFORMED)
    if envelope.type not in set(MessageType):
        text = f'message.type: must be one of the protocol ("{envelope.type[:40]}")'
        raise InvalidInput("message_type_unknown", text, field="message.type", fault=Fault.REMOTE)
    return Message(
        envelope.order,
        envelope.message,
        MemberId(envelope.sender),
        MemberId(envelope.to),
        envelope.expires.timestamp(),
        read(BODIES[MessageType(envelope.type)], envelope.body, path="message.body", code=_MALFORMED),
    )


# --- what is stored ---------------------------------------------------------------------------------------------------


def store_order(order: Order) -> str:
    """The standing state as JSON text."""
    return adapter(Order).dump_json(order, exclude={"answers"}).decode()


@lru_cache(maxsize=1024)
def load_order(text: str) -> Order:
    """Read what `store_order` wrote. The same value is read several times for every time that it is written."""
    result: Order = adapter(Order).validate_json(text)
    return result


# --- what the API says ------------------------------------------------------------------------------------------------


def view_json(shown: OrderView) -> dict[str, Any]:
    """An order as the local API shows it."""
    result: dict[str, Any] = adapter(OrderView).dump_python(shown, mode="json")
    return result


def read_view(raw: Any) -> OrderView:
    """Read what `view_json` wrote."""
    return read(OrderView, raw, path="answer", code="answer_malformed")


def stray_json(shown: Stray) -> dict[str, Any]:
    """A stray as the local API shows it."""
    result: dict[str, Any] = adapter(Stray).dump_python(shown, mode="json")
    return result


def read_strays(raw: Any) -> list[Stray]:
    """Read what `stray_json` wrote, several of it."""
    return read(list[Stray], raw, path="answer", code="answer_malformed")


def offer_json(offer: Offer) -> dict[str, Any]:
    """An offer as the local API shows it."""
    result: dict[str, Any] = adapter(Offer).dump_python(offer, mode="json")
    return result


def entry_json(shown: EntryView) -> dict[str, Any]:
    """An entry of the catalogue as the local API shows it."""
    result: dict[str, Any] = adapter(EntryView).dump_python(shown, mode="json")
    return result


def read_entry(raw: Any) -> EntryView:
    """Read what `entry_json` wrote."""
    return read(EntryView, raw, path="answer", code="answer_malformed")


def ways_json(ways: Ways) -> dict[str, Any]:
    """The ways to a service as the local API shows them."""
    result: dict[str, Any] = adapter(Ways).dump_python(ways, mode="json", by_alias=True)
    return result


def read_ways(raw: Any) -> Ways:
    """Read what `ways_json` wrote."""
    return read(Ways, raw, path="answer", code="answer_malformed")
