"""Just enough netlink: dumps, events and attributes as bytes, without a process per question.

Reading a circuit takes seven dumps; as processes that is 30 ms, as sockets 1. Layouts: `rtnetlink(7)`, `netlink(7)` and
the kernel's `include/uapi/linux/{rtnetlink,if_link,if_addr,fib_rules,neighbour}.h`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

ROUTE, NETFILTER = 0, 12
"""Netlink families: `NETLINK_ROUTE` and `NETLINK_NETFILTER`."""

NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
GET_NEIGHBOUR = 30
GET_RULE = 34

SOL_NETLINK = 270
ADD_MEMBERSHIP, LISTEN_ALL_NSID, STRICT_CHECK = 1, 8, 12

ECHO = 0x8
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE, _OVERRUN = 2, 3, 4
_HEADER = struct.Struct("=LHHLL")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Message:
    """One message without its netlink header: `kind` is the type, `body` the family header with its attributes."""

    kind: int
    body: bytes

    def attributes(self, header: int) -> dict[int, bytes]:
        """The attributes that follow a family header of `header` octets."""
        return attributes(self.body[header:])


def attributes(data: bytes) -> dict[int, bytes]:
    """Attribute type to value; flags in the type (nested, byte order) are masked away."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four octets."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def messages(data: bytes) -> Iterator[Message]:
    """Split one datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield Message(kind, data[at + _HEADER.size : at + length])
        at += (length + 3) & ~3


def text(value: bytes | None) -> str:
    """A string attribute."""
    return value.split(b"\0", 1)[0].decode(errors="replace") if value else ""


def number(value: bytes | None, default: int = 0) -> int:
    """An unsigned 32-bit attribute."""
    return int(struct.unpack("=I", value[:4])[0]) if value else default


class Netlink:
    """A socket in the network namespace of the thread that makes it. Raises OSError as the kernel answers."""

    def __init__(self, family: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)
        if family == ROUTE:
            self._socket.setsockopt(SOL_NETLINK, STRICT_CHECK, 1)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """Everything that answers; filtered by the kernel where `body` says so (strict checking)."""
        for _ in range(5):
            with contextlib.suppress(InterruptedError):
                return list(self._exchange(kind, _DUMP, body))
        raise OSError(errno.EINTR, "netlink dump kept changing")

    def get(self, kind: int, body: bytes, flags: int = 0) -> Message | None:
        """The one that answers; None where there is no such thing. Queues answer only with `ECHO` in `flags`."""
        try:
            return next(iter(list(self._exchange(kind, _ACK | flags, body))), None)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENOENT, errno.ESRCH):
                return None
            raise

    def do(self, kind: int, body: bytes, flags: int = 0) -> None:
        """A change, acknowledged."""
        list(self._exchange(kind, _ACK | flags, body))

    def do_all(self, kind: int, bodies: Sequence[bytes]) -> list[int]:
        """Changes of one kind that the kernel makes at one go, without us in between. The errno of each, or 0."""
        if not bodies:
            return []
        first = self._sequence + 1
        self._sequence += len(bodies)
        datagram = b""
        for number, body in enumerate(bodies):
            head = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK, first + number, 0)
            datagram += head + body + bytes(-len(body) % 4)
        self._socket.send(datagram)
        codes: dict[int, int] = {}
        while len(codes) < len(bodies):
            data = self._socket.recv(1 << 18)
            at = 0
            while at + _HEADER.size <= len(data):
                length, found, _, sequence, _ = _HEADER.unpack_from(data, at)
                if found == _ERROR and first <= sequence <= self._sequence:
                    codes[sequence] = -struct.unpack_from("=i", data, at + _HEADER.size)[0]
                at += (length + 3) & ~3
        return [codes[sequence] for sequence in sorted(codes)]

    def _exchange(self, kind: int, flags: int, body: bytes) -> Iterator[Message]:
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(head + body)
        interrupted = False
        while True:
            data = self._socket.recv(1 << 18)
            at = 0
            while at + _HEADER.size <= len(data):
                length, found, found_flags, sequence, _ = _HEADER.unpack_from(data, at)
                payload = data[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                interrupted |= bool(found_flags & 0x10)  # NLM_F_DUMP_INTR: the table changed under the dump
                if found in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                    if code > 0:
                        raise OSError(code, os.strerror(code))
                    if interrupted:
                        raise InterruptedError(errno.EINTR, "dump interrupted")
                    return
                yield Message(found, payload)


def subscription(family: int, groups: tuple[int, ...]) -> socket.socket:
    """A non-blocking socket that hears the multicast `groups`, those of every namespace known to this one included.

    Namespaces are known by the veth pairs that lead to them (`NETLINK_LISTEN_ALL_NSID`); what the kernel adds to each
    datagram as ancillary data says which one spoke.
    """
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, family)
    listener.bind((0, 0))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
    for group in groups:
        listener.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    listener.setsockopt(SOL_NETLINK, LISTEN_ALL_NSID, 1)
    return listener


def speaker(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The namespace id that a datagram of a `subscription` came from; None is the own namespace."""
    for level, kind, value in ancillary:
        if level == SOL_NETLINK and kind == LISTEN_ALL_NSID:
            return int(struct.unpack("=i", value[:4])[0])
    return None
