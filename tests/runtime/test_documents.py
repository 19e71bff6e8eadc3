"""Signed documents: one form, both signatures, and nothing that was changed afterwards passes."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from meetme.model.errors import InvalidInput
from meetme.runtime.documents import canonical, countersign, sign_document, verify_document
from meetme.runtime.identity import create_identity

A, B, STRANGER = create_identity("a"), create_identity("b"), create_identity("c")
KNOWN = {"a": [A.certificate], "b": [B.certificate]}
PAYLOAD = canonical({"version": 1, "mtu": 1500})


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_one_document_has_one_form() -> None:
    assert canonical({"b": 1, "a": [1.0, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()


def test_both_sides_sign_the_same_payload() -> None:
    first = sign_document(PAYLOAD, A)
    both = countersign(first, B)
    assert verify_document(first, KNOWN).signers == {"a"}
    assert verify_document(both, KNOWN).signers == {"a", "b"}
    assert verify_document(both, KNOWN).payload == PAYLOAD
    assert both["payload"] == first["payload"]
    assert verify_document(json.loads(json.dumps(both)), KNOWN).signers == {"a", "b"}


def test_it_is_a_jws_that_others_can_read() -> None:
    both = countersign(sign_document(PAYLOAD, A), B)
    keys = {"a": ECKey.import_key(A.key), "b": ECKey.import_key(B.key)}
    read = jws.deserialize_json(both, lambda signature: keys[signature.headers()["kid"]], algorithms=["ES256"])
    assert read.payload == PAYLOAD
    assert [member.headers()["alg"] for member in read.members] == ["ES256", "ES256"]


def test_signing_again_replaces_the_own_signature_alone() -> None:
    both = countersign(countersign(sign_document(PAYLOAD, A), B), A)
    assert len(both["signatures"]) == 2
    assert verify_document(both, KNOWN).signers == {"a", "b"}


def test_either_key_of_a_member_that_is_changing_keys_will_do() -> None:
    old, new = create_identity("a"), create_identity("a")
    certificates = {"a": [old.certificate, new.certificate]}
    for identity in (old, new):
        assert verify_document(sign_document(PAYLOAD, identity), certificates).signers == {"a"}


def test_a_changed_payload_is_signed_by_nobody() -> None:
    both = countersign(sign_document(PAYLOAD, A), B)
    both["payload"] = b64(PAYLOAD.replace(b"1500", b"9000"))
    assert verify_document(both, KNOWN).signers == frozenset()


def test_a_signature_counts_for_its_own_member_alone() -> None:
    forged = copy.deepcopy(sign_document(PAYLOAD, STRANGER))
    assert verify_document(forged, KNOWN).signers == frozenset()
    header = b64(json.dumps({"alg": "ES256", "kid": "a"}).encode())
    forged["signatures"][0]["protected"] = header
    assert verify_document(forged, KNOWN).signers == frozenset()
    swapped = sign_document(PAYLOAD, A)
    swapped["signatures"][0]["signature"] = sign_document(PAYLOAD, B)["signatures"][0]["signature"]
    assert verify_document(swapped, KNOWN).signers == frozenset()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"alg": "none", "kid": "a"}, None),
        ({"alg": "HS256", "kid": "a"}, OctKey.import_key("a secret of 32 octets or more ....")),
        ({"alg": "ES256", "kid": "a", "b64": False, "crit": ["b64"]}, ECKey.import_key(A.key)),
        ({"alg": "ES256"}, ECKey.import_key(A.key)),
        ({"alg": "ES256", "kid": 7}, ECKey.import_key(A.key)),
    ],
)
def test_tricks_with_the_header_count_for_nothing(header: dict, key) -> None:
    protected, payload = b64(json.dumps(header).encode()), b64(PAYLOAD)
    signature = ""
    if key is not None:
        algorithm = jws.default_registry.algorithms[header["alg"]]
        signature = b64(algorithm.sign(f"{protected}.{payload}".encode(), key))
    document = {"payload": payload, "signatures": [{"protected": protected, "signature": signature}]}
    assert verify_document(document, KNOWN).signers == frozenset()


def test_garbage_in_a_signature_does_not_spoil_the_others() -> None:
    good = sign_document(PAYLOAD, A)
    deep = b64(b"[" * 20_000)
    for garbage in ({}, {"protected": 1}, {"protected": "*", "signature": None}, {"protected": deep, "signature": "x"}):
        document = {**good, "signatures": [garbage, *good["signatures"]]}
        assert verify_document(document, KNOWN).signers == {"a"}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"payload": "e30"},
        {"payload": 1, "signatures": []},
        {"payload": "e30", "signatures": {}},
        {"payload": "e30", "signatures": ["x"]},
        {"payload": "*", "signatures": []},
        {"payload": "é", "signatures": []},
        {"payload": "e30", "signatures": [{}] * 9},
        [],
        None,
    ],
)
def test_what_is_no_signed_document_is_refused(document) -> None:
    with pytest.raises(InvalidInput) as caught:
        verify_document(document, KNOWN)
    assert caught.value.code == "signature_malformed"
