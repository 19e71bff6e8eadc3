"""Whole composers in one process, over real sockets with mutual TLS; their exchanges are kept in memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from meetme.composer.client import ComposerClient
from meetme.composer.service import ComposerService
from meetme.composer.settings import MEMORY, ComposerSettings, PortSettings, TransitSettings
from meetme.composer.views import CircuitOrder, CircuitView, EndBody
from meetme.composer.words import ENDED, State
from meetme.ixapi.fake import FakeExchange
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.identity import Identity, create_identity
from meetme.runtime.tls import Trust
from meetme.runtime.tokens import Scope, Tokens

TOKEN = "a token for tests"


@dataclass
class Ixp:
    """One exchange with its composer, and how to ask it."""

    name: str
    settings: ComposerSettings
    database: Database
    exchange: FakeExchange
    make: Callable[[], ComposerService]
    service: ComposerService
    client: ComposerClient
    sockets: dict[str, str] = field(default_factory=dict)

    async def until(self, id: UUID, *states: State, seconds: float = 20.0) -> CircuitView:
        """Wait until the circuit is in one of `states` (or has ended)."""
        async with asyncio.timeout(seconds), aclosing(self.client.follow(id)) as views:
            async for view in views:
                if view.state in states or view.state in ENDED:
                    return view
        return await self.client.circuit(id)

    async def restart(self, *, crash: bool = True) -> None:
        """End the service (by default as `kill -9` would: nothing is finished, nobody is told), start it anew."""
        if crash:
            await self.service.hang_up(grace=0.0)
            await self.service.kill()
        await self.service.close()
        self.service = self.make()
        await self.service.start(local=self.sockets["local"], peers=self.sockets["peers"])

    def claims(self) -> list[Any]:
        """What circuits have of this exchange, in the ledger."""
        from meetme.composer import store

        return sorted(map(str, self.database.run_now(store.all_held)))


@dataclass
class Federation:
    """All of them."""

    ixps: dict[str, Ixp]
    identities: dict[str, Identity]
    roster: Callable[[], Roster]

    def __getitem__(self, name: str) -> Ixp:
        return self.ixps[name]

    async def know(self, number: int | None = None, seconds: float = 20.0) -> None:
        """Wait until every composer knows of every exchange."""
        async with asyncio.timeout(seconds):
            for ixp in self.ixps.values():
                while len(ixp.service.spreader.atlas().advertisements) < (number or len(self.ixps)):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def as_member(
        self, member: str, at: str, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> httpx2.Response:
        """A request to the listener for other members, with the certificate of `member`."""
        headers = {} if key is None else {"idempotency-key": key}
        there = self.roster().member(at)
        context = Trust(self.identities[member], self.roster).client_context(there)
        async with httpx2.AsyncClient(verify=context, trust_env=False) as http:
            return await http.request(method, (self[at].service.peers_url or "") + path, json=body, headers=headers)

    async def empty(self, seconds: float = 20.0) -> None:
        """Wait until nothing is left anywhere."""

        def left() -> list[str]:
            found = []
            for ixp in self.ixps.values():
                found += [f"{ixp.name}: {claim}" for claim in ixp.claims()]
                found += [f"{ixp.name}: segment {reference}" for reference in ixp.exchange.segments]
            return found

        try:
            async with asyncio.timeout(seconds):
                while left():  # noqa: ASYNC110 - it is in databases
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(left()) from None


def order(a: str, b: str, bandwidth: int = 10, **wishes: Any) -> CircuitOrder:
    """An order between two ends, each MEMBER/PORT."""
    ends = [EndBody(*end.split("/", 1)) for end in (a, b)]
    return CircuitOrder(ends[0], ends[1], bandwidth, **wishes)


def nni(here: str, there: str, bandwidth: int = 1000, **more: Any) -> PortSettings:
    """A link, from the port `to-THERE` to the port `to-HERE`."""
    return PortSettings(f"to-{there}", bandwidth, neighbour=there, neighbour_port=f"to-{here}", **more)


def access(port: str, member: str, bandwidth: int = 1000, **more: Any) -> PortSettings:
    """A member's port."""
    return PortSettings(port, bandwidth, member=member, **more)


