"""A member's listing as a signed document (JWS over canonical JSON, as agreements are), and back.

What says the usual is left out of the JSON. A field that is not known here is ignored, and stays in what is signed and
handed on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

from meetme.catalog.offers import Listing, check
from meetme.model.errors import Fault, InvalidInput, TooLarge
from meetme.runtime.documents import SignedDocument, canonical, sign_document, verify_document
from meetme.runtime.identity import Identity
from meetme.runtime.reading import adapter

MOST_OCTETS = 192 * 1024
"""Of a signed listing: less than what a member takes as an answer."""


@dataclass(frozen=True, slots=True)
class SignedListing:
    """A listing, who has signed it for certain, and the document as it is handed on."""

    listing: Listing
    signers: frozenset[str]
    document: str


def listing_json(listing: Listing) -> dict[str, Any]:
    """The document as a JSON value, without what is as usual."""
    result: dict[str, Any] = adapter(Listing).dump_python(listing, mode="json", exclude_defaults=True)
    return result


def sign_listing(listing: Listing, identity: Identity) -> str:
    """The signed document as JSON text. Raises InvalidInput `offer_invalid`, TooLarge `listing_too_large`."""
    check(listing, Fault.LOCAL)
    signed = sign_document(canonical(listing_json(listing)), identity)
    text = json.dumps(signed, separators=(",", ":"))
    _check_size(text, Fault.LOCAL)
    return text


def read_listing(document: str, certificates: Mapping[str, Sequence[bytes]]) -> SignedListing:
    """What a document says, and whose signatures on it are good by their certificates (PEM).

    Whether it counts is for `offers.admit` to say. Raises InvalidInput `listing_malformed`, TooLarge
    `listing_too_large`.
    """
    _check_size(document, Fault.REMOTE)
    verified = verify_document(_jws(document), certificates)
    try:
        raw = json.loads(verified.payload, parse_constant=_no_constant)
        # Not as JSON: there a number that is written as a text would pass.
        listing: Listing = adapter(Listing).validate_json(verified.payload, strict=True)
        unique = canonical(raw) == verified.payload
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("listing", *first["loc"]))
        raise InvalidInput(
            "listing_malformed", f"{where}: {first['msg'].lower()}", field=where, fault=Fault.REMOTE
        ) from None
    except (ValueError, RecursionError):
        raise _malformed("must be JSON") from None
    # Two readers must never take one document for two: it is signed in the one form that there is.
    if not unique:
        raise _malformed("must be canonical JSON (RFC 8785)")
    return SignedListing(listing, verified.signers, document)


def _jws(document: str) -> SignedDocument:
    """The document, with one signature and nothing beside: whoever hands it on could add what is not signed."""
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


def _check_size(document: str, fault: Fault) -> None:
    if (size := len(document.encode())) > MOST_OCTETS:
        raise TooLarge(
            "listing_too_large",
            f"listing: must not be larger than {MOST_OCTETS // 1024} KiB ({size} octets)",
            hint="shorten the descriptions, or offer less",
            field="listing",
            fault=fault,
        )


def _malformed(rule: str) -> InvalidInput:
    return InvalidInput("listing_malformed", f"listing: {rule}", field="listing", fault=Fault.REMOTE)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
