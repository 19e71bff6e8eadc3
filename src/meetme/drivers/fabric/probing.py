"""Probe frames over the uplinks of protected circuits: a thread of its own, so that nothing else delays them.

A probe leaves by the uplink itself, past the bridge, and is taken from it before the bridge sees it. Bridges on its way
pass it on like any frame; the one at the far end keeps it (`config.PROBE_MAC`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from meetme.drivers.fabric.attributes import interface_named
from meetme.drivers.fabric.choosing import INTERVAL, Path, choose
from meetme.drivers.fabric.config import PROBE_MAC
from meetme.drivers.kernel.netlink import Netlink, attribute

ETHERTYPE = 0x88B5
"""For local experiments (IEEE 802)."""
_MAGIC = b"meetme:1"
_BODY = struct.Struct("!8s8sB")
READ_SECONDS = 0.03
"""How long a move waits for somebody who reads, at most: then it is tried again at the next probe. Probes wait too."""
_LEAST = 60
"""Octets of a frame without its check sequence (IEEE 802.3)."""
_OUTGOING = 4
_SET_LINK = 19
_FLOODS = (9, 27, 30)  # IFLA_BRPORT_UNICAST_FLOOD, _MCAST_FLOOD, _BCAST_FLOOD


@dataclass(frozen=True, slots=True)
class State:
    """How the uplinks of a circuit do: up, by interface in order of preference, and which one carries."""

    up: tuple[tuple[str, bool], ...]
    carrying: str


@dataclass
class _Uplink:
    name: str
    path: Path = field(default_factory=Path)
    link: socket.socket | None = None


@dataclass
class _Circuit:
    uplinks: list[_Uplink]
    carrying: int
    sender: bytes
    due: float = 0.0
    told: State | None = None


class Prober:
    """`tell(circuit, state)` is called from the prober's thread whenever a state changes."""

    def __init__(self, tell: Callable[[str, State], None]) -> None:
        self._tell = tell
        self.moving = threading.Lock()
        """Held while frames move to another uplink, in several steps: who reads in between sees none or two carry."""
        self._circuits: dict[str, _Circuit] = {}
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread: threading.Thread | None = None

    def watch(self, circuit: str, names: tuple[str, ...]) -> None:
        """Probe these uplinks from now on, in the place of what was probed for the circuit before."""
        self._order(lambda: self._take(circuit, names))

    def forget(self, circuit: str) -> None:
        """Probe nothing for it any more."""
        self._order(lambda: self._drop(circuit))

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._orders.put(None)
            os.write(self._woken, b".")
            self._thread.join()
        for end in (self._wake, self._woken):
            os.close(end)
        self._selector.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        os.write(self._woken, b".")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="meetme-prober", daemon=True)
            self._selector.register(self._wake, selectors.EVENT_READ, None)
            self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(StopIteration):
            while True:
                now = time.monotonic()
                next_at = min((c.due for c in self._circuits.values()), default=now + 3600)
                for key, _ in self._selector.select(max(0.0, next_at - now)):
                    if key.data is None:
                        self._obey()
                    else:
                        self._receive(*key.data)
                for circuit in list(self._circuits):
                    self._attend(circuit, time.monotonic())
        for circuit in list(self._circuits):
            self._drop(circuit)

    def _obey(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        with contextlib.suppress(Empty):
            while True:
                order = self._orders.get_nowait()
                if order is None:
                    raise StopIteration
                order()

    def _take(self, circuit: str, names: tuple[str, ...]) -> None:
        known = self._circuits.get(circuit)
        if known is None or tuple(uplink.name for uplink in known.uplinks) != names:
            self._drop(circuit)
            known = _Circuit([_Uplink(name) for name in names], 0, secrets.token_bytes(8))
            self._circuits[circuit] = known
        for uplink in known.uplinks:  # an interface made anew needs a socket of its own
            self._close(uplink)
        known.carrying = _carrying(names)

    def _drop(self, circuit: str) -> None:
        gone = self._circuits.pop(circuit, None)
        for uplink in gone.uplinks if gone is not None else ():
            self._close(uplink)

    def _close(self, uplink: _Uplink) -> None:
        if uplink.link is not None:
            self._selector.unregister(uplink.link)
            uplink.link.close()
            uplink.link = None

    def _attend(self, name: str, now: float) -> None:
        circuit = self._circuits[name]
        due = now >= circuit.due
        if due:
            circuit.due = max(circuit.due + INTERVAL, now + INTERVAL / 2)
            for uplink in circuit.uplinks:
                self._send(name, circuit, uplink, now)
        wished = choose([uplink.path for uplink in circuit.uplinks], circuit.carrying, now)
        if wished != circuit.carrying and self._move(circuit.uplinks, wished):
            circuit.carrying = wished
        state = State(
            tuple((uplink.name, uplink.path.look(now)) for uplink in circuit.uplinks),
            circuit.uplinks[circuit.carrying].name,
        )
        if state != circuit.told:
            if not due:
                for uplink in circuit.uplinks:  # the other end shall not wait for what it must know
                    self._send(name, circuit, uplink, now)
            circuit.told = state
            self._tell(name, state)

    def _move(self, uplinks: list[_Uplink], wished: int) -> bool:
        if not self.moving.acquire(timeout=READ_SECONDS):
            return False
        try:
            return _move(uplinks, wished)
        finally:
            self.moving.release()

    def _send(self, name: str, circuit: _Circuit, uplink: _Uplink, now: float) -> None:
        try:
            if uplink.link is None:
                uplink.link = _open(uplink.name)
                self._selector.register(uplink.link, selectors.EVENT_READ, (name, uplink))
            source = uplink.link.getsockname()[4]
            body = _BODY.pack(_MAGIC, circuit.sender, uplink.path.hears(now))
            frame = bytes.fromhex(PROBE_MAC.replace(":", "")) + source + struct.pack("!H", ETHERTYPE) + body
            uplink.link.send(frame.ljust(_LEAST, b"\0"))
        except OSError as error:  # it is down, gone, or made anew: a new socket at the next turn
            structlog.get_logger().debug("probe not sent", circuit=name, uplink=uplink.name, problem=str(error))
            self._close(uplink)

    def _receive(self, name: str, uplink: _Uplink) -> None:
        circuit = self._circuits.get(name)
        if circuit is None or uplink.link is None:
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data, address = uplink.link.recvfrom(2048)
                except BlockingIOError:
                    raise
                except OSError:  # it went down; sending finds out whether for good
                    return
                if address[2] == _OUTGOING or len(data) < 14 + _BODY.size:
                    continue
                magic, sender, hears_us = _BODY.unpack_from(data, 14)
                if magic == _MAGIC and sender != circuit.sender:
                    uplink.path.hear(time.monotonic(), bool(hears_us))


def _open(name: str) -> socket.socket:
    """Everything that is sent by this socket leaves by the interface; it is shown probes alone."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        _show_only_probes(made)
        made.bind((name, 3))  # ETH_P_ALL: taken before the bridge takes it
    except OSError:
        made.close()
        raise
    return made


def _show_only_probes(raw: socket.socket) -> None:
    mac = bytes.fromhex(PROBE_MAC.replace(":", ""))
    high, low = struct.unpack("!IH", mac)
    steps = [
        (0x20, 0, 0, 0),  # load the first four octets of the destination
        (0x15, 0, 5, high),
        (0x28, 0, 0, 4),  # the other two
        (0x15, 0, 3, low),
        (0x28, 0, 0, 12),
        (0x15, 0, 1, ETHERTYPE),
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    raw.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(steps), ctypes.addressof(program)))  # SO_ATTACH_FILTER


def _move(uplinks: list[_Uplink], wished: int) -> bool:
    """Let this one flood and the others not, at one go: a frame in between would be lost, or come twice."""
    orders = []
    for i, uplink in enumerate(uplinks):
        with contextlib.suppress(OSError):  # one that is gone floods no more
            if i != wished:
                orders.append(_flooding(uplink.name, False))
    try:
        orders.append(_flooding(uplinks[wished].name, True))
        with Netlink() as netlink:
            if code := netlink.do_all(_SET_LINK, orders)[-1]:
                raise OSError(code, os.strerror(code))
    except OSError as error:
        structlog.get_logger().warning("cannot move to another uplink", uplink=uplinks[wished].name, problem=str(error))
        return False
    return True


def _carrying(names: tuple[str, ...]) -> int:
    """Which one floods, as the kernel has it."""
    with Netlink() as netlink:
        for i, name in enumerate(names):
            found = interface_named(netlink, name)
            if found is not None and found.floods is True:
                return i
    return 0


def _flooding(name: str, yes: bool) -> bytes:
    """A message about a member of a bridge (AF_BRIDGE, IFLA_PROTINFO)."""
    head = struct.pack("=BxHiII", 7, 0, socket.if_nametoindex(name), 0, 0)
    flags = b"".join(attribute(kind, bytes([yes])) for kind in _FLOODS)
    return head + attribute(12 | 0x8000, flags)
