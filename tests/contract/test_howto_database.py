"""The how-tos on databases do what they say: their very commands are run, on members that run and have agreements."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from meetme.negotiator import logbook, store
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.states import ENDED, State
from meetme.negotiator.views import StartRequest
from meetme.runtime.database import Database

from .processes import Company, companies
from .test_negotiator_configurator import Box, box

HOW_TO = Path(__file__).parents[2] / "docs/how-to"
CIRCUITS = ("c1", "c2", "c3")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def commands(page: str, heading: str) -> list[str]:
    """Each `sh` block under a heading."""
    section = (HOW_TO / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


class Member:
    """csp-a, whose machine is a folder: paths, units and the database server of the pages are its own."""

    def __init__(self, company: Company, root: Path, postgresql: str) -> None:
        self.company = company
        self.replica = company.replicas[0]
        self.root = root
        self.postgresql = postgresql
        self.output = ""

    async def do(self, block: str) -> str:
        """Run the commands of a block."""
        script = re.sub(r"(?<![\w.])/(var/lib/meetme-negotiator|var/backups|etc)\b", rf"{self.root}/\1", block)
        script = script.replace("postgresql://meetme@db.example/meetme", f"'{self.postgresql}'")
        shell: list[str] = []
        said = ""
        for line in script.splitlines():
            if not line.startswith("systemctl "):
                shell.append(line)
                continue
            said += await self._shell("\n".join(shell))
            shell.clear()
            await (self.replica.kill() if " stop " in line else self.replica.start())
        return said + await self._shell("\n".join(shell))

    async def _shell(self, script: str) -> str:
        path = f"{Path(sys.executable).parent}:{PROGRAMS[-1]}:{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            "bash", "-euc", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PATH": path, "MEETME_DIR": str(self.company.folder),
                 "MEETME_URL": f"http://127.0.0.1:{self.replica.local}"},
        )  # fmt: skip
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, f"{script}\n{said}"
        return said


class World:
    def __init__(self, a: Member, b: Company, boxes: tuple[Box, Box]) -> None:
        self.a, self.b, self.boxes = a, b, boxes

    async def connect(self, circuit: str) -> UUID:
        async with self.a.replica.client() as client:
            started = await client.start(StartRequest("csp-b", circuit=circuit))
            async with asyncio.timeout(40):
                while (view := await client.negotiation(started.id)).state is not State.ACTIVE:
                    assert view.state not in ENDED, view.problem
                    await asyncio.sleep(0.05)
            return started.id

    async def terminate(self, id: UUID) -> None:
        async with self.a.replica.client() as client:
            await client.terminate(id)
            async with asyncio.timeout(40):
                while (await client.negotiation(id)).state is not State.TERMINATED:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def agree(self, in_force: dict[str, UUID]) -> None:
        """Wait until both members and both routers say that exactly this is in force."""
        seen: object = None
        try:
            async with asyncio.timeout(60), self.a.replica.client() as mine, self.b.replicas[0].client() as theirs:
                while True:
                    views = [await mine.negotiations(), await theirs.negotiations()]
                    live = [{v.circuit: (v.id, v.state) for v in side if v.state not in ENDED} for side in views]
                    routers = [sorted(each.device.circuits) for each in self.boxes]
                    wanted = {circuit: (id, State.ACTIVE) for circuit, id in in_force.items()}
                    if live == [wanted, wanted] and routers == [sorted(in_force)] * 2:
                        return
                    seen = (live, routers)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(seen) from None

    async def live_on(self, first: dict[str, UUID], *, backup: list[str], restore: str) -> dict[str, UUID]:
        """Back up; one ends, another takes its circuit, a third is made; restore. What is in force stays so."""
        for block in backup:
            await self.a.do(block)
        await self.terminate(first["c2"])
        second = {"c1": first["c1"], "c2": await self.connect("c2"), "c3": await self.connect("c3")}
        await self.agree(second)
        configured = [dict(each.device.circuits) for each in self.boxes]
        await self.a.do(restore)
        await self.agree(second)
        assert [dict(each.device.circuits) for each in self.boxes] == configured, "as it was, to the letter"
        return second


def whole(database: Database) -> None:
    """The audit log is, and every alias belongs to one agreement."""
    assert database.run_now(logbook.verify_audit) is None
    live = [n for n in database.run_now(store.negotiations) if n.state not in ENDED]
    holders = {database.run_now(lambda tx, n=n: store.claimant(tx, "circuit", n.circuit)) for n in live}
    assert holders == {n.id for n in live}


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_back_up_restore_and_move(tmp_path: Path, new_postgresql: Callable[[str], str]) -> None:
    server = Database.open(new_postgresql("other"))
    server.run_now(lambda tx: tx.execute(text("DROP ROLE IF EXISTS member")))
    server.run_now(lambda tx: tx.execute(text("CREATE ROLE member LOGIN")))
    url = new_postgresql("meetme")
    server.run_now(lambda tx: tx.execute(text("ALTER DATABASE meetme OWNER TO member")))
    root = tmp_path / "root"
    for folder in ("var/lib/meetme-negotiator/meetme", "var/backups", "etc"):
        (root / folder).mkdir(parents=True)
    file = root / "var/lib/meetme-negotiator/meetme/negotiator.db"
    async with box() as one, box() as two:
        urls = {"a": f"sqlite:///{file}", "b": f"sqlite:///{tmp_path}/b.db"}
        targets = {"a": one.address, "b": two.address}
        async with companies(tmp_path, urls, targets, {"a": 1, "b": 1}) as (a, b):
            (root / "etc/meetme").symlink_to(a.folder)
            member = Member(a, root, url.replace("//meetme@", "//member@"))
            world = World(member, b, (one, two))
            for replica in (a.replicas[0], b.replicas[0]):
                async with replica.client() as client:
                    for vlan, circuit in enumerate(CIRCUITS, start=1):
                        await client.put_attachment(circuit, Attachment("r1", "eth1", vlan))
            in_force = {"c1": await world.connect("c1"), "c2": await world.connect("c2")}

            etc, sqlite, postgresql = commands("back-up-and-restore.md", "Back up")
            from_sqlite, from_postgresql = commands("back-up-and-restore.md", "Restore")
            in_force = await world.live_on(in_force, backup=[etc, sqlite], restore=from_sqlite)
            whole(a.database)

            dry, copy, start = commands("move-to-postgresql.md", "Copy, then switch")
            assert "negotiator_negotiation" in await member.do(dry)
            await member.do(copy)
            toml = re.findall(r"^```toml\n(.*?)^```", (HOW_TO / "move-to-postgresql.md").read_text(), re.S | re.M)[0]
            assert tomllib.loads(toml)["negotiator"] == {"database": "postgresql://meetme@db.example/meetme"}
            settings = a.folder / "meetme.toml"
            settings.write_text(settings.read_text().replace(a.url, member.postgresql))
            status = await member.do(start)
            assert all(str(id)[:8] in status for id in in_force.values()), status
            await world.agree(in_force)
            moved = Database.open(member.postgresql)
            whole(moved)

            await world.terminate(in_force.pop("c3"))
            in_force = await world.live_on(in_force, backup=[postgresql], restore=from_postgresql)
            whole(moved)
            for id in in_force.values():
                await world.terminate(id)
            await world.agree({})
            await moved.close()
    await server.close()
