"""`meetme bench links`: one border router with many agreements: how many a second, how much memory, healed how fast."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from meetme.cli.bench import baseline, spread, until
from meetme.cli.member import DEFAULT_URL, read_token
from meetme.configurator.client import open_configurator
from meetme.lab import host
from meetme.lab.source import find_lab, read_lab
from meetme.model.errors import DeviceFailed, Fault, MeetMeError
from meetme.negotiator.client import NegotiatorClient
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.views import NegotiationView, StartRequest

FIRST_PORT = 3
"""Of the routers in the lab: eth0 to eth2 are the thesis's own."""
AT_A_TIME = 8
"""Agreements under way together."""
IN_TURN = 20
"""Agreements made one after another, with nothing else and then beside all the others."""
HEAL_SECONDS = 900.0
ATTEMPTS = 3


def run(count: int) -> dict[str, Any]:
    """Build a lab of two members with `count` circuits between them, measure, take it down."""
    with tempfile.TemporaryDirectory(prefix="meetme-bench-") as folder:
        directory = _lab(Path(folder), count + 1)
        click.echo(f"building a lab with {count + 1} circuits ...", err=True)
        lab = host.up(read_lab(directory), timeout=600.0)
        try:
            for machine in ("router2", "router1"):
                _inside(lab, machine, "attach", count)
            figures = _inside(lab, "router1", "measure", count)
        finally:
            host.down(directory)
    return figures


def _lab(folder: Path, circuits: int) -> Path:
    """The thesis's lab, with as many more links between its routers."""
    directory = folder / "links"
    shutil.copytree(find_lab("thesis"), directory)
    ports = range(FIRST_PORT, FIRST_PORT + circuits)
    with open(directory / "lab.conf", "a", encoding="utf-8") as conf:
        conf.writelines(f'router{side}[{port}]="L{port}"\n' for port in ports for side in (1, 2))
    for settings in directory.glob("router*/etc/meetme/meetme.toml"):
        wider = re.sub(r"private_networks = .*", 'private_networks = ["100.64.0.0/10"]', settings.read_text())
        settings.write_text(wider)
    return directory


def _inside(lab: host.Lab, machine: str, part: str, count: int) -> dict[str, Any]:
    process = lab.popen(
        machine,
        ["meetme", "bench", "links", "--inside", part, "--count", str(count)],
        stdout=subprocess.PIPE,
    )
    try:
        said, _ = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise DeviceFailed("bench_failed", f"bench: {part} in {machine} failed; see above", fault=Fault.LOCAL)
    found: dict[str, Any] = json.loads(said)
    return found


async def attach(count: int) -> dict[str, Any]:
    """Run in a border router of the lab: say where each circuit lands."""
    router = os.uname().nodename
    async with NegotiatorClient(DEFAULT_URL, read_token(None)) as client:
        for number in range(count + 1):
            await client.put_attachment(_circuit(number), Attachment(router, f"eth{FIRST_PORT + number}"))
    return {}


def _circuit(number: int) -> str:
    return f"bench-{number}"


async def measure(count: int) -> dict[str, Any]:
    """Run in router1: `count` agreements with csp-b, each over a circuit of its own; the last circuit stays free."""
    spare = _circuit(count)
    async with NegotiatorClient(DEFAULT_URL, read_token(None)) as client:
        alone = [await _there_and_back(client, spare) for _ in range(IN_TURN)]
        empty = _memory()
        click.echo(f"{count} agreements, {AT_A_TIME} at a time ...", err=True)
        began = time.monotonic()
        made = await _many(count, lambda number: _connected(client, _circuit(number)))
        seconds = time.monotonic() - began
        full = _memory()
        click.echo(f"made in {seconds:.1f} s; some more beside them ...", err=True)
        beside = [await _there_and_back(client, spare) for _ in range(IN_TURN)]
        click.echo("the router loses everything ...", err=True)
        healed, crossing = await _reboot(count, made)
        click.echo("taking everything back ...", err=True)
        began = time.monotonic()
        await _many(count, lambda number: _taken_back(client, made[number]))
        undone = time.monotonic() - began
    return {
        "count": count,
        "agreements_per_second": count / seconds,
        "terminations_per_second": count / undone,
        "memory_mib": {"empty": empty, "full": full},
        "seconds_to_heal": healed,
        "seconds_until_packets_cross_again": crossing,
        "milliseconds": {"alone": spread(alone), f"beside {count}": spread(beside), "baseline": _baselines()},
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
    }


