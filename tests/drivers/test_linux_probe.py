"""What a probe counts, over a wire that is slow, loses packets, or carries small ones alone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from meetme.drivers.linux import probe as module
from meetme.model.intent import ProbeReport, ProbeRequest

HEADER = b"\x45" + bytes(19)


class Wire:
    """In the place of the raw socket: every request that is not lost is answered after `delay` seconds."""

    type = socket.SOCK_RAW

    def __init__(self, delay: float, loses: Callable[[int, int], bool]) -> None:
        self._delay, self._loses = delay, loses
        self._there: deque[bytes] = deque()
        self._ready, self._ring = os.pipe()
        self.sent = 0

    def fileno(self) -> int:
        return self._ready

    def sendto(self, data: bytes, target: tuple[str, int]) -> None:
        number, self.sent = self.sent, self.sent + 1
        if not self._loses(number, len(data) + 20):
            reply = HEADER + bytes(2) + data[2:]
            asyncio.get_running_loop().call_later(self._delay, self._arrive, reply)

    def _arrive(self, reply: bytes) -> None:
        self._there.append(reply)
        os.write(self._ring, b".")

    def recvfrom(self, _octets: int) -> tuple[bytes, tuple[str, int]]:
        if not self._there:
            raise BlockingIOError
        os.read(self._ready, 1)
        return self._there.popleft(), ("100.64.0.1", 0)

    def setsockopt(self, *_option: Any) -> None:
        pass

    def close(self) -> None:
        os.close(self._ready)
        os.close(self._ring)


async def probed(
    monkeypatch: pytest.MonkeyPatch,
    delay: float,
    loses: Callable[[int, int], bool] = lambda _number, _size: False,
    **request: Any,
) -> tuple[ProbeReport, Wire]:
    wire = Wire(delay, loses)

    @contextmanager
    def opened(_request: ProbeRequest, _device: str | None) -> Iterator[Wire]:
        yield wire

    monkeypatch.setattr(module, "_socket", opened)
    source, target = ip_address("10.0.0.1"), ip_address("100.64.0.1")
    try:
        report = await module.probe(ProbeRequest("c1", source, target, (84, 1500), **request))
        await asyncio.sleep(delay + 0.01)  # what is on its way still needs its wire
        return report, wire
    finally:
        wire.close()


async def test_a_slow_wire_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    report, wire = await probed(monkeypatch, 0.06)
    assert (report.answered, report.lost) == ((84, 1500), 0)
    assert wire.sent > report.sent >= 2, "what was still on its way is not counted"
    assert report.rtt_ms == pytest.approx(60, abs=40)


async def test_what_was_overtaken_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _ = await probed(monkeypatch, 0.02, lambda number, _size: number == 0)
    assert (report.answered, report.lost) == ((84, 1500), 1)


async def test_without_any_answer_everything_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    report, wire = await probed(monkeypatch, 0.0, lambda _number, _size: True, within=0.1)
    assert (report.answered, report.rtt_ms) == ((), None)
    assert report.lost == report.sent == wire.sent > 2


async def test_a_narrow_wire_answers_small_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _ = await probed(monkeypatch, 0.0, lambda _number, size: size > 1000, within=0.1)
    assert report.answered == (84,)
    assert report.lost == report.sent - 1 > 1


async def test_each_size_is_sent_once_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    report, wire = await probed(monkeypatch, 0.02, lambda _number, size: size > 1000, within=0.2, every=0.2)
    assert wire.sent == 2
    assert (report.answered, report.sent, report.lost) == ((84,), 2, 1)
