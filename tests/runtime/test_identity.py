"""Keys, certificates and pins."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meetme.model.errors import Conflict, InvalidInput, NotFound
from meetme.runtime.identity import (
    create_identity,
    fingerprint,
    load_identity,
    member_in,
    pin_of,
    save_identity,
    split_certificates,
)


def test_the_certificate_says_whose_it_is_and_may_sign_no_other() -> None:
    key, pem = create_identity("isp-one", now=datetime(2026, 1, 1, tzinfo=UTC))
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["isp-one"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["meetme:member:isp-one"]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False
    assert certificate.not_valid_after_utc == datetime(2035, 12, 30, tzinfo=UTC)
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    certificate.verify_directly_issued_by(certificate)
    assert member_in(pem) == "isp-one"
    assert b"PRIVATE KEY" in key


def test_the_pin_is_that_of_the_key_and_not_of_the_certificate() -> None:
    identity = create_identity("a")
    certificate = x509.load_pem_x509_certificate(identity.certificate)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", identity.pin)
    assert pin_of(certificate.public_bytes(serialization.Encoding.DER)) == identity.pin
    again = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.subject)
        .public_key(certificate.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(serialization.load_pem_private_key(identity.key, None), hashes.SHA256())
    )
    assert pin_of(again.public_bytes(serialization.Encoding.PEM)) == identity.pin
    assert create_identity("a").pin != identity.pin


def test_a_fingerprint_can_be_read_out() -> None:
    assert fingerprint("sha256:" + "0123456789abcdef" * 4) == "0123 4567 89AB CDEF 0123 4567 89AB CDEF"


def test_a_key_is_never_shown() -> None:
    identity = create_identity("a")
    assert "PRIVATE" not in f"{identity} {identity!r}"


@pytest.mark.parametrize("member", ["", "-a", "a-", "A", "a.b", "a" * 64, "ä", "a b", "a\n"])
def test_a_member_id_is_a_dns_label(member: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create_identity(member)
    assert caught.value.code == "member_id_malformed"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {"key": tmp_path / "new" / "member.key", "certificate": tmp_path / "new" / "member.pem"}


def test_an_identity_is_the_same_after_saving_and_its_key_is_for_its_owner_alone(files: dict[str, Path]) -> None:
    identity = create_identity("isp-one")
    save_identity(identity, **files)
    assert load_identity(**files) == identity
    assert stat.S_IMODE(files["key"].stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["key", "certificate"])
def test_an_identity_that_is_there_is_never_replaced(files: dict[str, Path], there: str) -> None:
    files[there].parent.mkdir()
    files[there].write_text("precious")
    with pytest.raises(Conflict) as caught:
        save_identity(create_identity("a"), **files)
    assert (caught.value.code, caught.value.field) == ("identity_exists", there)
    assert [path.read_text() for path in files["key"].parent.iterdir()] == ["precious"]


def rsa_key() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_what_cannot_be_an_identity_is_refused_with_the_field(files: dict[str, Path]) -> None:
    with pytest.raises(NotFound) as missing:
        load_identity(**files)
    assert (missing.value.code, missing.value.field) == ("identity_missing", "key")

    identity = create_identity("a")
    save_identity(identity, **files)
    for content, code in (
        (b"garbage", "key_malformed"),
        (identity.certificate, "key_malformed"),
        (rsa_key(), "key_malformed"),
        (create_identity("a").key, "key_mismatch"),
    ):
        files["key"].write_bytes(content)
        with pytest.raises(InvalidInput) as caught:
            load_identity(**files)
        assert (caught.value.code, caught.value.field) == (code, "key")

    files["key"].write_bytes(identity.key)
    files["key"].chmod(0o640)
    with pytest.raises(InvalidInput) as open_key:
        load_identity(**files)
    assert open_key.value.code == "key_readable_by_others"

    files["key"].chmod(0o600)
    files["certificate"].write_bytes(b"garbage")
    with pytest.raises(InvalidInput) as bad_certificate:
        load_identity(**files)
    assert (bad_certificate.value.code, bad_certificate.value.field) == ("certificate_malformed", "certificate")


def test_several_certificates_of_one_file_are_told_apart() -> None:
    first, second = create_identity("a"), create_identity("a")
    assert split_certificates(first.certificate + second.certificate) == (first.certificate, second.certificate)
    with pytest.raises(InvalidInput):
        split_certificates(b"")
