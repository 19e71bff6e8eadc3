"""Every message between two negotiators: its fields from the values, an example from the rules themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import rest_page
from markdown import table
from pydantic import TypeAdapter

from meetme.model.agreement import Agreement, MemberId
from meetme.negotiator import wire
from meetme.negotiator.addressing import Counter, Offer, Own, Usage
from meetme.negotiator.agreeing import agree, make_offer
from meetme.negotiator.messages import ANSWERS, BODIES, MessageType, ProposeBody
from meetme.negotiator.roll import Listed, Roll

_INTRODUCTION = """# Messages

What two negotiators say to each other. [How two negotiators agree](../explanation/protocol.md) tells why; this page is
for who writes another one, or reads a log. A message is one POST to `/api/v1/handle_negotiation` at the other side's
peer listener, over mutual TLS 1.3; the answer of 200 is the other side's message in the same envelope. 202 without a
body means that the answer is not ready: send the same message again. A repetition, told by its `message` id, gets the
answer that was given and does nothing more. An unknown field is ignored.
"""
_SIGNED = """Where a body has an `agreement`, it is a JWS in the general JSON serialization (RFC 7515, section 7.2.1,
ES256): the payload is the agreement in canonical JSON (RFC 8785), `kid` is the member that signed. `hold` carries the
responder's signature, `commit` both.
"""
_ROLL = """## The roll

Every 30 seconds, and when it starts, a negotiator POSTs to `/api/v1/compare_agreements` of each peer what is active
and settled between them, at most 500 agreements at a time. The answer of 200 names in `differ`, beside `version`,
`from` and `to`, the ids of those that are not so at the other side; unknown ids and those of other members are among
them. About these a `query` follows. Nothing is written down at the side that answers. A peer that answers 404 is sent
queries alone. The initiator numbers the changes: that it knows of later ones than the responder is no difference.
"""
_ID = UUID("0198d2a0-0000-7000-8000-000000000001")
_MEANINGS = {
    "version": "of the protocol",
    "negotiation": "the initiator's id, which both sides use and the agreement has",
    "message": "of this message; a repetition has the same, an answer one of its own",
    "type": "see below",
    "circuit": "as both know it; `direct:LOWER:HIGHER` where it has no name",
    "from": "who sends it: the member of the TLS certificate, or it is refused",
    "to": "who is meant",
    "expires": "RFC 3339; a message that arrives later is refused, a repetition says a new time",
    "change": "which change of an active agreement it is about; absent: the negotiation itself",
    "body": "by type",
}


def page() -> str:
    """The page of the messages. Raises LookupError for a field of the envelope whose meaning is nowhere said."""
    envelope = wire.message_json(
        wire.Message(
            _ID, _ID, "c1", MemberId("csp-a"), MemberId("csp-b"), 1767225600.0, ProposeBody(_offer(None)), change=1
        )
    )
    if strange := envelope.keys() - _MEANINGS.keys():
        raise LookupError(f"say what it means: {', '.join(sorted(strange))}")
    lines = [_INTRODUCTION, "## The envelope", ""]
    lines += table(("field", "meaning"), [(f"`{key}`", _MEANINGS[key]) for key in envelope])
    lines += [_SIGNED, "## What is asked, and what may be answered", ""]
    lines += table(("asked", "answers"), [(_link(ask), ", ".join(_ordered(ANSWERS[ask]))) for ask in ANSWERS])
    types: dict[str, Any] = {}
    for kind, body in BODIES.items():
        schema = TypeAdapter(body).json_schema(mode="serialization")
        types |= schema.pop("$defs", {})
        lines += [f"### {kind}", "", " ".join((inspect.getdoc(body) or "").split()), "", *_fields(schema)]
    lines += [_ROLL, "```json", *json.dumps(wire.roll_json(_roll()), indent=2).splitlines(), "```", ""]
    lines += ["## Types", ""]
    for name in sorted(types):
        lines += rest_page.schema_lines(name, types[name])
    return "\n".join([*lines, *_example()])


def _roll() -> Roll:
    return Roll(MemberId("csp-a"), MemberId("csp-b"), 1767225600.0, (Listed(_ID, 2, 1),))


def _ordered(kinds: frozenset[MessageType]) -> list[str]:
    return [_link(kind) for kind in MessageType if kind in kinds]


def _link(kind: MessageType) -> str:
    return f"[`{kind}`](#{kind})"


def _fields(schema: dict[str, Any]) -> list[str]:
    if not schema.get("properties"):
        return []
    rows = [(f"`{name}`", rest_page.type_text(of)) for name, of in schema["properties"].items()]
    return table(("field", "type"), rows)


def _own(member: str) -> Own:
    return Own(
        member=MemberId(member),
        prefixes=(ip_network("10.0.0.0/24"),),
        usage=Usage(held=(ip_network("10.0.0.0/24"),)),
        alias_pools=(ip_network("100.64.0.0/16"),),
        link_pools=(ip_network("192.168.255.0/24"),),
        mtu=1500,
        probe=ip_address("10.0.0.1"),
    )


def _offer(counter: Counter | None) -> Offer:
    offer = make_offer(_own("csp-a"), counter)
    assert isinstance(offer, Offer)
    return offer


def _example() -> Iterator[str]:
    """What two networks of 10.0.0.0/24 agree on."""
    known = {"id": _ID, "circuit": "c1", "initiator": MemberId("csp-a")}
    counter = agree(_offer(None), _own("csp-b"), **known)  # type: ignore[arg-type]
    assert isinstance(counter, Counter)
    agreement = agree(_offer(counter), _own("csp-b"), **known)  # type: ignore[arg-type]
    assert isinstance(agreement, Agreement)
    yield from ("## An agreement", "", "Between csp-a and csp-b, both with 10.0.0.0/24:", "", "```json")
    yield from (json.dumps(wire.agreement_json(agreement), indent=2), "```", "")
