"""Sends and listens inside a machine, on behalf of `verify`. Standard library alone, so that it starts at once.

One JSON command a line on standard input, one JSON answer a line on standard output; it ends with its input. A receiver
counts only what carries the nonce of its check; a sender counts only frames that really left an interface.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_ALL_PROTOCOLS = 3  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING
_EVERY = 0.1  # seconds between packets
_MTU_DISCOVER, _MTU_DISCOVER_DO = 10, 2  # IP_MTU_DISCOVER: never fragment
_MTU_DISCOVER6 = 23
_BROADCAST = "ff:ff:ff:ff:ff:ff"

Facts = dict[str, Any]


def main() -> None:
    """Obey until the input ends."""
    agent = Agent()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(agent, f"do_{order.pop('do')}")(**order)
        except OSError as wrong:
            answer = {"error": str(wrong)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Agent:
    """The orders, one method each."""

    def __init__(self) -> None:
        self._ear: Ear | None = None

    def do_listen(self, proto: str, family: int, port: int, nonce: str, control: str, ethertype: int) -> Facts:
        """Start to listen for one check; the port that was taken."""
        self._ear = _EARS[proto](family, port, bytes.fromhex(nonce), bytes.fromhex(control), ethertype)
        return {"port": self._ear.port}

    def do_control(self) -> Facts:
        """Send a packet to the own ear, and wait until it was heard."""
        assert self._ear is not None
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not self._ear.control_heard.is_set():
            with suppress(OSError):
                self._ear.send_control()
            self._ear.control_heard.wait(_EVERY)
        return {"heard": self._ear.control_heard.is_set()}

    def do_heard(self) -> Facts:
        """Stop listening; how often the nonce came, and from where."""
        assert self._ear is not None
        ear, self._ear = self._ear, None
        ear.close()
        return {"received": ear.received, "seen_as": ear.seen_as}

    def do_send(
        self,
        proto: str,
        address: str,
        family: int,
        port: int,
        nonce: str,
        size: int | None,
        within: float,
        until_answered: bool,
        interfaces: list[str],
        ethertype: int,
    ) -> Facts:
        """Send until answered, or until the time is over; how many frames left and how many answers came."""
        secret = bytes.fromhex(nonce)
        tap = Tap(secret, socket.inet_pton(family, address) if proto == "tcp" else b"", port)
        deadline = time.monotonic() + within
        answered, trouble = 0, ""
        while time.monotonic() < deadline:
            turn = min(time.monotonic() + (1.0 if proto == "tcp" else _EVERY), deadline)
            try:
                match proto:
                    case "tcp":
                        answered += _speak_tcp(family, address, port, secret, size or 0, turn)
                    case "udp":
                        answered += _speak_udp(family, address, port, secret, size or 0, turn)
                    case "icmp":
                        answered += _speak_icmp(family, address, secret, size or 0, turn)
                    case _:
                        _speak_ethernet(interfaces, address or _BROADCAST, ethertype, secret, size or 0)
                        answered += 1  # nobody answers a bare frame: that it left is all there is to know here
            except OSError as wrong:
                trouble = str(wrong)
            if answered and until_answered:
                break
            time.sleep(max(0.0, min(turn, deadline) - time.monotonic()))
        return {"sent": tap.count(), "answered": answered, "trouble": trouble}

    def do_addresses(self) -> Facts:
        """The machine's own addresses and interfaces, from the kernel."""
        listing = os.popen("ip -j address").read()
        return {"links": json.loads(listing or "[]")}

    def do_get(self, url: str, token_file: str) -> Facts:
        """An HTTP request to a service on this machine; `status` 0 if there is none, or no token."""
        from urllib.error import HTTPError, URLError
        from urllib.request import Request, urlopen

        try:
            with open(token_file, encoding="utf-8") as file:
                token = file.read().strip()
            request = Request(url, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
            with urlopen(request, timeout=10) as response:
                return {"status": response.status, "body": json.load(response)}
        except HTTPError as wrong:
            return {"status": wrong.code, "body": None}
        except (URLError, OSError, ValueError):
            return {"status": 0, "body": None}


class Tap:
    """Counts the frames of one check that leave the machine by any interface but loopback."""

    def __init__(self, nonce: bytes, address: bytes, port: int) -> None:
        self._nonce, self._address, self._port = nonce, address, struct.pack("!H", port)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        self._socket.setblocking(False)

    def count(self) -> int:
        """How many, so far; closes the tap."""
        seen = 0
        with suppress(BlockingIOError), self._socket:
            while True:
                frame, origin = self._socket.recvfrom(65536)
                if origin[2] == _OUTGOING and origin[0] != "lo" and self._ours(frame):
                    seen += 1
        return seen

    def _ours(self, frame: bytes) -> bool:
        if self._nonce in frame:
            return True
        # A connection that is never answered shows no nonce: its first packet is known by where it goes.
        header = 34 if frame[12:14] == b"\x08\x00" else 54
        destination = frame[30:34] if header == 34 else frame[38:54]
        return bool(self._address) and destination == self._address and frame[header + 2 : header + 4] == self._port


class Ear:
    """Listens in a thread of its own and counts what carries the nonce."""

    port = 0

    def __init__(self, family: int, port: int, nonce: bytes, control: bytes, ethertype: int) -> None:
        self.family, self.nonce, self.control, self.ethertype = family, nonce, control, ethertype
        self.received = 0
        self.seen_as: str | None = None
        self.control_heard = threading.Event()
        self.socket = self.open(port)
        self.socket.settimeout(0.2)
        self._closing = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def open(self, port: int) -> socket.socket:
        """The socket to listen on."""
        raise NotImplementedError

    def listen_once(self) -> None:
        """Wait for one packet or connection, for the time-out of the socket, and `note` it."""
        raise NotImplementedError

    def send_control(self) -> None:
        """Send the control nonce to this ear from the machine itself."""
        raise NotImplementedError

    def note(self, data: bytes, origin: str) -> bool:
        """Count a packet; whether it was one of ours."""
        if self.control in data:
            self.control_heard.set()
        elif self.nonce in data:
            self.received += 1
            self.seen_as = origin.removeprefix("::ffff:")
        else:
            return False
        return True

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._thread.join()
        self.socket.close()

    def _listen(self) -> None:
        while not self._closing:
            with suppress(OSError):
                self.listen_once()

    @property
    def _loopback(self) -> str:
        return "127.0.0.1" if self.family == socket.AF_INET else "::1"


class UdpEar(Ear):
    """Echoes every datagram of ours."""

    def open(self, port: int) -> socket.socket:
        """Bound to every address of the machine."""
        ear = socket.socket(self.family, socket.SOCK_DGRAM)
        ear.bind(("", port))
        self.port = ear.getsockname()[1]
        return ear

    def listen_once(self) -> None:
        """One datagram."""
        data, origin = self.socket.recvfrom(65536)
        if self.note(data, origin[0]):
            self.socket.sendto(data, origin)

    def send_control(self) -> None:
        """A datagram over loopback."""
        with socket.socket(self.family, socket.SOCK_DGRAM) as sender:
            sender.sendto(self.control, (self._loopback, self.port))


class TcpEar(Ear):
    """Echoes the stream of every connection; one that shows no nonce counts too, for it should not be there."""

    def open(self, port: int) -> socket.socket:
        """Bound to every address of the machine."""
        ear = socket.socket(self.family, socket.SOCK_STREAM)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("", port))
        ear.listen(16)
        self.port = ear.getsockname()[1]
        return ear

    def listen_once(self) -> None:
        """One connection, in a thread of its own."""
        connection, origin = self.socket.accept()
        threading.Thread(target=self._serve, args=(connection, origin[0]), daemon=True).start()

    def _serve(self, connection: socket.socket, origin: str) -> None:
        with connection, suppress(OSError):
            connection.settimeout(10)
            head = b""
            while len(head) < len(self.nonce) and (data := connection.recv(len(self.nonce) - len(head))):
                head += data
            if not self.note(head, origin):
                self.note(self.nonce, origin)
            connection.sendall(head)
            while data := connection.recv(65536):
                connection.sendall(data)

    def send_control(self) -> None:
        """A connection over loopback."""
        with socket.create_connection((self._loopback, self.port), timeout=1) as sender:
            sender.sendall(self.control)


