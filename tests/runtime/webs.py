"""For the tests of HTTP: two members who know each other, an app for each kind of listener, and raw requests."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.http import PeerMember, build_peer_app
from meetme.runtime.identity import Identity, create_identity
from meetme.runtime.listener import listening, open_listener
from meetme.runtime.roster import RosterFile, write_roster
from meetme.runtime.tls import Trust


def member_of(identity: Identity, url: str | None = None) -> Member:
    return Member(
        id=identity.member,
        kind=MemberKind.CSP,
        pins=(identity.pin,),
        certificates=(identity.certificate,),
        urls=ServiceUrls(negotiator=url),
    )


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


async def raw(address: str, request: bytes, *, end: bool = False) -> Reply:
    """Send octets as they are and read one answer. `end`: say that there is no more to come."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            status = int((await reader.readline()).split()[1])
            headers = {}
            while line := (await reader.readline()).decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            return Reply(status, headers, await reader.readexactly(int(headers["content-length"])))
    finally:
        writer.close()


class Federation:
    """Member `a` with a peer listener; member `b`, whom `a` may or may not know."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = create_identity("isp-a"), create_identity("isp-b")
        self.roster_path = folder / "roster.toml"
        write_roster(self.roster_path, Roster((member_of(self.b),)))
        self.trust = Trust(self.a, RosterFile(self.roster_path))
        self.seen: list[object] = []
        self.url = ""

    @asynccontextmanager
    async def listening(self):
        app = build_peer_app(title="peers", version="1", trust=self.trust)

        @app.post("/api/v1/handle")
        async def handle(member: PeerMember, body: dict) -> dict:
            self.seen.append(body)
            return {"from": member.id, "echo": body}

        listener = await open_listener(app, "127.0.0.1:0", flag="--listen-peers", tls=self.trust.server_context())
        self.url = listener.url
        async with listening(listener):
            yield self

    def trust_of(self, identity: Identity, *, expecting: Identity | None = None) -> Trust:
        """The view of a client that is `identity` and expects `expecting` (by default `a`) at the address of `a`."""
        roster = Roster((member_of(expecting or self.a, self.url),))
        return Trust(identity, lambda: roster)
