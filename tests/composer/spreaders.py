"""Composers that only know the federation, each with a store and a listener of its own, over mutual TLS."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meetme.composer.advertisement import AdvertisedPoint, Transit
from meetme.composer.own import Own
from meetme.composer.spread_api import add_peer_routes
from meetme.composer.spreader import Spreader
from meetme.model.agreement import MemberId
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database, migrate
from meetme.runtime.http import build_peer_app
from meetme.runtime.identity import Identity, create_identity
from meetme.runtime.listener import Listener, open_listener
from meetme.runtime.peer_client import PeerClient
from meetme.runtime.tls import Trust
from tests.composer.advertisements import access, nni, transit


@dataclass
class Composer:
    """One of them."""

    name: str
    identity: Identity
    socket: socket.socket
    path: Path
    neighbours: tuple[str, ...]
    points: tuple[AdvertisedPoint, ...]
    roster: Roster = field(default_factory=Roster)
    transits: tuple[Transit, ...] = (transit(),)
    country: str | None = None
    every: float = 0.5
    lifetime: float = 600.0
    look: Any = None
    spreader: Spreader | None = None
    _running: list[Any] = field(default_factory=list)

    def member(self, kind: MemberKind = MemberKind.IXP) -> Member:
        port = self.socket.getsockname()[1]
        urls = ServiceUrls(composer=f"https://127.0.0.1:{port}")
        return Member(MemberId(self.name), kind, (self.identity.pin,), (self.identity.certificate,), None, urls)

    async def start(self) -> Spreader:
        database = Database.open(f"sqlite:///{self.path}/{self.name}.db")
        await asyncio.to_thread(migrate, database, "meetme.composer")
        trust = Trust(self.identity, lambda: self.roster)
        client = PeerClient(trust)
        self.spreader = Spreader(
            trust=trust,
            database=database,
            client=client,
            clock=SystemClock(),
            describe=lambda tx: Own(self.country, self.points, self.transits),
            neighbours=tuple(map(MemberId, self.neighbours)),
            every=self.every,
            lifetime=self.lifetime,
            look=self.look,
        )
        await self.spreader.start()
        app = build_peer_app(title="test", version="1", trust=trust)
        add_peer_routes(app, self.spreader, SystemClock())
        bound = socket.socket(fileno=socket.dup(self.socket.fileno()))
        listener = await open_listener(app, bound, flag="--listen-peers", tls=trust.server_context())
        task = asyncio.create_task(self.spreader.run())
        self._running = [listener, task, client, database]
        return self.spreader

    async def stop(self) -> None:
        if not self._running:
            return
        listener, task, client, database = self._running
        self._running = []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert isinstance(listener, Listener)
        await listener.close()
        await client.close()
        await database.close()

    def knows(self) -> dict[str, int]:
        assert self.spreader is not None
        return {ad.member: ad.version for ad in self.spreader.atlas().advertisements}


def federation(path: Path, links: dict[str, tuple[str, ...]], **settings: Any) -> dict[str, Composer]:
    """Composers with a member's port and a link to each neighbour; nothing runs yet."""
    made = {}
    for name, others in links.items():
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        points = (access("p1", f"csp-{name[-1]}"), *(nni(f"to-{other}", other, f"to-{name}") for other in others))
        made[name] = Composer(name, create_identity(name), bound, path, others, points, **settings)
    know_each_other(made)
    return made


def know_each_other(made: dict[str, Composer], *strangers: str) -> None:
    """Everybody's roster has everybody but these."""
    members = tuple(composer.member() for composer in made.values() if composer.name not in strangers)
    for composer in made.values():
        composer.roster = Roster(members)


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it has many parts
            await asyncio.sleep(0.01)


def changed(points: tuple[AdvertisedPoint, ...], port: str, **facts: Any) -> tuple[AdvertisedPoint, ...]:
    """The same points with one that has changed."""
    return tuple(replace(point, **facts) if point.port == port else point for point in points)
