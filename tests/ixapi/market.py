"""An exchange to order at: two switches that only remember, three accounts, and somebody who asks over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from meetme.ixapi.plant import Kind
from meetme.ixapi.service import IxApiService
from meetme.ixapi.settings import (
    AccountSetting,
    ConnectionSetting,
    ContactSetting,
    IxApiSettings,
    OfferingSetting,
    SwitchSetting,
    TrunkSetting,
)
from meetme.ixapi.switches import Opener, SwitchControl
from meetme.model.errors import MeetMeError, NotFound, Stale, Unreachable
from meetme.model.intent import AppliedSegment, LinkEvent, LinkState, Observation, Removal
from meetme.model.segment import SegmentIntent
from meetme.runtime.clock import Clock, SystemClock
from meetme.runtime.database import Database

SECRET = "s" * 86
WITHIN = 15.0


@dataclass
class FakeSwitch:
    """A switch that remembers what it is told, and fails as it is told."""

    applied: dict[str, SegmentIntent] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    error: MeetMeError | None = None
    orders: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    """Orders wait for it."""
    away: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the connections of those who watch."""
    looks: int = 0
    """How often it was observed."""
    stops_after: tuple[dict[str, FakeSwitch], int] | None = None
    """Once these switches have had so many orders, no more is carried out; the last one is not answered either."""

    async def apply(self, intent: SegmentIntent, *, confirm_seconds: float | None = None) -> tuple[str, ...]:
        await self._order("apply", intent.circuit, intent.generation)
        assert confirm_seconds
        self.applied[intent.circuit] = intent
        self.confirmed.discard(intent.circuit)
        await self._answer()
        return ()

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        await self._order("confirm", circuit, generation)
        there = self.applied.get(circuit)
        if there is None or there.generation != generation:
            raise NotFound("link_unknown", "circuit: is not there")
        assert there.service == agreement
        self.confirmed.add(circuit)
        await self._answer()

    async def remove(self, circuit: str, agreement: UUID, generation: int) -> Removal:
        await self._order("remove", circuit, generation)
        there = self.applied.pop(circuit, None)
        assert there is None or there.service == agreement
        self.confirmed.discard(circuit)
        await self._answer()
        return Removal(())

    async def capabilities(self) -> object:
        if self.error is not None:
            raise self.error
        return None

    async def observe(self) -> Observation:
        await self.capabilities()
        self.looks += 1
        states = {name: LinkState.CONFIRMED if name in self.confirmed else LinkState.TENTATIVE for name in self.applied}
        return Observation((), (), (), tuple(AppliedSegment(i, states[n], True) for n, i in self.applied.items()))

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """Tells nothing; the connection ends when `away` says so."""
        await self.capabilities()
        await self.away.wait()
        raise Unreachable("configurator_unreachable", "configurator: must be reachable (the connection ended)")
        yield

    async def close(self) -> None:
        pass

    async def _order(self, verb: str, circuit: str, generation: int) -> None:
        if self.hold is not None:
            await self.hold.wait()
        await self._answer()
        self.orders.append(f"{verb} {circuit}")
        if self.error is not None:
            raise self.error
        if generation < self.seen.get(circuit, 0):
            raise Stale("generation_old", "generation: is older than one seen")
        self.seen[circuit] = generation

    async def _answer(self) -> None:
        if self.stops_after is not None:
            switches, orders = self.stops_after
            if sum(len(switch.orders) for switch in switches.values()) >= orders:
                await asyncio.Event().wait()

    @property
    def in_force(self) -> dict[str, SegmentIntent]:
        """What is there for good."""
        return {name: intent for name, intent in self.applied.items() if name in self.confirmed}


def opener(switch: SwitchControl) -> Opener:
    async def connect() -> SwitchControl:
        return switch

    return connect


def settings(**changes: Any) -> IxApiSettings:
    accounts = tuple(
        AccountSetting(id=name, api_key=f"{name}-key".ljust(16, "x"), api_secret=SECRET, managing=name == "fed")
        for name in ("fed", "csp-a", "csp-b")
    )
    stranger = AccountSetting(id="other", api_key="other-key".ljust(16, "x"), api_secret=SECRET, managing_account="")
    common: dict[str, Any] = {
        "name": "ix1",
        "switch": (
            SwitchSetting("s1", "127.0.0.1:1", ip_address("10.9.0.1"), "hall-1"),
            SwitchSetting("s2", "127.0.0.1:2", ip_address("10.9.0.2"), "hall-2"),
        ),
        "connection": (
            ConnectionSetting("a1", "csp-a", "s1", 1000, "swp1"),
            ConnectionSetting("a2", "csp-a", "s2", 1000, "swp1"),
            ConnectionSetting("b1", "csp-b", "s1", 1000, "swp2"),
            ConnectionSetting("b2", "csp-b", "s2", 1000, "swp2"),
            ConnectionSetting("n1", "fed", "s1", 10000, kind=Kind.NNI, remote=ip_address("10.8.0.1"), vni_base=101),
            ConnectionSetting("n2", "fed", "s2", 10000, kind=Kind.NNI, remote=ip_address("10.7.0.1"), vni_base=102),
            ConnectionSetting("n3", "fed", "s1", 600, kind=Kind.NNI, remote=ip_address("10.6.0.1"), vni_base=103),
            ConnectionSetting("o1", "other", "s1", 1000, "swp9"),
        ),
        "trunk": (TrunkSetting(("s1", "s2"), 11, 10000),),
        "account": (*accounts, stranger),
        "contact": (ContactSetting("noc-a", "csp-a", "NOC", "noc@example.net", roles=("noc", "implementation")),),
        "offering": (
            OfferingSetting("p2p", "Point to point"),
            OfferingSetting("slow", "Slow", 1, 100, upgrade_allowed=True, downgrade_allowed=False, notice_days=30),
        ),
    }
    return IxApiSettings(**{**common, **changes})