class IcmpEar(Ear):
    """Sees echo requests beside the kernel, which answers them."""

    def open(self, port: int) -> socket.socket:
        """A raw socket for the family's ICMP."""
        return socket.socket(self.family, socket.SOCK_RAW, _icmp(self.family))

    def listen_once(self) -> None:
        """One ICMP packet."""
        data, origin = self.socket.recvfrom(65536)
        message = data[(data[0] & 15) * 4 :] if self.family == socket.AF_INET else data
        if message[:1] == _echo_request(self.family):
            self.note(message, origin[0])

    def send_control(self) -> None:
        """An echo request over loopback."""
        with socket.socket(self.family, socket.SOCK_RAW, _icmp(self.family)) as sender:
            sender.sendto(_echo(self.family, self.control), (self._loopback, 0))


class EthernetEar(Ear):
    """Sees frames of one ethertype on every interface."""

    def open(self, port: int) -> socket.socket:
        """A packet socket; also what the kernel itself would drop is seen."""
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))

    def listen_once(self) -> None:
        """One frame."""
        frame, origin = self.socket.recvfrom(65536)
        if origin[2] != _OUTGOING and frame[12:14] == struct.pack("!H", self.ethertype):
            self.note(frame, ":".join(f"{octet:02x}" for octet in frame[6:12]))

    def send_control(self) -> None:
        """A frame over loopback."""
        _speak_ethernet(["lo"], _BROADCAST, self.ethertype, self.control, 0)


