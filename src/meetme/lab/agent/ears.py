"""Listeners: each counts what carries the nonce of its check, and echoes it where the protocol does not by itself."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from contextlib import suppress

from meetme.lab.agent import packets

_ALL_PROTOCOLS = 3  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING
_PACKET_INFO = {
    int(socket.AF_INET): (socket.IPPROTO_IP, 8, 8),  # IP_PKTINFO
    int(socket.AF_INET6): (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO),
}
"""Level and option that make the kernel tell where a datagram was sent to, and under which name it does."""
BROADCAST = "ff:ff:ff:ff:ff:ff"


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

    def __init__(self, family: int, port: int, ethertype: int) -> None:
        self.family, self.ethertype = family, ethertype
        self.expect(b"?" * 16, b"!" * 16)
        self.socket = self.open(port)
        self._wake, self._awake = os.pipe()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def expect(self, nonce: bytes, control: bytes) -> None:
        """Begin to count for one check."""
        self.nonce, self.control = nonce, control
        self.received = 0
        self.seen_as: str | None = None
        self.control_heard = threading.Event()

    def open(self, port: int) -> socket.socket:
        """The socket to listen on."""
        raise NotImplementedError

    def listen_once(self) -> None:
        """Take one packet or connection that is there, and `note` it."""
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

    def count(self) -> int:
        """How often the nonce came."""
        return self.received

    def close(self) -> None:
        """Stop listening."""
        os.close(self._awake)
        self._thread.join()
        os.close(self._wake)
        self.socket.close()

    def _listen(self) -> None:
        while self._wake not in select.select([self.socket.fileno(), self._wake], [], [])[0]:
            with suppress(OSError):
                self.listen_once()

    @property
    def _loopback(self) -> str:
        return "127.0.0.1" if self.family == socket.AF_INET else "::1"


class UdpEar(Ear):
    """Echoes every datagram of ours, from the address that it was sent to: a host may have several."""

    def open(self, port: int) -> socket.socket:
        """Bound to every address of the machine."""
        ear = socket.socket(self.family, socket.SOCK_DGRAM)
        level, option, self._told = _PACKET_INFO[self.family]
        ear.setsockopt(level, option, 1)
        ear.bind(("", port))
        self.port = ear.getsockname()[1]
        return ear

    def listen_once(self) -> None:
        """One datagram."""
        data, told, _, origin = self.socket.recvmsg(65536, 256)
        if self.note(data, origin[0]):
            self.socket.sendmsg([data], [self._from(*each) for each in told], 0, origin)

    def _from(self, level: int, _: int, info: bytes) -> tuple[int, int, bytes]:
        """What came with a datagram, turned into the wish to answer from where it went; by any port."""
        if self.family == socket.AF_INET:
            return level, self._told, struct.pack("=I4s4x", 0, info[8:12])
        return level, self._told, info[:16] + bytes(4)

    def send_control(self) -> None:
        """A datagram over loopback."""
        with socket.socket(self.family, socket.SOCK_DGRAM) as sender:
            sender.sendto(self.control, (self._loopback, self.port))


class TcpEar(Ear):
    """Echoes the stream of every connection; one that shows no nonce counts too, for it should not be there."""

    def open(self, port: int) -> socket.socket:
        """Bound to every address of the machine."""
        self._silent: set[str] = set()
        ear = socket.socket(self.family, socket.SOCK_STREAM)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("", port))
        ear.listen(16)
        self.port = ear.getsockname()[1]
        return ear

    def listen_once(self) -> None:
        """One connection, in a thread of its own."""
        connection, origin = self.socket.accept()
        self._silent.add(f"{origin[0]} {origin[1]}")
        threading.Thread(target=self._serve, args=(connection, origin), daemon=True).start()

    def count(self) -> int:
        """How often the nonce came, and how many connections that never showed one."""
        for silent in self._silent:
            self.seen_as = silent.partition(" ")[0].removeprefix("::ffff:")
        return self.received + len(self._silent)

    def _serve(self, connection: socket.socket, origin: tuple[str, int]) -> None:
        tail = b""
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                window = tail + data
                if self.note(window, origin[0]):
                    self._silent.discard(f"{origin[0]} {origin[1]}")
                    window = b""
                tail = window[-len(self.nonce) + 1 :]  # the nonce may come in two parts
                connection.sendall(data)

    def send_control(self) -> None:
        """A connection over loopback."""
        with socket.create_connection((self._loopback, self.port), timeout=1) as sender:
            sender.sendall(self.control)
            self.control_heard.wait(1)


class IcmpEar(Ear):
    """Sees echo requests beside the kernel, which answers them."""

    def open(self, port: int) -> socket.socket:
        """A raw socket for the family's ICMP."""
        self._six = self.family == socket.AF_INET6
        self._protocol = packets.ICMP6 if self._six else packets.ICMP
        return socket.socket(self.family, socket.SOCK_RAW, self._protocol)

    def listen_once(self) -> None:
        """One ICMP packet."""
        data, origin = self.socket.recvfrom(65536)
        message = data if self._six else data[(data[0] & 15) * 4 :]
        if message[:1] == (b"\x80" if self._six else b"\x08"):
            self.note(message, origin[0])

    def send_control(self) -> None:
        """An echo request over loopback."""
        with socket.socket(self.family, socket.SOCK_RAW, self._protocol) as sender:
            request = packets.echo_request(6 if self._six else 4, os.getpid() & 0xFFFF, self.control)
            sender.sendto(request, (self._loopback, 0))


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
        speak_ethernet(["lo"], BROADCAST, self.ethertype, self.control, 0)


