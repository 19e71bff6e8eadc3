"""A circuit with two ways between its end switches: what fails, how long no frame passes, and what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from meetme.configurator.keeper import Keeper
from meetme.drivers.fabric import probing
from meetme.drivers.fabric.config import PROBE_MAC
from meetme.drivers.fabric.device import FabricDriver
from meetme.drivers.kernel.netlink import Netlink
from meetme.model.intent import LinkEvent, LinkEventKind, Observation
from meetme.model.segment import SegmentIntent
from meetme.runtime.clock import SystemClock
from meetme.runtime.database import Database
from tests.live.fabric import Customer, Exchange, access, apply, crosses, exchange, segment, snapshot, tunnel
from tests.live.world import Machine, eventually, why_not

pytestmark = [pytest.mark.live, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

FIRST, SECOND = 4701, 4702


@dataclass
class Running:
    """A keeper that runs in a switch, as a process of its own; what it tells is read from a pipe."""

    pid: int
    events: list[LinkEvent]
    ask: Callable[[], Observation]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def waits_for(self, kind: LinkEventKind, within: float = 5.0) -> LinkEvent:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for event in list(self.events):
                if event.kind is kind:
                    self.events.remove(event)
                    return event
            time.sleep(0.01)
        raise AssertionError(f"no {kind} within {within} s, but {self.events}")


def serve(machine: Machine, intent: SegmentIntent) -> Running:
    """Start a keeper that applies `intent`."""
    told, tell = os.pipe()
    asked, ask = os.pipe()
    answered, answer = os.pipe()
    child = os.fork()
    if child == 0:
        from tests.live.world import _enter

        _enter(machine.pid, mounts=True)
        with contextlib.suppress(BaseException):
            asyncio.run(_keep(intent, os.fdopen(tell, "wb"), asked, os.fdopen(answer, "wb")))
        os._exit(0)
    for end in (tell, asked, answer):
        os.close(end)
    events: list[LinkEvent] = []
    stream, replies = os.fdopen(told, "rb"), os.fdopen(answered, "rb")

    def listen() -> None:
        with contextlib.suppress(EOFError):
            while True:
                events.append(pickle.load(stream))

    def observe() -> Observation:
        os.write(ask, b"?")
        found: Observation = pickle.load(replies)
        return found

    threading.Thread(target=listen, daemon=True).start()
    running = Running(child, events, observe)
    running.waits_for(LinkEventKind.STATE, 10)
    return running


async def _keep(intent: SegmentIntent, events: object, asked: int, answers: object) -> None:
    keeper = Keeper(FabricDriver(), Database.open("sqlite:////run/keeper.db"), SystemClock())
    await keeper.start()

    async def tell() -> None:
        async for event in keeper.watch():
            pickle.dump(event, events)  # type: ignore[arg-type]
            events.flush()  # type: ignore[attr-defined]

    watching = asyncio.ensure_future(tell())
    await asyncio.sleep(0)
    await keeper.apply(intent)
    while await asyncio.to_thread(os.read, asked, 1):
        pickle.dump(await keeper.observe(), answers)  # type: ignore[arg-type]
        answers.flush()  # type: ignore[attr-defined]
    watching.cancel()


@dataclass
class Protected:
    """s1 and s2, each with a customer; between them t1 and t2, which pass the circuit's frames on."""

    ix: Exchange
    a: Customer
    b: Customer
    keepers: dict[str, Running]

    def carrying(self, switch: str) -> int:
        found = [u.end for u in self.keepers[switch].ask().segments[0].uplinks if u.carrying]
        return found[0].vni  # type: ignore[union-attr]


@pytest.fixture
def protected() -> Iterator[Protected]:
    with exchange() as ix:
        for name in ("s1", "s2", "t1", "t2"):
            ix.switch(name)
        for number, one, other in ((1, "s1", "t1"), (2, "t1", "s2"), (3, "s1", "t2"), (4, "t2", "s2")):
            ix.trunk(one, other, number)
        a, b = ix.customer("a", "s1", "eth1"), ix.customer("b", "s2", "eth1")
        for name, near, far, vni in (("t1", 1, 2, FIRST), ("t2", 3, 4, SECOND)):
            apply(
                ix.switches[name],
                segment(
                    "x",
                    tunnel(f"10.9.{near}.2", f"10.9.{near}.1", vni),
                    tunnel(f"10.9.{far}.1", f"10.9.{far}.2", vni + 10),
                ),
            )
        wishes = {
            "s1": (tunnel("10.9.1.1", "10.9.1.2", FIRST), tunnel("10.9.3.1", "10.9.3.2", SECOND)),
            "s2": (tunnel("10.9.2.2", "10.9.2.1", FIRST + 10), tunnel("10.9.4.2", "10.9.4.1", SECOND + 10)),
        }
        keepers = {name: serve(ix.switches[name], segment("x", access("eth1"), ends)) for name, ends in wishes.items()}
        try:
            for keeper in keepers.values():
                keeper.waits_for(LinkEventKind.UP)
                keeper.events.clear()
            yield Protected(ix, a, b, keepers)
        finally:
            for keeper in keepers.values():
                keeper.kill()
                os.waitpid(keeper.pid, 0)


