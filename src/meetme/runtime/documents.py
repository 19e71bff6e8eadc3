"""Signed documents: canonical JSON (RFC 8785) in a JWS with one signature for each side (RFC 7515, 7.2.1; ES256).

Both sign the very same payload. `kid` is the member id: it says which key to try, and what that key verifies counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.util import json_b64decode, urlsafe_b64decode, urlsafe_b64encode

from meetme.model.errors import InvalidInput
from meetme.runtime.identity import Identity, load_certificate

SignedDocument: TypeAlias = dict[str, Any]
"""A JWS in general JSON serialisation: `payload` and `signatures`, ready for `json.dumps`."""
_ALGORITHM = "ES256"
_MOST_SIGNATURES = 8
# Whatever a stranger's JSON can make the decoders raise.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a signed document says, and which members' signatures are good."""

    payload: bytes
    signers: frozenset[str]


def canonical(document: Mapping[str, Any]) -> bytes:
    """A document as the one sequence of octets that everybody signs (RFC 8785)."""
    return rfc8785.dumps(document)


def sign_document(payload: bytes, identity: Identity) -> SignedDocument:
    """Sign `payload` as the first."""
    return {"payload": urlsafe_b64encode(payload).decode(), "signatures": [_signature(payload, identity)]}


def countersign(document: SignedDocument, identity: Identity) -> SignedDocument:
    """The same document with one more signature; ours from before, if any, is replaced.

    Says nothing about the other signatures. Raises InvalidInput `signature_malformed`.
    """
    payload, signatures = _parts(document)
    others = [signature for signature in signatures if _signer(signature) != identity.member]
    return {"payload": document["payload"], "signatures": [*others, _signature(payload, identity)]}


def verify_document(document: SignedDocument, certificates: Mapping[str, Sequence[bytes]]) -> Verified:
    """Check every signature against its member's certificates (PEM). A bad or unknown one just does not count.

    Raises InvalidInput `signature_malformed` when this is no such document at all.
    """
    payload, signatures = _parts(document)
    signers = {
        signer
        for signature in signatures
        if (signer := _signer(signature)) is not None
        and any(_good(document["payload"], signature, pem) for pem in certificates.get(signer, ()))
    }
    return Verified(payload, frozenset(signers))


def _signature(payload: bytes, identity: Identity) -> dict[str, Any]:
    header: jws.HeaderDict = {"protected": {"alg": _ALGORITHM, "kid": identity.member}}
    signed = jws.serialize_json(header, payload, ECKey.import_key(identity.key), algorithms=[_ALGORITHM])
    return {"protected": signed["protected"], "signature": signed["signature"]}


def _good(payload: str, signature: Mapping[str, Any], certificate: bytes) -> bool:
    public = load_certificate(certificate).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    try:
        jws.deserialize_json(
            {"payload": payload, "protected": signature["protected"], "signature": signature["signature"]},
            ECKey.import_key(public),
            algorithms=[_ALGORITHM],
        )
    except (JoseError, *_MALFORMED):
        return False
    return True


def _signer(signature: Mapping[str, Any]) -> str | None:
    try:
        header = json_b64decode(signature["protected"].encode("ascii"))
        # An extension (RFC 7797's bare payload above all) would make the octets that are signed others than those read.
        return header["kid"] if header.keys() == {"alg", "kid"} and isinstance(header["kid"], str) else None
    except _MALFORMED:
        return None


def _parts(document: SignedDocument) -> tuple[bytes, list[Mapping[str, Any]]]:
    match document:
        case {"payload": str(payload), "signatures": list(signatures)} if len(signatures) <= _MOST_SIGNATURES and all(
            isinstance(signature, Mapping) for signature in signatures
        ):
            try:
                return urlsafe_b64decode(payload.encode("ascii")), signatures
            except _MALFORMED:
                pass
    raise InvalidInput(
        "signature_malformed",
        "agreement: must be a JWS in general JSON serialisation",
        hint="RFC 7515, section 7.2.1",
        field="agreement",
    )
