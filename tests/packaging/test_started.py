"""The systemd units, started by a real systemd: in the machine of `make test-kernel`, which is thrown away afterwards.

As the how-to says it: the wheel in /opt/meetme, the units, accounts and folders in their places, one /etc/meetme.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meetme.configurator.client import open_configurator
from meetme.model.intent import LinkEventKind, ProbeRequest
from tests.live.pair import Announced, apply, intents
from tests.live.world import World, eventually, ping, why_not, world

from .units import FOLDER, PROGRAM, capabilities, settings

WHY_NOT = (
    why_not()
    if os.environ.get("MEETME_TEST_MACHINE") and Path("/run/systemd/system").is_dir()
    else "installs units in the machine's own systemd: `make test-kernel` boots a machine for it"
)
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

CONFIGURATOR, NEGOTIATOR = "meetme-configurator", "meetme-negotiator"
UNITS = (CONFIGURATOR, NEGOTIATOR, "meetme-ixapi", "meetme-composer", "meetme-catalog")
SOCKET = Path("/run/meetme-configurator/socket")
HERE = [Announced("10.0.0.0/24", "172.16.0.0/24", "viewer")]
THERE = [Announced("10.0.0.0/24", "172.16.1.0/24", "viewer")]
SETTINGS = f"""
[negotiator]
border_router_port = "x"
local_subnet = ["10.0.0.0/24"]
private_networks = ["172.16.0.0/12"]
negotiated_networks = ["169.254.100.0/24"]
configurator = ["router1=unix:{SOCKET}"]
listen_peers = "127.0.0.1:8470"

[configurator]
listen = "unix:{SOCKET}"

[composer]
exchange = "http://127.0.0.1:8474/api/v2"
exchange_key = "a-key-of-16-char"
country = "DE"
listen_peers = "127.0.0.1:8482"

[catalog]
listen_peers = "127.0.0.1:8483"

[ixapi]
name = "IX Example"
country = "DE"

[[ixapi.switch]]
name = "s1"
configurator = "unix:{SOCKET}"

[[ixapi.account]]
id = "composer"
managing = true
api_key = "a-key-of-16-char"
api_secret_file = "/run/credentials/meetme-ixapi.service/accounts_composer"
"""


def run(*command: str, check: bool = True, seconds: float = 900) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}{journal()}")
    return done.stdout.strip()


def journal() -> str:
    return subprocess.run(
        ["journalctl", "-b", "-q", "-n", "60", "-o", "cat", *(f"-u{unit}" for unit in UNITS)],
        capture_output=True,
        text=True,
    ).stdout


def shown(unit: str, *keys: str) -> list[str]:
    """Properties of a unit, as systemd has them."""
    lines = run("systemctl", "show", unit, *(f"-p{key}" for key in keys)).splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return [found[key] for key in keys]


def process(unit: str) -> dict[str, str]:
    """What the kernel says of a service's main process."""
    (pid,) = shown(unit, "MainPID")
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.fixture(scope="module")
def installed() -> None:
    """As the how-to has it."""
    for unit in FOLDER.glob("*.service"):
        shutil.copy(unit, "/etc/systemd/system")
    # A machine that is emulated takes minutes for what takes a second: how long is waited is no matter of these tests.
    patience = Path("/etc/systemd/system/meetme-.service.d/emulated.conf")
    patience.parent.mkdir()
    patience.write_text("[Service]\nTimeoutStartSec=infinity\nTimeoutStopSec=600\nWatchdogSec=600\n")
    for kind in ("sysusers", "tmpfiles"):
        Path(f"/etc/{kind}.d").mkdir(exist_ok=True)
        shutil.copy(FOLDER / f"{kind}.conf", f"/etc/{kind}.d/meetme.conf")
    run("systemd-sysusers")
    run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/meetme.conf")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    run(PROGRAM, "identity", "init", "--id", "csp-a")
    folder = Path("/etc/meetme")
    folder.chmod(0o755)
    (folder / "meetme.toml").write_text(SETTINGS)
    (folder / "accounts").mkdir(mode=0o700)
    for secret in (folder / "exchange-secret", folder / "accounts/composer"):
        secret.touch(mode=0o600)
        secret.write_text("S" * 86)
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
    run("systemctl", "daemon-reload")


