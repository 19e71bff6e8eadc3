"""The configurator as its systemd unit runs it: an ordinary user with four capabilities, and none of them in vain."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meetme.configurator.client import open_configurator
from meetme.model.errors import MeetMeError
from meetme.model.intent import LinkEventKind, LinkIntent, ProbeRequest
from tests.live.host import _python_home, why_not_as_user
from tests.live.pair import Announced, apply, intents
from tests.live.world import Machine, World, ping, world
from tests.packaging.units import capabilities

USER = 64123
"""Nobody's number."""
UNIT = "meetme-configurator.service"
HERE = [Announced("10.0.0.0/24", "172.16.0.0/24", "viewer")]
THERE = [Announced("10.0.0.0/24", "172.16.1.0/24", "viewer")]
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(why_not_as_user() is not None, reason=str(why_not_as_user())),
]


def no_new_code() -> None:
    """As MemoryDenyWriteExecute does; an older kernel knows of no such thing, and the test goes on without."""
    ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)


class Router:
    """A border router with the configurator on it, in the way of the unit."""

    def __init__(self, machine: Machine, folder: Path, allowed: list[str]) -> None:
        self.machine = machine
        self.target = f"unix:{folder}/socket"
        self.log = folder / "log"
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.told.settimeout(30)
        for path in (folder, folder / "notify"):
            os.chown(path, USER, USER)
        # As tmpfiles.d has it: the names of the namespaces are the service's own.
        machine.sh(f"mkdir -p /run/netns /run/meetme && chown {USER} /run/netns /run/meetme")
        if home := _python_home():
            machine.sh(
                f"mkdir /run/python && mount --rbind {home} /run/python && mount -t tmpfs -o mode=755 tmpfs /root"
                f" && mkdir -p {home} && mount --rbind /run/python {home}"
            )
        caps = ",".join(["-all", *(f"+{name}" for name in allowed)])
        become = [
            "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
            f"--bounding-set={caps}", f"--inh-caps={caps}", f"--ambient-caps={caps}",
        ]  # fmt: skip
        serve = [
            sys.executable, "-P", "-c", "from meetme.cli.main import main; main()", "serve", "configurator",
            f"--listen={self.target}", f"--database=sqlite:///{folder}/configurator.db", "--log-format=json",
        ]  # fmt: skip
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("MEETME_")},
            "HOME": str(folder),
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                ["nsenter", "-t", str(machine.pid), "-n", "-m", *become, *serve],
                env=environment,
                cwd=folder,
                stdout=out,
                stderr=out,
                preexec_fn=no_new_code,
            )

    def hear(self) -> bytes:
        try:
            return self.told.recv(1000)
        except TimeoutError:
            raise AssertionError(self.log.read_text()) from None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.told.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that an ordinary user gets into, unlike pytest's."""
    made = Path(tempfile.mkdtemp(prefix="least-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def build(w: World) -> tuple[Machine, Machine]:
    """Two border routers, each with a LAN of its own that has the same addresses."""
    routers = w.machine("router1", forwards=True), w.machine("router2", forwards=True)
    w.cable(routers[0], "x", routers[1], "x")
    for router in routers:
        w.cable(router, "lan", w.machine(f"host of {router.name}"), "lan")
        router.sh("ip address add 10.0.0.1/24 dev lan")
    return routers


def both() -> tuple[LinkIntent, LinkIntent]:
    return intents(HERE, THERE, probe_a="10.0.0.1", probe_b="10.0.0.1")


async def order(router: Router, other: Machine) -> None:
    """The whole life of a link. Raises MeetMeError or AssertionError where something is not allowed."""
    here, there = both()
    await asyncio.to_thread(apply, other, there)
    control = await open_configurator(router.target)
    try:
        assert await control.apply(here, confirm_seconds=60)
        report = await control.probe(ProbeRequest(here.circuit, here.probe_source, here.peer_probe, (84, 1500), 5.0))
        assert report.answered == (84, 1500)
        await control.confirm(here.circuit, here.agreement, 1)
        assert await asyncio.to_thread(ping, router.machine, str(here.peer_probe), own="10.0.0.1")
        events = control.watch()
        async with asyncio.timeout(10):
            assert (await anext(events)).in_sync
            await asyncio.to_thread(router.machine.sh, "ip route del 172.16.1.0/24")
            while (await anext(events)).kind is not LinkEventKind.REPAIRED:
                pass
        assert (await control.remove(here.circuit, here.agreement, 2)).left_on_device == ()
    finally:
        await control.close()
    assert "cannot be followed" not in router.log.read_text(), "events are heard, not only looked for"
    assert "172.16.1.0" not in router.machine.sh("ip route")
    assert router.machine.sh("ls /run/netns /run/meetme/netns 2>/dev/null | grep -v : || true").split() == []


async def test_a_link_from_end_to_end_and_the_manager_is_told(folder: Path) -> None:
    with world() as w:
        one, two = build(w)
        router = Router(one, folder, capabilities(UNIT))
        try:
            heard = {await asyncio.to_thread(router.hear) for _ in range(4)}
            assert heard == {b"READY=1", b"WATCHDOG=1"}
            status = one.sh(f"cat /proc/{router.process.pid}/status").split("\n")
            facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
            assert facts["NoNewPrivs"] == "1"
            assert facts["Uid"].split() == [str(USER)] * 4
            assert facts["CapEff"] == facts["CapBnd"] == facts["CapPrm"]
            assert int(facts["CapEff"], 16).bit_count() == 4
            await order(router, two)
            router.told.setblocking(False)
            with suppress(BlockingIOError):
                while router.told.recv(1000):
                    pass
            router.told.settimeout(30)
            router.process.send_signal(signal.SIGTERM)
            while (await asyncio.to_thread(router.hear)) != b"STOPPING=1":
                pass
            assert router.process.wait(20) == 0
        finally:
            router.close()


@pytest.mark.slow
@pytest.mark.parametrize("without", capabilities(UNIT))
async def test_no_capability_is_there_in_vain(without: str, folder: Path) -> None:
    with world() as w:
        one, two = build(w)
        router = Router(one, folder, [name for name in capabilities(UNIT) if name != without])
        try:
            with pytest.raises((MeetMeError, AssertionError, TimeoutError)):  # noqa: PT012 - it may not even start
                while (await asyncio.to_thread(router.hear)) != b"READY=1":
                    pass
                await order(router, two)
        finally:
            router.close()