def settings(*ports: PortSettings, **more: Any) -> ComposerSettings:
    """Of one exchange."""
    values: dict[str, Any] = {
        "exchange": MEMORY,
        "port": ports,
        "transit": (TransitSettings(latency_ms=0.1, bandwidth=100_000, price=0.01),),
        "mandates": ("csp-a", "csp-b"),
        "interval": 1.0,
        "listen": "127.0.0.1:0",
    }
    return ComposerSettings(**{**values, **more})


def chain(*names: str, bandwidth: int = 1000, **more: Any) -> dict[str, ComposerSettings]:
    """Exchanges in a row; csp-a at the first (port a1), csp-b at the last (port b1)."""
    found = {}
    for index, name in enumerate(names):
        ports = [nni(name, other, bandwidth) for other in (*names[max(0, index - 1) : index], *names[index + 1 :][:1])]
        if index == 0:
            ports.append(access("a1", "csp-a", bandwidth))
        if index == len(names) - 1:
            ports.append(access("b1", "csp-b", bandwidth))
        found[name] = settings(*ports, **more)
    return found


def triangle(**more: Any) -> dict[str, ComposerSettings]:
    """ixp-1 with csp-a, ixp-3 with csp-b, a link between them, and a longer way over ixp-2."""
    slow = {"latency_ms": 5.0}
    return {
        "ixp-1": settings(
            access("a1", "csp-a"), nni("ixp-1", "ixp-2", **slow), nni("ixp-1", "ixp-3", latency_ms=1.0), **more
        ),
        "ixp-2": settings(nni("ixp-2", "ixp-1", **slow), nni("ixp-2", "ixp-3", **slow), **more),
        "ixp-3": settings(
            access("b1", "csp-b"), nni("ixp-3", "ixp-1", latency_ms=1.0), nni("ixp-3", "ixp-2", **slow), **more
        ),
    }


@asynccontextmanager
async def federation(
    layout: Mapping[str, ComposerSettings],
    tmp_path: Path | None = None,
    *,
    urls: Mapping[str, str] | None = None,
    csps: Iterable[str] = ("csp-a", "csp-b", "csp-c"),
    exchanges: Callable[[str], FakeExchange] = lambda _name: FakeExchange(),
) -> AsyncIterator[Federation]:
    """Composers of a layout, which know each other and the providers; with them what each other advertises."""
    identities = {name: create_identity(name) for name in (*layout, *csps)}
    doors = {name: _door() for name in layout}
    roster = Roster(tuple(_member(identity, doors.get(name)) for name, identity in identities.items()))
    ixps: dict[str, Ixp] = {}
    closing: list[Callable[[], Awaitable[None]]] = []

    async def begin(name: str, own: ComposerSettings) -> None:
        url = f"sqlite:///{tmp_path / name}.db" if tmp_path else "sqlite://"
        database = Database.open(urls[name] if urls else url)
        closing.append(database.close)
        exchange = exchanges(name)

        def make() -> ComposerService:
            return ComposerService(
                own,
                identity=identities[name],
                roster=lambda: roster,
                tokens=Tokens.of({TOKEN: Scope.WRITE}),
                database=database,
                clock=SystemClock(),
                exchange=exchange,
            )

        service = make()
        await service.start(peers=doors[name])
        client = ComposerClient(service.local_url, TOKEN)
        # Both ends of every connection are in this one event loop: a busy moment is no failure.
        client._http.timeout = httpx2.Timeout(60)
        sockets = {
            "local": service.local_url.partition("://")[2],
            "peers": (service.peers_url or "").partition("://")[2],
        }
        ixps[name] = Ixp(name, own, database, exchange, make, service, client, sockets)

    try:
        for name, own in layout.items():
            await begin(name, own)
        whole = Federation(ixps, identities, lambda: roster)
        await whole.know()
        yield whole
    finally:
        for ixp in ixps.values():
            await ixp.client.close()
            await ixp.service.close()
        for close in closing:
            await close()


def _door() -> socket.socket:
    """Where a composer will listen for others: known before anybody looks for it."""
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("127.0.0.1", 0))
    door.listen(128)
    return door


def _member(identity: Identity, door: socket.socket | None) -> Member:
    kind = MemberKind.CSP if door is None else MemberKind.IXP
    url = None if door is None else f"https://127.0.0.1:{door.getsockname()[1]}"
    urls = ServiceUrls(composer=url)
    return Member(identity.member, kind, (identity.pin,), (identity.certificate,), urls=urls)