@dataclass
class Stream:
    """What became of a steady stream of numbered frames."""

    silence: float = 0.0
    """Seconds between two frames that came in, at most."""
    came: bool = False
    """What was waited for happened on the way."""
    sent: int = 0
    first_at: float = 0.0
    """When the first frame that came in was sent."""
    lost: int = 0
    twice: int = 0


def stream(
    a: Customer,
    b: Customer,
    breaks: Callable[[], object],
    within: float,
    until: Callable[[], bool] = lambda: False,
) -> Stream:
    """A frame every 5 ms from `a` to `b`; something breaks after the first 0.3 s.

    For `within` seconds, or half a second longer than it takes until `until`, which is asked every 0.1 s.
    """
    b.heard()
    stop, sent, sent_at = threading.Event(), 0, list[float]()

    def send() -> None:
        nonlocal sent
        while not stop.wait(0.005):
            sent_at.append(time.monotonic())
            a.send(b"number" + sent.to_bytes(8, "big") + bytes(50))
            sent += 1

    sending = threading.Thread(target=send)
    sending.start()
    found, seen, broken = Stream(), list[int](), False
    begin = last = time.monotonic()
    end, ask_at = begin + within, begin
    try:
        while time.monotonic() < end:
            if not broken and time.monotonic() > begin + 0.3:
                breaks()
                broken = True
            if time.monotonic() > ask_at:
                ask_at += 0.1
                if not found.came and until():
                    found.came, end = True, time.monotonic() + 0.5
            for frame in b.heard(0.002):
                if frame[14:20] == b"number":
                    seen.append(int.from_bytes(frame[20:28], "big"))
                    found.silence, last = max(found.silence, time.monotonic() - last), time.monotonic()
    finally:
        stop.set()
        sending.join()
    seen += [int.from_bytes(frame[20:28], "big") for frame in b.heard(0.2) if frame[14:20] == b"number"]
    found.silence = max(found.silence, time.monotonic() - last) if not seen else found.silence
    found.first_at = sent_at[min(seen)] if seen else time.monotonic()
    found.sent, found.lost, found.twice = sent, sent - len(set(seen)), len(seen) - len(set(seen))
    return found


def test_a_trunk_fails_and_frames_go_the_other_way(protected: Protected) -> None:
    """The trunk's far end: the switches at the ends see nothing but that probes stay out."""
    p = protected
    assert p.carrying("s1") == FIRST
    passed = stream(p.a, p.b, lambda: p.ix.switches["t1"].sh("ip link set u2 down"), within=2.5)
    print(f"without frames: {passed.silence:.3f} s")
    assert 0.1 < passed.silence < 1.0
    assert passed.twice == 0
    for switch in ("s1", "s2"):
        told = p.keepers[switch].waits_for(LinkEventKind.DEGRADED)
        assert str(FIRST) in told.detail.partition(";")[0] or str(FIRST + 10) in told.detail.partition(";")[0]
    assert p.carrying("s1") == SECOND
    assert p.carrying("s2") == SECOND + 10
    for one, other in ((p.a, p.b), (p.b, p.a)):
        assert crosses(one, other, 1500)
    observed = p.keepers["s1"].ask().segments[0]
    assert [(u.up, u.carrying) for u in observed.uplinks] == [(False, False), (True, True)]
    assert observed.in_sync


@pytest.mark.slow
def test_one_direction_alone_fails(protected: Protected) -> None:
    """Frames still come from the other side: only what it says in its probes tells that ours do not arrive."""
    p = protected
    p.ix.switches["t1"].sh("ip link set mmx-4711 type bridge_slave flood off mcast_flood off bcast_flood off")
    p.keepers["s1"].waits_for(LinkEventKind.DEGRADED)
    p.keepers["s2"].waits_for(LinkEventKind.DEGRADED)
    for one, other in ((p.a, p.b), (p.b, p.a)):
        assert crosses(one, other)


@pytest.mark.slow
def test_it_comes_back_to_the_preferred_one_without_losing_a_frame(protected: Protected) -> None:
    p = protected
    p.ix.switches["t1"].sh("ip link set u2 down")
    p.keepers["s1"].waits_for(LinkEventKind.DEGRADED)
    p.ix.switches["t1"].sh("ip link set u2 up")
    p.keepers["s1"].waits_for(LinkEventKind.UP)
    assert p.carrying("s1") == SECOND, "not before it has been well for a while"
    # Both ends come back, each by itself, while frames go both ways. Lost probes make it later.
    back = lambda: (p.carrying("s1"), p.carrying("s2")) == (FIRST, FIRST + 10)  # noqa: E731
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        forth = pool.submit(stream, p.b, p.a, lambda: None, 30, done.is_set)
        passed = stream(p.a, p.b, lambda: None, 30, back)
        done.set()
        other = forth.result()
    assert passed.came, "it came back while frames were on their way"
    assert passed.sent > 200
    assert (passed.lost, passed.twice) == (0, 0)
    assert (other.lost, other.twice) == (0, 0)


