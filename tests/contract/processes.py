"""Members as they run: `meetme serve negotiator` in processes, several of one member behind one address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.negotiator.client import NegotiatorClient
from meetme.runtime.database import Database
from meetme.runtime.identity import create_identity, save_identity
from meetme.runtime.roster import write_roster
from meetme.runtime.tokens import create_token_file

SETTINGS = """
[negotiator]
local_subnet = ["10.0.0.0/24"]
border_router_port = "eth1"
private_networks = ["{pool}"]
negotiated_networks = ["169.254.100.0/24"]
configurator = ["r1={configurator}"]
database = "{database}"
"""
START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Balancer:
    """One TCP address in front of several: in turn, and past those who do not take the connection."""

    def __init__(self) -> None:
        self.backends: list[int] = []
        self._turn = 0
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        for number in range(len(self.backends)):
            port = self.backends[(self._turn + number) % len(self.backends)]
            try:
                there = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
            return
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


@dataclass
class Serving:
    """One process `meetme serve negotiator`. Its ports stay the same when it is started again."""

    folder: Path
    local: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        meetme = Path(sys.executable).with_name("meetme")
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                meetme, "serve", "negotiator", "--config", str(self.folder / "meetme.toml"),
                "--listen", f"127.0.0.1:{self.local}", "--listen-peers", f"127.0.0.1:{self.peers}",
                stderr=log, env={**os.environ, "MEETME_DIR": str(self.folder)},
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while True:
                if self.process.returncode is not None:
                    raise AssertionError(self.log())
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.local)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return

    async def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    def log(self) -> str:
        """What it has said, in all its lives."""
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return self.folder / f"log-{self.local}"

    def client(self) -> NegotiatorClient:
        return NegotiatorClient(f"http://127.0.0.1:{self.local}", (self.folder / "token").read_text().strip())


@dataclass
class Company:
    """A member: one process or more on one database, behind one address for its peers."""

    name: str
    folder: Path
    url: str
    replicas: list[Serving]
    database: Database

    def clients(self) -> list[NegotiatorClient]:
        return [replica.client() for replica in self.replicas]


@asynccontextmanager
async def companies(
    tmp_path: Path, urls: dict[str, str], configurators: dict[str, str], replicas: dict[str, int]
) -> AsyncIterator[tuple[Company, Company]]:
    """csp-a and csp-b, running. All dictionaries by the letters `a` and `b`: databases, gRPC targets, how many."""
    names = {"a": "csp-a", "b": "csp-b"}
    made: dict[str, Company] = {}
    async with contextlib.AsyncExitStack() as stack:
        members = []
        for letter, name in names.items():
            folder = tmp_path / name
            folder.mkdir()
            identity = create_identity(name)
            save_identity(identity, key=folder / "key.pem", certificate=folder / "certificate.pem")
            create_token_file(folder / "token")
            pool = {"a": "172.16.0.0/16", "b": "172.16.0.0/12"}[letter]
            values = {"pool": pool, "configurator": configurators[letter], "database": urls[letter]}
            (folder / "meetme.toml").write_text(SETTINGS.format(**values))
            balancer = await stack.enter_async_context(Balancer())
            serving = [Serving(folder) for _ in range(replicas[letter])]
            balancer.backends = [one.peers for one in serving]
            peers = ServiceUrls(negotiator=f"https://127.0.0.1:{balancer.port}")
            members.append(
                Member(identity.member, MemberKind.CSP, (identity.pin,), (identity.certificate,), urls=peers)
            )
            database = Database.open(urls[letter])
            stack.push_async_callback(database.close)
            made[letter] = Company(name, folder, urls[letter], serving, database)
        for company in made.values():
            write_roster(company.folder / "roster.toml", Roster(tuple(members)))
            for one in company.replicas:
                stack.push_async_callback(one.kill)
        await asyncio.gather(*(one.start() for company in made.values() for one in company.replicas))
        yield made["a"], made["b"]
