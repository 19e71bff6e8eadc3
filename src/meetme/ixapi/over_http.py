"""What the operations of IX-API need of HTTP: queries, bodies, pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import unquote_plus

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from meetme.ixapi import lists, wire
from meetme.ixapi.answers import Document
from meetme.ixapi.auth import Pair
from meetme.ixapi.lists import Query
from meetme.model.errors import InvalidInput, NotFound


def query_of(request: Request) -> Query:
    """The query, every value of each name."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(value)
    return found


def id_of(request: Request) -> str:
    """The id in the path. Raises NotFound for one that no database could have."""
    id: str = request.path_params["id"]
    if "\x00" in id:
        raise NotFound("object_unknown", "id: must be one that this account sees", field="id")
    return id


def day_of(query: Query) -> date | None:
    """The day that the query asks about. Raises InvalidInput."""
    if not query.get("decommission_at"):
        return None
    text = query["decommission_at"][-1]
    return wire.read(wire.CancellationBody, {"decommission_at": text}).decommission_at


def page_answer(documents: list[Document], query: Query, *, waited: float = 0.0) -> Response:
    """What the query asks for of a list: 200 whole, 206 a part of it. `waited`: for how many seconds it would have."""
    page = lists.page(documents, query)
    headers = {} if page.whole else {"x-total-count": str(page.total), "x-page-token": page.token}
    if waited:
        headers["preference-applied"] = f"wait={waited:.0f}"
    return JSONResponse(page.documents, 200 if page.whole else 206, headers)


def tokens_answer(pair: Pair) -> Response:
    """AuthToken (2.1.0)."""
    body = {"access_token": pair.access, "refresh_token": pair.refresh}
    return JSONResponse(body, 201, {"cache-control": "no-store"})


def oauth_answer(body: Document, status: int) -> Response:
    """An answer of RFC 6749."""
    return JSONResponse(body, status, {"cache-control": "no-store"})


def basic_of(encoded: str) -> tuple[str, str]:
    """Key and secret of HTTP Basic (RFC 6749, section 2.3.1)."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    key, _, secret = text.partition(":")
    return unquote_plus(key), unquote_plus(secret)


async def json_of(request: Request, *, optional: bool = False) -> Any:
    """The body as JSON; `optional`: without one, an empty object. Raises InvalidInput `body_malformed`."""
    raw = await request.body()
    if optional and not raw.strip():
        return {}
    try:
        return json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InvalidInput("body_malformed", "body: must be JSON", field="body") from None


def _no_number(name: str) -> Any:
    raise ValueError(name)


def object_of(body: Any) -> Mapping[str, Any]:
    """Raises InvalidInput `body_malformed` where it is no object."""
    if not isinstance(body, Mapping):
        raise InvalidInput("body_malformed", "body: must be a JSON object", field="body")
    return body
