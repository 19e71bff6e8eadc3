"""JSON and values: the envelope between negotiators, the agreement document, what is stored, what the local API says.

Rules of this file:

1. It is the only one in this room that knows pydantic. Values are dataclasses; JSON follows from them.
2. An agreement travels as a signed document (JWS): who reads a body reads the signed payload, never a copy beside it.
3. An unknown field from a peer is ignored here (the stored message keeps it, and a signed document keeps it signed).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, Field

from meetme.model.agreement import Agreement, MemberId
from meetme.model.errors import Fault, InvalidInput
from meetme.negotiator.messages import BODIES, Body, MessageType, type_of
from meetme.negotiator.negotiation import Attachment, Health, Negotiation, StepTime
from meetme.negotiator.roll import Listed, Roll, RollAnswer
from meetme.negotiator.views import ChangeRequest, NegotiationView, Plan, SignedAgreement, StartRequest, Terms
from meetme.runtime.documents import canonical, verify_document
from meetme.runtime.reading import adapter as _adapter
from meetme.runtime.reading import load as _load
from meetme.runtime.reading import read as _read

__all__ = ["Message", "NegotiationView", "Plan", "SignedAgreement", "StartRequest"]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Message:
    """One message between two negotiators. `document` is the signed agreement where the body carries one."""

    negotiation: UUID
    message: UUID
    circuit: str
    sender: MemberId
    to: MemberId
    expires: float
    """Epoch seconds."""
    body: Body
    document: str | None = None
    change: int = 0
    """Which change of the agreement it is about; 0: the negotiation itself."""

    @property
    def type(self) -> MessageType:
        """What kind of message it is."""
        return type_of(self.body)


def warm_up() -> None:
    """Build every adapter now, so that the first negotiation is as quick as the others."""
    for kind in (_Envelope, Agreement, Negotiation, Terms, NegotiationView, *BODIES.values()):
        _adapter(kind)


# --- the envelope -----------------------------------------------------------------------------------------------------


def write_message(message: Message) -> str:
    """The envelope as JSON text."""
    return json.dumps(message_json(message), separators=(",", ":"), ensure_ascii=False)


def message_json(message: Message) -> dict[str, Any]:
    """The envelope as a JSON value."""
    kind = message.type
    body = _adapter(BODIES[kind]).dump_python(message.body, mode="json")
    if body.get("agreement") is not None:
        body["agreement"] = json.loads(message.document) if message.document else _unsigned(message.body)
    return {
        "version": VERSION,
        "negotiation": str(message.negotiation),
        "message": str(message.message),
        "type": kind.value,
        **({"change": message.change} if message.change else {}),
        "circuit": message.circuit,
        "from": message.sender,
        "to": message.to,
        "expires": _written(message.expires),
        "body": body,
    }


@dataclass(frozen=True, slots=True)
class _Envelope:
    negotiation: UUID
    message: UUID
    type: str
    circuit: str
    sender: str
    to: str
    expires: datetime
    body: dict[str, Any]
    change: Annotated[int, Field(ge=0)] = 0


def read_message(source: str | bytes | dict[str, Any]) -> Message:
    """Read an envelope, from text or from its JSON value.

    Raises InvalidInput `message_malformed`, `version_unknown`, `message_type_unknown` or `signature_malformed`.
    """
    code = "message_malformed"
    raw = _versioned(_load(source, path="message", code=code) if isinstance(source, str | bytes) else source)
    envelope = _read(_Envelope, {**raw, "sender": raw.get("from")}, path="message", code=code)
    if envelope.expires.tzinfo is None:
        raise InvalidInput(
            code, "message.expires: must have a time zone (RFC 3339)", field="message.expires", fault=Fault.REMOTE
        )
    if envelope.type not in set(MessageType):
        text = f'message.type: must be one of the protocol ("{envelope.type[:40]}")'
        raise InvalidInput("message_type_unknown", text, field="message.type", fault=Fault.REMOTE)
    body, document = dict(envelope.body), None
    if body.get("agreement") is not None:
        document = json.dumps(body["agreement"])
        body["agreement"] = _load(payload_of(document), path="message.body.agreement", code="agreement_malformed")
    return Message(
        envelope.negotiation,
        envelope.message,
        envelope.circuit,
        MemberId(envelope.sender),
        MemberId(envelope.to),
        envelope.expires.timestamp(),
        _read(BODIES[MessageType(envelope.type)], body, path="message.body", code=code),
        document,
        envelope.change,
    )


def _versioned(raw: object) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidInput("message_malformed", "message: must be a JSON object", field="message", fault=Fault.REMOTE)
    if raw.get("version") != VERSION or isinstance(raw["version"], bool):
        seen = str(raw.get("version"))[:20]
        raise InvalidInput(
            "version_unknown",
            f"message.version: must be {VERSION} ({seen})",
            hint="the two members run versions of the protocol that do not meet",
            field="message.version",
            fault=Fault.REMOTE,
        )
    return raw


def _written(at: float) -> str:
    """Epoch seconds as RFC 3339 has them."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


