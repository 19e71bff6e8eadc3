"""A configurator that has only the thesis's three actions, in Node.js, carries the thesis's lab."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.host import a_host
from tests.live.members import Members

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

EXAMPLE = Path(__file__).parents[2] / "examples/three-actions-node"
OURS = "\nserve configurator\n"


@pytest.fixture
def members() -> Iterator[Members]:
    """The lab with the example in the place of our configurator on router2; the negotiators are the same."""
    for tool in ("node", "npm", "iptables"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="members-"))
    try:
        with a_host(0, folder) as host:
            made = Members(host)
            lab = made.copy_lab()
            example = lab / "shared/configurator"
            example.mkdir(parents=True)
            for name in ("package.json", "package-lock.json", "server.js", "three_actions.proto"):
                shutil.copy(EXAMPLE / name, example)
            installed = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=example,
                capture_output=True,
                text=True,
            )
            if installed.returncode != 0:
                pytest.skip(f"npm ci failed: {installed.stderr.strip()[-300:]}")
            startup = lab / "router2.startup"
            text = startup.read_text()
            assert OURS in text
            startup.write_text(
                text.replace(OURS, "\nnode /shared/configurator/server.js > /var/log/configurator.log 2>&1 &\n")
            )
            settings = lab / "router2/etc/meetme/meetme.toml"
            text = settings.read_text()
            settings.write_text(text.replace("[configurator]", 'probe_address = "10.0.0.1"\n\n[configurator]'))
            host.lab("up", str(lab), "--timeout", "200", seconds=220)
            yield made
            host.lab("down", str(lab))
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("starter", "peer"), [pytest.param("router1", "csp-b", marks=pytest.mark.slow), ("router2", "csp-a")]
)
def test_it_carries_the_lab(members: Members, starter: str, peer: str) -> None:
    view = json.loads(members.said(starter, f"meetme negotiate {peer} --format json"))
    assert view["state"] == "active"
    assert view["verified"] == "path"
    agreement = view["agreement"]
    assert agreement["link"]["kind"] == "numbered"
    assert agreement["translation"] == "single"
    address = agreement["responder"]["prefixes"][0]["alias"].replace(".0/24", ".2")
    assert members.pings("vm1", address)
    assert members.pings("vm2", address)
    members.run(starter, f"meetme terminate {view['id']}")
    left = members.api("router2", f"/negotiations/{view['id']}")["left_on_device"]
    assert left, "it can only add: what it leaves is said"
    busy = members.run(starter, f"meetme negotiate {peer}", check=False)
    assert busy.returncode != 0, "what may still be on the device stays reserved"
    for command in left:
        members.run("router2", command)
    members.run("router2", f"meetme release {view['id']} --yes")
    again = json.loads(members.said(starter, f"meetme negotiate {peer} --format json"))
    assert again["state"] == "active"
    assert members.pings("vm1", address)
