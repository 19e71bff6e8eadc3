"""Messages and views are read as they were written; what a peer adds is kept, what it breaks is named."""

from __future__ import annotations

import json
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meetme.model.agreement import Agreement, MemberId
from meetme.model.errors import InvalidInput
from meetme.negotiator import wire
from meetme.negotiator.messages import CommitBody, QueryBody, TerminateBody
from meetme.negotiator.states import State
from meetme.negotiator.views import StartRequest, read_terms, view

from . import values

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def message(body: object) -> wire.Message:
    return wire.Message(
        UUID(int=1), UUID(int=2), "direct:a:b", MemberId("csp-a"), MemberId("csp-b"), 1_700_000_000.25, body
    )


@quick
@given(values.body)
def test_a_message_is_read_as_it_was_written(body) -> None:
    read = wire.read_message(wire.write_message(message(body)))
    assert read.body == body
    assert (read.negotiation, read.message, read.circuit, read.sender, read.to, read.expires) == (
        UUID(int=1),
        UUID(int=2),
        "direct:a:b",
        "csp-a",
        "csp-b",
        1_700_000_000.25,
    )


@quick
@given(values.negotiation)
def test_a_negotiation_is_loaded_as_it_was_stored(n) -> None:
    assert wire.load_negotiation(wire.store_negotiation(n)) == n


@quick
@given(values.negotiation)
def test_a_view_is_read_as_it_was_shown(n) -> None:
    shown = json.loads(json.dumps(wire.view_json(view(n))))
    read = wire.read_view(shown)
    assert read == view(n)
    assert read.document == shown, "nothing is lost on the way"


@quick
@given(values.agreement)
def test_an_agreement_is_read_as_it_was_signed(agreement: Agreement) -> None:
    payload = wire.agreement_payload(agreement)
    assert wire.read_agreement(payload) == agreement
    assert wire.agreement_payload(wire.read_agreement(payload)) == payload


def test_the_agreement_has_the_documented_shape() -> None:
    agreement = values.negotiated().agreement
    assert agreement is not None
    half = {"prefixes": [{"real": "10.0.0.0/24", "alias": "172.31.1.0/24", "translator": "initiator"}], "probe": None}
    assert wire.agreement_json(agreement) == {
        "version": 1,
        "id": str(UUID(int=1)),
        "circuit": "c1",
        "order": None,
        "link": {"kind": "unnumbered", "initiator": None, "responder": None},
        "mtu": 1500,
        "translation": "single",
        "initiator": {"member": "csp-a", **half},
        "responder": {"member": "csp-b", **half},
        "revision": 1,
    }


def test_the_envelope_has_the_documented_shape() -> None:
    raw = json.loads(wire.write_message(message(TerminateBody())))
    assert raw == {
        "version": 1,
        "negotiation": str(UUID(int=1)),
        "message": str(UUID(int=2)),
        "type": "terminate",
        "circuit": "direct:a:b",
        "from": "csp-a",
        "to": "csp-b",
        "expires": "2023-11-14T22:13:20.250000Z",
        "body": {"reason": None, "undone": False},
    }


def test_an_unknown_field_of_a_peer_is_ignored() -> None:
    raw = json.loads(wire.write_message(message(QueryBody(State.ACTIVE, 3))))
    raw["colour"] = "green"
    raw["body"]["mood"] = {"deep": [1]}
    assert wire.read_message(json.dumps(raw)).body == QueryBody(State.ACTIVE, 3)


def test_what_nobody_signed_carries_no_signature() -> None:
    agreement = values.negotiated().agreement
    assert agreement is not None
    raw = json.loads(wire.write_message(message(CommitBody(agreement))))
    assert raw["body"]["agreement"]["signatures"] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_a_peer_sends_is_read_or_refused_with_a_code(data) -> None:
    raw = json.loads(wire.write_message(message(data.draw(values.body))))
    target = data.draw(st.sampled_from([raw, raw["body"]]))
    key = data.draw(st.sampled_from(sorted(target)) if target else st.text(max_size=3))
    target[key] = data.draw(json_values)
    text = json.dumps(raw)[: data.draw(st.integers(0, 3000))] if data.draw(st.booleans()) else json.dumps(raw)
    with suppress(InvalidInput):
        wire.read_message(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "message_malformed"),
        ("[]", "message_malformed"),
        ("[" * 60000, "message_malformed"),
        ('{"version":2}', "version_unknown"),
        ('{"version":true}', "version_unknown"),
        ('{"version":1}', "message_malformed"),
        ('{"version":NaN}', "message_malformed"),
    ],
)
def test_what_is_no_message_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.read_message(text)
    assert caught.value.code == code


def test_every_problem_of_a_request_is_named_at_once() -> None:
    request = StartRequest(
        "csp-b",
        circuit="a circuit",
        local_subnets=("10.0.0.0/24", "10.0.0.1/24", "nonsense", "0.0.0.0/0"),
        translation="most",
        mtu=100,
        probe_target="10.0.0.0/24",
    )
    with pytest.raises(InvalidInput) as caught:
        read_terms(request)
    assert [(p.field, p.code) for p in caught.value.problems] == [
        ("local_subnets[1]", "prefix_host_bits"),
        ("local_subnets[2]", "prefix_malformed"),
        ("local_subnets[3]", "prefix_default_route"),
        ("translation", "choice_unknown"),
        ("mtu", "mtu_invalid"),
        ("circuit", "name_invalid"),
        ("probe_target", "address_malformed"),
    ]
    assert caught.value.code == "prefix_host_bits"