# --- the roll ---------------------------------------------------------------------------------------------------------

LISTED_AT_MOST = 500
"""Agreements in one roll: it stays below what a listener takes."""


@dataclass(frozen=True, slots=True)
class _Line:
    negotiation: UUID
    revision: Annotated[int, Field(ge=1)]
    changes: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class _Roll:
    sender: str
    to: str
    expires: AwareDatetime
    agreements: Annotated[tuple[_Line, ...], Field(max_length=LISTED_AT_MOST)]


@dataclass(frozen=True, slots=True)
class _RollAnswer:
    sender: str
    to: str
    differ: Annotated[tuple[UUID, ...], Field(max_length=LISTED_AT_MOST)]


def roll_json(roll: Roll) -> dict[str, Any]:
    """A roll as a JSON value."""
    return {
        "version": VERSION,
        "from": roll.sender,
        "to": roll.to,
        "expires": _written(roll.expires),
        "agreements": [
            {"negotiation": str(each.negotiation), "revision": each.agreed, "changes": each.changes}
            for each in roll.agreements
        ],
    }


def read_roll(text: str) -> Roll:
    """Read a roll. Raises InvalidInput `message_malformed`, `version_unknown`."""
    code = "message_malformed"
    raw = _versioned(_load(text, path="message", code=code))
    roll = _read(_Roll, {**raw, "sender": raw.get("from")}, path="message", code=code)
    lines = tuple(Listed(each.negotiation, each.revision, each.changes) for each in roll.agreements)
    return Roll(MemberId(roll.sender), MemberId(roll.to), roll.expires.timestamp(), lines)


def write_roll_answer(answer: RollAnswer) -> str:
    """The answer to a roll as JSON text."""
    differ = [str(id) for id in answer.differ]
    return json.dumps({"version": VERSION, "from": answer.sender, "to": answer.to, "differ": differ})


def read_roll_answer(value: object) -> RollAnswer:
    """Read the answer to a roll from its JSON value. Raises InvalidInput `message_malformed`, `version_unknown`."""
    raw = _versioned(value)
    answer = _read(_RollAnswer, {**raw, "sender": raw.get("from")}, path="message", code="message_malformed")
    return RollAnswer(MemberId(answer.sender), MemberId(answer.to), answer.differ)


# --- the agreement ----------------------------------------------------------------------------------------------------


def agreement_payload(agreement: Agreement) -> bytes:
    """The canonical JSON of an agreement: what both sides sign."""
    return canonical(agreement_json(agreement))


def agreement_json(agreement: Agreement) -> dict[str, Any]:
    """The agreement as a JSON value. What older documents do not know is there only where it says something."""
    result: dict[str, Any] = _adapter(Agreement).dump_python(agreement, mode="json")
    for side in ("initiator", "responder"):
        if result[side]["second_probe"] is None:
            del result[side]["second_probe"]
    return result


def payload_of(document: str) -> bytes:
    """What a signed document says, whoever signed it. Raises InvalidInput `signature_malformed`."""
    return verify_document(_load(document, path="agreement", code="signature_malformed"), {}).payload