@pytest.fixture(scope="module")
def started(installed: None) -> Iterator[None]:
    for unit in UNITS:
        run("systemctl", "start", unit)
    yield
    run("systemctl", "stop", *UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_it_is_active_and_hardened(started: None, unit: str) -> None:
    assert shown(unit, "ActiveState", "SubState", "Type", "NRestarts") == ["active", "running", "notify", "0"]
    seen = process(unit)
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2")
    assert "0" not in seen["Uid"].split()
    expected = len(capabilities(f"{unit}.service"))
    assert expected == (4 if unit == CONFIGURATOR else 0)
    for key in ("CapEff", "CapBnd", "CapPrm", "CapAmb"):
        assert int(seen[key], 16).bit_count() == expected
    log = journal()
    assert "Traceback" not in log


def test_the_exchange_is_asked_with_its_secret(started: None) -> None:
    """The composer logs in at the IX-API beside it: both have their copies of the secret."""

    log = run("journalctl", "-b", "-q", "-o", "cat", "-u", "meetme-composer")
    assert "composer listens" in log
    assert "the exchange does not list its connections" not in log, log


def test_the_negotiator_sees_its_router(started: None) -> None:
    answer = run(PROGRAM, "doctor", "--only", "member", "--format", "json", check=False)
    assert "router1" in answer
    assert "configurator_unreachable" not in answer


@pytest.fixture
def peer() -> Iterator[World]:
    """This machine is the border router: a LAN of its own, and a partner's router behind its port x."""
    with world() as w:
        other = w.machine("router2", forwards=True)
        host = w.machine("host of router2")
        w.cable(other, "lan", host, "lan")
        other.sh("ip address add 10.0.0.1/24 dev lan")
        run("ip", "link", "add", "x", "type", "veth", "peer", "name", "x", "netns", str(other.pid))
        run("ip", "link", "set", "x", "up")
        other.sh("ip link set x up")
        run("ip", "link", "add", "lan", "type", "dummy")
        run("ip", "address", "add", "10.0.0.1/24", "dev", "lan")
        run("ip", "link", "set", "lan", "up")
        try:
            yield w
        finally:
            run("ip", "link", "delete", "lan")
            run("ip", "link", "delete", "x", check=False)


def answers() -> bool:
    """Whether the partner's router is reached from here, through the circuit."""
    done = subprocess.run(
        ["ping", "-n", "-q", "-c1", "-W2", "-I", "10.0.0.1", "172.16.1.1"], capture_output=True, check=False
    )
    return done.returncode == 0


async def test_a_circuit_is_programmed_outlives_the_service_and_goes(started: None, peer: World) -> None:
    here, there = intents(HERE, THERE, probe_a="10.0.0.1", probe_b="10.0.0.1")
    apply(peer.machines["router2"], there)
    assert here.probe_source
    assert here.peer_probe
    control = await open_configurator(f"unix:{SOCKET}")
    try:
        assert await control.apply(here, confirm_seconds=120)
        report = await control.probe(ProbeRequest(here.circuit, here.probe_source, here.peer_probe, (84, 1500), 20.0))
        assert report.answered == (84, 1500)
        await control.confirm(here.circuit, here.agreement, 1)
    finally:
        await control.close()
    assert answers()
    namespaces = run("ip", "netns", "list").split()
    assert len([name for name in namespaces if not name.startswith("(")]) >= 1
    assert "dnat ip prefix" in run("ip", "netns", "exec", namespaces[0], "nft", "list", "ruleset")
    assert await asyncio.to_thread(ping, peer.machines["router2"], "172.16.0.1", own="10.0.0.1")

    run("systemctl", "stop", CONFIGURATOR)
    assert shown(CONFIGURATOR, "ActiveState", "Result") == ["inactive", "success"]
    assert answers(), "the circuit outlives the service"
    run("systemctl", "start", CONFIGURATOR)
    run("systemctl", "kill", "--signal=KILL", "--kill-who=main", CONFIGURATOR)
    assert answers()
    assert await asyncio.to_thread(
        eventually, lambda: shown(CONFIGURATOR, "ActiveState", "NRestarts") == ["active", "1"], 600
    )

    control = await open_configurator(f"unix:{SOCKET}")
    try:
        events = control.watch()
        async with asyncio.timeout(60):
            assert (await anext(events)).in_sync
            run("ip", "route", "del", "172.16.1.0/24")
            while (await anext(events)).kind is not LinkEventKind.REPAIRED:
                pass
        assert (await control.remove(here.circuit, here.agreement, 2)).left_on_device == ()
    finally:
        await control.close()
    assert not answers()
    assert run("ip", "netns", "list") == ""
    assert "172.16.1.0" not in run("ip", "route")


TRY = """
import ctypes, json, os, socket, sys
libc, found = ctypes.CDLL(None, use_errno=True), {}
def attempt(name, does):
    try:
        found[name] = does() or "done"
    except OSError as error:
        found[name] = "refused"
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno())
def program():
    import subprocess
    if subprocess.run(["ip", "link", "add", "evil", "type", "dummy"], capture_output=True).returncode:
        raise OSError
    subprocess.run(["ip", "link", "delete", "evil"])
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close())
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
attempt("link", program)
attempt("name", lambda: os.close(os.open("/run/netns/evil", os.O_CREAT | os.O_EXCL)) or os.unlink("/run/netns/evil"))
attempt("anywhere", lambda: open("/run/open/evil", "x").close() or os.unlink("/run/open/evil"))
attempt("namespace", lambda: call(libc.unshare(0x40000000)))
attempt("key", lambda: open("/etc/meetme/key.pem").close())
attempt("program", lambda: os.close(os.open(sys.argv[0], os.O_WRONLY)))
attempt("module", lambda: call(libc.syscall(313, -1, b"", 0)))
attempt("clock", lambda: __import__("time").clock_settime(0, __import__("time").time()))
print(json.dumps(found))
"""
ALLOWED = {"netlink", "raw", "link", "name", "namespace", "anywhere"}
"""What programming a router takes; and a service that has no mounts of its own can write wherever everybody can."""


@pytest.mark.parametrize("unit", UNITS)
def test_only_the_configurator_can_program_the_kernel(installed: None, unit: str) -> None:
    """The unit as it is, with a program in the service's place that tries."""
    script = Path("/opt/meetme/try.py")
    script.write_text(TRY)
    Path("/run/open").mkdir(exist_ok=True)
    Path("/run/open").chmod(0o777)
    text = (FOLDER / f"{unit}.service").read_text().splitlines()
    kept = [line for line in text if not line.startswith(("ExecStart=", "Type=", "WatchdogSec=", "Restart"))]
    place = kept.index("[Service]") + 1
    output = Path(f"/run/{unit}-try.json")
    kept[place:place] = [
        "Type=oneshot",
        f"ExecStart=/opt/meetme/bin/python {script}",
        f"StandardOutput=truncate:{output}",
    ]
    name = f"{unit}-try"
    Path(f"/etc/systemd/system/{name}.service").write_text(
        "\n".join(kept).replace("RuntimeDirectory=meetme-configurator", "RuntimeDirectory=meetme-configurator-try")
    )
    run("systemctl", "daemon-reload")
    run("systemctl", "start", name)
    found = json.loads(output.read_text())
    may = {tried for tried, result in found.items() if result == "done"}
    assert len(found) == 10
    assert may == (ALLOWED if unit == CONFIGURATOR else set())


def test_one_that_is_stuck_is_started_again(started: None) -> None:
    drop = Path(f"/etc/systemd/system/{NEGOTIATOR}.service.d")
    drop.mkdir()
    (drop / "soon.conf").write_text("[Service]\nWatchdogSec=30\nTimeoutAbortSec=1\n")
    assert settings(f"{NEGOTIATOR}.service")["WatchdogSec"] == ["30"]
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", NEGOTIATOR)
    run("systemctl", "kill", "--signal=STOP", "--kill-who=main", NEGOTIATOR)
    assert eventually(lambda: shown(NEGOTIATOR, "ActiveState", "NRestarts") == ["active", "1"], 600)
    assert "watchdog" in run("journalctl", "-b", "-q", "-o", "cat", "-u", NEGOTIATOR).lower()
    shutil.rmtree(drop)
    run("systemctl", "daemon-reload")


def test_all_stop_and_leave_what_they_are_meant_to(started: None) -> None:
    run("systemctl", "stop", *UNITS)
    for unit in UNITS:
        assert shown(unit, "ActiveState", "Result") == ["inactive", "success"]
    assert list(Path("/run/credentials").glob("meetme-*")) == []
    assert not SOCKET.exists()
    for unit in UNITS:
        folder = Path("/var/lib", unit).resolve()
        assert [path.name for path in folder.rglob("*.db")] == [f"{unit.removeprefix('meetme-')}.db"]
        assert folder.stat().st_mode & 0o077 == 0
    assert run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "meetme-*") == ""
    run("systemctl", "start", *UNITS)
    for unit in UNITS:
        assert shown(unit, "ActiveState") == ["active"]
