"""Senders: each says the nonce of a check to one address, as a program on the machine would, and hears the answer."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from meetme.lab.agent import packets

_TRANSPARENT, _TRANSPARENT6 = 19, 75  # IP_TRANSPARENT: to send from an address that is not one's own
_MTU_DISCOVER, _MTU_DISCOVER6 = 10, 23
_NEVER_FRAGMENT, _BELIEVE_NOTHING = 2, 3  # IP_PMTUDISC_DO; _PROBE: of full size, whatever was learned before
_RECEIVE_ERRORS, _RECEIVE_ERRORS6 = 11, 25
_TCP_SECONDS = 10.0
"""A transfer that has begun may take this long."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and how: `source` is the sender's address, its own or not; `ttl` the hops a packet lives.

    `source_port` may be shared by several senders at a time; 0: any free one.
    """

    address: str
    port: int = 0
    source: str | None = None
    ttl: int | None = None
    source_port: int = 0

    @property
    def six(self) -> bool:
        """Whether it is IPv6."""
        return ":" in self.address

    @property
    def headers(self) -> int:
        """Octets of the IP header and of an ICMP or UDP one."""
        return 48 if self.six else 28

    def open(self, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that sends this way."""
        made = socket.socket(socket.AF_INET6 if self.six else socket.AF_INET, kind, protocol)
        self.set(made, _MTU_DISCOVER, _MTU_DISCOVER6, _NEVER_FRAGMENT)
        if self.ttl is not None:
            self.set(made, socket.IP_TTL, socket.IPV6_UNICAST_HOPS, self.ttl)
        if self.source is not None:
            self.set(made, _TRANSPARENT, _TRANSPARENT6, 1)
        if self.source_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.source is not None or self.source_port:
            made.bind((self.source or "", self.source_port))
        return made

    def set(self, made: socket.socket, option4: int, option6: int, value: int) -> None:
        """Set an option by its number in either family."""
        made.setsockopt(*((socket.IPPROTO_IPV6, option6) if self.six else (socket.IPPROTO_IP, option4)), value)


class Voice:
    """Says a nonce until a deadline (`time.monotonic`); `heard_from` is who answered, where that is told."""

    heard_from: str | None = None

    def __init__(self, target: Target) -> None:
        self.target = target

    def say(self, nonce: bytes, size: int, deadline: float) -> int:
        """Send once and wait; how many answers came. Raises OSError."""
        raise NotImplementedError

    def close(self) -> None:
        """Let the socket go."""


class UdpVoice(Voice):
    """Datagrams from one port, echoed."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._socket = target.open(socket.SOCK_DGRAM)
        self._socket.connect((target.address, target.port))

    def say(self, nonce: bytes, size: int, deadline: float) -> int:
        """One datagram; answers to earlier ones of this check count."""
        self._socket.send(nonce.ljust(max(size - self.target.headers, 0), b"."))
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            if nonce in self._socket.recv(65536):
                return 1
        return 0

    def close(self) -> None:
        """Let the port go."""
        self._socket.close()


class TcpVoice(Voice):
    """Octets on a connection, all echoed: both directions carry full segments. A broken connection is made anew."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._socket: socket.socket | None = None

    def say(self, nonce: bytes, size: int, deadline: float) -> int:
        """Send `size` octets and read them all back."""
        began = self._socket is not None
        connection = self._socket or self.target.open(socket.SOCK_STREAM)
        try:
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            if not began:
                connection.connect((self.target.address, self.target.port))
                connection.settimeout(_TCP_SECONDS)
            answered = _echoed(connection, nonce, size)
        except OSError:
            if not began:
                connection.close()
            raise
        self._socket = connection
        return answered

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()


def _echoed(connection: socket.socket, nonce: bytes, size: int) -> int:
    data = nonce.ljust(size, b".")

    def write() -> None:
        with suppress(OSError):
            connection.sendall(data)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    back = b""
    while len(back) < len(data) and (part := connection.recv(65536)):
        back += part
    writer.join(1)
    return int(nonce in back and len(back) == len(data))


class IcmpVoice(Voice):
    """Echo requests."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._socket = target.open(socket.SOCK_RAW, packets.ICMP6 if target.six else packets.ICMP)

    def say(self, nonce: bytes, size: int, deadline: float) -> int:
        """One request."""
        answer = b"\x81" if self.target.six else b"\x00"
        data = nonce.ljust(max(size - self.target.headers, 0), b".")
        request = packets.echo_request(6 if self.target.six else 4, os.getpid() & 0xFFFF, data)
        self._socket.sendto(request, (self.target.address, 0))
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            data = self._socket.recv(65536)
            message = data if self.target.six else data[(data[0] & 15) * 4 :]
            if message[:1] == answer and nonce in message:
                return 1
        return 0

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()


class ErrorVoice(Voice):
    """Datagrams that must come to grief: the answer is the ICMP error that the kernel believes and hands to the socket.

    The kernel does that only for an error whose quoted packet is one that this very socket sent.
    """

    def __init__(self, target: Target, error: str) -> None:
        super().__init__(target)
        self._error = error
        self._socket = target.open(socket.SOCK_DGRAM)
        target.set(self._socket, _RECEIVE_ERRORS, _RECEIVE_ERRORS6, 1)
        target.set(self._socket, _MTU_DISCOVER, _MTU_DISCOVER6, _BELIEVE_NOTHING)
        self._socket.connect((target.address, target.port))

    def say(self, nonce: bytes, size: int, deadline: float) -> int:
        """One datagram, one error. Raises OSError for another error than the one that is wanted."""
        with suppress(OSError):  # what an earlier error left for the next call
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._socket.send(nonce.ljust(max(size - self.target.headers, 0), b"."))
        poller = select.poll()
        poller.register(self._socket, select.POLLERR)
        if not poller.poll(max(deadline - time.monotonic(), 0) * 1000):
            return 0
        quoted, ancillary, _, _ = self._socket.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
        for level, _, data in ancillary:
            if level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6) and nonce in quoted:
                kind, offender = self._read(data)
                if kind != self._error:
                    raise OSError(f"{kind} from {offender}")
                self.heard_from = offender
                return 1
        return 0

    def close(self) -> None:
        """Let the port go."""
        self._socket.close()

    def _read(self, data: bytes) -> tuple[str, str]:
        """Which error, by whom: struct sock_extended_err, then the offender's socket address."""
        number, origin, kind, code = struct.unpack_from("=IBBB", data)
        if origin not in (2, 3):  # SO_EE_ORIGIN_ICMP, _ICMP6; else it was this machine itself
            return os.strerror(number), "this machine itself"
        version = 6 if self.target.six else 4
        at, length = (16 + 8, 16) if self.target.six else (16 + 4, 4)
        family = socket.AF_INET6 if self.target.six else socket.AF_INET
        name = packets.ERRORS.get((version, kind, code), f"icmp {kind}/{code}")
        return name, socket.inet_ntop(family, data[at : at + length])


def voice(proto: str, target: Target, error: str | None) -> Voice:
    """The sender for a protocol; with `error`, the one that waits for it."""
    if error is not None:
        return ErrorVoice(target, error)
    made: dict[str, type[Voice]] = {"udp": UdpVoice, "tcp": TcpVoice, "icmp": IcmpVoice}
    return made[proto](target)
