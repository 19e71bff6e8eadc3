"""Two catalog servers over real sockets with mutual TLS: offers are mirrored, ordered, and taken back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from meetme.catalog.client import CatalogClient
from meetme.catalog.fake import FakeUnderlay, FakeWorld, Trouble
from meetme.catalog.service import CatalogService
from meetme.catalog.settings import CatalogSettings
from meetme.catalog.views import OrderView
from meetme.catalog.words import ENDED, State
from meetme.model.agreement import MemberId
from meetme.model.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.identity import Identity, create_identity
from meetme.runtime.tls import Trust
from meetme.runtime.tokens import Scope, Tokens
from tests.catalog.test_offers_file import FILE
from tests.composer.federation import _door as open_door

S = State
TOKEN = "a token for tests"


@dataclass
class Side:
    """One member's catalog server."""

    identity: Identity
    service: CatalogService
    client: CatalogClient
    database: Database

    async def until(self, id: object, *states: State) -> OrderView:
        async with asyncio.timeout(20), aclosing(self.client.follow(str(id))) as views:
            async for view in views:
                if view.state in states or view.state in ENDED:
                    return view
        return await self.client.order(str(id))


@asynccontextmanager
async def servers(
    tmp_path: Path, world: FakeWorld, offers_of_b: str = FILE, web_url: str | None = None
) -> AsyncIterator[tuple[Side, Side]]:
    """A buyer `csp-a`, and a seller `csp-b` with the offers of FILE, or others. `web_url`: of the buyer's page."""
    (tmp_path / "offers.toml").write_text(offers_of_b)
    identities = {name: create_identity(name) for name in ("csp-a", "csp-b")}
    doors = {name: open_door() for name in identities}
    roster = Roster(
        tuple(
            Member(
                MemberId(name),
                MemberKind.CSP,
                (identity.pin,),
                (identity.certificate,),
                urls=ServiceUrls(catalog=f"https://127.0.0.1:{doors[name].getsockname()[1]}"),
            )
            for name, identity in identities.items()
        )
    )
    sides = []
    for name, identity in identities.items():
        database = Database.open("sqlite://")
        offers = tmp_path / "offers.toml" if name == "csp-b" else None
        service = CatalogService(
            CatalogSettings(
                offers=offers, listen="127.0.0.1:0", interval=0.2, web_url=web_url if name == "csp-a" else None
            ),
            identity=identity,
            roster=lambda: roster,
            tokens=Tokens.of({TOKEN: Scope.WRITE, "to read": Scope.READ}),
            database=database,
            clock=SystemClock(),
            underlay=FakeUnderlay(world, MemberId(name)),
        )
        await service.start(peers=doors[name])
        sides.append(Side(identity, service, CatalogClient(service.local_url, TOKEN), database))
    a, b = sides
    try:
        async with asyncio.timeout(10):
            while (await a.client.search())[1] < offers_of_b.count("[[offer]]"):  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.02)
        yield a, b
    finally:
        for side in sides:
            await side.client.close()
            await side.service.close()
            await side.database.close()


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)


async def test_found_ordered_active_and_taken_back(tmp_path: Path) -> None:
    world = FakeWorld()
    async with servers(tmp_path, world) as (a, b):
        (found,), total = await a.client.search(text="vault")
        assert (found.id, found.stale, total) == ("csp-b/backup", False, 1)
        assert (await a.client.offer("csp-b", "page")).offer.instructions == "https://b.example"
        placed = await a.client.place(found.id, idempotency_key="one")
        assert (await a.client.place(found.id, idempotency_key="one")).id == placed.id
        bought, sold = await a.until(placed.id, S.ACTIVE), await b.until(placed.id, S.ACTIVE)
        assert (bought.state, sold.state) == (S.ACTIVE, S.ACTIVE)
        assert bought.reach is not None
        assert [step.name for step in bought.steps][-1] == "active"
        assert [order.id for order in await b.client.orders()] == [placed.id]
        await b.client.terminate(placed.id)
        assert (await a.until(placed.id, S.TERMINATED)).state is S.TERMINATED
        assert (await b.until(placed.id, S.TERMINATED)).state is S.TERMINATED
        assert world.empty


async def test_a_person_decides_about_what_the_seller_wants_to_decide(tmp_path: Path) -> None:
    async with servers(tmp_path, FakeWorld()) as (a, b):
        for decide, expected in ((b.client.decline, S.DECLINED), (b.client.approve, S.ACTIVE)):
            placed = await a.client.place("csp-b/page")
            await a.until(placed.id, S.APPROVING)
            await decide(placed.id, "ada")
            assert (await a.until(placed.id, expected)).state is expected
            assert (await b.client.order(placed.id)).decided_by == "ada"
            with pytest.raises(Conflict):
                await b.client.approve(placed.id)


