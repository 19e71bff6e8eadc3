"""The data plane of an active agreement is watched, and only turns are written."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import httpx2

from meetme.model.errors import (
    Unreachable,
)
from meetme.negotiator import logbook
from meetme.negotiator.negotiation import Health, HealthState
from meetme.negotiator.states import State

from .pair import Side, pair, refusing
from .whole import connect, settled


async def until_health(side: Side, id: UUID, state: HealthState) -> Health:
    async with asyncio.timeout(20):
        while True:
            health = (await side.client.negotiation(id)).health
            if health is not None and health.state is state:
                return health
            await asyncio.sleep(0.02)


async def test_the_data_plane_is_watched_and_only_turns_are_written() -> None:
    quick = {"probe_interval": 0.5}
    async with pair(a=quick, b=quick) as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        up = await until_health(a, mine.id, HealthState.UP)
        assert (up.rtt_ms, up.loss, up.reason) == (0.2, 0.0, None)
        quiet = a.contents("runtime_effect")
        probes = a.router.calls.count("probe")
        async with asyncio.timeout(15):
            while a.router.calls.count("probe") < probes + 6:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert a.contents("runtime_effect") == quiet, "what stays as it is costs no write"
        a.router.carries = 1000
        degraded = await until_health(a, mine.id, HealthState.DEGRADED)
        assert degraded.reason is not None
        assert degraded.reason.code == "mtu_not_carried"
        assert "1500" in degraded.reason.text
        a.router.carries = 0
        down = await until_health(a, mine.id, HealthState.DOWN)
        assert (down.rtt_ms, down.loss) == (None, 1.0)
        assert down.reason is not None
        assert down.reason.code == "probe_unanswered"
        assert (await a.client.negotiation(mine.id)).state is State.ACTIVE, "an outage ends no agreement"
        listed = {view.id: view for view in await a.client.negotiations()}
        assert listed[mine.id].health == down
        await a.restart()
        assert (await a.client.negotiation(mine.id)).health == down, "the last turn is on disk"
        figures = await metrics(a)
        assert 'meetme_agreements_health{peer="csp-b",state="down"} 1.0' in figures
        a.router.carries = 65535
        await until_health(a, mine.id, HealthState.UP)
        told = a.database.run_now(lambda tx: logbook.told(tx, mine.id, 0))
        turns = [json.loads(event.body)["state"] for event in told if event.kind == "health"]
        assert turns == ["degraded", "down", "up"]
        assert (await b.client.negotiation(mine.id)).health.state is HealthState.UP
        await a.client.terminate(mine.id)
        await a.until(mine.id)
        assert (await a.client.negotiation(mine.id)).health is None


async def metrics(side: Side) -> str:
    async with httpx2.AsyncClient(headers={"authorization": "Bearer a token for tests"}) as http:
        return (await http.get(side.service.local_url + "/metrics")).text


async def test_a_configurator_that_is_away_is_no_outage_and_no_health() -> None:
    async with pair(a={"probe_interval": 0.5}) as (a, b):
        mine, _ = await connect(a, b)
        await settled(a, b)
        a.router.fail = refusing(Unreachable("configurator_unreachable", "configurator: does not answer"), "probe")
        health = await until_health(a, mine.id, HealthState.DEGRADED)
        assert health.reason is not None
        assert health.reason.code == "configurator_unreachable"
        a.router.fail = lambda _verb: None
        await until_health(a, mine.id, HealthState.UP)


async def test_watching_can_be_switched_off() -> None:
    async with pair(a={"probe_interval": 0.0}) as (a, b):
        await connect(a, b)
        await settled(a, b)
        probes = a.router.calls.count("probe")
        await asyncio.sleep(0.3)
        assert a.router.calls.count("probe") == probes
        assert "meetme_agreements_health" not in await metrics(a)