async def _many(count: int, work: Callable[[int], Awaitable[NegotiationView]]) -> list[NegotiationView]:
    """`work` for each number, some at a time, in order of the numbers."""
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int) -> NegotiationView:
        async with slots:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in range(count)))


async def _there_and_back(client: NegotiatorClient, circuit: str) -> float:
    """Seconds from start to active."""
    view = await _connected(client, circuit)
    await _taken_back(client, view)
    return next(step.seconds for step in view.steps if step.name == "active")


async def _connected(client: NegotiatorClient, circuit: str) -> NegotiationView:
    """An active agreement. On a machine that is too busy one may miss its deadline: it ends clean and begins anew."""
    for left in reversed(range(ATTEMPTS)):
        started = await client.start(StartRequest(peer="csp-b", circuit=circuit), idempotency_key=str(uuid4()))
        try:
            return await until(client, started, "active")
        except MeetMeError as error:
            if error.code != "bench_failed" or not left:
                raise
            click.echo(f"{error.text}; once more", err=True)
    raise AssertionError("the last attempt raises")


async def _taken_back(client: NegotiatorClient, view: NegotiationView) -> NegotiationView:
    return await until(client, await client.terminate(view.id), "terminated")


def _memory() -> dict[str, float]:
    """Resident memory of the services, in MiB."""
    return {service: _resident(_process(service)) for service in ("negotiator", "configurator")}


def _process(service: str) -> int:
    return int(Path(f"/run/{service}.pid").read_text())


def _resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def _baselines() -> dict[str, float]:
    return spread([baseline(number) for number in range(IN_TURN)])


# --- a router that loses everything -----------------------------------------------------------------------------------


async def _reboot(count: int, made: Sequence[NegotiationView]) -> tuple[float, float]:
    """Kill the configurator, leave nothing of ours in the kernel, start it again.

    Seconds until every link is in force, and until the last of some addresses behind them answers.
    """
    os.kill(_process("configurator"), signal.SIGKILL)
    names = [line.split()[0] for line in _ip("netns", "list").splitlines()]
    for name in names:
        ports = re.findall(r"^\d+: (eth\d+)[@:]", _ip("-n", name, "-o", "link"), re.MULTILINE)
        for port in ports:
            _ip("-n", name, "link", "set", port, "netns", str(os.getpid()))
        _ip("netns", "delete", name)
    _ip("route", "flush", "proto", "201", "table", "all")
    began = time.monotonic()
    _serve_configurator()
    probes = asyncio.create_task(_last_answer(made[:: max(1, count // 20)]))
    healed = await _healed(count) - began
    return healed, await probes - began


def _serve_configurator() -> None:
    with open("/var/log/configurator.log", "a") as log:
        command = ["meetme", "serve", "configurator", "--config", "/etc/meetme/meetme.toml"]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    Path("/run/configurator.pid").write_text(str(process.pid))


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True).stdout


async def _healed(count: int) -> float:
    """When the configurator says that every link is in force."""
    deadline = time.monotonic() + HEAL_SECONDS
    while time.monotonic() < deadline:
        try:
            router = await open_configurator("127.0.0.1:8475", None)
            try:
                links = (await router.observe()).links
            finally:
                await router.close()
        except Exception:
            links = ()
        if sum(link.in_sync for link in links) >= count:
            return time.monotonic()
        await asyncio.sleep(0.2)
    raise DeviceFailed("bench_failed", f"bench: not healed within {HEAL_SECONDS:g} s", fault=Fault.LOCAL)


async def _last_answer(views: Sequence[NegotiationView]) -> float:
    """When the last of these agreements carried an answer."""
    await asyncio.gather(*(_answer(view) for view in views))
    return time.monotonic()


async def _answer(view: NegotiationView) -> None:
    if view.agreement is None:
        raise AssertionError("what is active has an agreement")
    alias = view.agreement.responder.prefixes[0].alias
    deadline = time.monotonic() + HEAL_SECONDS
    while time.monotonic() < deadline:
        command = ("ping", "-c", "1", "-W", "1", "-I", "10.0.0.1", str(alias[1]))
        ping = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if await ping.wait() == 0:
            return
        await asyncio.sleep(0.2)
    raise DeviceFailed("bench_failed", f"bench: {alias[1]} does not answer any more", fault=Fault.LOCAL)
