"""Who we are: a key pair, a self-signed certificate around it, and the pin by which others know it.

Trust is in the public key alone (RFC 7469 has the same idea): a *pin* is `sha256:` and the hex SHA-256 of the key's
SubjectPublicKeyInfo. The certificate carries the member id as DNS name and as `meetme:member:<id>`, for people, for
gRPC's name check, and so that a certificate says whose it claims to be; it may sign no other.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, InvalidInput, NotFound
from meetme.model.members import parse_member_id

VALID_DAYS = 3650
URI_PREFIX = "meetme:member:"


class Identity(NamedTuple):
    """A key and its certificate, both PEM. Its text shows the pin and never the key."""

    key: bytes
    certificate: bytes

    @property
    def member(self) -> MemberId:
        """Whose identity this is."""
        return member_in(self.certificate)

    @property
    def pin(self) -> str:
        """How others know it."""
        return pin_of(self.certificate)

    def __repr__(self) -> str:
        return f"Identity({self.member}, {self.pin})"


def create_identity(member: str, *, now: datetime | None = None, days: int = VALID_DAYS) -> Identity:
    """A new EC P-256 key and a certificate around it. Raises InvalidInput `member_id_malformed`."""
    id = parse_member_id(member, field="member")
    begin = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, id)])
    own_key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    names = x509.SubjectAlternativeName([x509.DNSName(id), x509.UniformResourceIdentifier(URI_PREFIX + id)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back: clocks of members need not agree.
        .not_valid_before(begin - timedelta(days=1))
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(names, critical=False)
        .add_extension(own_key_id, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_key_id), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate.public_bytes(Encoding.PEM)
    )


def save_identity(identity: Identity, *, key: Path, certificate: Path) -> None:
    """Write both files, the key for its owner alone. Overwrites nothing: raises Conflict `identity_exists`."""
    for path in (key, certificate):
        if path.exists():
            raise Conflict(
                "identity_exists",
                f"identity: must not replace an identity that is there ('{path}')",
                hint="move it away first; peers know you by it",
                field="key" if path == key else "certificate",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    _write_new(certificate, identity.certificate, 0o644)
    _write_new(key, identity.key, 0o600)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def load_identity(*, key: Path, certificate: Path) -> Identity:
    """Read both files and check that they belong together.

    Raises NotFound `identity_missing`, InvalidInput `key_malformed`, `key_readable_by_others`, `key_mismatch` or
    `certificate_malformed`.
    """
    identity = Identity(_read(key, "key"), _read(certificate, "certificate"))
    # A credential of systemd is nobody else's, but is let in by an access list that shows as a right of the group.
    if key.stat().st_mode & 0o077 and not _is_credential(key):
        raise InvalidInput(
            "key_readable_by_others",
            f"key: must be readable by its owner alone ('{key}')",
            hint=f"chmod 600 {key}",
            field="key",
        )
    try:
        private = load_pem_private_key(identity.key, password=None)
    except (ValueError, TypeError):
        raise InvalidInput(
            "key_malformed", f"key: must be a PEM private key without a password ('{key}')", field="key"
        ) from None
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise InvalidInput("key_malformed", f"key: must be on the curve P-256 ('{key}')", field="key")
    if _pin(spki) != identity.pin:
        raise InvalidInput(
            "key_mismatch",
            f"key: must belong to the certificate ('{key}' and '{certificate}' do not)",
            hint="name the two files that `meetme identity init` has written together",
            field="key",
        )
    return identity


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and path.parent == Path(folder)


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(
            "identity_missing",
            f"{field}: must be a file that can be read ('{path}': {error.strerror})",
            hint="meetme identity init makes a new identity",
            field=field,
        ) from None


def load_certificate(pem: bytes) -> x509.Certificate:
    """Read one PEM certificate. Raises InvalidInput `certificate_malformed`."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise InvalidInput(
            "certificate_malformed", "certificate: must be one certificate in PEM", field="certificate"
        ) from None


def read_certificates(path: Path, *, field: str) -> tuple[bytes, ...]:
    """Every certificate of a PEM file. Raises NotFound `certificate_missing`, InvalidInput `certificate_malformed`."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise NotFound(
            "certificate_missing",
            f"{field}: must be files that can be read ('{path}': {error.strerror})",
            hint="copy certificate.pem from the machine that it is of; its key stays there",
            field=field,
        ) from None
    return split_certificates(pem)


def split_certificates(pem: bytes) -> tuple[bytes, ...]:
    """Every certificate of a PEM file by itself. Raises InvalidInput `certificate_malformed`."""
    try:
        return tuple(found.public_bytes(Encoding.PEM) for found in x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise InvalidInput(
            "certificate_malformed", "certificate: must be certificates in PEM", field="certificate"
        ) from None


def pin_of(certificate: bytes) -> str:
    """The pin of a PEM or DER certificate. Raises InvalidInput `certificate_malformed`."""
    pem = certificate.lstrip().startswith(b"-----BEGIN")
    try:
        found = x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)
    except ValueError:
        raise InvalidInput("certificate_malformed", "certificate: must be PEM or DER", field="certificate") from None
    return _pin(found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _pin(spki: bytes) -> str:
    return "sha256:" + hashlib.sha256(spki).hexdigest()


def valid_until(certificate: bytes) -> float:
    """Until when a PEM certificate is good, in seconds since the epoch. Raises InvalidInput."""
    return load_certificate(certificate).not_valid_after_utc.timestamp()


def fingerprint(pin: str) -> str:
    """A pin to be read out over the telephone: its first 128 bits in groups of four."""
    digest = pin.removeprefix("sha256:").upper()[:32]
    return " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def member_in(certificate: bytes) -> MemberId:
    """Which member a PEM certificate says it is of. Raises InvalidInput `certificate_malformed`."""
    try:
        names = load_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    found = [uri.removeprefix(URI_PREFIX) for uri in uris if uri.startswith(URI_PREFIX)]
    if len(found) != 1:
        raise InvalidInput(
            "certificate_malformed",
            f"certificate: must name one member as URI '{URI_PREFIX}...' ({len(found)} found)",
            hint="meetme identity init makes such a certificate",
            field="certificate",
        )
    return parse_member_id(found[0], field="certificate")