@dataclass
class Customer:
    """Somebody with an account, who asks over HTTP."""

    http: httpx2.AsyncClient
    account: str

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code in (200, 202, 206), answer.text
        return answer.json()

    async def send(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return await self.http.request(method, path, json=body)

    async def order_service(self, reference: str | None = None, *, status: int = 201, **changes: Any) -> Any:
        body = {
            "type": "p2p_vc",
            "managing_account": self.account,
            "consuming_account": "csp-a",
            "billing_account": self.account,
            "joining_member_account": "csp-b",
            "product_offering": "p2p",
            "external_ref": reference,
            **changes,
        }
        answer = await self.send("POST", "network-services", body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def order_config(self, service: Any, connection: str, *, status: int = 201, **changes: Any) -> Any:
        account = {"a": "csp-a", "b": "csp-b", "n": "fed", "o": "other"}[connection[0]]
        body = {
            "type": "p2p_vc",
            "managing_account": self.account,
            "consuming_account": account,
            "billing_account": self.account,
            "network_service": service["id"],
            "connection": connection,
            "vlan_config": {"vlan_type": "dot1q", "vlan": None},
            "role_assignments": [],
            **changes,
        }
        answer = await self.send("POST", "network-service-configs", body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def order(self, a: str, b: str, reference: str | None = None, **changes: Any) -> Any:
        """A whole service; its document as it is when both ends are ordered."""
        owners = {"a": "csp-a", "b": "csp-b", "n": "fed"}
        service = await self.order_service(
            reference, consuming_account=owners[a[0]], joining_member_account=owners[b[0]]
        )
        await self.order_config(service, a, **changes)
        await self.order_config(service, b, **changes)
        return await self.get(f"network-services/{service['id']}")

    async def until(self, path: str, good: Callable[[Any], bool] | str) -> Any:
        """Ask until the answer is good, or in a state."""
        wanted = (lambda document: document["state"] == good) if isinstance(good, str) else good
        async with asyncio.timeout(WITHIN):
            while True:
                document = await self.get(path)
                if wanted(document):
                    return document
                await asyncio.sleep(0.01)

    async def in_production(self, service: Any) -> Any:
        return await self.until(f"network-services/{service['id']}", "production")


@dataclass
class Market:
    """A running exchange."""

    service: IxApiService
    switches: dict[str, FakeSwitch]
    database: Database
    fed: Customer
    a: Customer
    b: Customer
    other: Customer
    anonymous: httpx2.AsyncClient


@asynccontextmanager
async def open_market(
    database: Database,
    *,
    switches: dict[str, FakeSwitch] | None = None,
    openers: dict[str, Opener] | None = None,
    clock: Clock | None = None,
    **changes: Any,
) -> AsyncIterator[Market]:
    """An exchange that listens, and its customers, logged in."""
    switches = switches or {"s1": FakeSwitch(), "s2": FakeSwitch()}
    openers = openers or {name: opener(switch) for name, switch in switches.items()}
    service = IxApiService(settings(**changes), database=database, clock=clock or SystemClock(), openers=openers)
    await service.start(listen="127.0.0.1:0")
    clients: list[httpx2.AsyncClient] = []
    try:
        anonymous = httpx2.AsyncClient(base_url=f"{service.url}/api/v2/", timeout=30, verify=False)
        clients.append(anonymous)
        customers = {}
        for name in ("fed", "csp-a", "csp-b", "other"):
            body = {"api_key": f"{name}-key".ljust(16, "x"), "api_secret": SECRET}
            answer = await anonymous.post("auth/token", json=body)
            headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
            http = httpx2.AsyncClient(base_url=f"{service.url}/api/v2/", headers=headers, timeout=30, verify=False)
            clients.append(http)
            customers[name] = Customer(http, name)
        yield Market(
            service,
            switches,
            database,
            customers["fed"],
            customers["csp-a"],
            customers["csp-b"],
            customers["other"],
            anonymous,
        )
    finally:
        for client in clients:
            await client.aclose()
        await service.close()


def schema_path() -> Path:
    """The published schema, beside the checkout. Skips, with the reason, where it is not there."""
    shared = os.environ.get("MEETME_SHARED") or Path(__file__).parents[2].parent / "shared"
    path = Path(shared) / "ixapi" / "ix-api-2.1.0.openapi.json"
    if not path.exists():
        pytest.skip(f"needs the published IX-API schema ({path})")
    return path
