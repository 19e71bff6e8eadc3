"""Labs on this host: up, down, which there are, and the way into their machines."""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import meetme
from meetme.lab.enter import Entrance
from meetme.lab.keeper import Order
from meetme.lab.machine import World, environment_of
from meetme.lab.source import LabSource, find_lab
from meetme.lab.state import LabState, Running, birth_of, running_labs
from meetme.model.errors import Conflict, DeviceFailed, Fault, NotFound, Unsupported

_CAP_SYS_ADMIN, _CAP_NET_ADMIN = 21, 12
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_END_PATIENCE = 30.0  # seconds: so long may the kernel take to end the processes of a lab

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up, with the ways into it."""

    running: Running

    @property
    def machines(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.running.namespaces)

    def entrance(self, machine: str) -> Entrance:
        """The way into `machine`. Raises NotFound."""
        if machine not in self.running.namespaces:
            raise NotFound(
                "machine_unknown",
                f'a machine of lab "{self.running.name}" is one of {", ".join(self.machines)} ("{machine}")',
                field="MACHINE",
            )
        return Entrance(
            keeper=self.running.keeper,
            own_user=self.running.own_user,
            environment=self.running.environments[machine],
            **self.running.namespaces[machine],
        )

    def popen(self, machine: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program inside; `options` are those of subprocess.Popen, streams are text."""
        return subprocess.Popen(self.entrance(machine).command(arguments), text=True, **options)

    def run(self, machine: str, arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, with what it printed."""
        command = self.entrance(machine).command(arguments)
        return subprocess.run(command, text=True, capture_output=True, check=False, **options)


def up(source: LabSource, *, timeout: float = 120.0, progress: Progress = lambda text: None) -> Lab:
    """Build the lab and start its machines; return once every startup has finished. Whatever goes wrong, nothing stays.

    `timeout` is in seconds. Raises Conflict (it is up already), Unsupported (no namespaces here), DeviceFailed (it
    could not be built, or a startup failed: with machine, line and output).
    """
    state = LabState(source.directory)
    with state.locked():
        if state.read() is not None:
            raise Conflict(
                "lab_is_up", f'a lab is built once ("{source.plan.name}" is up)', hint="`meetme lab down` it first"
            )
        try:
            return _build(source, state, timeout, progress)
        except BaseException:
            state.clear()
            raise


def _build(source: LabSource, state: LabState, timeout: float, progress: Progress) -> Lab:
    began = time.monotonic()
    state.room.mkdir(exist_ok=True)
    own_user = not _may_make_namespaces()
    layered = own_user or not _has_whole_id_map()
    world = _world(source.directory, str(state.room), layered=layered)
    body = pickle.dumps(Order(source.plan, world, own_user=own_user, layered=layered))
    with open(state.log, "wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "meetme.lab.keeper", source.plan.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    process: int | None = None
    namespaces: dict[str, dict[str, int]] = {}
    failures: list[dict[str, Any]] = []
    unstarted = [machine.name for machine in source.plan.machines]
    try:
        keeper.stdin.write(f"{len(body)}\n".encode() + body)
        keeper.stdin.flush()
        for facts in _reports(keeper.stdout, began + timeout):
            match facts:
                case {"keeper": int(number)}:
                    process = number
                case {"namespaces": dict(found)}:
                    namespaces = found
                case {"built": int(count)}:
                    progress(f"{count} machines joined in {time.monotonic() - began:.2f} s")
                case {"started": str(name), "failures": list(found)}:
                    unstarted.remove(name)
                    failures += found
                    progress(f"{name}: started{'' if not found else ', with failures'}")
                case {"error": str(text), "code": str(code)}:
                    forbidden = own_user and code == "namespaces_forbidden"
                    raise _no_namespaces(text) if forbidden else _failed(code, f"lab: {text}")
                case {"ready": True}:
                    break
        else:
            raise _failed("lab_not_built", _ended_early(state, unstarted, time.monotonic() - began, timeout))
        if failures:
            order = [machine.name for machine in source.plan.machines]
            failures.sort(key=lambda failure: order.index(failure["machine"]))
            raise _failed("startup_failed", "\n".join(_failure_text(failure) for failure in failures))
        assert process is not None
        running = Running(
            name=source.plan.name,
            directory=str(source.directory),
            keeper=process,
            born=birth_of(process) or "",
            own_user=own_user,
            namespaces=namespaces,
            environments={machine.name: environment_of(machine, world) for machine in source.plan.machines},
            rows=[asdict(row) for row in source.plan.rows()],
            seconds=round(time.monotonic() - began, 3),
        )
        state.write(running)
        keeper.stdin.write(b"keep\n")
        keeper.stdin.flush()
        return Lab(running)
    except BaseException:
        if process is not None:
            _end(process)
        with suppress(OSError):
            keeper.stdin.close()
        _await_silence(keeper.stdout)
        raise
    finally:
        with suppress(OSError):
            keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait()


def _failed(code: str, text: str) -> DeviceFailed:
    """The host is the device here, and the host is ours."""
    return DeviceFailed(code, text, fault=Fault.LOCAL)


def _reports(stream: IO[bytes], deadline: float) -> Iterator[dict[str, Any]]:
    """The keeper's lines until it ends or the deadline has passed."""
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([stream], [], [], left)[0]:
            return
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _await_silence(stream: IO[bytes]) -> None:
    """Wait until no process of the lab holds the other end of its line any more."""
    for _ in _reports(stream, time.monotonic() + _END_PATIENCE):
        pass


def _ended_early(state: LabState, unstarted: list[str], seconds: float, timeout: float) -> str:
    if seconds >= timeout:
        return f"startup of {', '.join(unstarted)}: not finished in time ({timeout:g} s)"
    said = state.log.read_text(errors="replace").strip().splitlines()
    return f"lab: its first process ended early ({said[-1] if said else 'no word'})"


def _failure_text(failure: dict[str, Any]) -> str:
    where = f"{failure['file']}:{failure['line']}" if failure["line"] else failure["file"]
    what = f'"{failure["command"]}" ' if failure["command"] else ""
    output = "".join(f"\n    {line}" for line in failure["output"].splitlines())
    return f"{failure['machine']}: {where}: {what}failed (status {failure['status']}){output}"


def down(directory: Path) -> bool:
    """End the lab of this directory; nothing of it stays, nor of a killed `up`. False when it was not up."""
    state = LabState(directory)
    with state.locked():
        running = state.read()
        if running is not None:
            _end(running.keeper)
        state.clear()
    return running is not None


def _end(process: int) -> None:
    """Kill the first process of a lab and wait until the kernel has ended every other one with it."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not select.select([descriptor], [], [], _END_PATIENCE)[0]:
                raise _failed("lab_not_ended", f"lab: its first process does not end (process {process})")
        finally:
            os.close(descriptor)


def find_running(name: str) -> Running:
    """The lab that is up and meant by `name`: its directory, a shipped lab, or its own name. Raises NotFound."""
    labs = running_labs()
    directories = {str(Path(name).resolve())}
    with suppress(NotFound):
        directories = {str(find_lab(name))}
    found = [lab for lab in labs if lab.directory in directories] or [lab for lab in labs if lab.name == name]
    if not found:
        raise NotFound(
            "lab_not_up", f'the lab has to be up ("{name}" is not)', hint=f"`meetme lab up {name}`", field="DIR"
        )
    if len(found) > 1:
        places = ", ".join(lab.directory for lab in found)
        raise Conflict(
            "lab_ambiguous", f'a name of a lab that is up is its own ("{name}": {places})', hint="name its directory"
        )
    return found[0]


def _world(directory: Path, room: str, *, layered: bool) -> World:
    environment = {
        "PATH": f"{sysconfig.get_path('scripts')}:{_SYSTEM_PATH}",
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/bash",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TERM": os.environ.get("TERM", "dumb"),
    }
    needed = {sys.prefix, sys.base_prefix, str(Path(meetme.__file__).resolve().parent)}
    return World(str(directory), room, tuple(environment.items()), tuple(sorted(needed)), layered)


def _may_make_namespaces() -> bool:
    """Whether this process may make network and mount namespaces as it is: a superuser, if only of a container."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return bool(effective >> _CAP_SYS_ADMIN & 1 and effective >> _CAP_NET_ADMIN & 1)
    return False


def _has_whole_id_map() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _no_namespaces(text: str) -> Unsupported:
    """Why a user may make no namespaces here, with the one command that changes it."""
    switches = (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    )
    for file, forbids, setting in switches:
        with suppress(OSError):
            if Path("/proc/sys", file).read_text().strip() == forbids:
                return Unsupported(
                    "namespaces_forbidden",
                    f"lab: this host forbids user namespaces to ordinary users ({text})",
                    hint=f"sudo sysctl -w {setting}",
                    fault=Fault.LOCAL,
                )
    text = f"lab: this host lets this user build no lab ({text})"
    return Unsupported("namespaces_forbidden", text, hint="run the same command with sudo", fault=Fault.LOCAL)