_EARS: dict[str, Callable[..., Ear]] = {"udp": UdpEar, "tcp": TcpEar, "icmp": IcmpEar, "ethernet": EthernetEar}


def _speak_udp(family: int, address: str, port: int, nonce: bytes, size: int, deadline: float) -> int:
    headers = 28 if family == socket.AF_INET else 48
    with socket.socket(family, socket.SOCK_DGRAM) as speaker:
        _never_fragment(speaker, family)
        speaker.connect((address, port))
        speaker.send(nonce.ljust(max(size - headers, 0), b"."))
        speaker.settimeout(max(deadline - time.monotonic(), 0.01))
        return int(nonce in speaker.recv(65536))


def _speak_tcp(family: int, address: str, port: int, nonce: bytes, size: int, deadline: float) -> int:
    """Send `size` octets and read them all back: both directions carry full segments."""
    with socket.socket(family, socket.SOCK_STREAM) as speaker:
        speaker.settimeout(max(deadline - time.monotonic(), 0.01))
        speaker.connect((address, port))
        speaker.settimeout(10)
        data = nonce.ljust(size, b".")
        writer = threading.Thread(target=_write, args=(speaker, data), daemon=True)
        writer.start()
        back = 0
        while back < len(data) and (part := speaker.recv(65536)):
            back += len(part)
        writer.join(1)
        return int(back == len(data))


def _write(speaker: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        speaker.sendall(data)


def _speak_icmp(family: int, address: str, nonce: bytes, size: int, deadline: float) -> int:
    headers = 28 if family == socket.AF_INET else 48
    answer = b"\x00" if family == socket.AF_INET else b"\x81"
    with socket.socket(family, socket.SOCK_RAW, _icmp(family)) as speaker:
        _never_fragment(speaker, family)
        speaker.sendto(_echo(family, nonce.ljust(max(size - headers, 0), b".")), (address, 0))
        while (left := deadline - time.monotonic()) > 0:
            speaker.settimeout(left)
            data = speaker.recv(65536)
            message = data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
            if message[:1] == answer and nonce in message:
                return 1
    return 0


def _speak_ethernet(interfaces: list[str], address: str, ethertype: int, nonce: bytes, size: int) -> None:
    for interface in interfaces:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as speaker:
            speaker.bind((interface, 0))
            own = speaker.getsockname()[4]
            head = bytes.fromhex(address.replace(":", "")) + own + struct.pack("!H", ethertype)
            speaker.send(head + nonce.ljust(max(size, 46), b"."))


def _never_fragment(speaker: socket.socket, family: int) -> None:
    if family == socket.AF_INET:
        speaker.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _MTU_DISCOVER_DO)
    else:
        speaker.setsockopt(socket.IPPROTO_IPV6, _MTU_DISCOVER6, _MTU_DISCOVER_DO)


def _icmp(family: int) -> int:
    return socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6


def _echo_request(family: int) -> bytes:
    return b"\x08" if family == socket.AF_INET else b"\x80"


def _echo(family: int, data: bytes) -> bytes:
    """An echo request; for IPv6 the kernel fills in the checksum."""
    head = struct.pack("!BBHHH", _echo_request(family)[0], 0, 0, os.getpid() & 0xFFFF, 1)
    if family != socket.AF_INET:
        return head + data
    message = head + data + b"\x00" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", head[0], 0, ~total & 0xFFFF, os.getpid() & 0xFFFF, 1) + data


if __name__ == "__main__":
    main()
