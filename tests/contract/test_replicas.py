"""Two replicas of one negotiator on one PostgreSQL, behind one address; any of them is killed at any moment."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from meetme.drivers.memory import MemoryDevice
from meetme.model.errors import Conflict, Unreachable
from meetme.negotiator import logbook, store
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import ENDED, LIVE, State
from meetme.negotiator.views import NegotiationView, StartRequest

from .processes import Company, Serving, companies
from .test_negotiator_configurator import box

CIRCUITS = [f"c{number}" for number in range(1, 7)]


@dataclass
class World:
    a: Company
    b: Company
    devices: tuple[MemoryDevice, MemoryDevice]
    clients: dict[int, NegotiatorClient]
    """By local port."""

    def ask(self, replica: Serving) -> NegotiatorClient:
        return self.clients[replica.local]

    def everyone(self) -> list[Serving]:
        return [*self.a.replicas, *self.b.replicas]

    async def alive(self, company: Company) -> NegotiatorClient:
        """Somebody of the company who answers."""
        for replica in company.replicas:
            if replica.process is not None and replica.process.returncode is None:
                return self.ask(replica)
        raise AssertionError("nobody is left")

    async def views(self, company: Company) -> dict[str, NegotiationView]:
        return {str(view.id): view for view in await (await self.alive(company)).negotiations()}

    async def start(self, replica: Serving, circuit: str, key: str) -> None:
        """Ask for it until somebody has answered: a replica that is dead is passed over, with the same key."""
        company, peer = (self.a, "csp-b") if replica in self.a.replicas else (self.b, "csp-a")
        first = company.replicas.index(replica)
        for one in itertools.cycle([*company.replicas[first:], *company.replicas[:first]]):
            try:
                await self.ask(one).start(StartRequest(peer, circuit=circuit), idempotency_key=key)
                return
            except Conflict as error:
                if error.code == "negotiation_exists":
                    return
                assert error.code == "idempotency_key_in_flight", error.text  # noqa: PT017
            except Unreachable:
                pass
            await asyncio.sleep(0.05)

    async def settled(self, done: Callable[[dict[str, NegotiationView], dict[str, NegotiationView]], bool]) -> None:
        async with asyncio.timeout(120):
            while True:
                with suppress(Unreachable):
                    mine, theirs = await self.views(self.a), await self.views(self.b)
                    if done(mine, theirs):
                        return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def world(tmp_path: Path, url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        one, two = await stack.enter_async_context(box()), await stack.enter_async_context(box())
        urls = {"a": url, "b": f"sqlite:///{tmp_path}/b.db"}
        targets = {"a": one.address, "b": two.address}
        a, b = await stack.enter_async_context(companies(tmp_path, urls, targets, {"a": 2, "b": 1}))
        clients = {}
        for replica in (*a.replicas, *b.replicas):
            clients[replica.local] = await stack.enter_async_context(replica.client())
        yield World(a, b, (one.device, two.device), clients)


def calm(mine: dict[str, NegotiationView], theirs: dict[str, NegotiationView]) -> bool:
    """Nothing is under way, and both say the same of everything that is in force."""
    quiet = (State.ACTIVE, *ENDED)
    if not all(view.state in quiet for view in (*mine.values(), *theirs.values())):
        return False
    active = [{id for id, view in views.items() if view.state is State.ACTIVE} for views in (mine, theirs)]
    return active[0] == active[1]


def ended(mine: dict[str, NegotiationView], theirs: dict[str, NegotiationView]) -> bool:
    return all(view.state in ENDED for view in (*mine.values(), *theirs.values()))


def nothing_twice(views: dict[str, NegotiationView]) -> None:
    """No circuit and no alias belongs to two agreements in force."""
    active = [view for view in views.values() if view.state is State.ACTIVE]
    assert len({view.circuit for view in active}) == len(active)
    aliases = [
        {entry.alias for side in (view.agreement.initiator, view.agreement.responder) for entry in side.prefixes}
        for view in active
    ]
    for one, other in itertools.combinations(aliases, 2):
        assert not any(p.overlaps(q) for p in one for q in other if p != q or str(p) != "10.0.0.0/24")


def story(circuits: set[str], since: float, *sides: dict[str, NegotiationView]) -> str:
    """What became of these circuits on both sides."""
    lines = []
    for views in sides:
        for view in sorted(views.values(), key=lambda view: view.started):
            if view.circuit in circuits and view.started.timestamp() >= since:
                steps = ", ".join(f"{step.name} {step.seconds:.1f}" for step in view.steps)
                said = view.problem.text if view.problem else ""
                lines.append(f"{view.circuit} {view.id} {view.role} {view.state} ({steps}) {said}")
    return "\n".join(lines)


async def nothing_left(world: World) -> None:
    for company in (world.a, world.b):
        assert company.database.run_now(store.claimed_prefixes) == ()
        assert company.database.run_now(lambda tx: tx.execute(text("SELECT * FROM negotiator_claim")).all()) == []
        assert company.database.run_now(logbook.verify_audit) is None
        async with asyncio.timeout(70):  # a farewell that nobody answered is owed for a minute
            while company.database.run_now(owed):  # noqa: ASYNC110 - other processes settle it
                await asyncio.sleep(0.1)
    assert world.a.database.run_now(deadlocks) == 0
    assert [device.circuits for device in world.devices] == [{}, {}]


def owed(tx) -> int:
    return tx.scalar(text("SELECT count(*) FROM runtime_effect"))


def deadlocks(tx) -> int:
    return tx.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


async def there_and_back(world: World, number: int, random: Random) -> None:
    """One round: everything is started by everybody, somebody is killed; taken back, somebody is killed."""
    tasks, since = [], time.time()
    for index, circuit in enumerate(CIRCUITS):
        replica = world.a.replicas[index % 2]
        key = f"{number}/{circuit}"
        tasks.append(asyncio.create_task(world.start(replica, circuit, key)))
        if index % 3 == 0:  # the same request comes in at the other replica too
            tasks.append(asyncio.create_task(world.start(world.a.replicas[1 - index % 2], circuit, key)))
        if index % 3 == 1:  # and here the peer starts as well
            tasks.append(asyncio.create_task(world.start(world.b.replicas[0], circuit, key)))
    victim = world.everyone()[number % 3]
    await asyncio.sleep(random.uniform(0.02, 0.6))
    await victim.kill()
    killed = time.monotonic()
    if victim in world.b.replicas:
        await victim.start()
    await asyncio.gather(*tasks)
    await world.settled(calm)
    seconds = time.monotonic() - killed
    nothing_twice(await world.views(world.a))
    mine = await world.views(world.a)
    active = {view.circuit for view in mine.values() if view.state is State.ACTIVE}
    assert [set(device.circuits) for device in world.devices] == [active] * 2
    if victim not in world.b.replicas:
        # The peer was there all the time, and so was the other replica: nothing had to fail.
        missing = set(CIRCUITS) - active
        assert not missing, story(missing, since, mine, await world.views(world.b))
        await victim.start()
    print(f"round {number}: {len(active)} in force {seconds:.1f} s after the kill")
    if seconds > 5:
        print(story(active, since, mine, await world.views(world.b)))

    mine = await world.views(world.a)
    victim = world.a.replicas[(number + 1) % 2]
    live = [view.id for view in mine.values() if view.state in LIVE]

    async def terminate(index: int, id) -> None:
        for replica in itertools.cycle(world.everyone() if index % 2 else reversed(world.everyone())):
            with suppress(Unreachable):
                await world.ask(replica).terminate(id)
                return
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(terminate(index, id)) for index, id in enumerate(live)]
    await asyncio.sleep(random.uniform(0.01, 0.15))
    await victim.kill()
    await asyncio.gather(*tasks)
    await world.settled(ended)
    await victim.start()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.slow)])
async def test_whoever_is_killed_the_others_finish(
    tmp_path: Path, new_postgresql: Callable[[str], str], rounds: int
) -> None:
    async with world(tmp_path, new_postgresql("replicas")) as both:
        for replica in (both.a.replicas[0], both.b.replicas[0]):
            for vlan, circuit in enumerate(CIRCUITS, start=1):
                await both.ask(replica).put_attachment(circuit, Attachment("r1", "eth1", vlan))
        random = Random(7)
        for number in range(rounds):
            await there_and_back(both, number, random)
        await nothing_left(both)
