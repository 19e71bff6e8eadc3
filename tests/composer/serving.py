"""A federation as people run it: per exchange one process for its switch and IX-API, one for its composer."""

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

import httpx2

from meetme.composer import store
from meetme.composer.client import ComposerClient
from meetme.ixapi.client import IxApiClient
from meetme.ixapi.credentials import ApiKey
from meetme.model.members import Member, MemberKind, Roster, ServiceUrls
from meetme.runtime.database import Database
from meetme.runtime.identity import create_identity, save_identity
from meetme.runtime.roster import write_roster
from meetme.runtime.tokens import create_token_file

START_SECONDS = 90.0
SECRET = "s" * 86


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """One process of `meetme serve`. Its ports stay the same when it is started again."""

    folder: Path
    services: tuple[str, ...]
    port: int
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        meetme = Path(sys.executable).with_name("meetme")
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                meetme, "serve", *self.services, "--config", str(self.folder / "meetme.toml"),
                stderr=log, env={**os.environ, "MEETME_DIR": str(self.folder)},
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while True:
                if self.process.returncode is not None:
                    raise AssertionError(self.log())
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return

    async def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    def log(self) -> str:
        """What it has said, in all its lives."""
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return self.folder / f"log-{self.services[0]}"


@dataclass
class Exchange:
    """One exchange."""

    name: str
    folder: Path
    local: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)
    ixapi: int = field(default_factory=free_port)
    configurator: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.switch = Process(self.folder, ("configurator", "ixapi"), self.ixapi)
        self.composer = Process(self.folder, ("composer",), self.local)

    def client(self) -> ComposerClient:
        return ComposerClient(f"http://127.0.0.1:{self.local}", (self.folder / "token").read_text().strip())

    async def services(self) -> list[str]:
        """The services that the exchange itself carries, by their `external_ref`."""
        client = IxApiClient(f"http://127.0.0.1:{self.ixapi}/api/v2", ApiKey("key", SECRET))
        try:
            found = await client.list("/network-services")
        finally:
            await client.close()
        return sorted(str(each.get("external_ref")) for each in found if each.get("state") not in GONE)

    def claims(self) -> list[str]:
        """What circuits have of it, in its composer's ledger."""
        database = Database.open(f"sqlite:///{self.folder}/composer.db")
        try:
            return sorted(map(str, database.run_now(store.all_held)))
        finally:
            database.close_now()


GONE = ("decommissioned", "archived", "cancelled")
CONFIG = """
[composer]
exchange = "http://127.0.0.1:{ixapi}/api/v2"
exchange_key = "key"
exchange_secret = "secret"
mandates = ["csp-a", "csp-b"]
interval = 1.0
database = "sqlite:///{folder}/composer.db"
listen = "127.0.0.1:{local}"
listen_peers = "127.0.0.1:{peers}"
[[composer.transit]]
latency_ms = 0.1
bandwidth = 100000
{ports}
[configurator]
driver = "memory"
database = "sqlite:///{folder}/configurator.db"
listen = "127.0.0.1:{configurator}"
[ixapi]
name = "{name}"
database = "sqlite:///{folder}/ixapi.db"
listen = "127.0.0.1:{ixapi}"
[[ixapi.switch]]
name = "s1"
configurator = "127.0.0.1:{configurator}"
underlay = "{underlay}"
[[ixapi.account]]
id = "composer"
api_key = "key"
api_secret_file = "secret"
managing = true
{connections}
"""


def write_exchange(exchange: Exchange, number: int, names: list[str]) -> None:
    """The settings of one exchange in a row of them: csp-a at the first (a1), csp-b at the last (b1)."""
    ports, connections = "", ""
    for index in (number - 1, number + 1):
        if 0 <= index < len(names):
            other = names[index]
            ports += f"""[[composer.port]]
id = "to-{other}"
bandwidth = 1000
neighbour = "{other}"
neighbour_port = "to-{exchange.name}"
"""
            connections += f"""[[ixapi.connection]]
id = "to-{other}"
account = "composer"
switch = "s1"
port = "eth{1 if index < number else 2}"
kind = "nni"
speed = 1000
remote = "10.9.{index}.1"
vni_base = {min(number, index) + 1}
"""
    for port, member, at in (("a1", "csp-a", 0), ("b1", "csp-b", len(names) - 1)):
        if number == at:
            ports += f'[[composer.port]]\nid = "{port}"\nbandwidth = 1000\nmember = "{member}"\n'
            connections += f'[[ixapi.connection]]\nid = "{port}"\naccount = "composer"\nswitch = "s1"\n'
            connections += f'port = "eth{2 if at else 1}"\nspeed = 1000\n'
    values = {"name": exchange.name, "folder": exchange.folder, "local": exchange.local, "peers": exchange.peers}
    values |= {"ixapi": exchange.ixapi, "configurator": exchange.configurator, "underlay": f"10.9.{number}.1"}
    text = CONFIG.format(**values, ports=ports, connections=connections)
    (exchange.folder / "meetme.toml").write_text(text)
    (exchange.folder / "secret").write_text(SECRET + "\n")
    (exchange.folder / "secret").chmod(0o600)


@asynccontextmanager
async def exchanges(tmp_path: Path, *names: str) -> AsyncIterator[dict[str, Exchange]]:
    """Exchanges in a row, running, once each composer knows of all the others."""
    found: dict[str, Exchange] = {}
    members = []
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        identity = create_identity(name)
        save_identity(identity, key=folder / "key.pem", certificate=folder / "certificate.pem")
        create_token_file(folder / "token")
        exchange = found[name] = Exchange(name, folder)
        urls = ServiceUrls(composer=f"https://127.0.0.1:{exchange.peers}")
        members.append(Member(identity.member, MemberKind.IXP, (identity.pin,), (identity.certificate,), urls=urls))
    async with contextlib.AsyncExitStack() as stack:
        for number, exchange in enumerate(found.values()):
            write_exchange(exchange, number, list(names))
            write_roster(exchange.folder / "roster.toml", Roster(tuple(members)))
            stack.push_async_callback(exchange.switch.kill)
            stack.push_async_callback(exchange.composer.kill)
        await asyncio.gather(*(exchange.switch.start() for exchange in found.values()))
        await asyncio.gather(*(exchange.composer.start() for exchange in found.values()))
        for exchange in found.values():
            await knows(exchange, len(names))
        yield found


async def knows(exchange: Exchange, number: int) -> None:
    """Wait until its composer knows of so many exchanges."""
    token = (exchange.folder / "token").read_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    async with asyncio.timeout(30), httpx2.AsyncClient(headers=headers, trust_env=False) as http:
        while True:
            answer = await http.get(f"http://127.0.0.1:{exchange.local}/api/v1/topology")
            if len(answer.json()["exchanges"]) == number:
                return
            await asyncio.sleep(0.1)
