"""The first process of a lab: it makes the namespaces, builds the machines and then only waits.

`python -m meetme.lab.keeper NAME` reads a pickled Order from standard input and answers in lines of JSON. Standard
input is also its leash: until the command that started it says `keep`, the lab ends when that pipe does, so a killed
`up` leaves no process behind. As the first process of its PID namespace it takes the whole lab with it when it ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from meetme.lab import machine as inside
from meetme.lab.plan import MachinePlan, Plan, link_commands
from meetme.lab.syscalls import MountFlag, Namespace, mount, set_process_name, stay_visible, unshare

_COPIED_AT_MOST = 1 << 20  # octets: a larger file of /etc stays as the host has it, read-only

_FAILURES_TOLD = 10
_LONGEST_MESSAGE = 1 << 17  # octets


@dataclass(frozen=True, slots=True)
class Order:
    """What `up` asks for. `own_user`: make a user namespace first."""

    plan: Plan
    world: inside.World
    own_user: bool
    layered: bool


def main() -> None:
    """Make the namespaces, fork the first process of the lab, tell its id, and go."""
    order: Order = pickle.loads(_read_order(sys.stdin.buffer))
    try:
        if order.own_user:
            _enter_user_namespace()
        unshare(Namespace.PID | Namespace.MOUNT | Namespace.NET | Namespace.UTS)
    except OSError as wrong:
        _tell(error=_text(wrong), code="namespaces_forbidden")
        os._exit(1)
    child = os.fork()
    if child == 0:
        _first_process(order)
    _tell(keeper=child)
    os._exit(0)


def _read_order(stream: BinaryIO) -> bytes:
    size = int(stream.readline())
    return stream.read(size)


def _text(wrong: BaseException) -> str:
    if isinstance(wrong, OSError) and wrong.strerror:
        return f"{wrong.filename}: {wrong.strerror}" if wrong.filename else wrong.strerror
    return str(wrong) or type(wrong).__name__


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    unshare(Namespace.USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _first_process(order: Order) -> NoReturn:
    try:
        os.setsid()
        stay_visible()
        set_process_name(f"lab:{order.plan.name}")
        _build(order)
    except BaseException as wrong:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            forbidden = isinstance(wrong, OSError) and wrong.errno == errno.EPERM
            _tell(error=_text(wrong), code="namespaces_forbidden" if forbidden else "lab_not_built")
        os._exit(1)
    if sys.stdin.buffer.readline() != b"keep\n":
        os._exit(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans come to us: from here on the kernel buries them at once
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    while True:
        signal.pause()


def _build(order: Order) -> None:
    os.chdir("/")
    mount("", "/", flags=MountFlag.REC | MountFlag.PRIVATE)
    mount("proc", "/proc", "proc", MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
    mount("tmpfs", order.world.room, "tmpfs", 0, "mode=755")
    Path(order.world.room, "shared").mkdir()
    Path(order.world.room, "shared").chmod(0o1777)
    if order.layered:
        _make_layer(Path(order.world.room, "layer"))
    with contextlib.suppress(OSError):  # a bridge is not a host: it says nothing of its own
        inside.set_sysctl("net.ipv6.conf.default.disable_ipv6", "1")
    machines = [_Machine(plan, order.world) for plan in order.plan.machines]
    _await(machines, "apart")
    _tell(namespaces={machine.plan.name: machine.open_namespaces() for machine in machines})
    trouble = _link(order.plan, {machine.plan.name: machine.process for machine in machines})
    _await(machines, "rooted")  # a machine that failed says why, which is the better explanation
    if trouble:
        raise OSError(f"links cannot be made: {trouble}")
    for machine in machines:
        machine.say("linked")
    _await(machines, "up")
    _tell(built=len(machines))
    _start(machines)


def _make_layer(layer: Path) -> None:
    """Copies of /etc and the folders of /var that belong to us: a user cannot take over what is the host's root's."""
    for current, _, files in os.walk("/etc"):
        target = layer / current.lstrip("/")
        target.mkdir(parents=True)
        for name in files:
            source = os.path.join(current, name)
            with contextlib.suppress(OSError):  # what the user may not read stays hidden
                if os.path.islink(source):
                    os.symlink(os.readlink(source), target / name)
                elif os.path.getsize(source) <= _COPIED_AT_MOST:
                    shutil.copyfile(source, target / name)
                    shutil.copymode(source, target / name)
    for current, _, _ in os.walk("/var"):
        (layer / current.lstrip("/")).mkdir(parents=True)
    (layer / "var" / "tmp").mkdir(exist_ok=True)
    (layer / "var" / "tmp").chmod(0o1777)


def _link(plan: Plan, process_of: dict[str, int]) -> str:
    """Make the links; what `ip` complained about."""
    commands = link_commands(plan, process_of)
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True, check=False)
    return done.stderr.strip() if done.returncode != 0 else ""


class _Machine:
    """One machine while it is built: a child of ours and the line to it. Our descriptors keep its namespaces alive."""

    def __init__(self, plan: MachinePlan, world: inside.World) -> None:
        self.plan = plan
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # one message, one packet
        self.process = os.fork()
        if self.process == 0:
            ours.close()
            _run_machine(plan, world, theirs)
        theirs.close()
        self.line = ours

    def open_namespaces(self) -> dict[str, int]:
        return {kind: os.open(f"/proc/{self.process}/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net", "uts")}

    def say(self, word: str) -> None:
        self.line.send(word.encode())

    def hear(self) -> tuple[str, object]:
        message = self.line.recv(_LONGEST_MESSAGE)
        if not message:
            raise OSError(f"{self.plan.name}: the process that builds it ended early")
        word, facts = json.loads(message)
        if word in ("error", "forbidden"):
            raise OSError(errno.EPERM if word == "forbidden" else errno.EIO, f"{self.plan.name}: {facts}")
        return word, facts


def _run_machine(plan: MachinePlan, world: inside.World, line: socket.socket) -> NoReturn:
    def tell(word: str, facts: object = None) -> None:
        line.send(json.dumps([word, facts]).encode())

    try:
        unshare(Namespace.MOUNT | Namespace.NET | Namespace.UTS)
        inside.set_defaults(ipv6=plan.conf.ipv6)
        tell("apart")
        inside.build_root(plan, world)
        tell("rooted")
        line.recv(_LONGEST_MESSAGE)
        inside.bring_up(plan)
        tell("up")
        line.recv(_LONGEST_MESSAGE)
        failures = inside.run_startup(plan, inside.environment_of(plan, world))
        tell("started", [asdict(failure) for failure in failures[:_FAILURES_TOLD]])
    except BaseException as wrong:
        traceback.print_exc()
        forbidden = isinstance(wrong, OSError) and wrong.errno == errno.EPERM
        tell("forbidden" if forbidden else "error", _text(wrong))
    os._exit(0)


def _await(machines: Iterable[_Machine], word: str) -> None:
    def settled(machine: _Machine, heard: str, facts: object) -> None:
        if heard != word:
            raise OSError(f'{machine.plan.name}: said "{heard}" where "{word}" was due')

    _listen(list(machines), settled)


def _start(machines: list[_Machine]) -> None:
    """Start every machine whose forerunners have finished, until all have."""
    waiting = {machine.plan.name: machine for machine in machines}
    done: set[str] = set()
    running: list[_Machine] = []

    def start_ready() -> None:
        for name, machine in list(waiting.items()):
            if done.issuperset(machine.plan.after):
                machine.say("start")
                running.append(waiting.pop(name))

    def settled(machine: _Machine, heard: str, facts: object) -> None:
        _tell(started=machine.plan.name, failures=facts)
        done.add(machine.plan.name)
        os.waitpid(machine.process, 0)
        start_ready()

    start_ready()
    _listen(running, settled)
    _tell(ready=True)


def _listen(open_: list[_Machine], settled: Callable[[_Machine, str, object], None]) -> None:
    """Hear one word of each machine in `open_`, which may grow meanwhile. The end of the leash ends the lab."""
    while open_:
        readable, _, _ = select.select([sys.stdin, *(machine.line for machine in open_)], [], [])
        if sys.stdin in readable:
            os._exit(1)  # nobody says anything before `ready`: the command that started us is gone
        for machine in [each for each in open_ if each.line in readable]:
            word, facts = machine.hear()
            open_.remove(machine)
            settled(machine, word, facts)


if __name__ == "__main__":
    main()