async def test_what_is_offered_changes_while_it_runs(tmp_path: Path) -> None:
    async with servers(tmp_path, FakeWorld()) as (a, b):
        offer = {"title": "News", "category": "web", "connectivity": "none", "instructions": "https://n.example"}
        await b.client.put_offer({"name": "news", **offer})
        async with asyncio.timeout(10):
            while (await a.client.search(text="news"))[1] != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await b.client.withdraw("news")
        async with asyncio.timeout(10):
            while (await a.client.search(text="news"))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        with pytest.raises(InvalidInput) as caught:
            await b.client.put_offer({"name": "bad", **offer, "instructions": ""})
        assert caught.value.code == "offer_invalid"
        with pytest.raises(InvalidInput) as caught:
            await b.client.put_offer({"name": "bad", **offer, "speed": 1})
        assert caught.value.code == "offer_field_unknown"
        with pytest.raises(NotFound):
            await b.client.withdraw("bad")


async def test_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    async with servers(tmp_path, FakeWorld()) as (a, _):
        async with httpx2.AsyncClient(base_url=a.service.local_url, trust_env=False) as http:
            for method, path, body, status in (
                ("GET", "/api/v1/offers", None, 401),
                ("GET", "/api/v1/offers?page=0", None, 422),
                ("GET", "/api/v1/offers?sort=luck", None, 422),
                ("GET", "/api/v1/offers/csp-b/none", None, 404),
                ("GET", "/api/v1/offers/csp-b/none/ways", None, 404),
                ("POST", "/api/v1/orders", {}, 422),
                ("POST", "/api/v1/orders", {"offer": "csp-b/backup", "more": 1}, 422),
                ("POST", "/api/v1/orders", {"offer": "x"}, 422),
                ("GET", f"/api/v1/orders/{uuid4()}", None, 404),
                ("GET", "/api/v1/orders/x", None, 422),
                ("GET", f"/api/v1/orders/{uuid4()}/events", None, 404),
                ("DELETE", f"/api/v1/orders/{uuid4()}", None, 404),
                ("POST", f"/api/v1/orders/{uuid4()}/approve", {"by": "x", "y": 1}, 422),
                ("PUT", "/api/v1/own-offers/x", {"name": "y"}, 422),
            ):
                headers = {} if status == 401 else {"authorization": f"Bearer {TOKEN}"}
                answer = await http.request(method, path, json=body, headers=headers)
                assert answer.status_code == status, (method, path, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
        reader = CatalogClient(a.service.local_url, "to read")
        assert (await reader.search())[1] == 2
        with pytest.raises(Exception, match="must be good for changes"):
            await reader.place("csp-b/backup")
        await reader.close()
        with pytest.raises(Unauthenticated):
            async with CatalogClient(a.service.local_url, "wrong") as wrong:
                await wrong.orders()


async def test_what_fails_is_shown_with_its_reason(tmp_path: Path) -> None:
    world = FakeWorld()
    async with servers(tmp_path, world) as (a, b):
        world.trouble[MemberId("csp-a")] = Trouble.CIRCUIT_FAILS
        placed = await a.client.place("csp-b/backup")
        failed = await a.until(placed.id, S.FAILED)
        assert failed.problem is not None
        assert (failed.state, failed.problem.code) == (S.FAILED, "exchange_failed")
        await b.until(placed.id, S.FAILED)
        assert world.empty


async def test_who_is_no_member_reaches_nothing(tmp_path: Path) -> None:
    async with servers(tmp_path, FakeWorld()) as (a, b):
        roster = b.service._trust.roster
        stranger = create_identity("csp-a")
        context = Trust(stranger, lambda: roster).client_context(roster.member("csp-b"))
        async with httpx2.AsyncClient(verify=context, trust_env=False) as http:
            with pytest.raises(httpx2.HTTPError):
                await http.get(f"{b.service.peers_url}/api/v1/listing")
        member = Trust(a.identity, lambda: roster).client_context(roster.member("csp-b"))
        async with httpx2.AsyncClient(verify=member, trust_env=False) as http:
            url = f"{b.service.peers_url}/api/v1"
            first = await http.get(f"{url}/listing")
            again = await http.get(f"{url}/listing", headers={"if-none-match": first.headers["etag"]})
            assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
            for body in (b"", b"[]", b"{}", b"\xff", json.dumps({"version": 1}).encode()):
                answer = await http.post(f"{url}/handle_order", content=body)
                assert answer.status_code in (400, 422), answer.text
