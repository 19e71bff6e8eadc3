"""Proof from the negotiator's own host, where no configurator can probe."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from meetme.configurator.three_actions import CAPABILITIES
from meetme.model.addresses import Address
from meetme.model.agreement import Role
from meetme.model.errors import InvalidInput, Unsupported
from meetme.model.intent import ProbeReport, ProbeRequest
from meetme.negotiator import host_probe
from meetme.negotiator.intents import host_target
from meetme.negotiator.messages import Verified
from meetme.negotiator.negotiation import HealthState
from meetme.negotiator.states import State
from meetme.negotiator.views import NegotiationView, StartRequest

from .pair import Side, pair, refusing

LOOPBACK = ip_address("127.0.0.1")


# --- asking -----------------------------------------------------------------------------------------------------------


def may_ping() -> bool:
    low, high = map(int, Path("/proc/sys/net/ipv4/ping_group_range").read_text().split())
    return os.geteuid() == 0 or low <= os.getegid() <= high


@pytest.mark.skipif(not may_ping(), reason="this user may not send ICMP echo (net.ipv4.ping_group_range)")
async def test_an_echo_is_an_answer() -> None:
    rtt = await host_probe.ask(LOOPBACK, source=None, tcp=False, within=2.0)
    assert rtt is not None
    assert 0 < rtt < 2000


async def test_an_answer_to_either_source_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    own, elsewhere = ip_address("10.0.0.1"), ip_address("192.0.2.1")
    asked = []

    async def only_own(request: ProbeRequest) -> ProbeReport:
        asked.append(request.source)
        if request.source == elsewhere:
            raise InvalidInput("probe_source_unknown", "source: must be an address of this router")
        if request.source != own:
            await asyncio.sleep(request.within)
        return ProbeReport((84,), 0, 1, 0.5) if request.source == own else ProbeReport((), 1, 1, None)

    monkeypatch.setattr(host_probe, "probe", only_own)
    target = ip_address("172.16.0.1")
    async with asyncio.timeout(5):
        assert await host_probe.ask(target, source=own, tcp=False, within=60) == 0.5, "the other is not waited for"
    assert {*asked} == {own, ip_address("0.0.0.0")}
    assert await host_probe.ask(target, source=elsewhere, tcp=False, within=0.05) is None
    assert await host_probe.ask(target, source=ip_address("2001:db8::1"), tcp=False, within=0.05) is None


async def test_without_permission_a_refused_connection_is_an_answer_if_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_probe, "probe", forbidden)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        monkeypatch.setattr(host_probe, "TCP_PORT", taken.getsockname()[1])
        assert await host_probe.ask(LOOPBACK, source=None, tcp=True, within=2.0) is not None
        assert await host_probe.ask(LOOPBACK, source=None, tcp=False, within=2.0) is None
        taken.listen(1)
        assert await host_probe.ask(LOOPBACK, source=None, tcp=True, within=2.0) is not None


async def test_silence_and_no_route_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_probe, "probe", forbidden)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        monkeypatch.setattr(host_probe, "TCP_PORT", full.getsockname()[1])
        first = await asyncio.open_connection(*full.getsockname())
        assert await host_probe.ask(LOOPBACK, source=None, tcp=True, within=0.1) is None
        first[1].close()
    assert await host_probe.ask(ip_address("127.255.255.255"), source=None, tcp=True, within=0.1) is None
    monkeypatch.setattr(host_probe, "probe", silence)
    assert await host_probe.ask(LOOPBACK, source=None, tcp=True, within=0.1) is None, (
        "where ICMP may be sent, it decides"
    )


async def forbidden(_request: object) -> ProbeReport:
    raise Unsupported("capability_missing", "router: may not send ICMP echo")


async def silence(_request: object) -> ProbeReport:
    return ProbeReport((), 1, 1, None)


# --- two configurators with the three actions -------------------------------------------------------------------------


def like_three_actions(*sides: Side) -> None:
    for side in sides:
        side.router.capabilities_ = CAPABILITIES
        side.router.fail = refusing(Unsupported("unsupported", "not with the three actions"), "observe", "probe")


class Host:
    """The negotiator's machine: whether it reaches the peer through the border router, and what it asked."""

    def __init__(self, *, reaches: bool) -> None:
        self.reaches = reaches
        self.asked: list[tuple[str, bool]] = []

    async def __call__(self, target: Address, *, source: Address | None, tcp: bool, within: float) -> float | None:
        self.asked.append((str(target), tcp))
        assert source == ip_address("10.0.0.1")
        assert within <= host_probe.HOST_SECONDS
        return 0.4 if self.reaches else None


PROBES = {letter: {"probe_address": ip_address("10.0.0.1")} for letter in "ab"}


async def negotiate(a: Side, b: Side, **request: str) -> NegotiationView:
    like_three_actions(a, b)
    for side in (a, b):
        await side.restart(crash=False)
    started = await a.client.start(StartRequest("csp-b", **request))
    return await a.until(started.id, State.ACTIVE)


@pytest.mark.parametrize("able", ["a", "b"])
async def test_one_host_that_reaches_the_peer_is_proof(able: str) -> None:
    hosts = {letter: Host(reaches=letter == able) for letter in "ab"}
    async with pair(hosts=hosts, **PROBES) as (a, b):
        mine = await negotiate(a, b)
        assert mine.state is State.ACTIVE, mine.problem
        theirs = await b.until(mine.id, State.ACTIVE)
        assert (mine.verified, theirs.verified) == (Verified.PATH, Verified.PATH)
        assert all(host.asked == [("172.16.0.1", False)] for host in hosts.values()), "under the alias, nothing else"
        for side in (a, b):
            assert side.router.calls.count("probe") == 0


async def test_without_any_proof_it_fails_and_says_what_would_help() -> None:
    hosts = {letter: Host(reaches=False) for letter in "ab"}
    async with pair(hosts=hosts, **PROBES) as (a, b):
        mine = await negotiate(a, b)
        assert mine.state is State.FAILED
        assert mine.problem is not None
        assert mine.problem.code == "cannot_verify"


async def test_a_probe_target_is_asked_as_this_side_reaches_it() -> None:
    hosts = {"a": Host(reaches=True), "b": Host(reaches=False)}
    async with pair(hosts=hosts, **PROBES) as (a, b):
        mine = await negotiate(a, b, probe_target="10.0.0.7")
        assert mine.state is State.ACTIVE, mine.problem
        assert hosts["a"].asked == [("172.16.0.7", True)]
        agreement = mine.agreement
        assert agreement is not None
        reached = ip_address("172.16.0.9")
        assert host_target(agreement, Role.INITIATOR, reached) == reached
        elsewhere = ip_address("192.0.2.1")
        assert host_target(agreement, Role.INITIATOR, elsewhere) == ip_address("172.16.0.1"), "proves nothing"
        bare = replace(agreement, responder=replace(agreement.responder, probe=None))
        assert host_target(bare, Role.INITIATOR, None) is None


async def test_what_the_host_proved_once_is_the_health_later() -> None:
    quick = {letter: {**changes, "probe_interval": 0.5} for letter, changes in PROBES.items()}
    hosts = {"a": Host(reaches=True), "b": Host(reaches=False)}
    async with pair(hosts=hosts, **quick) as (a, b):
        mine = await negotiate(a, b)
        assert mine.health is not None
        assert mine.health.state is HealthState.UP
        hosts["a"].reaches = False
        async with asyncio.timeout(10):
            while (await a.client.negotiation(mine.id)).health.state is not HealthState.DOWN:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await b.client.negotiation(mine.id)).health is None, "it never could"
