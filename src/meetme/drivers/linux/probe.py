"""Echo requests along the customers' path, from the router's own address, at full size (RFC 792, RFC 4443)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import itertools
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from meetme.model.errors import DeviceFailed, InvalidInput, Unsupported
from meetme.model.intent import ProbeReport, ProbeRequest

_NONCE = 16
_FIRST, _GROWTH, _SLOWEST = 0.005, 1.4, 0.25
"""Seconds between rounds: at once while the other side is about to be ready, ever slower when it is not."""
_OVERHEAD = {4: 28, 6: 48}
"""Octets of IP and ICMP header."""
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}


async def probe(request: ProbeRequest, *, device: str | None = None) -> ProbeReport:
    """Ask until every size was answered, or `request.within` seconds have passed. Does not block.

    A nonce in each packet must come back: an answer from anyone who only guesses is none. Nothing leaves but by
    `device`: what is asked while a circuit is being removed must not go out by a default route. Without that device
    nothing is answered. Raises InvalidInput where the source is not the router's own, Unsupported without CAP_NET_RAW.
    """
    if request.source.version != request.target.version:
        raise InvalidInput(
            "probe_family",
            f"target: must be of the source's family ({request.source}, {request.target})",
            field="target",
        )
    if device is not None and not _is_there(device):
        await asyncio.sleep(request.within)
        return ProbeReport(answered=(), lost=len(request.sizes), sent=len(request.sizes), rtt_ms=None)
    with _socket(request, device) as raw:
        probing = _Probing(request, raw)
        if raw.type == socket.SOCK_RAW:
            _show_only(raw, probing.identifier, version=request.target.version)
        return await probing.run()


@dataclass
class _Probing:
    """One run; `pending` maps a nonce to the size and the moment of its sending."""

    request: ProbeRequest
    raw: socket.socket
    pending: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    returned: int = 0
    sent: int = 0
    rtt: float | None = None
    """The shortest, in seconds."""
    slowest: float = 0.0
    newest: float = 0.0
    """When the latest packet was sent that was answered."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    identifier: int = field(default_factory=lambda: secrets.randbelow(1 << 16))

    async def run(self) -> ProbeReport:
        loop = asyncio.get_running_loop()
        wanted = set(self.request.sizes)
        deadline = time.monotonic() + self.request.within
        loop.add_reader(self.raw, self._receive)
        try:
            for pause in _pauses(self.request.every):
                for size in sorted(wanted - self.answered):
                    self._send(size)
                if await self._wait(min(pause, deadline - time.monotonic()), wanted) or time.monotonic() >= deadline:
                    break
        finally:
            loop.remove_reader(self.raw)
        lost = self._lost(time.monotonic())
        return ProbeReport(
            answered=tuple(size for size in self.request.sizes if size in self.answered),
            lost=lost,
            sent=self.returned + lost,
            rtt_ms=None if self.rtt is None else self.rtt * 1000,
        )

    def _lost(self, now: float) -> int:
        """What is not on its way any more: later packets were answered, or it has had as long as the slowest answer."""
        return sum(at < self.newest or now - at > self.slowest for _, at in self.pending.values())

    async def _wait(self, seconds: float, wanted: set[int]) -> bool:
        """Until every size was answered, for `seconds` at most; whether it was."""
        until = time.monotonic() + seconds
        while not wanted <= self.answered:
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                return False
        return True

    def _send(self, size: int) -> None:
        version = self.request.target.version
        nonce = secrets.token_bytes(_NONCE)
        payload = nonce + bytes(max(0, size - _OVERHEAD[version] - _NONCE))
        head = struct.pack("!BBHHH", _REQUEST[version], 0, 0, self.identifier, self.sent & 0xFFFF)
        if version == 4:  # for IPv6 the kernel does it, it knows the pseudo header
            head = struct.pack("!BBHHH", 8, 0, _checksum(head + payload), self.identifier, self.sent & 0xFFFF)
        self.sent += 1
        self.pending[nonce] = (size, time.monotonic())
        with contextlib.suppress(OSError):  # no route yet, or too big for the first hop: as good as lost
            self.raw.sendto(head + payload, (str(self.request.target), 0))

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data, sender = self.raw.recvfrom(65535)
                except BlockingIOError:
                    raise
                except OSError:
                    continue  # an ICMP error about an earlier packet, reported on the socket
                self._take(data, str(sender[0]).partition("%")[0])

    def _take(self, data: bytes, sender: str) -> None:
        version = self.request.target.version
        if version == 4 and self.raw.type == socket.SOCK_RAW:
            data = data[(data[0] & 0xF) * 4 :]
        if len(data) < 8 + _NONCE or data[0] != _REPLY[version] or sender != str(self.request.target):
            return
        found = self.pending.pop(data[8 : 8 + _NONCE], None)
        if found is None or len(data) + _OVERHEAD[version] - 8 != max(found[0], _OVERHEAD[version] + _NONCE):
            return
        size, at = found
        elapsed = time.monotonic() - at
        self.slowest, self.newest = max(self.slowest, elapsed), max(self.newest, at)
        self.rtt = elapsed if self.rtt is None else min(self.rtt, elapsed)
        self.returned += 1
        self.answered.add(size)
        self.changed.set()


def _pauses(every: float | None) -> Iterator[float]:
    if every is not None:
        yield from itertools.repeat(max(every, _FIRST))
    pause = _FIRST
    while True:
        yield pause
        pause = min(pause * _GROWTH, _SLOWEST)


def _is_there(device: str) -> bool:
    try:
        return socket.if_nametoindex(device) > 0
    except OSError:
        return False


def _socket(request: ProbeRequest, device: str | None) -> socket.socket:
    """A raw socket, or where that is forbidden a ping socket (`net.ipv4.ping_group_range`)."""
    four = request.target.version == 4
    family = socket.AF_INET if four else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if four else socket.IPPROTO_ICMPV6
    kinds = (socket.SOCK_RAW, socket.SOCK_DGRAM)
    for kind in kinds:
        with contextlib.suppress(PermissionError):
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
            break
    else:
        raise Unsupported(
            "capability_missing",
            "router: may not send ICMP echo",
            hint="give CAP_NET_RAW, or sysctl -w net.ipv4.ping_group_range='0 2147483647'",
        )
    probe_mtu = 3  # IP_PMTUDISC_PROBE: set don't-fragment, and believe no earlier path MTU
    if four:
        made.setsockopt(socket.IPPROTO_IP, 10, probe_mtu)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, 23, probe_mtu)
        made.setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG
    try:
        if device is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        made.bind((str(request.source), 0))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidInput(
                "probe_source_unknown",
                f"source: must be an address of this router ({request.source})",
                field="source",
                hint=f"ip addr add {request.source} dev lo",
            ) from None
        raise DeviceFailed("probe_failed", f"device: {os.strerror(error.errno or 0)} ({request.source})") from error
    return made


def _show_only(raw: socket.socket, identifier: int, *, version: int) -> None:
    """Let the kernel drop what answers others: a raw socket is shown every ICMP message that the router receives."""
    load = (0x28, 0, 0, 4)  # the identifier, in a packet that begins with the ICMP header
    steps = [(0xB1, 0, 0, 0), (0x48, 0, 0, 4)] if version == 4 else [load]  # for IPv4 it begins with the IP header
    steps += [(0x15, 0, 1, identifier), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    raw.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(steps), ctypes.addressof(program)))  # SO_ATTACH_FILTER


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
