"""Providers and exchanges as people run them: every service of each a process of its own, on a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from meetme.catalog.client import CatalogClient
from meetme.catalog.views import OrderView
from meetme.catalog.words import ENDED, State
from meetme.model.errors import MeetMeError
from meetme.model.members import Roster
from meetme.runtime.roster import read_roster, write_roster
from tests.composer.serving import Exchange, Process, exchanges, free_port
from tests.contract.processes import Company, companies
from tests.contract.test_negotiator_configurator import Box, box

CATALOG = """
[catalog]
negotiator = "http://127.0.0.1:{negotiator}"
negotiator_token = "{folder}/token"
database = "{database}"
interval = 0.3
listen = "127.0.0.1:{local}"
listen_peers = "127.0.0.1:{peers}"
{offers}
[[catalog.port]]
exchange = "{exchange}"
port = "{port}"
lands = "r1/eth1"
"""
OFFERS = """
[[offer]]
name = "vault"
title = "Backup vault"
category = "storage"
prefix = "10.0.0.0/24"
address = "10.0.0.10"
ends = [{{ exchange = "{exchange}", port = "b1" }}]
needs = {{ bandwidth = 50 }}

[[offer]]
name = "wire"
title = "A wire"
category = "network"
connectivity = "l2"
ends = [{{ exchange = "{exchange}", port = "b1" }}]
needs = {{ bandwidth = 50 }}
"""


@dataclass
class Provider:
    """One provider: its negotiator, its catalog, and the router that both mean."""

    company: Company
    box: Box
    catalog: Process
    client: CatalogClient

    @property
    def negotiator(self) -> Process:
        """Its process, which is started and killed as the others are."""
        return self.company.replicas[0]  # type: ignore[return-value]

    async def until(self, id: object, *states: State, seconds: float = 120.0) -> OrderView:
        """Wait until the order is in one of `states` or has ended, through all the lives of the process."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(MeetMeError):
                    async with aclosing(self.client.follow(str(id))) as views:
                        async for view in views:
                            if view.state in states or view.state in ENDED:
                                return view
                await asyncio.sleep(0.05)


@dataclass
class World:
    """csp-a at the first exchange buys, csp-b at the last one sells."""

    a: Provider
    b: Provider
    exchanges: list[Exchange]

    async def nothing_left(self) -> None:
        """Wait until nobody has anything of an order any more."""
        left: list[str] = ["?"]
        try:
            async with asyncio.timeout(90):
                while left:
                    left = await self._left()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(left) from None

    async def _left(self) -> list[str]:
        left: list[str] = []
        for exchange in self.exchanges:
            left += [f"{exchange.name} {claim}" for claim in exchange.claims()]
            left += [f"{exchange.name} {service}" for service in await exchange.services()]
        for provider in (self.a, self.b):
            left += [f"{provider.company.name}'s router {circuit}" for circuit in provider.box.device.circuits]
            async with provider.company.replicas[0].client() as client:
                left += [f"{provider.company.name} {circuit}" for circuit in await client.attachments()]
        return left


@asynccontextmanager
async def world(tmp_path: Path, *names: str) -> AsyncIterator[World]:
    """Everything in processes, but for the routers, which are values here."""
    async with AsyncExitStack() as stack:
        boxes = [await stack.enter_async_context(box()) for _ in "ab"]
        found = await stack.enter_async_context(exchanges(tmp_path, *names))
        letters = dict(zip("ab", boxes, strict=True))
        urls = {letter: f"sqlite:///{tmp_path}/negotiator-{letter}.db" for letter in letters}
        targets = {letter: each.address for letter, each in letters.items()}
        both = await stack.enter_async_context(companies(tmp_path, urls, targets, {"a": 1, "b": 1}))
        peers = {company.name: free_port() for company in both}
        _introduce(both, list(found.values()), peers)
        providers = []
        for company, each, exchange, port in zip(both, boxes, (names[0], names[-1]), ("a1", "b1"), strict=True):
            local = free_port()
            offers = ""
            if port == "b1":
                (company.folder / "offers.toml").write_text(OFFERS.format(exchange=exchange))
                offers = f'offers = "{company.folder}/offers.toml"'
            text = CATALOG.format(
                negotiator=company.replicas[0].local,
                folder=company.folder,
                database=f"sqlite:///{company.folder}/catalog.db",
                local=local,
                peers=peers[company.name],
                offers=offers,
                exchange=exchange,
                port=port,
            )
            with (company.folder / "meetme.toml").open("a") as settings:
                settings.write(text)
            process = Process(company.folder, ("catalog",), local)
            stack.push_async_callback(process.kill)
            client = CatalogClient(f"http://127.0.0.1:{local}", (company.folder / "token").read_text().strip())
            stack.push_async_callback(client.close)
            providers.append(Provider(company, each, process, client))
        await asyncio.gather(*(provider.catalog.start() for provider in providers))
        async with asyncio.timeout(30):
            while (await providers[0].client.search())[1] < 2:  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.05)
        yield World(*providers, list(found.values()))


def _introduce(both: tuple[Company, Company], found: list[Exchange], catalogs: dict[str, int]) -> None:
    """Everybody knows everybody."""
    providers = [
        replace(m, urls=replace(m.urls, catalog=f"https://127.0.0.1:{catalogs[m.id]}"))
        for m in read_roster(both[0].folder / "roster.toml").members
    ]
    roster = Roster((*providers, *read_roster(found[0].folder / "roster.toml").members))
    for each in (*both, *found):
        write_roster(each.folder / "roster.toml", roster)
