"""A catalog whose database is an older backup: what orders have made since is found, left alone, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from meetme.catalog.client import CatalogClient
from meetme.catalog.service import CatalogService
from meetme.catalog.stray_views import Made, Stray
from meetme.catalog.words import State
from meetme.model.agreement import MemberId
from meetme.model.errors import NotFound
from meetme.negotiator.negotiation import Attachment
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.tokens import Scope, Tokens
from tests.catalog.joined import A, B, Provider, World, joined
from tests.composer.federation import chain
from tests.negotiator.pair import TOKEN


@pytest.fixture(autouse=True)
def nothing_is_long_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meetme.catalog.undoing.SWEEP_SECONDS", 0.05)
    monkeypatch.setattr("meetme.catalog.performer.STANDING_LOOK_SECONDS", 0.5)


@asynccontextmanager
async def from_before(world: World, side: Provider) -> AsyncIterator[Provider]:
    """The same member once its catalog runs on a backup from before its first order."""
    old = side.service
    trust, peers = old._trust, old.peers_url
    await old.close()
    database = Database.open("sqlite://")
    service = CatalogService(
        side.settings,
        identity=trust.identity,
        roster=lambda: trust.roster,
        tokens=Tokens.of({TOKEN: Scope.WRITE}),
        database=database,
        clock=SystemClock(),
        negotiator_token=TOKEN,
    )
    await service.start(peers=peers.removeprefix("https://"))
    client = CatalogClient(service.local_url, TOKEN)
    try:
        yield replace(side, service=service, client=client)
    finally:
        await client.close()
        await service.close()
        await database.close()


async def active(world: World) -> UUID:
    placed = await world.a.client.place(f"{B}/vault")
    for side in (world.a, world.b):
        assert (await side.until(placed.id, State.ACTIVE)).state is State.ACTIVE
    return placed.id


def figure(side: Provider) -> float | None:
    return side.service.registry.get_sample_value("meetme_order_strays")


async def found(side: Provider) -> list[Stray]:
    """Once there are any."""
    async with asyncio.timeout(10):
        while not (strays := await side.client.strays()):  # noqa: ASYNC110 - it is asked of others
            await asyncio.sleep(0.05)
    return strays


async def test_what_the_buyer_has_forgotten_is_found_and_taken_back_by_a_person(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        id = await active(world)
        assert await world.a.client.strays() == await world.b.client.strays() == []
        circuit = (await world.a.client.order(id)).circuit
        async with from_before(world, world.a) as a:
            (stray,) = await found(a)
            made = stray.made
            assert (made.circuit, made.order, made.partner, stray.state) == (circuit, id, B, "unknown")
            assert (made.exchange, made.standing, made.agreed, made.attached) == ("ixp-1", "active", "active", True)
            assert figure(a) == 1
            told = {each.what: each for each in (await a.client.diagnosis()).findings}[f"stray {circuit}"]
            assert (told.ok, told.needed) == (False, False)
            assert told.detail.startswith("circuit active at ixp-1, negotiation active, attachment: of an order")
            assert f"meetme order strays --remove {circuit}" in told.hint
            assert len(await world.federation[world.first].client.circuits()) == 1, "it is left alone"
            with pytest.raises(NotFound) as refused:
                await a.client.remove_stray(str(uuid4()))
            assert refused.value.code == "stray_unknown"
            assert await a.client.remove_stray(made.circuit)
            assert (await world.b.until(id)).state is State.TERMINATED
            await world.nothing_left()
            assert (await a.client.strays(), figure(a)) == ([], 0)


@pytest.mark.slow
async def test_what_the_seller_has_forgotten_is_over_at_the_buyer_and_leaves_where_it_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meetme.catalog.reactions.COMPARE_SECONDS", 0.5)
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        before = await active(world)
        await world.b.client.terminate(before)
        await world.a.until(before)
        id = await active(world)
        circuit = (await world.a.client.order(id)).circuit
        assert circuit is not None
        async with from_before(world, world.b) as b:
            assert (await world.a.until(id)).state is State.TERMINATED
            await world.federation.empty()
            assert await found(b) == [Stray(Made(circuit, partner=A, attached=True), "unknown")]
            assert await b.client.remove_stray(circuit)
            await world.nothing_left()


@pytest.mark.slow
async def test_what_is_of_an_order_or_of_nobody_s_is_no_stray(tmp_path: Path) -> None:
    async with joined(tmp_path, chain("ixp-1", "ixp-2")) as world:
        a, negotiator = world.a, world.a.negotiator.client
        for name, port, peer in (
            ("c7", "eth1", "csp-b"),
            (str(uuid4()), "eth2", "csp-b"),
            (str(uuid4()), "eth1", None),
        ):
            landing = Attachment("r1", port, 7, 1500, None if peer is None else MemberId(peer))
            await negotiator.put_attachment(name, landing)
            assert await a.client.strays() == [], name
            await negotiator.delete_attachment(name)
        placed = await a.client.place(f"{B}/vault")
        async with asyncio.timeout(20):
            while (await a.client.order(placed.id)).state is not State.ACTIVE:
                for side in (a, world.b):
                    assert await side.client.strays() == []
        await a.client.terminate(placed.id)
        async with asyncio.timeout(20):
            while (await a.client.order(placed.id)).state is not State.TERMINATED:
                for side in (a, world.b):
                    assert await side.client.strays() == []
        await world.nothing_left()
