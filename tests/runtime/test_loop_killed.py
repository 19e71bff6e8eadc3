"""The loop in a process of its own that is killed again and again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from meetme.runtime.database import Database
from meetme.runtime.ledger import Ledger, Owed

from .machines import Notebook

CHAIN = 30
CHILD = f"""
import asyncio, sys
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from meetme.runtime.loop import Ledger, Loop, Owed
from tests.runtime.machines import Notebook

async def main(url):
    def reaction(state, event):
        return (Owed(f"k{{len(state)}}", "send", str(len(state))),) if len(state) <= {CHAIN} else ()
    async def perform(lease):
        print(lease.body, flush=True)
        await asyncio.sleep(0.002)
        return "x/" + lease.body
    database = Database.open(url)
    loop = Loop(database, Ledger(), Notebook(reaction), perform, owner="child", clock=SystemClock(), lease_seconds=0.2)
    await loop.run()

asyncio.run(main(sys.argv[1]))
"""


async def test_kill_9_loses_nothing_and_delivers_every_result_once(database: Database, database_url: str) -> None:
    ledger = Ledger()
    machine = Notebook(lambda _state, _event: (Owed("k1", "send", "1"),))
    database.run_now(lambda tx: ledger.deliver(tx, machine, "x", "x/0", 0.0))

    def owed() -> bool:
        return bool(database.run_now(lambda tx: ledger.owed(tx, "notebook", "x")))

    performed: list[int] = []
    kills = 0
    while owed():
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD,
            database_url,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": ""},
        )
        for _ in range(9):  # nine effects, then it dies in the middle of the tenth
            line = await child.stdout.readline()
            performed.append(int(line))
            if performed[-1] == CHAIN:
                async with asyncio.timeout(10):
                    while owed():  # noqa: ASYNC110 - another process settles it
                        await asyncio.sleep(0.005)
                break
        child.send_signal(signal.SIGKILL)
        await child.wait()
        performed += [int(line) for line in (await child.stdout.read()).split()]
        kills += 1
    assert kills >= 3
    assert database.run_now(lambda tx: machine.load(tx, "x")) == tuple(f"x/{n}" for n in range(CHAIN + 1))
    assert sorted(set(performed)) == list(range(1, CHAIN + 1)), "each at least once"
    assert performed == sorted(performed), "and none again after it was settled"
