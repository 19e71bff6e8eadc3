"""Small worlds for live tests: machines that are namespaces, cables between them, sockets inside them.

A machine is a net and a mount namespace with a /run of its own, held by a sleeping process. A socket made with
`machine.socket` lives in the machine and is used by the test as any other: no servers, no scripts, no sleeping. Needs
root, or a user namespace (`unshare -Urnm`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from meetme.model import errors
from meetme.model.errors import MeetMeError, Problem

T = TypeVar("T")
_FS, _NEWNS, _NEWNET = 0x200, 0x20000, 0x40000000


def why_not() -> str | None:
    """The reason why no world can be built here; None where one can."""
    probe = subprocess.run(
        ["unshare", "-n", "-m", "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, text=True
    )
    return None if probe.returncode == 0 else f"needs root or `unshare -Urnm`: {probe.stderr.strip()}"


def _enter(pid: int, *, mounts: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # A library may have started threads in the forked process (gRPC does): who shares its root cannot change mounts.
    if libc.unshare(_FS) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the root")
    for name, kind in (("net", _NEWNET), *((("mnt", _NEWNS),) if mounts else ())):
        descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        try:
            if libc.setns(descriptor, kind) != 0:
                raise OSError(ctypes.get_errno(), f"setns {name} of {pid}")
        finally:
            os.close(descriptor)


@dataclass
class Machine:
    """One namespace. `call` runs Python in it as a process of its own, `sh` a command line."""

    name: str
    holder: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.holder.pid

    def sh(self, command: str, *, check: bool = True, given: str | None = None) -> str:
        """Run a shell command line in the machine and return what it printed."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-n", "-m", "sh", "-ec", command],
            capture_output=True,
            text=True,
            input=given,
            timeout=60,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def call(self, f: Callable[[], T]) -> T:
        """Run `f` in a forked process inside the machine; its result, or its error, comes back."""
        back, forth = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _enter(self.pid, mounts=True)
                answer: tuple[str, Any] = ("done", f())
            except MeetMeError as error:
                answer = ("problem", (type(error).__name__, error.problem))
            except BaseException as error:
                import traceback

                answer = ("error", f"{error!r}\n{traceback.format_exc()}")
            with os.fdopen(forth, "wb") as stream:
                stream.write(pickle.dumps(answer))
            os._exit(0)
        os.close(forth)
        with os.fdopen(back, "rb") as stream:
            data = stream.read()
        os.waitpid(child, 0)
        kind, value = pickle.loads(data)
        if kind == "problem":
            name, problem = value
            raise _rebuilt(name, problem)
        assert kind == "done", f"{self.name}: {value}"
        return value  # type: ignore[no-any-return]

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A socket that lives in the machine, with a timeout of 3 s."""
        made: list[socket.socket] = []

        def make() -> None:
            _enter(self.pid, mounts=False)
            made.append(socket.socket(family, kind, protocol))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(3)
        return made[0]

    def capture(self, interface: str) -> Capture:
        """See every packet of one interface."""
        return Capture(self.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)), interface)


def _rebuilt(name: str, problem: Problem) -> MeetMeError:
    kind: type[MeetMeError] = getattr(errors, name)
    return kind(problem.code, problem.text, hint=problem.hint, field=problem.field, fault=problem.fault)


class Capture:
    """Packets of one interface since it was made, from the network header on."""

    def __init__(self, raw: socket.socket, interface: str) -> None:
        self._raw = raw
        raw.bind((interface, 3))

    def packets(self) -> list[bytes]:
        """What was seen since the last call."""
        found: list[bytes] = []
        self._raw.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._raw.recv(65535))
        return found

    def pairs(self) -> set[tuple[str, str]]:
        """Source and destination of every IPv4 packet seen since the last call."""
        return {
            (socket.inet_ntoa(p[12:16]), socket.inet_ntoa(p[16:20]))
            for p in self.packets()
            if len(p) >= 20 and p[0] >> 4 == 4
        }


@dataclass
class World:
    """Machines and cables; everything goes with the `with` block."""

    machines: dict[str, Machine] = field(default_factory=dict)

    def machine(self, name: str, *, forwards: bool = False) -> Machine:
        """A new machine with nothing but lo."""
        # without duplicate address detection, which would make every new IPv6 address wait for over a second
        settled = "for f in all default; do echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done"
        script = f"mount -t tmpfs tmpfs /run && ip link set lo up && {settled} && echo ready && exec sleep infinity"
        holder = subprocess.Popen(
            ["unshare", "-n", "-m", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n", f"{name}: no namespace"
        made = self.machines[name] = Machine(name, holder)
        if forwards:
            made.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        return made

    def cable(self, a: Machine, port_a: str, b: Machine, port_b: str, *, mtu: int = 1500) -> None:
        """A cable between two ports, both up."""
        a.sh(
            f"ip link add {port_a} mtu {mtu} netns {a.pid} type veth peer name {port_b} mtu {mtu} netns {b.pid}"
            f" && ip link set {port_a} up"
        )
        b.sh(f"ip link set {port_b} up")

    def close(self) -> None:
        for machine in self.machines.values():
            machine.holder.kill()
            machine.holder.wait()


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A world, taken down whatever happens."""
    made = World()
    try:
        yield made
    finally:
        made.close()


