"""What an exchange says of itself: read back as written, signed, and refused wherever it contradicts itself."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meetme.composer.advertisement import (
    Advertisement,
    VlanRange,
    check,
    next_version,
    told,
    withdrawal,
)
from meetme.composer.advertisement_wire import (
    advertisement_payload,
    fingerprint_of,
    is_signed_by,
    read_advertisement,
    sign_advertisement,
)
from meetme.model.errors import Fault, InvalidInput, MeetMeError, TooLarge
from meetme.model.members import MemberKind
from meetme.runtime.identity import create_identity
from tests.composer.advertisements import NOW, access, advertisement, nni, transit

IXP_A, IXP_B = create_identity("ixp-a"), create_identity("ixp-b")

WHOLE = advertisement(
    "ixp-a",
    access("p0", "csp-b", vlans=None),
    access("p1", "csp-a", facility="hall-1", risks=frozenset({"duct-2", "duct-1"})),
    nni("n1", "ixp-b", "n7", mtu=9000, vlans=VlanRange(100, 200), latency_ms=4.25, price=0.1, availability=0.999),
    transits=(transit("p1", "n1", price=1.5), transit()),
    tags=frozenset({"research", "eu"}),
)


def test_what_is_signed_is_what_is_read() -> None:
    document = sign_advertisement(WHOLE, IXP_A)
    assert read_advertisement(document) == WHOLE
    assert is_signed_by(document, "ixp-a", [IXP_A.certificate])


def test_the_same_words_are_the_same_octets_and_every_signature_of_them_has_one_fingerprint() -> None:
    tags = replace(WHOLE, tags=frozenset(sorted(WHOLE.tags, reverse=True)))
    assert advertisement_payload(tags) == advertisement_payload(WHOLE)
    one, other = sign_advertisement(WHOLE, IXP_A), sign_advertisement(WHOLE, IXP_A)
    assert one != other
    assert fingerprint_of(one) == fingerprint_of(other)
    assert fingerprint_of(one) != fingerprint_of(sign_advertisement(replace(WHOLE, version=2), IXP_A))


def test_what_is_as_usual_is_not_written() -> None:
    payload = advertisement_payload(advertisement("ixp-a", access("p1", "csp-a")))
    point = json.loads(payload)["points"][0]
    assert point == {"port": "p1", "kind": "access", "member": "csp-a", "bandwidth": 10000}


def test_the_signature_of_another_or_of_other_words_does_not_count() -> None:
    document = sign_advertisement(WHOLE, IXP_B)
    assert not is_signed_by(document, "ixp-a", [IXP_A.certificate])
    forged = json.loads(sign_advertisement(WHOLE, IXP_A))
    forged["payload"] = json.loads(sign_advertisement(replace(WHOLE, version=2), IXP_B))["payload"]
    assert not is_signed_by(json.dumps(forged), "ixp-a", [IXP_A.certificate])
    assert not is_signed_by(sign_advertisement(WHOLE, IXP_A), "ixp-a", [])


def unsigned(payload: bytes) -> str:
    signature = {"protected": "e30", "signature": ""}
    return json.dumps({"payload": urlsafe_b64encode(payload).rstrip(b"=").decode(), "signatures": [signature]})


def altered(**fields: Any) -> bytes:
    raw = json.loads(advertisement_payload(WHOLE)) | fields
    return json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{",
        "null",
        '{"payload": 1}',
        "[" * 40_000,
        unsigned(b"\xff"),
        unsigned(b"[]"),
        unsigned(b"{}"),
        unsigned(b"[" * 20_000),
        unsigned(altered(version="1")),
        unsigned(altered(version=True)),
        unsigned(altered(version=10**400)),
        unsigned(altered(points=[{}])),
        unsigned(altered(points=None)),
        unsigned(altered(kind="cloud")),
        unsigned(altered(country=7)),
        unsigned(b" " + advertisement_payload(WHOLE)),
        unsigned(advertisement_payload(WHOLE).replace(b'"version":1', b'"version":2,"version":1')),
        unsigned(advertisement_payload(WHOLE).replace(b"4.25", b"NaN")),
        unsigned(advertisement_payload(WHOLE).replace(b"4.25", b"1e999")),
        unsigned(advertisement_payload(WHOLE).replace(b'"DE"', b'"\\ud800"')),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(document: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_advertisement(document)
    assert caught.value.code in ("advertisement_malformed", "signature_malformed", "advertisement_invalid")
    assert caught.value.fault is Fault.REMOTE or caught.value.code == "signature_malformed"


def test_nothing_can_be_added_that_is_not_signed() -> None:
    document = json.loads(sign_advertisement(WHOLE, IXP_A))
    (signature,) = document["signatures"]
    for more in (
        {**document, "more": "x"},
        {**document, "signatures": [{**signature, "header": {}}]},
        {**document, "signatures": [signature, signature]},
        {**document, "signatures": []},
    ):
        with pytest.raises(InvalidInput):
            read_advertisement(json.dumps(more))


def test_a_field_of_a_later_version_is_ignored_and_stays_signed() -> None:
    from meetme.runtime.documents import canonical, sign_document

    payload = canonical({**json.loads(advertisement_payload(WHOLE)), "carbon": 12})
    document = json.dumps(sign_document(payload, IXP_A))
    assert read_advertisement(document) == WHOLE
    assert is_signed_by(document, "ixp-a", [IXP_A.certificate])
    assert fingerprint_of(document) != fingerprint_of(sign_advertisement(WHOLE, IXP_A))


def test_a_document_that_no_message_could_carry_is_refused_on_both_sides() -> None:
    points = tuple(access(f"port-{number:04}", "csp-a", facility="x" * 64) for number in range(400))
    with pytest.raises(TooLarge):
        sign_advertisement(replace(WHOLE, points=points, transits=()), IXP_A)
    with pytest.raises(TooLarge):
        read_advertisement(" " * 60_000)


WRONG: list[tuple[str, Advertisement]] = [
    ("country", replace(WHOLE, country="de")),
    ("version", replace(WHOLE, version=0)),
    ("version", replace(WHOLE, version=2**53)),
    ("version", replace(WHOLE, version=int(NOW * 1000) + 90_000_000)),
    ("expires", replace(WHOLE, expires=NOW)),
    ("expires", replace(WHOLE, expires=NOW + 30 * 86400)),
    ("expires", replace(WHOLE, expires=float("inf"))),
    ("points", replace(WHOLE, kind=MemberKind.CSP)),
    ("points", replace(WHOLE, points=tuple(access(f"p{n}", "csp-a") for n in range(1025)), transits=())),
    ("tags", replace(WHOLE, tags=frozenset({"two words"}))),
    ("points[1].port", advertisement("ixp-a", access("p1", "csp-a"), access("p1", "csp-b"))),
    ("points[0].port", advertisement("ixp-a", access("p=1", "csp-a"))),
    ("points[0].member", advertisement("ixp-a", access("p1", "ixp-a"))),
    ("points[0]", advertisement("ixp-a", replace(access("p1", "csp-a"), neighbour="ixp-b"))),
    ("points[0]", advertisement("ixp-a", replace(nni("n1", "ixp-b", "n7"), neighbour_port=None))),
    ("points[0].neighbour", advertisement("ixp-a", nni("n1", "ixp-a", "n7"))),
    ("points[0].neighbour_port", advertisement("ixp-a", nni("n1", "ixp-b", "n 7"))),
    ("points[0].bandwidth", advertisement("ixp-a", access("p1", "csp-a", bandwidth=-1))),
    ("points[0].vlans", advertisement("ixp-a", access("p1", "csp-a", vlans=VlanRange(1, 4094)))),
    ("points[0].vlans", advertisement("ixp-a", access("p1", "csp-a", vlans=VlanRange(9, 8)))),
    ("points[0].vlans", advertisement("ixp-a", nni("n1", "ixp-b", "n7", vlans=None))),
    ("points[0].mtu", advertisement("ixp-a", access("p1", "csp-a", mtu=576))),
    ("points[0].latency_ms", advertisement("ixp-a", access("p1", "csp-a", latency_ms=float("nan")))),
    ("points[0].price", advertisement("ixp-a", access("p1", "csp-a", price=-1.0))),
    ("points[0].availability", advertisement("ixp-a", access("p1", "csp-a", availability=1.01))),
    ("points[0].availability", advertisement("ixp-a", access("p1", "csp-a", availability=0.0))),
    ("transits[0].a", replace(WHOLE, transits=(transit("p9"),))),
    ("transits[1]", replace(WHOLE, transits=(transit("p1", "n1"), transit("n1", "p1")))),
    ("transits[0]", replace(WHOLE, transits=(transit("p1", "p1"),))),
    ("transits[0].latency_ms", replace(WHOLE, transits=(transit(latency_ms=-1),))),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG, ids=[f"{n}-{field}" for n, (field, _) in enumerate(WRONG)])
def test_what_cannot_be_right_names_the_field(field: str, wrong: Advertisement) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(wrong, Fault.REMOTE)
    assert f"advertisement.{field}" in [problem.field for problem in caught.value.problems]
    assert caught.value.fault is Fault.REMOTE


def test_the_own_mistakes_are_the_own_fault() -> None:
    with pytest.raises(MeetMeError) as caught:
        sign_advertisement(replace(WHOLE, country="germany"), IXP_A)
    assert caught.value.fault is Fault.LOCAL


def test_who_leaves_takes_everything_back() -> None:
    last = withdrawal(WHOLE, version=2, issued=NOW + 1, expires=NOW + 2)
    check(last, Fault.LOCAL)
    assert last.withdrawn
    assert not WHOLE.withdrawn
    assert not last.neighbours
    assert WHOLE.neighbours == {"ixp-b"}


@given(st.integers(0, 400_000), st.integers(0, 400_000))
def test_capacity_is_told_in_sixteenths_and_never_hides_what_is_there(free: int, total: int) -> None:
    said = told(free, total)
    assert said == 0 if min(free, total) == 0 else min(free, total) <= said <= total
    assert said - free <= max(1, total // 16)


def test_a_little_use_is_not_told() -> None:
    assert told(10_000, 10_000) == told(9_900, 10_000) == 10_000
    assert told(1, 10_000) == 625


def test_versions_grow_whatever_the_clock_does() -> None:
    assert next_version(0, NOW) == int(NOW * 1000)
    assert next_version(int(NOW * 1000), NOW - 60) == int(NOW * 1000) + 1
    assert next_version(int(NOW * 1000), NOW - 90_000) == int((NOW - 90_000) * 1000), "nobody has believed that one"
