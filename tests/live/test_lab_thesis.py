"""The thesis's lab as it ships: two providers with the same addresses reach each other, and then no more."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.host import Host, a_host

pytestmark = pytest.mark.live


@pytest.fixture
def host() -> Iterator[Host]:
    folder = Path(tempfile.mkdtemp(prefix="labs-"))
    try:
        with a_host(0, folder) as made:
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.mark.timeout(300)
def test_every_check_of_the_thesis_lab_holds(host: Host) -> None:
    before = host.traces()
    host.lab("up", "thesis", "--timeout", "180", seconds=200)
    report = host.json("verify", "thesis", seconds=100)
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert report["ok"]
    names = {check["name"]: check for check in report["checks"]}
    for name in ("ping from vm1 to vm2", "tcp from vm2 to vm1", "udp from vm1 to vm2"):
        assert names[name]["received"] >= 1
        assert names[name]["address"].startswith("100.64."), "reached by an alias"
        assert names[name]["seen_as"].startswith("100.64."), "and seen under one"
    host.lab("down", "thesis")
    assert host.traces() == before
