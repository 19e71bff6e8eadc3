"""What is written is what is read, and what cannot be read is refused with the field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.catalog import wire
from meetme.catalog.listing_wire import read_listing, sign_listing
from meetme.catalog.messages import BODIES, Body, MessageType, QueryBody, RequestBody, type_of
from meetme.catalog.order import End, Order, Reach, StepTime, Thing
from meetme.catalog.words import State, Wanted
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput, TooLarge
from meetme.runtime.identity import create_identity
from tests.catalog.test_offers import BACKUP, PAGE, listing

ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
body = st.sampled_from(list(BODIES.values())).flatmap(st.from_type)
things = st.builds(Thing)
order = st.builds(
    Order,
    st.uuids(),
    me=st.just(ALFA),
    partner=st.just(BRAVO),
    began=st.floats(0, 2e9),
    deadline=st.none() | st.floats(0, 2e9),
    end=st.none() | st.builds(End, st.just(ALFA)),
    reach=st.none() | st.builds(Reach, rtt_ms=st.none() | st.floats(0, 1e3)),
    steps=st.lists(st.builds(StepTime, seconds=st.floats(0, 1e6)), max_size=3).map(tuple),
    pending=st.lists(st.uuids(), max_size=2).map(tuple),
    answers=st.just(()),
)


@given(order)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    assert wire.load_order(wire.store_order(order)) == order


@given(body.filter(lambda b: getattr(b, "seconds", 0.0) == getattr(b, "seconds", 0.0)))
def test_a_message_is_read_as_it_was_written(body: Body) -> None:
    if getattr(body, "seconds", 0.0) in (float("inf"), float("-inf")):
        return
    message = wire.Message(UUID(int=1), UUID(int=2), ALFA, BRAVO, 1_800_000_000.0, body)
    assert wire.read_message(wire.write_message(message)) == message


def test_every_type_has_one_body() -> None:
    assert set(BODIES) == set(MessageType)
    assert type_of(QueryBody(State.ACTIVE)) is MessageType.QUERY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "message.version: must be 1 (2)"),
        ({"version": True}, "message.version: must be 1 (True)"),
        ({"type": "buy"}, 'message.type: must be one of the protocol ("buy")'),
        ({"order": "x"}, "message.order: "),
        ({"expires": "2026-01-01T00:00:00"}, "message.expires: "),
        ({"body": {}}, "message.body.wanted: field required"),
        (
            {"body": {"wanted": {"offer": "x", "version": 1, "connectivity": "l4"}}},
            "message.body.wanted.connectivity: ",
        ),
    ],
)
def test_what_is_no_message_is_refused(change: dict[str, Any], said: str) -> None:
    sent = wire.Message(
        UUID(int=1), UUID(int=2), ALFA, BRAVO, 1_800_000_000.0, RequestBody(Wanted("backup", 1, BACKUP.connectivity))
    )
    raw = wire.message_json(sent) | change
    with pytest.raises(InvalidInput) as caught:
        wire.read_message(json.dumps(raw))
    assert caught.value.text.startswith(said)
    assert caught.value.fault is Fault.REMOTE


def test_a_listing_is_read_as_it_was_signed_and_says_by_whom() -> None:
    ours, others = create_identity("csp-b"), create_identity("csp-b")
    document = sign_listing(listing(), ours)
    known = {"csp-b": (ours.certificate,)}
    assert read_listing(document, known).listing == listing()
    assert read_listing(document, known).signers == {"csp-b"}
    assert read_listing(document, {"csp-b": (others.certificate,)}).signers == frozenset()
    assert read_listing(document, {}).signers == frozenset()


def test_what_was_altered_has_no_signer() -> None:
    from base64 import urlsafe_b64encode

    from meetme.catalog.listing_wire import listing_json
    from meetme.runtime.documents import canonical

    identity = create_identity("csp-b")
    raw = json.loads(sign_listing(listing(), identity))
    cheaper = listing(replace(BACKUP, price=None), PAGE)
    raw["payload"] = urlsafe_b64encode(canonical(listing_json(cheaper))).rstrip(b"=").decode()
    read = read_listing(json.dumps(raw), {"csp-b": (identity.certificate,)})
    assert (read.listing, read.signers) == (cheaper, frozenset())


@pytest.mark.parametrize("document", ["", "null", "[]", "{}", '{"payload": "e30", "signatures": []}', "x" * 10])
def test_what_is_no_document_is_refused(document: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_listing(document, {})
    assert caught.value.code in ("listing_malformed", "signature_malformed")


def test_what_is_signed_twice_or_has_something_beside_it_is_refused() -> None:
    identity = create_identity("csp-b")
    raw = json.loads(sign_listing(listing(), identity))
    for changed in ({**raw, "more": 1}, {**raw, "signatures": raw["signatures"] * 2}):
        with pytest.raises(InvalidInput) as caught:
            read_listing(json.dumps(changed), {})
        assert caught.value.code == "listing_malformed"


def test_a_listing_has_to_fit_into_an_answer() -> None:
    many = tuple(replace(BACKUP, name=f"o{i}", description="x" * 4000) for i in range(60))
    with pytest.raises(TooLarge) as caught:
        sign_listing(listing(*many), create_identity("csp-b"))
    assert caught.value.code == "listing_too_large"
