"""`meetme bench` as a user runs it: figures come out, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.host import Host
from tests.live.labs import lab_host

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def host() -> Iterator[Host]:
    with lab_host(0) as made:
        yield made


def figures(host: Host, *arguments: str) -> dict[str, Any]:
    """What the bench measured; nothing of it is left."""
    before = host.traces()
    command = host.command(sys.executable, "-P", "-m", "meetme", "bench", *arguments, "--format", "json")
    done = subprocess.run(command, text=True, capture_output=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr
    assert host.traces() == before
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_negotiation(host: Host) -> None:
    found = figures(host, "negotiation", "--count", "2")
    spread = found["milliseconds"]["start to active"]
    assert 0 < spread["least"] <= spread["median"] <= spread["most"]
    assert found["ratio"] > 1


def test_links(host: Host) -> None:
    found = figures(host, "links", "--count", "3")
    assert found["agreements_per_second"] > 0
    assert 0 < found["seconds_to_heal"] < 60
    assert found["seconds_until_packets_cross_again"] < 60
    assert found["memory_mib"]["full"]["negotiator"] > 20


def test_order(host: Host) -> None:
    found = figures(host, "order", "--count", "1")
    packet = found["milliseconds"]["click to first packet"]
    assert 0 < packet["least"] <= packet["median"] <= packet["most"]
    assert {"compose", "link", "attach", "negotiate", "given back"} < set(found["milliseconds"])
    assert found["ratio"] > 1
