"""Obeys `verify` inside a machine: one JSON order a line on standard input, one JSON answer a line on standard output.

It ends with its input. A receiver counts only what carries the nonce of its check; a sender counts only frames that
really left an interface.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from meetme.lab.agent.ears import BROADCAST, EARS, Ear, Service, Tap, speak_ethernet
from meetme.lab.agent.streams import Stream
from meetme.lab.agent.taps import Taps
from meetme.lab.agent.voices import Target, Voice, voice
from meetme.lab.agent.wire import NAMESPACES, Wire, WireVoice, namespaces, scan

_EVERY = 0.1
"""Seconds between packets."""

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
    """The orders, one method each. Ears and voices of a flow are kept by its name, others go with their check."""

    def __init__(self) -> None:
        self._ear: Ear | None = None
        self._kept_ears: dict[str, Ear] = {}
        self._kept_voices: dict[str, Voice] = {}
        self._service: Service | None = None
        self._streams: dict[str, Stream] = {}
        self._taps: Taps | None = None

    def do_hello(self) -> Facts:
        """Is it there?"""
        return {}

    def do_run(self, run: str, within: float) -> Facts:
        """A shell command to its end; its status (None: not in time) and what it said."""
        try:
            done = subprocess.run(
                ["bash", "-c", run], stdin=subprocess.DEVNULL, capture_output=True, timeout=within, check=False
            )
        except subprocess.TimeoutExpired:
            return {"status": None, "said": ""}
        return {"status": done.returncode, "said": (done.stderr or done.stdout).decode(errors="replace")}

    def do_listen(
        self, proto: str, family: int, port: int, nonce: str, control: str, ethertype: int, flow: str | None
    ) -> Facts:
        """Start to listen for one check; the port that was taken."""
        kind = EARS[proto]
        ear = self._kept_ears.get(flow) if flow is not None else None
        for kept in self._kept_ears.values():
            if ear is None and port and (type(kept), kept.family, kept.port) == (kind, family, port):
                ear = kept  # flows to one port share its socket
        self._ear = ear or kind(family, port, ethertype)
        self._ear.expect(bytes.fromhex(nonce), bytes.fromhex(control))
        if flow is not None:
            self._kept_ears[flow] = self._ear
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
        if ear not in self._kept_ears.values():
            ear.close()
        return {"received": ear.count(), "seen_as": ear.seen_as}

    def do_send(
        self,
        proto: str,
        address: str,
        family: int,
        port: int,
        source: str | None,
        source_port: int | None,
        ttl: int | None,
        nonce: str,
        size: int | None,
        within: float,
        error: str | None,
        flow: str | None,
        via: str | None,
        mac: str,
    ) -> Facts:
        """Send until answered, or until the time is over; how many frames left, how many answers came, from whom."""
        secret = bytes.fromhex(nonce)
        tap = Tap(secret, socket.inet_pton(family, address) if proto == "tcp" else b"", port)
        speaker = self._kept_voices.get(flow) if flow is not None else None
        try:
            if speaker is None:
                target = Target(address, port, source, ttl, source_port or 0)
                speaker = WireVoice(proto, target, Wire(via, mac)) if via is not None else voice(proto, target, error)
        except OSError as wrong:
            return {"sent": tap.count(), "answered": 0, "trouble": str(wrong), "heard_from": None}
        if flow is not None:
            self._kept_voices[flow] = speaker
        deadline = time.monotonic() + within
        answered, trouble = 0, ""
        while time.monotonic() < deadline:
            turn = min(time.monotonic() + (1.0 if proto == "tcp" else _EVERY), deadline)
            try:
                answered += speaker.say(secret, size or 0, turn)
            except OSError as wrong:
                trouble = str(wrong)
            if answered:
                break
            time.sleep(max(0.0, min(turn, deadline) - time.monotonic()))
        sent = tap.count()
        if isinstance(speaker, WireVoice):
            sent = speaker.sent
        if flow is None:
            speaker.close()
        return {"sent": sent, "answered": answered, "trouble": trouble, "heard_from": speaker.heard_from}

    def do_stream(
        self,
        stream: str,
        address: str,
        port: int,
        source: str | None,
        source_port: int | None,
        nonce: str,
        within: float,
    ) -> Facts:
        """Start a stream, and wait for the first echo; how many packets left and how many came back."""
        try:
            started = Stream(Target(address, port, source, None, source_port or 0), bytes.fromhex(nonce))
        except OSError as wrong:
            return {"sent": 0, "answered": 0, "trouble": str(wrong)}
        self._streams[stream] = started
        started.await_first(within)
        return {"sent": started.sent, "answered": started.answered, "trouble": started.trouble}

    def do_end_stream(self, stream: str, within: float) -> Facts:
        """Stop sending and wait for the last echoes; how many packets left, and the numbers of the missing ones."""
        ended = self._streams.pop(stream)
        missing = ended.end(within)
        return {"sent": ended.sent, "missing": missing}

    def do_recall(self, flow: str) -> Facts:
        """Stop listening for a flow; how often its nonce came, and from where."""
        ear = self._kept_ears.pop(flow)
        ear.close()
        return {"received": ear.count(), "seen_as": ear.seen_as}

    def do_watch(self, nonce: str) -> Facts:
        """Look at every port, in every namespace, for packets with a nonce."""
        self._taps = Taps(bytes.fromhex(nonce))
        return {}

    def do_watched(self) -> Facts:
        """Stop that; how many were seen, and how many packets went by unlooked at."""
        assert self._taps is not None
        taps, self._taps = self._taps, None
        seen, lost = taps.end()
        return {"seen": seen, "lost": lost}

    def do_ethernet(
        self, interfaces: list[str], address: str, ethertype: int, nonce: str, size: int | None, within: float
    ) -> Facts:
        """Send bare frames for so long; nobody answers them: how many left is all there is to know here."""
        secret = bytes.fromhex(nonce)
        tap = Tap(secret, b"", 0)
        deadline = time.monotonic() + within
        while True:
            speak_ethernet(interfaces, address or BROADCAST, ethertype, secret, size or 0)
            if time.monotonic() + _EVERY > deadline:
                return {"sent": tap.count(), "answered": 0, "trouble": "", "heard_from": None}
            time.sleep(_EVERY)

    def do_serve(self, ports: list[int]) -> Facts:
        """Listen on many ports; whether they are reached from here."""
        self._service = Service(ports)
        return {"listens": self._service.listens()}

    def do_visitors(self) -> Facts:
        """Stop that; who came."""
        assert self._service is not None
        service, self._service = self._service, None
        visitors = service.visitors()
        service.close()
        return {"visitors": visitors}

    def do_scan(
        self,
        via: str,
        mac: str,
        source: str,
        source6: str | None,
        addresses: list[str],
        ports: list[int],
        within: float,
    ) -> Facts:
        """Knock at all of them through one port; what answered, as (address, protocol, words)."""
        wire = Wire(via, mac)
        try:
            sent, answered = scan(wire, source, source6, addresses, ports, within)
        finally:
            wire.close()
        return {"sent": sent, "answered": [[k.address, k.proto, f"{k}: {what}"] for k, what in answered.items()]}

    def do_addresses(self) -> Facts:
        """The machine's own addresses and interfaces, from the kernel."""
        return {"links": _links("ip -j address")}

    def do_everywhere(self) -> Facts:
        """The same with those in its other network namespaces."""
        links = _links("ip -j address")
        for namespace in namespaces():
            links += _links(f"nsenter --net={NAMESPACES / namespace} ip -j address")
        return {"links": links}

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


def _links(command: str) -> list[Any]:
    return json.loads(os.popen(command).read() or "[]")  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
