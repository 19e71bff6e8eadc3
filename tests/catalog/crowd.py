"""Several members' catalog servers in one process, over real sockets with mutual TLS and one world beneath them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from meetme.catalog.client import CatalogClient
from meetme.catalog.fake import FakeUnderlay, FakeWorld
from meetme.catalog.order import End, Order
from meetme.catalog.service import CatalogService
from meetme.catalog.settings import CatalogSettings
from meetme.catalog.underlay import CircuitStanding, NegotiationStanding
from meetme.catalog.words import What
from meetme.model.agreement import MemberId
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.identity import create_identity
from meetme.runtime.tokens import Scope, Tokens
from tests.catalog.test_offers_file import FILE
from tests.catalog.test_service import TOKEN, Side
from tests.composer.federation import _door as open_door
from tests.contract.processes import Balancer

OFFERS = FILE.replace("approval = true\n", "")


@dataclass
class SharedWorld(FakeWorld):
    """What all members share, and what two replicas of one have worked at together: nothing, if all is well."""

    at_once: list[str] = field(default_factory=list)


class Watched(FakeUnderlay):
    """Notes who works at what at the same time as another replica of the same member."""

    def __init__(self, world: SharedWorld, me: MemberId, busy: Counter[tuple[MemberId, UUID, What]]) -> None:
        super().__init__(world, me)
        self._shared = world
        self._busy = busy

    @contextmanager
    def _works_at(self, order: Order, what: What) -> Iterator[None]:
        key = (order.me, order.id, what)
        self._busy[key] += 1
        if self._busy[key] > 1:
            self._shared.at_once.append(f"{order.me}: the {what} of {order.id}")
        try:
            yield
        finally:
            self._busy[key] -= 1

    async def make_circuit(self, order: Order) -> CircuitStanding:
        """As the fake, and it takes a while."""
        with self._works_at(order, What.CIRCUIT):
            await asyncio.sleep(0.005)
            return await super().make_circuit(order)

    async def remove_circuit(self, order: Order) -> bool:
        """As the fake, and it takes a while."""
        with self._works_at(order, What.CIRCUIT):
            await asyncio.sleep(0.005)
            return await super().remove_circuit(order)

    async def attach(self, order: Order) -> End:
        """As the fake, and it takes a while."""
        with self._works_at(order, What.ATTACHMENT):
            await asyncio.sleep(0.005)
            return await super().attach(order)

    async def make_negotiation(self, order: Order) -> NegotiationStanding:
        """As the fake, and it takes a while."""
        with self._works_at(order, What.NEGOTIATION):
            await asyncio.sleep(0.005)
            return await super().make_negotiation(order)


Crowd = dict[str, list[Side]]
"""By member: its replicas."""


@asynccontextmanager
async def crowd(
    tmp_path: Path,
    world: SharedWorld,
    names: Iterable[str],
    *,
    urls: Mapping[str, str] | None = None,
    replicas: Mapping[str, int] | None = None,
) -> AsyncIterator[Crowd]:
    """Each member offers what OFFERS says. `urls`: databases that are not in memory."""
    (tmp_path / "offers.toml").write_text(OFFERS)
    identities = {name: create_identity(name) for name in names}
    found: Crowd = {name: [] for name in identities}
    async with AsyncExitStack() as stack:
        doors = {name: [open_door() for _ in range((replicas or {}).get(name, 1))] for name in identities}
        members = []
        for name, identity in identities.items():
            balancer = await stack.enter_async_context(Balancer())
            balancer.backends = [door.getsockname()[1] for door in doors[name]]
            peers = ServiceUrls(catalog=f"https://127.0.0.1:{balancer.port}")
            members.append(Member(MemberId(name), MemberKind.CSP, (identity.pin,), (identity.certificate,), urls=peers))
        roster = Roster(tuple(members))
        for name, identity in identities.items():
            busy: Counter[tuple[MemberId, UUID, What]] = Counter()
            for door in doors[name]:
                database = Database.open((urls or {}).get(name, "sqlite://"))
                stack.push_async_callback(database.close)
                service = CatalogService(
                    CatalogSettings(offers=tmp_path / "offers.toml", listen="127.0.0.1:0", interval=0.5),
                    identity=identity,
                    roster=lambda: roster,
                    tokens=Tokens.of({TOKEN: Scope.WRITE}),
                    database=database,
                    clock=SystemClock(),
                    underlay=Watched(world, MemberId(name), busy),
                )
                await service.start(peers=door)
                stack.push_async_callback(service.close)
                client = CatalogClient(service.local_url, TOKEN)
                stack.push_async_callback(client.close)
                found[name].append(Side(identity, service, client, database))
        async with asyncio.timeout(30):
            for sides in found.values():
                while (await sides[0].client.search())[1] < 2 * len(found):  # noqa: ASYNC110 - it is in a database
                    await asyncio.sleep(0.05)
        yield found
