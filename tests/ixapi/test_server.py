"""The exchange as its customers use it: orders, states, changes, cancellations, and who sees what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from meetme.model.errors import DeviceFailed, Unreachable
from meetme.runtime.clock import ManualClock
from meetme.runtime.database import Database
from tests.ixapi.market import SECRET, Market, open_market


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    database = Database.open("sqlite://")
    async with open_market(database) as found:
        yield found
    await database.close()


def reasons(answer: dict[str, object]) -> dict[str, str]:
    """The fields that a refusal names."""
    return {each["name"]: each["reason"] for each in answer["properties"]}


async def test_a_service_is_in_production_once_its_switches_have_it(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "circuit-7", capacity=100)
    done = await market.fed.in_production(service)
    assert done["status"] == []
    (intent,) = market.switches["s1"].in_force.values()
    assert (intent.circuit, intent.bandwidth, intent.mtu) == ("circuit-7", 100, 1500)
    assert not market.switches["s2"].applied


async def test_a_service_is_taken_back_from_every_switch(market: Market) -> None:
    service = await market.fed.order("a1", "b2", "c", capacity=100)
    await market.fed.in_production(service)
    assert set(market.switches["s2"].in_force) == {"c"}
    path = f"network-services/{service['id']}"
    assert (await market.fed.send("DELETE", path)).json()["state"] == "decommission_requested"
    await market.fed.until(path, "decommissioned")
    assert [switch.applied for switch in market.switches.values()] == [{}, {}]
    assert (await market.fed.send("DELETE", path)).status_code == 202, "again: it stays as it is"
    connection = await market.fed.get("connections/a1")
    assert connection["capacity_allocated"] == 0
    configs = await market.fed.get("network-service-configs", network_service=service["id"])
    assert {config["state"] for config in configs} == {"decommissioned"}


async def test_a_vlan_that_is_null_is_chosen_and_said(market: Market) -> None:
    service = await market.fed.order_service()
    config = await market.fed.order_config(service, "a1")
    assert config["vlan_config"] == {"vlan_type": "dot1q", "vlan": 2, "vlan_ethertype": "0x8100"}
    other = await market.fed.order_service()
    taken = await market.fed.order_config(other, "a1", vlan_config={"vlan_type": "dot1q", "vlan": 2}, status=400)
    assert taken["type"] == "https://errors.ix-api.net/v2/validation-error.html"
    assert set(reasons(taken)) == {"vlan_config"}
    whole = await market.fed.order_config(other, "a1", vlan_config={"vlan_type": "port"}, status=400)
    assert "the whole port" in reasons(whole)["vlan_config"]
    port = await market.fed.order_config(other, "a2", vlan_config={"vlan_type": "port"})
    assert port["vlan_config"] == {"vlan_type": "port"}


async def test_an_nni_takes_no_whole_port(market: Market) -> None:
    service = await market.fed.order_service(consuming_account="fed")
    refused = await market.fed.order_config(service, "n1", vlan_config={"vlan_type": "port"}, status=400)
    assert reasons(refused) == {"vlan_config.vlan_type": "must be dot1q here ('port')"}
    body = {"vlan_type": "qinq", "outer_vlan": 5, "inner_vlan": 6}
    assert (await market.fed.order_config(service, "n1", vlan_config=body, status=400))["status"] == 400


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"managing_account": "other"}, "managing_account"),
        ({"consuming_account": "other"}, "consuming_account"),
        ({"billing_account": "nobody"}, "billing_account"),
        ({"joining_member_account": "nobody"}, "joining_member_account"),
        ({"product_offering": "gold"}, "product_offering"),
        ({"type": "exchange_lan"}, "type"),
        ({"capacity": 0}, "capacity"),
        ({"external_ref": "x" * 129}, "external_ref"),
        ({"purchase_order": 7}, "purchase_order"),
    ],
)
async def test_an_order_that_cannot_be_right_names_the_field(
    market: Market, change: dict[str, object], field: str
) -> None:
    refused = await market.fed.order_service(status=400, **change)
    assert set(reasons(refused)) == {field}
    assert await market.fed.get("network-services") == []


async def test_capacity_is_what_the_connection_has(market: Market) -> None:
    for _ in range(2):
        service = await market.fed.order_service()
        await market.fed.order_config(service, "a1", capacity=500)
    service = await market.fed.order_service()
    refused = await market.fed.order_config(service, "a1", capacity=1, status=400)
    assert "left 0 of 1000" in reasons(refused)["capacity"]
    connection = await market.fed.get("connections/a1")
    assert (connection["capacity_allocated"], connection["capacity_allocation_limit"]) == (1000, 1000)


async def test_a_hundred_at_once_for_what_sixty_can_have(market: Market) -> None:
    services = [await market.fed.order_service(consuming_account="fed") for _ in range(100)]

    async def order(service: dict[str, str]) -> httpx2.Response:
        body = {
            "type": "p2p_vc",
            "managing_account": "fed",
            "consuming_account": "fed",
            "billing_account": "fed",
            "network_service": service["id"],
            "connection": "n3",
            "vlan_config": {"vlan_type": "dot1q", "vlan": None},
            "capacity": 10,
        }
        return await market.fed.send("POST", "network-service-configs", body)

    answers = await asyncio.gather(*map(order, services))
    given = [answer.json() for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code == 400]
    assert (len(given), len(refused)) == (60, 40)
    assert len({config["vlan_config"]["vlan"] for config in given}) == 60
    assert all(set(reasons(each)) == {"capacity"} for each in refused)
    assert (await market.fed.get("connections/n3"))["capacity_allocated"] == 600


async def test_the_two_of_a_pair_are_one_piece_with_two_uplinks(market: Market) -> None:
    first, second = await asyncio.gather(
        market.fed.order("a1", "n1", "circuit#1", capacity=10), market.fed.order("a1", "n2", "circuit#2", capacity=10)
    )
    await market.fed.in_production(first)
    await market.fed.in_production(second)
    (intent,) = market.switches["s1"].in_force.values()
    assert (len(intent.a), len(intent.b)) == (1, 2)
    assert intent.circuit == "circuit"
    assert (await market.fed.get("connections/a1"))["capacity_allocated"] == 10
    await market.fed.send("DELETE", f"network-services/{first['id']}")
    await market.fed.until(f"network-services/{first['id']}", "decommissioned")
    (intent,) = market.switches["s1"].in_force.values()
    assert len(intent.b) == 1
    assert (await market.fed.in_production(second))["state"] == "production"


async def test_others_with_the_same_reference_are_circuits_of_their_own(market: Market) -> None:
    one = await market.fed.order("a1", "b1", "same", capacity=10)
    two = await market.fed.order("a1", "b1", "same", capacity=10)
    await market.fed.in_production(one)
    await market.fed.in_production(two)
    assert set(market.switches["s1"].in_force) == {"same", two["id"]}


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_a_merge_patch_changes_what_it_names(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    await market.fed.in_production(service)
    configs = await market.fed.get("network-service-configs", network_service=service["id"])
    path = f"network-service-configs/{configs[0]['id']}"
    answer = await market.fed.http.patch(
        path,
        content='{"capacity": 50, "external_ref": "mine"}',
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.status_code == 202
    assert (answer.json()["capacity"], answer.json()["external_ref"]) == (50, "mine")
    assert answer.json()["vlan_config"] == configs[0]["vlan_config"]
    gone = await market.fed.send("PATCH", path, {"external_ref": None, "capacity": 10, "vlan_config": {"vlan": None}})
    assert (gone.json()["external_ref"], gone.json()["vlan_config"]["vlan"]) == (None, 2)


async def test_a_change_request_changes_the_rate_in_the_switches(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    await market.fed.in_production(service)
    path = f"network-services/{service['id']}"
    assert (await market.fed.http.get(f"{path}/change-request")).status_code == 404
    body = {"product_offering": "p2p", "capacity": 40}
    assert (await market.fed.send("POST", f"{path}/change-request", body)).json() == body
    done = await market.fed.in_production(service)
    assert done["capacity"] == 40
    assert market.switches["s1"].in_force["c"].bandwidth == 40
    await market.fed.order_config(await market.fed.order_service(), "a1", capacity=900)
    too_much = await market.fed.send("POST", f"{path}/change-request", {"product_offering": "p2p", "capacity": 200})
    assert too_much.status_code == 400
    assert (await market.fed.get(path))["capacity"] == 40


async def test_what_a_product_offering_does_not_allow(market: Market) -> None:
    service = await market.fed.order_service(product_offering="slow", capacity=20)
    refused = await market.fed.order_config(service, "a1", capacity=101, status=400)
    assert reasons(refused)["capacity"].startswith("must be 1 to 100 Mbit/s")
    path = f"network-services/{service['id']}/change-request"
    assert (await market.fed.send("POST", path, {"product_offering": "slow", "capacity": 50})).status_code == 202
    down = await market.fed.send("POST", path, {"product_offering": "slow", "capacity": 20})
    assert "must not be lowered" in reasons(down.json())["capacity"]


# --- endings ----------------------------------------------------------------------------------------------------------


async def test_the_notice_period_is_kept_and_said(market: Market) -> None:
    service = await market.fed.order_service(product_offering="slow")
    for connection in ("a1", "b1"):
        await market.fed.order_config(service, connection, capacity=10)
    await market.fed.in_production(service)
    path, today = f"network-services/{service['id']}", datetime.now(UTC).date()
    first = (today + timedelta(days=30)).isoformat()
    policy = await market.fed.get(f"{path}/cancellation-policy")
    assert policy == {"decommission_at": first, "charged_until": first}
    later = (today + timedelta(days=40)).isoformat()
    assert (await market.fed.get(f"{path}/cancellation-policy", decommission_at=later))["decommission_at"] == later
    early = await market.fed.send("DELETE", path, {"decommission_at": today.isoformat()})
    assert early.status_code == 400
    assert early.json()["type"] == "https://errors.ix-api.net/v2/cancellation-policy-error.html"
    assert early.json()["decommission_at"] == first
    ended = await market.fed.send("DELETE", path)
    assert (ended.json()["state"], ended.json()["decommission_at"]) == ("decommission_requested", first)
    assert market.switches["s1"].in_force, "it carries until then"
    bad = await market.fed.http.get(f"{path}/cancellation-policy", params={"decommission_at": "soon"})
    assert bad.status_code == 400


async def test_what_has_ended_goes_out_of_the_lists() -> None:
    database, clock = Database.open("sqlite://"), ManualClock(1_800_000_000.0)
    async with open_market(database, clock=clock, archive_seconds=0.05) as market:
        service = await market.fed.order_service("c")
        await market.fed.send("DELETE", f"network-services/{service['id']}")
        clock.seconds += 60
        market.service._loop.wake()
        await market.fed.until(f"network-services/{service['id']}", "archived")
        assert await market.fed.get("network-services", external_ref="c") == []
        assert len(await market.fed.get("network-services", state="archived")) == 1
    await database.close()


# --- switches that do not do as they are told -------------------------------------------------------------------------


async def test_a_switch_that_fails_is_in_error_until_it_does_not(market: Market) -> None:
    market.switches["s2"].error = DeviceFailed("bridge_failed", "bridge: cannot be made")
    service = await market.fed.order("a1", "b2", "c", capacity=10)
    path = f"network-services/{service['id']}"
    shown = await market.fed.until(path, "error")
    assert shown["status"][0]["message"].startswith("bridge: cannot be made")
    assert not market.switches["s1"].in_force
    market.switches["s2"].error = None
    await market.fed.in_production(service)
    assert set(market.switches["s1"].in_force) == {"c"}


async def test_a_failing_service_is_undone_when_it_is_cancelled(market: Market) -> None:
    market.switches["s2"].error = DeviceFailed("bridge_failed", "bridge: cannot be made")
    service = await market.fed.order("a1", "b2", "c", capacity=10)
    path = f"network-services/{service['id']}"
    await market.fed.until(path, "error")
    await market.fed.send("DELETE", path)
    await market.fed.until(path, lambda document: not market.switches["s1"].applied)
    assert (await market.fed.get(path))["state"] != "decommissioned"
    assert (await market.fed.get("connections/b2"))["capacity_allocated"] == 10
    market.switches["s2"].error = None
    await market.fed.until(path, "decommissioned")
    assert (await market.fed.get("connections/b2"))["capacity_allocated"] == 0


async def test_a_switch_that_is_away_is_waited_for(market: Market) -> None:
    market.switches["s1"].error = Unreachable("configurator_unreachable", "configurator: does not answer")
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    path = f"network-services/{service['id']}"
    shown = await market.fed.until(path, lambda document: document["status"])
    assert (shown["state"], shown["status"][0]["tag"]) == ("allocated", "switch_unreachable")
    health = await market.fed.get("health")
    assert (health["status"], health["checks"]["switch s1"]["status"]) == ("warn", "fail")
    market.switches["s1"].error = None
    await market.fed.in_production(service)


# --- who sees and does what -------------------------------------------------------------------------------------------


async def test_an_account_sees_only_its_own(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    path = f"network-services/{service['id']}"
    assert (await market.a.get(path))["id"] == service["id"]
    assert (await market.b.get(path))["id"] == service["id"], "the B side has to order its end"
    for collection in ("network-services", "network-service-configs", "connections", "ports", "accounts", "contacts"):
        seen = {each["id"] for each in await market.other.get(collection)}
        assert not seen & {each["id"] for each in await market.fed.get(collection)}, collection
    own = await market.a.get("network-service-configs")
    assert [config["consuming_account"] for config in own] == ["csp-a"]
    assert [each["id"] for each in await market.a.get("connections")] == ["a1", "a2"]
    for method, below in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/cancellation-policy")):
        answer = await market.other.http.request(method, path + below, json={} if method == "PATCH" else None)
        assert answer.status_code == 404, (method, below)
    config = f"network-service-configs/{own[0]['id']}"
    assert (await market.other.send("DELETE", config)).status_code == 404
    assert (await market.b.send("DELETE", config)).status_code == 404


async def test_who_sees_it_may_not_change_it(market: Market) -> None:
    service = await market.fed.order("a1", "b1", "c", capacity=10)
    path = f"network-services/{service['id']}"
    for method in ("DELETE", "PATCH"):
        answer = await market.a.send(method, path, {"external_ref": "mine"} if method == "PATCH" else None)
        assert answer.status_code == 403
        assert answer.json()["type"] == "https://errors.ix-api.net/v2/permission-denied.html"
    assert (await market.fed.get(path))["external_ref"] == "c"


async def test_each_side_orders_its_own_end(market: Market) -> None:
    service = await market.a.order_service()
    await market.a.order_config(service, "a1", capacity=10)
    stolen = await market.b.order_config(service, "a2", managing_account="csp-b", status=400)
    assert "connection" in reasons(stolen)
    await market.b.order_config(service, "b1", capacity=10)
    await market.a.in_production(service)
    stranger = await market.other.order_config(service, "o1", status=400)
    assert set(reasons(stranger)) == {"network_service"}


async def test_tokens_run_out_and_are_refreshed() -> None:
    database, clock = Database.open("sqlite://"), ManualClock(1_800_000_000.0)
    async with open_market(database, clock=clock) as market:
        login = {"api_key": "fed-key".ljust(16, "x"), "api_secret": SECRET}
        pair = (await market.anonymous.post("auth/token", json=login)).json()
        clock.seconds += 901
        late = await market.fed.http.get("account")
        assert (late.status_code, late.json()["type"]) == (401, "https://errors.ix-api.net/v2/signature-expired.html")
        fresh = (await market.anonymous.post("auth/refresh", json={"refresh_token": pair["refresh_token"]})).json()
        bearer = {"authorization": f"Bearer {fresh['access_token']}"}
        assert (await market.anonymous.get("account", headers=bearer)).json()["id"] == "fed"
        wrong = {"authorization": f"Bearer {fresh['refresh_token']}"}
        assert (await market.anonymous.get("account", headers=wrong)).status_code == 401
        forged = fresh["access_token"][:-4] + "AAAA"
        answer = await market.anonymous.get("account", headers={"authorization": f"Bearer {forged}"})
        assert answer.status_code == 401
        swapped = await market.anonymous.post("auth/refresh", json={"refresh_token": fresh["access_token"]})
        assert swapped.status_code == 401
    await database.close()


async def test_client_credentials(market: Market) -> None:
    key = "fed-key".ljust(16, "x")
    form = {"grant_type": "client_credentials", "client_id": key, "client_secret": SECRET}
    answer = await market.anonymous.post("oauth2/token", data=form)
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await market.anonymous.get("account", headers=bearer)).json()["id"] == "fed"
    basic = await market.anonymous.post("oauth2/token", data={"grant_type": "client_credentials"}, auth=(key, SECRET))
    assert basic.status_code == 200
    wrong = await market.anonymous.post("oauth2/token", data={**form, "client_secret": "x"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    other = await market.anonymous.post("oauth2/token", data={**form, "grant_type": "password"})
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_filters(market: Market) -> None:
    one = await market.fed.order("a1", "b1", "one", capacity=10)
    two = await market.fed.order_service("two")

    async def ids(collection: str, **query: object) -> list[str]:
        return [each["id"] for each in await market.fed.get(collection, **query)]

    await market.fed.in_production(one)
    assert await ids("network-services", external_ref="two") == [two["id"]]
    assert await ids("network-services", state="production") == [one["id"]]
    assert await ids("network-services", state__is_not="production") == [two["id"]]
    assert await ids("network-services", id=f"{two['id']},nothing") == [two["id"]]
    assert await ids("network-services", of_no_kind="x") == [one["id"], two["id"]]
    assert await ids("network-services", consuming_account="csp-a") == [one["id"], two["id"]]
    assert await ids("network-services", consuming_account="csp-b") == []
    assert len(await ids("network-service-configs", network_service=one["id"])) == 2
    assert len(await ids("network-service-configs", connection="a1", outer_vlan=2, capacity=10)) == 1
    assert await ids("network-service-configs", outer_vlan=3) == []
    assert await ids("product-offerings", bandwidth=200) == ["p2p"]
    assert await ids("devices", capability_speed__gte=600, name="s1") == ["device-s1"]
    for name, value in (("outer_vlan", "x"), ("capacity", ""), ("type", "vc"), ("state", "up"), ("page_limit", "-1")):
        answer = await market.fed.http.get("network-service-configs", params={name: value})
        assert (answer.status_code, [*reasons(answer.json())]) == (400, [name])
    fields = await market.fed.get("product-offerings", fields="bandwidth_max")
    assert fields == [{"type": "p2p_vc", "bandwidth_max": None}, {"type": "p2p_vc", "bandwidth_max": 100}]


async def test_pages(market: Market) -> None:
    for number in range(5):
        await market.fed.order_service(f"s{number}")
    first = await market.fed.http.get("network-services", params={"page_limit": 2})
    assert first.status_code == 206
    await market.fed.order_service("late")
    token = first.headers["x-page-token"]
    found = [each["external_ref"] for each in first.json()]
    for offset in (2, 4, 6):
        query = {"page_limit": 2, "page_offset": offset, "page_token": token}
        found += [each["external_ref"] for each in await market.fed.get("network-services", **query)]
    assert found == ["s0", "s1", "s2", "s3", "s4"]
    assert (await market.fed.http.get("network-services", params={"page_limit": 50})).status_code == 200


async def test_what_is_no_json_is_refused(market: Market) -> None:
    for content in (b"{", b"[]", b"\xff", b'{"type": NaN}', b"[" * 60000, b'"\\ud800"', b'{"type": "\\ud800"}'):
        answer = await market.fed.http.post("network-services", content=content)
        assert (answer.status_code, answer.json()["status"]) == (400, 400), content[:20]
    large = await market.fed.http.post("network-services", content=b"x" * 70_000)
    assert large.status_code == 413


async def test_who_asks_for_problem_documents_gets_them(market: Market) -> None:
    answer = await market.fed.http.get("macs", headers={"accept": "application/problem+json, application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert (await market.fed.http.put("health")).status_code == 405


async def test_beside_the_api_it_says_how_it_is(market: Market) -> None:
    root = market.service.url
    async with httpx2.AsyncClient() as http:
        assert (await http.get(f"{root}/healthz")).json() == {"ok": True}
        ready = await http.get(f"{root}/readyz")
        assert (ready.status_code, ready.json()["checks"]["switch s1"]) == (200, "ok")
        market.switches["s1"].error = Unreachable("configurator_unreachable", "configurator: does not answer")
        assert (await http.get(f"{root}/readyz")).status_code == 503
        await market.fed.order_service()
        figures = (await http.get(f"{root}/metrics")).text
        assert 'meetme_ixapi_services{state="requested"} 1.0' in figures
        assert "/api/v2/network-services" in (await http.get(f"{root}/openapi.json")).json()["paths"]


async def test_a_switch_that_hangs_does_not_keep_others_from_being_served(market: Market) -> None:
    market.switches["s2"].hold = asyncio.Event()
    stuck = await market.fed.order("a1", "b2", "stuck", capacity=10)
    fine = await market.fed.order("a1", "b1", "fine", capacity=10)
    await market.fed.in_production(fine)
    assert (await market.fed.get(f"network-services/{stuck['id']}"))["state"] == "allocated"
    market.switches["s2"].hold.set()
    await market.fed.in_production(stuck)


async def test_an_answer_waits_for_a_service_that_is_in_production(market: Market) -> None:
    """RFC 7240, section 4.3: what the client prefers is said to have been applied."""
    held = market.switches["s1"].hold = asyncio.Event()
    service = await market.fed.order("a1", "b1", "circuit-7")
    query = {"external_ref": "circuit-7", "state": "production"}

    async def asked(seconds: int) -> httpx2.Response:
        prefer = {"prefer": f"wait={seconds}"}
        return await market.fed.http.get("network-services", params=query, headers=prefer)

    soon = await asked(0)
    assert (soon.json(), "preference-applied" in soon.headers) == ([], False)
    over = await asked(1)
    assert (over.json(), over.headers["preference-applied"]) == ([], "wait=1")
    waiting = asyncio.create_task(asked(15))
    assert await market.b.get("network-services", **query, limit=1) == []
    held.set()
    (found,) = (await waiting).json()
    assert (found["id"], found["state"]) == (service["id"], "production")