def read_agreement(payload: bytes | str) -> Agreement:
    """Read the payload of a signed document. Raises InvalidInput `agreement_malformed`."""
    raw = _load(payload, path="agreement", code="agreement_malformed")
    return _read(Agreement, raw, path="agreement", code="agreement_malformed")


def _unsigned(body: Body) -> dict[str, Any]:
    """A dry run's answer: a document that nobody has signed, so that nobody can hold anyone to it."""
    from base64 import urlsafe_b64encode

    agreement: Agreement = getattr(body, "agreement")  # noqa: B009  three of the bodies have one
    payload = urlsafe_b64encode(agreement_payload(agreement)).rstrip(b"=").decode()
    return {"payload": payload, "signatures": []}


# --- what is stored ---------------------------------------------------------------------------------------------------


def store_negotiation(n: Negotiation) -> str:
    """The standing state as JSON text."""
    return _adapter(Negotiation).dump_json(n, exclude={"answers"}).decode()


@lru_cache(maxsize=1024)
def load_negotiation(text: str) -> Negotiation:
    """Read what `store_negotiation` wrote. The same value is read several times for every time that it is written."""
    result: Negotiation = _adapter(Negotiation).validate_json(text)
    return result


def store_terms(terms: Terms) -> str:
    """The overrides of a request as JSON text."""
    return _adapter(Terms).dump_json(terms, exclude_none=True).decode()


def load_terms(text: str) -> Terms:
    """Read what `store_terms` wrote."""
    result: Terms = _adapter(Terms).validate_json(text)
    return result


# --- the local API ----------------------------------------------------------------------------------------------------


def view_json(view: NegotiationView) -> dict[str, Any]:
    """A negotiation as the local API shows it."""
    result: dict[str, Any] = _adapter(NegotiationView).dump_python(view, mode="json")
    return result


def read_view(raw: Any) -> NegotiationView:
    """Read what `view_json` wrote."""
    return _read(NegotiationView, raw, path="answer", code="answer_malformed")


def read_step(raw: Any) -> StepTime:
    """Read the data of a `step` event."""
    return _read(StepTime, raw, path="event", code="answer_malformed")


def read_health(raw: Any) -> Health:
    """Read the data of a `health` event."""
    return _read(Health, raw, path="event", code="answer_malformed")


def plan_json(plan: Plan) -> dict[str, Any]:
    """A dry run as the local API shows it."""
    return {"agreement": agreement_json(plan.agreement), "plan": list(plan.plan)}


def read_plan(raw: Any) -> Plan:
    """Read what `plan_json` wrote."""
    return _read(Plan, raw, path="answer", code="answer_malformed")


def request_json(request: StartRequest) -> dict[str, Any]:
    """A request as it is sent: what is not said is left out."""
    return {
        f.name: value for f in fields(request) if (value := getattr(request, f.name)) is not None and value is not False
    }


def change_json(request: ChangeRequest) -> dict[str, Any]:
    """A wish for a change as it is sent: what is not said is left out."""
    return {
        f.name: value for f in fields(request) if (value := getattr(request, f.name)) is not None and value is not False
    }


@dataclass(frozen=True, slots=True)
class AttachmentBody:
    """The body of a PUT: as the model has it, but nothing unknown may be in it."""

    router: str
    port: str
    vlan: int | None = None
    mtu: int = 1500
    peer: str | None = None
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - not a field


def attachment_json(attachment: Attachment) -> dict[str, Any]:
    """An attachment as the local API shows it."""
    result: dict[str, Any] = _adapter(Attachment).dump_python(attachment, mode="json")
    return result


def read_attachment(raw: Any) -> Attachment:
    """Read what `attachment_json` wrote."""
    return _read(Attachment, raw, path="answer", code="answer_malformed")


def read_signed(document: Any) -> SignedAgreement:
    """Read a signed agreement. The signatures are named, not verified."""
    text = json.dumps(document)
    return SignedAgreement(read_agreement(payload_of(text)), tuple(_signers(document)), document)


def _signers(document: dict[str, Any]) -> list[str]:
    from base64 import urlsafe_b64decode

    found = []
    for signature in document.get("signatures", []):
        header = json.loads(urlsafe_b64decode(signature["protected"] + "=="))
        found.append(str(header["kid"]))
    return found
