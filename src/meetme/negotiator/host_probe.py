"""Proof from the negotiator's own host, where the configurator of the border router cannot probe.

The host reaches the peer as any host of its network does, or it cannot: then nothing is proven, and nothing has failed.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from meetme.drivers.linux.probe import probe
from meetme.model.addresses import Address
from meetme.model.errors import MeetMeError, Unsupported
from meetme.model.intent import ProbeRequest

HOST_SECONDS = 3.0
"""How long it asks: what comes behind it may be a host that has no route at all."""
TCP_PORT = 443
"""A host answers a connection to any port, be it only to refuse it; this one passes most firewalls."""


class HostProbe(Protocol):
    """How the own host asks an address."""

    async def __call__(self, target: Address, *, source: Address | None, tcp: bool, within: float) -> float | None:
        """The round trip in milliseconds; None: it has no permission, no route, or got no answer in `within` seconds.

        `source` is used where it is this host's: then the negotiator runs on the border router itself. `tcp`: where
        ICMP is not permitted, a TCP connection that is taken or refused is an answer too.
        """


async def ask(target: Address, *, source: Address | None, tcp: bool, within: float) -> float | None:
    """Ask from this machine, from `source` and from whatever it uses by itself: either answer will do."""
    anything = IPv4Address(0) if target.version == 4 else IPv6Address(0)
    attempts = {asyncio.create_task(_echo(target, anything, tcp=tcp, within=within))}
    if source is not None and source.version == target.version:
        attempts.add(asyncio.create_task(_echo(target, source, tcp=False, within=within)))
    try:
        for attempt in asyncio.as_completed(attempts):
            rtt = await attempt
            if rtt is not None:
                return rtt
        return None
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


async def _echo(target: Address, source: Address, *, tcp: bool, within: float) -> float | None:
    try:
        report = await probe(ProbeRequest("", source, target, within=within))
    except Unsupported:
        return await _connect(target, within) if tcp else None
    except MeetMeError:
        return None
    return report.rtt_ms


async def _connect(target: Address, within: float) -> float | None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(within):
            _reader, writer = await asyncio.open_connection(str(target), TCP_PORT)
            writer.transport.abort()
    except ConnectionRefusedError:
        pass
    except (OSError, TimeoutError):
        return None
    return (time.monotonic() - began) * 1000