def ping(source: Machine, target: str, *, size: int = 84, own: str | None = None, within: float = 1.0) -> bool:
    """Whether `target` answers an echo request of `size` octets of IP packet, don't-fragment, `within` seconds."""
    six = ":" in target
    payload = size - (48 if six else 28)
    bound = f"-I {own} " if own else ""
    command = f"ping -{6 if six else 4} -n -q -c 1 -W {within} -M do -s {payload} {bound}{target}"
    return source.sh(f"{command} >/dev/null 2>&1 && echo yes || echo no").strip() == "yes"


def talk(client: Machine, server: Machine, *, to: str, at: str, port: int = 7000, octets: int = 0) -> tuple[str, str]:
    """One TCP connection to `to`, accepted at `at`, `octets` each way: whom the server saw, whom the client."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with server.socket(family) as listener, client.socket(family) as calling:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((at, port))
        listener.listen()
        calling.connect((to, port))
        accepted, peer = listener.accept()
        with accepted:
            accepted.settimeout(5)
            calling.settimeout(5)
            for one, other in ((calling, accepted), (accepted, calling)):
                _transfer(one, other, max(octets, 5))
            return str(peer[0]), str(calling.getpeername()[0])


def _transfer(one: socket.socket, other: socket.socket, octets: int) -> None:
    sender = threading.Thread(target=one.sendall, args=(bytes(octets),))
    sender.start()
    got = 0
    while got < octets:
        data = other.recv(1 << 16)
        assert data, "connection ended early"
        got += len(data)
    sender.join()


def datagram(client: Machine, server: Machine, *, to: str, at: str, port: int = 7001) -> tuple[str, str]:
    """One UDP datagram to `to`, received at `at`, and one back. Who saw whom: (server saw, client saw)."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with server.socket(family, socket.SOCK_DGRAM) as listening, client.socket(family, socket.SOCK_DGRAM) as calling:
        listening.bind((at, port))
        calling.sendto(b"there", (to, port))
        data, peer = listening.recvfrom(100)
        assert data == b"there"
        listening.sendto(b"back", peer)
        data, answerer = calling.recvfrom(100)
        assert data == b"back"
        return str(peer[0]), str(answerer[0])


def eventually(condition: Callable[[], bool], within: float = 3.0) -> bool:
    """Whether `condition` becomes true in time; asked every 20 ms."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True)
class Believed:
    """An ICMP error as the kernel handed it to the socket whose packet caused it; `info` is the MTU of the next hop."""

    offender: str
    kind: int
    code: int
    info: int


def provoke(
    client: Machine, to: str, *, port: int = 33434, hops: int = 64, size: int = 60, own: str | None = None
) -> Believed | None:
    """The ICMP error that answers one UDP datagram of `size` octets of IP packet, don't-fragment, within 3 s."""
    six = ":" in to
    level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
    with client.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as calling:
        calling.setsockopt(level, 25 if six else 11, 1)  # IP_RECVERR
        calling.setsockopt(level, socket.IPV6_UNICAST_HOPS if six else socket.IP_TTL, hops)
        calling.setsockopt(level, 23 if six else 10, 3)  # IP_MTU_DISCOVER: IP_PMTUDISC_PROBE
        if own:
            calling.bind((own, 0))
        calling.connect((to, port))
        calling.send(bytes(size - (48 if six else 28)))
        poller = select.poll()
        poller.register(calling, select.POLLERR)
        if not poller.poll(3000):
            return None
        _, ancillary, _, _ = calling.recvmsg(2048, 512, 0x2000)  # MSG_ERRQUEUE
    for found_level, _, data in ancillary:
        if found_level == level:
            _, _, kind, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
            raw = data[16 + 8 : 16 + 24] if six else data[16 + 4 : 16 + 8]
            return Believed(socket.inet_ntop(calling.family, raw), kind, code, info)
    return None
