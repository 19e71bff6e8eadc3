"""The envelope in which composers tell each other what they know, and its three bodies.

    {"version":1,"message":UUID,"type":"summary|marks|documents","from":MEMBER,"to":MEMBER,"expires":RFC3339,"body":{}}

One POST to `handle_advertisement`; the 200 answer is the other side's message in the same envelope. A summary is
answered with marks, documents with documents (`spreading`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID, uuid4

from pydantic import Field

from meetme.composer.book import BUCKETS, SKEW_SECONDS, Mark
from meetme.composer.spreading import (
    MOST_MARKS,
    MOST_REFUSED,
    MOST_WANTED,
    Declined,
    Documents,
    Marks,
    Message,
    Summary,
)
from meetme.model.agreement import MemberId
from meetme.model.envelope import check_envelope
from meetme.model.errors import Fault, InvalidInput
from meetme.runtime import reading
from meetme.runtime.reading import adapter, load

VERSION = 1
GOOD_SECONDS = 60.0
"""How long a message is good."""
MOST_DOCUMENTS = 1024
_CODE = "message_malformed"

_Name: TypeAlias = Annotated[str, Field(max_length=63)]
_Sum: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message between two composers about advertisements."""

    message: UUID
    sender: MemberId
    to: MemberId
    expires: float
    """Epoch seconds."""
    body: Message


@dataclass(frozen=True, slots=True)
class _Outer:
    message: UUID
    type: Annotated[str, Field(max_length=40)]
    sender: _Name
    to: _Name
    expires: datetime
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _SummaryBody:
    sums: Annotated[tuple[_Sum, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]


@dataclass(frozen=True, slots=True)
class _MarksBody:
    buckets: Annotated[tuple[Annotated[int, Field(ge=0, lt=BUCKETS)], ...], Field(max_length=BUCKETS)]
    # One bucket goes in whole, however many are in it.
    marks: Annotated[dict[_Name, tuple[Annotated[int, Field(ge=1, lt=2**53)], _Sum]], Field(max_length=2 * MOST_MARKS)]


@dataclass(frozen=True, slots=True)
class _DeclinedBody:
    member: _Name
    code: Annotated[str, Field(max_length=64)]
    text: Annotated[str, Field(max_length=300)]


@dataclass(frozen=True, slots=True)
class _DocumentsBody:
    documents: Annotated[tuple[dict[str, Any], ...], Field(max_length=MOST_DOCUMENTS)] = ()
    wanted: Annotated[tuple[_Name, ...], Field(max_length=MOST_WANTED)] = ()
    refused: Annotated[tuple[_DeclinedBody, ...], Field(max_length=MOST_REFUSED)] = ()


_BODIES: dict[str, Any] = {"summary": _SummaryBody, "marks": _MarksBody, "documents": _DocumentsBody}


def warm_up() -> None:
    """Build every adapter now, so that the first message is as quick as the others."""
    for kind in (_Outer, *_BODIES.values()):
        adapter(kind)


def type_of(body: Message) -> str:
    """What a message is called on the wire."""
    return type(body).__name__.lower()


def write(body: Message, sender: MemberId, to: MemberId, now: float) -> str:
    """The envelope as JSON text. Documents go into it as they came."""
    expires = datetime.fromtimestamp(now + GOOD_SECONDS, UTC).isoformat().replace("+00:00", "Z")
    head = {"version": VERSION, "message": str(uuid4()), "type": type_of(body), "from": sender, "to": to}
    return f'{_dump({**head, "expires": expires})[:-1]},"body":{_body(body)}}}'


def _body(body: Message) -> str:
    match body:
        case Summary(sums):
            return _dump({"sums": sums})
        case Marks(buckets, marks):
            return _dump({"buckets": buckets, "marks": marks})
        case Documents(documents, wanted, refused):
            said = [{"member": one.member, "code": one.code, "text": one.text} for one in refused]
            return f'{{"documents":[{",".join(documents)}],"wanted":{_dump(wanted)},"refused":{_dump(said)}}}'


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def read(source: str | dict[str, Any], me: MemberId, sender: MemberId, now: float) -> Envelope:
    """Read a message of `sender` to `me`.

    Raises InvalidInput `message_malformed`, `version_unknown` or `message_type_unknown`, Forbidden `sender_mismatch` or
    `receiver_mismatch`, Stale `message_expired`.
    """
    raw = load(source, path="message", code=_CODE) if isinstance(source, str) else source
    if not isinstance(raw, dict):
        raise _wrong(_CODE, "message", "must be a JSON object")
    if raw.get("version") != VERSION or isinstance(raw["version"], bool):
        raise _wrong("version_unknown", "message.version", f"must be {VERSION} ({str(raw.get('version'))[:20]})")
    outer = reading.read(_Outer, {**raw, "sender": raw.get("from")}, path="message", code=_CODE)
    if outer.type not in _BODIES:
        raise _wrong("message_type_unknown", "message.type", f'must be one of the protocol ("{outer.type}")')
    if outer.expires.tzinfo is None:
        raise _wrong(_CODE, "message.expires", "must have a time zone (RFC 3339)")
    check_envelope(
        sender=outer.sender,
        certificate=sender,
        to=outer.to,
        me=me,
        service="composer",
        expires=outer.expires.timestamp(),
        now=now,
        skew=SKEW_SECONDS,
    )
    body = reading.read(_BODIES[outer.type], outer.body, path="message.body", code=_CODE)
    return Envelope(outer.message, sender, me, outer.expires.timestamp(), _value(body))


def _value(body: _SummaryBody | _MarksBody | _DocumentsBody) -> Message:
    match body:
        case _SummaryBody(sums):
            return Summary(sums)
        case _MarksBody(buckets, marks):
            return Marks(buckets, {MemberId(name): Mark(*mark) for name, mark in marks.items()})
        case _DocumentsBody(documents, wanted, refused):
            return Documents(
                tuple(map(_dump, documents)),
                tuple(map(MemberId, wanted)),
                tuple(Declined(MemberId(one.member), one.code, one.text) for one in refused),
            )


def _wrong(code: str, field: str, rule: str) -> InvalidInput:
    return InvalidInput(code, f"{field}: {rule}", field=field, fault=Fault.REMOTE)
