"""JSON and values: the envelope between composers, what is stored, what the API takes and says.

Rules of this file:

1. It reads and writes JSON and knows nothing else. Values are dataclasses; JSON follows from them.
2. An unknown field from a peer is ignored here (the stored message keeps it); one from a person is an error.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from meetme.composer.circuit import Circuit
from meetme.composer.messages import BODIES, Body, MessageType, type_of
from meetme.composer.views import BegunView, CircuitOrder, CircuitView, OffersView, TakenOffer
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput
from meetme.runtime.reading import adapter, load, read

VERSION = 1
_MALFORMED = "message_malformed"


@dataclass(frozen=True, slots=True)
class Message:
    """One message between two composers about a circuit, or about one leg of it (path and attempt, else 0)."""

    circuit: UUID
    message: UUID
    path: int
    attempt: int
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
    """Build every adapter now, so that the first circuit is as quick as the others."""
    for kind in (_Envelope, Circuit, CircuitView, CircuitOrder, TakenOffer, *BODIES.values()):
        adapter(kind)


# --- the envelope -----------------------------------------------------------------------------------------------------


def write_message(message: Message) -> str:
    """The envelope as JSON text."""
    return json.dumps(message_json(message), separators=(",", ":"), ensure_ascii=False)


def message_json(message: Message) -> dict[str, Any]:
    """The envelope as a JSON value."""
    kind = message.type
    return {
        "version": VERSION,
        "circuit": str(message.circuit),
        "message": str(message.message),
        "type": kind.value,
        "path": message.path,
        "attempt": message.attempt,
        "from": message.sender,
        "to": message.to,
        "expires": datetime.fromtimestamp(message.expires, UTC).isoformat().replace("+00:00", "Z"),
        "body": adapter(BODIES[kind]).dump_python(message.body, mode="json"),
    }


@dataclass(frozen=True, slots=True)
class _Envelope:
    circuit: UUID
    message: UUID
    type: str
    sender: str
    to: str
    expires: datetime
    body: dict[str, Any]
    path: Annotated[int, Field(ge=0, le=2)] = 0
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = 0


def read_message(source: str | bytes | dict[str, Any]) -> Message:
    """Read an envelope, from text or from its JSON value.

    Raises InvalidInput `message_malformed`, `version_unknown` or `message_type_unknown`.
    """
    raw = load(source, path="message", code=_MALFORMED) if isinstance(source, str | bytes) else source
    if not isinstance(raw, dict):
        raise _malformed("message: must be a JSON object", "message")
    if raw.get("version") != VERSION or isinstance(raw["version"], bool):
        raise InvalidInput(
            "version_unknown",
            f"message.version: must be {VERSION} ({str(raw.get('version'))[:20]})",
            hint="the two members run versions of the protocol that do not meet",
            field="message.version",
            fault=Fault.REMOTE,
        )
    envelope = read(_Envelope, {**raw, "sender": raw.get("from")}, path="message", code=_MALFORMED)
    if envelope.expires.tzinfo is None:
        raise _malformed("message.expires: must have a time zone (RFC 3339)", "message.expires")
    if envelope.type not in set(MessageType):
        text = f'message.type: must be one of the protocol ("{envelope.type[:40]}")'
        raise InvalidInput("message_type_unknown", text, field="message.type", fault=Fault.REMOTE)
    return Message(
        envelope.circuit,
        envelope.message,
        envelope.path,
        envelope.attempt,
        MemberId(envelope.sender),
        MemberId(envelope.to),
        envelope.expires.timestamp(),
        read(BODIES[MessageType(envelope.type)], envelope.body, path="message.body", code=_MALFORMED),
    )


def _malformed(text: str, field: str) -> InvalidInput:
    return InvalidInput(_MALFORMED, text, field=field, fault=Fault.REMOTE)


# --- what is stored ---------------------------------------------------------------------------------------------------


def store_circuit(c: Circuit) -> str:
    """The standing state as JSON text."""
    return adapter(Circuit).dump_json(c, exclude={"answers"}).decode()


@lru_cache(maxsize=1024)
def load_circuit(text: str) -> Circuit:
    """Read what `store_circuit` wrote. The same value is read several times for every time that it is written."""
    result: Circuit = adapter(Circuit).validate_json(text)
    return result


def store_offer(offer: TakenOffer) -> str:
    """An offer as JSON text."""
    return adapter(TakenOffer).dump_json(offer).decode()


def load_offer(text: str) -> TakenOffer:
    """Read what `store_offer` wrote."""
    result: TakenOffer = adapter(TakenOffer).validate_json(text)
    return result


# --- the API ----------------------------------------------------------------------------------------------------------


def order_json(order: CircuitOrder) -> dict[str, Any]:
    """An order as it is sent: what is not said is left out."""
    plain: dict[str, Any] = asdict(order)
    plain["offer"] = str(order.offer) if order.offer else None
    if order.offer is not None:
        return {"offer": plain["offer"]}
    constraints = {key: value for key, value in plain.pop("constraints").items() if value not in (None, (), [])}
    return {**_said(plain), **({"constraints": constraints} if constraints else {})}


def _said(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _said(value) if isinstance(value, dict) else value for key, value in plain.items() if value is not None
    }


def view_json(view: CircuitView) -> dict[str, Any]:
    """A circuit as the API shows it."""
    result: dict[str, Any] = adapter(CircuitView).dump_python(view, mode="json")
    return result


def read_view(raw: Any) -> CircuitView:
    """Read what `view_json` wrote."""
    return read(CircuitView, raw, path="answer", code="answer_malformed")


def read_begun(raw: Any) -> list[BegunView]:
    """Read what is said of the keys that circuits were begun with."""
    return read(list[BegunView], raw, path="answer", code="answer_malformed")


def offers_json(offers: OffersView) -> dict[str, Any]:
    """Offers as the API shows them."""
    result: dict[str, Any] = adapter(OffersView).dump_python(offers, mode="json")
    return result


def read_offers(raw: Any) -> OffersView:
    """Read what `offers_json` wrote."""
    return read(OffersView, raw, path="answer", code="answer_malformed")