EARS: dict[str, type[Ear]] = {
    "udp": UdpEar,
    "tcp": TcpEar,
    "icmp": IcmpEar,
    "ethernet": EthernetEar,
}
"""What listens, by protocol: made with family, port and ethertype."""


def speak_ethernet(interfaces: list[str], address: str, ethertype: int, nonce: bytes, size: int) -> None:
    """A bare frame out of every one of the interfaces."""
    for interface in interfaces:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as speaker:
            speaker.bind((interface, 0))
            own = speaker.getsockname()[4]
            head = bytes.fromhex(address.replace(":", "")) + own + struct.pack("!H", ethertype)
            speaker.send(head + nonce.ljust(max(size, 46), b"."))


class Service:
    """Real listeners on many ports, of all addresses and both families; whatever reaches one is told."""

    def __init__(self, ports: list[int]) -> None:
        self._listeners: list[socket.socket] = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for port in ports:
                listener = socket.socket(socket.AF_INET6, kind)
                listener.setblocking(False)
                try:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    listener.bind(("::", port))
                    if kind == socket.SOCK_STREAM:
                        listener.listen()
                except OSError:  # a service of the machine has it, and listens there itself
                    listener.close()
                else:
                    self._listeners.append(listener)

    def listens(self) -> bool:
        """Whether each is reached from the machine itself."""
        for listener in self._listeners:
            with socket.socket(socket.AF_INET, listener.type) as calling:
                calling.settimeout(1)
                calling.connect(("127.0.0.1", listener.getsockname()[1]))
                calling.send(b"there?")
                if not select.select([listener], [], [], 1)[0]:
                    return False
                self._take(listener)
        return bool(self._listeners)

    def visitors(self) -> list[str]:
        """Who came since, and at which port."""
        found = []
        for listener in self._listeners:
            with suppress(BlockingIOError):
                proto = "tcp" if listener.type == socket.SOCK_STREAM else "udp"
                found.append(f"{proto} port {listener.getsockname()[1]} reached by {self._take(listener)}")
        return found

    def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners:
            listener.close()

    @staticmethod
    def _take(listener: socket.socket) -> str:
        if listener.type == socket.SOCK_DGRAM:
            return str(listener.recvfrom(2048)[1][0])
        connection, origin = listener.accept()
        connection.close()
        return str(origin[0])
