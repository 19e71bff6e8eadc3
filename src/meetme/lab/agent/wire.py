"""Frames written on a port, past the machine's own tables and filters: what a stranger at its other end could send.

The port is found in whichever network namespace of the machine it is in now.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from meetme.lab.agent import packets
from meetme.lab.agent.voices import Target, Voice

_ALL_PROTOCOLS = 3  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING
_NEWNET = 0x40000000
_TYPES = {4: 0x0800, 6: 0x86DD}
_FIRST_TOKEN = 20000
"""Port of the first knock of a scan; the next ones count up, so that every answer tells what it answers."""

NAMESPACES = Path("/run/netns")


def namespaces() -> list[str]:
    """The machine's other network namespaces, by name."""
    with suppress(OSError):
        return sorted(os.listdir(NAMESPACES))
    return []


class Wire:
    """A port as a place to write packets to and read packets from."""

    def __init__(self, interface: str, mac: str) -> None:
        self._interface = interface
        self._socket = _port(interface)
        self._to = bytes.fromhex(mac.replace(":", ""))
        self._own: bytes = self._socket.getsockname()[4]

    def link_local(self) -> str | None:
        """The port's own link-local address."""
        for namespace in (None, *namespaces()):
            where = f"nsenter --net={NAMESPACES / namespace} " if namespace is not None else ""
            for line in os.popen(f"{where}ip -6 -o address show dev {self._interface} scope link 2>/dev/null"):
                return line.split()[3].partition("/")[0]
        return None

    def write(self, packet: bytes) -> None:
        """One IP packet in a frame to the other end."""
        self._socket.send(self._to + self._own + struct.pack("!H", _TYPES[packet[0] >> 4]) + packet)

    def packets(self, deadline: float) -> Iterator[packets.Seen]:
        """What comes in until the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, origin = self._socket.recvfrom(65536)
            except TimeoutError:
                return
            seen = packets.read(frame[14:]) if origin[2] != _OUTGOING else None
            if seen is not None:
                yield seen

    def close(self) -> None:
        """Let the port go."""
        self._socket.close()


class WireVoice(Voice):
    """Says a nonce in frames of its own: echo requests or datagrams, from any address."""

    def __init__(self, proto: str, target: Target, wire: Wire) -> None:
        super().__init__(target)
        self._proto, self._wire = proto, wire
        self.sent = 0

    def say(self, nonce: bytes, size: int, deadline: float) -> int:
        """One packet; an answer carries the nonce back to the port."""
        target, token = self.target, os.getpid() & 0xFFFF
        data = nonce.ljust(max(size - target.headers, 0), b".")
        if self._proto == "udp":
            body, protocol = packets.datagram(_FIRST_TOKEN, target.port, data), packets.UDP
        elif target.six:
            body, protocol = packets.echo_request(6, token, data), packets.ICMP6
        else:
            body, protocol = packets.echo_request(4, token, data), packets.ICMP
        assert target.source is not None
        self._wire.write(packets.packet(target.source, target.address, protocol, body, ttl=target.ttl or 64))
        self.sent += 1
        return int(any(seen.kind in ("echo", "udp") and nonce in seen.data for seen in self._wire.packets(deadline)))

    def close(self) -> None:
        """Let the port go."""
        self._wire.close()


@dataclass(frozen=True, slots=True)
class Knock:
    """One packet of a scan."""

    address: str
    proto: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.proto} {self.address}" + (f" port {self.port}" if self.port else "")


def scan(
    wire: Wire, source: str, source6: str | None, addresses: list[str], ports: list[int], within: float
) -> tuple[int, dict[Knock, str]]:
    """Knock at every port of every address by every protocol; how often, and what answered what within seconds.

    IPv4 packets come from `source`, IPv6 ones beyond the link from `source6`, others from the port's own link-local.
    """
    knocks = [Knock(address, "echo") for address in addresses]
    knocks += [Knock(address, proto, port) for address in addresses for proto in ("tcp", "udp") for port in ports]
    near = wire.link_local()
    sent = 0
    for token, knock in enumerate(knocks, start=_FIRST_TOKEN):
        to = ip_address(knock.address)
        six = to.version == 6
        own = source if not six else near if to.is_link_local or to.is_multicast else source6 or near
        if own is None:
            continue
        wire.write(_knocking(knock, own, token, six=six))
        sent += 1
    answered: dict[Knock, str] = {}
    for seen in wire.packets(time.monotonic() + within):
        if 0 <= seen.token - _FIRST_TOKEN < len(knocks):
            answered[knocks[seen.token - _FIRST_TOKEN]] = f"{seen.kind} from {seen.source}"
    return sent, answered


def _knocking(knock: Knock, source: str, token: int, *, six: bool) -> bytes:
    match knock.proto:
        case "tcp":
            return packets.packet(source, knock.address, packets.TCP, packets.opening(token, knock.port))
        case "udp":
            return packets.packet(source, knock.address, packets.UDP, packets.datagram(token, knock.port, b"there?"))
    body = packets.echo_request(6 if six else 4, token, b"there?")
    return packets.packet(source, knock.address, packets.ICMP6 if six else packets.ICMP, body)


def _port(interface: str) -> socket.socket:
    """A packet socket on the port, wherever it is. Raises OSError."""
    trouble: list[OSError] = []
    for namespace in (None, *namespaces()):
        try:
            return packet_socket(namespace, interface)
        except OSError as wrong:
            trouble.append(wrong)
    raise trouble[0]


def packet_socket(namespace: str | None, interface: str | None) -> socket.socket:
    """A socket for the frames of an interface, or of all, in a namespace or the machine's own. Raises OSError."""
    result: list[socket.socket | OSError] = []
    # In a thread of its own, which dies with whatever namespace it went into.
    thread = threading.Thread(target=_open, args=(namespace, interface, result))
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _open(namespace: str | None, interface: str | None, result: list[socket.socket | OSError]) -> None:
    made = None
    try:
        if namespace is not None:
            with open(NAMESPACES / namespace) as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        if interface is not None:
            made.bind((interface, _ALL_PROTOCOLS))
        result.append(made)
    except OSError as wrong:
        result.append(wrong)
        if made is not None:
            made.close()
