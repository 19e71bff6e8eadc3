"""An advertisement as a signed document (JWS over canonical JSON, as agreements are), and back.

What says the usual is left out of the JSON (`mtu` 1500, every VLAN, no risks): most exchanges have many plain ports.
A field that is not known here is ignored, and stays in what is signed and passed on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import ValidationError

from meetme.composer.advertisement import MOST_OCTETS, Advertisement, check
from meetme.composer.book import Mark, Word
from meetme.model.errors import Fault, InvalidInput, TooLarge
from meetme.model.members import Member
from meetme.runtime.documents import SignedDocument, canonical, sign_document, verify_document
from meetme.runtime.identity import Identity
from meetme.runtime.reading import adapter


def advertisement_json(advertisement: Advertisement) -> dict[str, Any]:
    """The document as a JSON value, without what is as usual."""
    result: dict[str, Any] = adapter(Advertisement).dump_python(advertisement, mode="json", exclude_defaults=True)
    _sort_sets(result)
    return result


def advertisement_payload(advertisement: Advertisement) -> bytes:
    """The canonical JSON of an advertisement: what its member signs."""
    return canonical(advertisement_json(advertisement))


def sign_advertisement(advertisement: Advertisement, identity: Identity) -> str:
    """The signed document as JSON text.

    Raises InvalidInput `advertisement_invalid`, TooLarge `advertisement_too_large`.
    """
    check(advertisement, Fault.LOCAL)
    text = json.dumps(sign_document(advertisement_payload(advertisement), identity), separators=(",", ":"))
    _check_size(text)
    return text


def read_advertisement(document: str) -> Advertisement:
    """What a document says, whoever signed it, once it is known to make sense in itself.

    Raises InvalidInput `advertisement_malformed` or `advertisement_invalid`, TooLarge `advertisement_too_large`.
    """
    _check_size(document)
    payload = verify_document(_jws(document), {}).payload
    try:
        raw = json.loads(payload, parse_constant=_no_constant)
        # Not as JSON: there a number that is written as a text would pass.
        advertisement: Advertisement = adapter(Advertisement).validate_json(payload, strict=True)
        unique = canonical(raw) == payload
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("advertisement", *first["loc"]))
        raise InvalidInput(
            "advertisement_malformed", f"{where}: {first['msg'].lower()}", field=where, fault=Fault.REMOTE
        ) from None
    except (ValueError, RecursionError):
        raise _malformed("must be JSON") from None
    # Two readers must never take one document for two: it is signed in the one form that there is.
    if not unique:
        raise _malformed("must be canonical JSON (RFC 8785)")
    check(advertisement, Fault.REMOTE)
    return advertisement


class Signatures:
    """Reads documents and looks at who signed them (`book.Notary`)."""

    def read(self, document: str) -> Word:
        """What a document says. Raises what `read_advertisement` raises."""
        advertisement = read_advertisement(document)
        return Word(advertisement, Mark(advertisement.version, fingerprint_of(document)), document)

    def is_genuine(self, word: Word, member: Member) -> bool:
        """Whether `member` has signed it, with a key that the roster has pinned."""
        return is_signed_by(word.document, member.id, member.certificates)


def is_signed_by(document: str, member: str, certificates: Sequence[bytes]) -> bool:
    """Whether the signature is that of `member`, by one of its certificates (PEM). Costs a tenth of a millisecond."""
    return member in verify_document(_jws(document), {member: certificates}).signers


def fingerprint_of(document: str) -> str:
    """What tells two documents of one version apart: the same for every signature of the same words."""
    return hashlib.sha256(verify_document(_jws(document), {}).payload).hexdigest()[:16]


def _jws(document: str) -> SignedDocument:
    """The document, with one signature and nothing beside: whoever passes it on could add to it what is not signed."""
    try:
        raw = json.loads(document, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raw = None
    match raw:
        case {"payload": str(), "signatures": [{"protected": str(), "signature": str(), **others}], **more}:
            if not others and not more:
                found: SignedDocument = raw
                return found
    raise _malformed("must be a JWS in general JSON serialisation, with one signature")


def _check_size(document: str) -> None:
    if (size := len(document.encode())) > MOST_OCTETS:
        raise TooLarge(
            "advertisement_too_large",
            f"advertisement: must not be larger than {MOST_OCTETS // 1024} KiB ({size} octets)",
            hint="say what is the same for many points once, with * in a transit",
            field="advertisement",
        )


def _malformed(rule: str) -> InvalidInput:
    return InvalidInput(
        "advertisement_malformed", f"advertisement: {rule}", field="advertisement", fault=Fault.REMOTE
    )  # fmt: skip


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _sort_sets(raw: dict[str, Any]) -> None:
    """A set has no order, and what is signed must have one."""
    for table in (raw, *raw.get("points", ())):
        for key in ("tags", "risks"):
            if key in table:
                table[key] = sorted(table[key])
