"""Two providers, whole: catalog servers and negotiators, at the ends of a chain of composers, all in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meetme.catalog.client import CatalogClient
from meetme.catalog.member_underlay import MemberUnderlay
from meetme.catalog.offers import Needs, Offer, OfferEnd
from meetme.catalog.service import CatalogService
from meetme.catalog.settings import CatalogSettings, OwnPort
from meetme.catalog.views import OrderView
from meetme.catalog.words import ENDED, Connectivity, State
from meetme.model.agreement import MemberId
from meetme.model.members import Roster
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.tls import Trust
from meetme.runtime.tokens import Scope, Tokens
from tests.composer.federation import Federation, _door, federation
from tests.negotiator.pair import TOKEN, Side, pair

A, B = MemberId("csp-a"), MemberId("csp-b")
OFFERS = """
[[offer]]
name = "vault"
title = "Backup vault"
category = "storage"
prefix = "10.0.0.0/24"
address = "10.0.0.10"
ends = [{ exchange = "EXCHANGE", port = "b1" }]
needs = { bandwidth = 50 }

[[offer]]
name = "wire"
title = "A wire"
category = "network"
connectivity = "l2"
ends = [{ exchange = "EXCHANGE", port = "b1" }]
needs = { bandwidth = 50 }
"""
"""What csp-b offers."""


@dataclass
class Provider:
    """One provider: its catalog server, its negotiator, and how to ask both."""

    negotiator: Side
    settings: CatalogSettings
    service: CatalogService
    client: CatalogClient

    async def until(self, id: object, *states: State, seconds: float = 20.0) -> OrderView:
        """Wait until the order is in one of `states` (or has ended)."""
        async with asyncio.timeout(seconds), aclosing(self.client.follow(str(id))) as views:
            async for view in views:
                if view.state in states or view.state in ENDED:
                    return view
        return await self.client.order(str(id))


@dataclass
class World:
    """Everything, and what of it is used without a catalog server in front."""

    federation: Federation
    a: Provider
    b: Provider
    first: str
    last: str
    clients: dict[str, PeerClient]

    def underlay(self, side: Provider, **changes: Any) -> MemberUnderlay:
        """What the orders of `side` are done with, with settings that differ."""
        name = MemberId(side.negotiator.name)
        own = replace(side.settings, **changes)
        return MemberUnderlay(own, name, self.clients[name], side.negotiator.client)

    def vault(self, **changes: Any) -> Offer:
        """An offer of csp-b's."""
        values: dict[str, Any] = {
            "name": "vault",
            "title": "Backup vault",
            "category": "storage",
            "connectivity": Connectivity.L2,
            "ends": (OfferEnd(MemberId(self.last), "b1"),),
            "needs": Needs(bandwidth=50),
        }
        return Offer(**{**values, **changes})

    async def nothing_left(self) -> None:
        """Wait until neither an exchange nor a provider has anything of an order any more."""
        await self.federation.empty()
        for side in (self.a, self.b):
            assert side.negotiator.router.links == {}
            assert await side.negotiator.client.attachments() == {}


@asynccontextmanager
async def joined(tmp_path: Path, layout: dict[str, Any]) -> AsyncIterator[World]:
    """csp-a at port a1 of the first exchange of `layout` buys, csp-b at port b1 of the last one sells."""
    first, last = next(iter(layout)), list(layout)[-1]
    (tmp_path / "offers.toml").write_text(OFFERS.replace("EXCHANGE", last))
    async with pair() as (a, b), federation(layout) as fed:
        doors = {name: _door() for name in (A, B)}
        urls = {name: f"https://127.0.0.1:{door.getsockname()[1]}" for name, door in doors.items()}
        known = fed.roster()
        roster = Roster(
            tuple(replace(m, urls=replace(m.urls, catalog=urls.get(m.id))) for m in known.members),
        )
        clients = {name: PeerClient(Trust(fed.identities[name], lambda: roster)) for name in (A, B)}
        sides: list[Provider] = []
        try:
            for side, name, exchange, port in ((a, A, first, "a1"), (b, B, last, "b1")):
                own = CatalogSettings(
                    offers=tmp_path / "offers.toml" if name == B else None,
                    port=(OwnPort(exchange=MemberId(exchange), port=port, lands="r1/eth1"),),
                    negotiator=side.service.local_url,
                    listen="127.0.0.1:0",
                    interval=0.2,
                )
                service = CatalogService(
                    own,
                    identity=fed.identities[name],
                    roster=lambda: roster,
                    tokens=Tokens.of({TOKEN: Scope.WRITE}),
                    database=Database.open("sqlite://"),
                    clock=SystemClock(),
                    negotiator_token=TOKEN,
                )
                await service.start(peers=doors[name])
                sides.append(Provider(side, own, service, CatalogClient(service.local_url, TOKEN)))
            async with asyncio.timeout(10):
                while (await sides[0].client.search())[1] < 2:  # noqa: ASYNC110 - it is in a database
                    await asyncio.sleep(0.02)
            yield World(fed, *sides, first, last, clients)
        finally:
            for provider in sides:
                await provider.client.close()
                await provider.service.close()
                await provider.service._database.close()
            for client in clients.values():
                await client.close()
