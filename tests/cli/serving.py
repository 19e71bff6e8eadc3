"""Members as people run them: `meetme serve`, one process a service, with routers that live in memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meetme.runtime.identity import create_identity, save_identity

MEETME = [sys.executable, "-c", "from meetme.cli.main import main; main()"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """One process of `meetme serve`, with all that it logged."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it logged: every line has to be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def await_line(self, event: str, seconds: float = 90.0) -> dict[str, Any]:
        """The first line of that event, once there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if line.endswith("}") and json.loads(line)["event"] == event:
                    return json.loads(line)
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"{event}: not within {seconds} s\n{self.log.read_text()}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@dataclass
class Member:
    """One member: its folder, its ports, its processes."""

    name: str
    folder: Path
    peers: int
    local: int = field(default_factory=free_port)
    configurator_port: int = field(default_factory=free_port)
    negotiator_metrics: int = field(default_factory=free_port)
    configurator_metrics: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MEETME_", "OTEL_", "COLUMNS"))},
            "MEETME_DIR": str(self.folder),
            "MEETME_URL": f"http://127.0.0.1:{self.local}",
            "NO_COLOR": "1",
        }

    def run(self, *arguments: str, status: int | None = 0) -> str:
        """Run a verb of this member; what it printed."""
        done = subprocess.run(
            [*MEETME, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert status in (None, done.returncode), f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, status: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--format", "json", status=status))

    def serve(self, service: str, *flags: str, **environment: str) -> Served:
        log = self.folder / f"{service}.log"
        command = [*MEETME, "serve", service, "--config", str(self.folder / "meetme.toml"), "--log-format", "json"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *flags], env={**self.environment, **environment}, stdout=out, stderr=out
            )
        return Served(process, log)


def write_members(folder: Path, names: Sequence[str] = ("csp-a", "csp-b")) -> list[Member]:
    """Folders as an operator would have made them, each with every peer in its roster."""
    members = [Member(name, folder / name, free_port()) for name in names]
    identities = {member.name: create_identity(member.name) for member in members}
    for member in members:
        (member.folder / "peers").mkdir(parents=True)
        own = identities[member.name]
        save_identity(own, key=member.folder / "key.pem", certificate=member.folder / "certificate.pem")
        (member.folder / "token").write_text(f"the-token-of-{member.name}\n")
        roster = []
        for other in members:
            certificate = f"peers/{other.name}.pem"
            (member.folder / certificate).write_bytes(identities[other.name].certificate)
            roster += [
                "[[member]]",
                f'id = "{other.name}"',
                'kind = "csp"',
                f'pins = ["{identities[other.name].pin}"]',
                f'negotiator = "https://127.0.0.1:{other.peers}"',
            ]
        (member.folder / "roster.toml").write_text("\n".join(roster) + "\n")
        (member.folder / "meetme.toml").write_text(
            f"""
[negotiator]
border_router_port = "eth1"
local_subnet = ["10.0.0.0/24"]
private_networks = ["172.16.0.0/12"]
negotiated_networks = ["169.254.100.0/24"]
configurator = ["r1=127.0.0.1:{member.configurator_port}"]
database = "sqlite:///{member.folder}/negotiator.db"
listen = "127.0.0.1:{member.local}"
listen_peers = "127.0.0.1:{member.peers}"
listen_metrics = "127.0.0.1:{member.negotiator_metrics}"
[configurator]
driver = "memory"
database = "sqlite:///{member.folder}/configurator.db"
listen = "127.0.0.1:{member.configurator_port}"
listen_metrics = "127.0.0.1:{member.configurator_metrics}"
"""
        )
    return members


@dataclass
class Running:
    """A member with both its services up."""

    member: Member
    negotiator: Served
    configurator: Served


@contextmanager
def running(folder: Path, *flags: str, **environment: str) -> Iterator[list[Running]]:
    """csp-a and csp-b, up and ready. Ended at the end, whatever became of them."""
    served: list[Served] = []
    try:
        up = []
        for member in write_members(folder):
            configurator, negotiator = (
                member.serve(service, *flags, **environment) for service in ("configurator", "negotiator")
            )
            served += [configurator, negotiator]
            up.append(Running(member, negotiator, configurator))
        for each in up:
            each.configurator.await_line("configurator listens")
            each.negotiator.await_line("negotiator listens")
        yield up
    finally:
        for each in served:
            each.process.terminate()
        for each in served:
            try:
                each.process.wait(20)
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()
