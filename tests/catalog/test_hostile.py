"""What a hostile member says is refused with a clear error; nothing of anybody's changes, and nothing is a 500."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text

from meetme.catalog.words import State
from meetme.runtime.tls import Trust
from tests.catalog.crowd import Crowd, SharedWorld, crowd
from tests.catalog.test_service import TOKEN, Side

PATH = "/api/v1/handle_order"
PERSON = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
DEEP = "[" * 5000 + "]" * 5000
WANTED: dict[str, Any] = {"offer": "backup", "version": 1, "connectivity": "l3"}


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


def message(kind: str, body: Any, **changes: Any) -> dict[str, Any]:
    """A message of csp-c to csp-b that is right in itself."""
    expires = datetime.fromtimestamp(time.time() + 30, UTC).isoformat()
    right = {"version": 1, "order": str(uuid4()), "message": str(uuid4()), "type": kind, "from": "csp-c"}
    return {**right, "to": "csp-b", "expires": expires, "body": body, **changes}


def hostile(order: str) -> Iterator[str | bytes]:
    """What csp-c sends. `order`: one between csp-a and csp-b."""
    for kind, body in (
        ("request", {"wanted": WANTED}),
        ("attach", {"circuit": "c"}),
        ("terminate", {}),
        ("query", {"state": "terminated"}),
        ("query", {"state": None}),
    ):
        yield json.dumps(message(kind, body, order=order))
        yield json.dumps(message(kind, body, **{"from": "csp-a"}))
        yield json.dumps(message(kind, body, to="csp-a"))
        yield json.dumps(message(kind, body, expires="2020-01-01T00:00:00Z"))
        yield json.dumps(message(kind, body, expires="never"))
        yield json.dumps(message(kind, body, version=2))
        yield json.dumps(message(kind, body, version=True))
        yield json.dumps(message(kind, None))
        yield json.dumps(message(kind, {"state": 7, "circuit": 7, "reason": 7, "wanted": 7}))
    for kind in ("approved", "attached", "terminated", "state", "declined", "pending", "nothing", "", "\u0000"):
        yield json.dumps(message(kind, {"seconds": 1, "state": None}, order=order))
    yield json.dumps(message("request", {"wanted": {**WANTED, "version": 10**400}}))
    yield json.dumps(message("request", {"wanted": {**WANTED, "offer": "x" * 100_000}}))
    yield json.dumps(message("request", {"wanted": {**WANTED, "offer": "\ud800"}}))
    yield json.dumps(message("request", {"wanted": {**WANTED, "circuit_offer": "x"}}))
    yield json.dumps(message("attach", {"circuit": "\u0000"}))
    yield from (b"", b"\xff\xfe", b"null", b"[]", b"7", b'"x"', b"{", b"NaN", DEEP)


def line(members: Crowd, sender: str, receiver: str) -> httpx2.AsyncClient:
    """The way to a member under the certificate of another."""
    side, there = members[sender][0], members[receiver][0]
    roster = there.service._trust.roster
    context = Trust(side.identity, lambda: roster).client_context(roster.member(receiver))
    return httpx2.AsyncClient(base_url=there.service.peers_url or "", verify=context, trust_env=False, timeout=30)


def everything(side: Side) -> list[Any]:
    """Every order of a member, and every message that it keeps."""
    tables = ("catalog_order", "catalog_message", "catalog_listing")
    rows = side.database.run_now(lambda tx: [tx.execute(text(f"SELECT * FROM {table}")).all() for table in tables])
    return [[tuple(value for value in row if not isinstance(value, float)) for row in table] for table in rows]


async def test_a_hostile_member_changes_nothing(tmp_path: Path) -> None:
    async with crowd(tmp_path, SharedWorld(), ("csp-a", "csp-b", "csp-c")) as members:
        a, b = members["csp-a"][0], members["csp-b"][0]
        placed = await a.client.place("csp-b/backup")
        for side in (a, b):
            assert (await side.until(placed.id, State.ACTIVE)).state is State.ACTIVE
        before = everything(b)
        async with line(members, "csp-c", "csp-b") as http:
            answers = [(body, await http.post(PATH, content=body)) for body in hostile(str(placed.id))]
        for body, answer in answers:
            assert answer.status_code < 500, (body[:200], answer.text)
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json", (body[:200], answer.text)
                assert answer.json()["detail"]
            else:
                # About an order that nobody knows: it is told so, or declined, and nothing is written down.
                assert answer.json()["type"] in ("terminated", "state", "declined", "approved"), answer.text
        assert (await b.client.order(str(placed.id))).state is State.ACTIVE
        unasked = [order for order in await b.client.orders() if order.buyer == "csp-c"]
        assert len(everything(b)[0]) == len(before[0]) + len(unasked)
        assert everything(b)[2] == before[2]
        await nor_does_a_person_who_errs(b, str(placed.id))


async def test_a_buyer_cannot_name_the_circuit_of_another_order(tmp_path: Path) -> None:
    async with crowd(tmp_path, SharedWorld(), ("csp-a", "csp-b")) as members:
        a, b = members["csp-a"][0], members["csp-b"][0]
        placed = await a.client.place("csp-b/backup")
        await a.until(placed.id, State.ACTIVE)
        kept = await b.until(placed.id, State.ACTIVE)
        second = str(uuid4())
        async with line(members, "csp-a", "csp-b") as http:

            async def say(kind: str, body: Any) -> httpx2.Response:
                return await http.post(PATH, json=message(kind, body, order=second, **{"from": "csp-a"}))

            asked = (await say("request", {"wanted": WANTED})).json()
            assert asked["type"] == "approved", asked
            refused = await say("attach", {"circuit": kept.circuit})
            assert refused.status_code == 409
            assert refused.json()["type"].endswith("circuit_taken")
            assert refused.json()["fault"] == "remote"
            assert (await b.client.order(second)).state is State.COMPOSING
            assert (await say("terminate", {})).json()["type"] == "terminated"
        assert (await b.client.order(str(placed.id))).state is State.ACTIVE


async def nor_does_a_person_who_errs(side: Side, order: str) -> None:
    """What cannot be text is refused at the own API too."""
    before = everything(side)
    half = "\\ud800"
    async with httpx2.AsyncClient(base_url=side.service.local_url, trust_env=False) as http:
        for method, path, body in (
            ("POST", "/api/v1/orders", f'{{"offer": "csp-a/{half}"}}'),
            ("POST", f"/api/v1/orders/{order}/decline", f'{{"by": "{half}", "why": "{half}"}}'),
            ("PUT", "/api/v1/own-offers/x", f'{{"title": "{half}", "category": "x", "connectivity": "none"}}'),
            ("GET", "/api/v1/offers?text=%ED%A0%80", ""),
            ("GET", "/api/v1/offers/%ED%A0%80/x", ""),
        ):
            answer = await http.request(method, path, content=body, headers=PERSON)
            assert answer.status_code < 500, (path, answer.text)
    assert everything(side) == before
