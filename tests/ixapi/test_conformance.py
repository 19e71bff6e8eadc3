"""Every answer of the server is one that the published schema allows, and it offers what it says: no less, no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import jsonschema
import pytest

from meetme.ixapi.lists import FILTERS
from meetme.runtime.database import Database
from tests.ixapi.market import SECRET, FakeSwitch, Market, open_market, schema_path
from tests.ixapi.published import Published

LATER = {"account_read": ("get", "/account")}
"""Operations of later versions that are there too."""


@pytest.fixture(scope="module")
def published() -> Published:
    return Published.read(schema_path())


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    database = Database.open("sqlite://")
    async with open_market(database) as found:
        yield found
    await database.close()


class Checked:
    """Asks, and holds every answer against the schema."""

    def __init__(self, http: httpx2.AsyncClient, published: Published) -> None:
        self._http = http
        self._published = published
        self.asked: set[tuple[str, str]] = set()

    async def __call__(self, method: str, path: str, /, *, status: int, body: object = None, **ids: str) -> object:
        query = ids.pop("query", "")
        answer = await self._http.request(method, path.lstrip("/").format(**ids) + query, json=body)
        assert answer.status_code == status, answer.text
        self._published.check(method, path, status, answer.json())
        assert answer.headers["content-type"] == "application/json"
        self.asked.add((method.lower(), path))
        return answer.json()


async def test_every_operation_answers_as_published(market: Market, published: Published) -> None:
    ask = Checked(market.fed.http, published)
    implementation = await ask("GET", "/implementation", status=200)
    await ask("GET", "/health", status=200)
    login = {"api_key": "fed-key".ljust(16, "x"), "api_secret": SECRET}
    tokens = await ask("POST", "/auth/token", status=201, body=login)
    await ask("POST", "/auth/refresh", status=201, body={"refresh_token": tokens["refresh_token"]})
    await ask("POST", "/auth/token", status=401, body={**login, "api_secret": "t" * 86})
    await ask("POST", "/auth/token", status=400, body={})
    await ask("POST", "/auth/refresh", status=401, body={"refresh_token": "x"})

    service = await market.fed.order("a1", "b2", "c", capacity=10)
    slow = await market.fed.order("a2", "b1", capacity=10)
    waiting = await market.fed.order_service()
    await market.fed.in_production(service)
    await market.fed.in_production(slow)
    for collection in FILTERS:
        found = await ask("GET", f"/{collection}", status=200)
        assert found, collection
        id = "assignment_id" if collection == "role-assignments" else "id"
        await ask("GET", f"/{collection}/{{{id}}}", status=200, **{id: found[0]["id"]})
        if collection not in ("roles",):
            await ask("GET", f"/{collection}/{{{id}}}", status=404, **{id: "nothing"})
        part = await ask("GET", f"/{collection}", status=200 if len(found) == 1 else 206, query="?page_limit=1")
        assert part == found[:1]
    await ask("GET", "/network-services/{id}", status=200, id=waiting["id"])
    await ask("GET", "/network-services", status=400, query="?state=nonsense")

    one, id = "/network-services/{id}", service["id"]
    again = {key: value for key, value in service.items() if not key.startswith("nsc_") and key != "capacity"}
    await ask("PUT", one, status=202, id=id, body={**again, "external_ref": "d"})
    await ask("PATCH", one, status=202, id=id, body={"type": "p2p_vc", "external_ref": "e"})
    await ask("PATCH", one, status=400, id=id, body={"type": "p2p_vc", "joining_member_account": "csp-a"})
    await ask("GET", f"{one}/cancellation-policy", status=200, id=id)
    configs = await market.fed.get("network-service-configs", network_service=id)
    config = "/network-service-configs/{id}"
    await ask("PUT", config, status=202, id=configs[0]["id"], body={**configs[0], "capacity": 20})
    patch = {"type": "p2p_vc", "vlan_config": {"vlan_type": "dot1q", "vlan": 77}}
    await ask("PATCH", config, status=202, id=configs[0]["id"], body=patch)
    await ask("PATCH", config, status=400, id=configs[0]["id"], body={"type": "p2p_vc", "connection": "a2"})
    await ask("GET", f"{config}/cancellation-policy", status=200, id=configs[0]["id"])
    await market.fed.in_production(service)

    market.switches["s1"].hold = held = asyncio.Event()
    change = f"{one}/change-request"
    await ask("POST", change, status=202, id=id, body={"product_offering": "p2p", "capacity": 30})
    await ask("GET", change, status=202, id=id)
    await ask("DELETE", change, status=202, id=id)
    await ask("GET", change, status=404, id=id)
    await ask("POST", change, status=400, id=id, body={"product_offering": "none"})
    held.set()

    await ask("DELETE", config, status=202, id=configs[1]["id"])
    past = (datetime.now(UTC).date() - timedelta(days=2)).isoformat()
    await ask("DELETE", one, status=400, id=id, body={"decommission_at": past})
    await ask("DELETE", one, status=202, id=id)
    await ask("DELETE", one, status=404, id="nothing")
    await ask("POST", "/network-services", status=400, body={})
    await ask("POST", "/network-service-configs", status=400, body={"type": "p2p_vc"})
    create = {**again, "external_ref": None}
    await ask("POST", "/network-services", status=201, body=create)
    body = {**configs[0], "network_service": waiting["id"], "vlan_config": {"vlan_type": "dot1q", "vlan": 900}}
    await ask("POST", "/network-service-configs", status=201, body=body)

    # It has what it says, and says what it has.
    known = published.operations() | LATER
    offered = {known[name] for name in implementation["supported_operations"]}
    assert offered - ask.asked == set(LATER.values())
    assert (await market.fed.get("account"))["id"] == "fed"
    for name, (method, path) in published.operations().items():
        if name not in implementation["supported_operations"]:
            answer = await market.fed.http.request(method, path.lstrip("/").format(id="x", assignment_id="x"), json={})
            assert answer.status_code in (404, 405), (name, answer.status_code)


async def test_who_has_no_token_gets_the_published_refusal(market: Market, published: Published) -> None:
    answer = await market.anonymous.get("network-services")
    published.check("GET", "/network-services", answer.status_code, answer.json())
    assert answer.json()["type"] == "https://errors.ix-api.net/v2/authentication-error.html"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_service_in_error_is_shown_as_published(published: Published) -> None:
    from meetme.model.errors import DeviceFailed

    database = Database.open("sqlite://")
    broken = FakeSwitch(error=DeviceFailed("bridge_failed", "bridge: cannot be made"))
    async with open_market(database, switches={"s1": broken, "s2": FakeSwitch()}) as market:
        service = await market.fed.order("a1", "b1")
        shown = await market.fed.until(f"network-services/{service['id']}", "error")
        published.check("GET", "/network-services/{id}", 200, shown)
        (status,) = shown["status"]
        assert (status["tag"], status["severity"], status["attrs"]) == ("bridge_failed", 3, {"device": "s1"})
    await database.close()


def test_the_check_notices_what_is_wrong(published: Published) -> None:
    with pytest.raises(jsonschema.ValidationError):
        published.check("GET", "/network-services/{id}", 200, {"type": "p2p_vc", "id": "x"})
    with pytest.raises(jsonschema.ValidationError):
        published.check("GET", "/ports/{id}", 200, {})
    with pytest.raises(AssertionError):
        published.check("GET", "/ports/{id}", 418, {})