def in_two_steps(uplinks: list[probing._Uplink], wished: int) -> bool:
    """As `probing._move`, with so much time in between that everybody who looks sees it."""
    with Netlink() as netlink:
        for i, uplink in enumerate(uplinks):
            if i != wished:
                netlink.do(probing._SET_LINK, probing._flooding(uplink.name, False))
        time.sleep(0.3)
        netlink.do(probing._SET_LINK, probing._flooding(uplinks[wished].name, True))
    return True


@pytest.mark.slow
def test_a_look_while_frames_move_finds_no_drift(protected: Protected, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old uplink is silent already, the new one not yet: whoever would mend that would send frames the dead way."""
    p = protected
    monkeypatch.setattr(probing, "_move", in_two_steps)
    ends = (tunnel("10.9.1.1", "10.9.1.2", FIRST), tunnel("10.9.3.1", "10.9.3.2", SECOND))
    p.keepers["s1"].kill()
    os.waitpid(p.keepers["s1"].pid, 0)
    p.keepers["s1"] = keeper = serve(p.ix.switches["s1"], segment("x", access("eth1"), ends))
    # It may have said so before anybody watched.
    assert eventually(lambda: all(uplink.up for uplink in keeper.ask().segments[0].uplinks))
    p.ix.switches["t1"].sh("ip link set u2 down")
    keeper.waits_for(LinkEventKind.DEGRADED)
    assert eventually(lambda: p.carrying("s1") == SECOND)
    assert not keeper.ask().segments[0].uplinks[0].up
    assert [e for e in keeper.events if e.kind in (LinkEventKind.DRIFT, LinkEventKind.REPAIRED)] == []


@pytest.mark.slow
def test_no_probe_reaches_a_customer_and_no_frame_comes_twice(protected: Protected) -> None:
    p = protected
    p.a.heard()
    p.b.heard()
    frames = [p.a.send(bytes([n]) * 60, ethertype=ethertype) for n, ethertype in enumerate([0x88B5] * 20)]
    seen: list[bytes] = []
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        seen += p.b.heard(0.1)
    assert seen == frames
    assert not any(frame[:6] == bytes.fromhex(PROBE_MAC.replace(":", "")) for frame in seen)
    assert p.a.heard() == []


@pytest.mark.slow
def test_frames_pass_while_no_configurator_runs_and_the_next_one_takes_over(protected: Protected) -> None:
    p = protected
    p.ix.switches["t1"].sh("ip link set u2 down")
    p.keepers["s1"].waits_for(LinkEventKind.DEGRADED)
    before = snapshot(p.ix.switches["s1"])
    p.keepers["s1"].kill()
    os.waitpid(p.keepers["s1"].pid, 0)
    assert crosses(p.a, p.b)
    ends = (tunnel("10.9.1.1", "10.9.1.2", FIRST), tunnel("10.9.3.1", "10.9.3.2", SECOND))
    p.keepers["s1"] = serve(p.ix.switches["s1"], segment("x", access("eth1"), ends))
    assert snapshot(p.ix.switches["s1"]) == before
    deadline = time.monotonic() + 3
    while p.carrying("s1") != SECOND and time.monotonic() < deadline:
        time.sleep(0.05)
    assert p.carrying("s1") == SECOND
    assert crosses(p.b, p.a)


def test_what_fails_while_no_configurator_runs_is_mended_as_soon_as_one_does(protected: Protected) -> None:
    """The probes are the configurator's: without one nobody moves. The next one does, right after its start."""
    p = protected
    for keeper in p.keepers.values():
        keeper.kill()
        os.waitpid(keeper.pid, 0)
    p.ix.switches["t1"].sh("ip link set u2 down")
    assert not crosses(p.a, p.b, within=1.0), "nobody has moved"
    ends = {
        "s1": (tunnel("10.9.1.1", "10.9.1.2", FIRST), tunnel("10.9.3.1", "10.9.3.2", SECOND)),
        "s2": (tunnel("10.9.2.2", "10.9.2.1", FIRST + 10), tunnel("10.9.4.2", "10.9.4.1", SECOND + 10)),
    }
    started = [0.0]

    def restart() -> None:
        for name, side in ends.items():
            started[0] = time.monotonic()
            p.keepers[name] = serve(p.ix.switches[name], segment("x", access("eth1"), side))

    passed = stream(p.a, p.b, restart, within=8, until=lambda: started[0] > 0)
    print(f"frames pass {passed.first_at - started[0]:.2f} s after the second configurator was started")
    assert passed.lost > 0, "nothing passed before"
    assert passed.first_at - started[0] < 2.0
    assert crosses(p.a, p.b)
    assert crosses(p.b, p.a)
    assert (p.carrying("s1"), p.carrying("s2")) == (SECOND, SECOND + 10)
