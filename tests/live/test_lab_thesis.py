"""The thesis's lab as it ships: two providers with the same addresses reach each other, and then no more.

And its checks can fail: in a world that was broken by hand each tells so.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.host import AS_ROOT, USER, Host, why_not_as_user
from tests.live.labs import checks_of, every_check_holds, lab_host

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

CHECKS = checks_of("thesis")


@pytest.fixture(params=[AS_ROOT, "user"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    reason = why_not_as_user()
    if request.param == "user" and reason is not None:
        pytest.skip(reason)
    with lab_host(USER if request.param == "user" else 0) as made:
        yield made


def test_every_check_of_the_thesis_lab_holds(host: Host) -> None:
    names = every_check_holds(host, "thesis")
    for name in ("ping from vm1 to vm2", "tcp from vm2 to vm1", "udp from vm1 to vm2"):
        assert names[name]["received"] >= 1
        assert names[name]["address"].startswith("100.64."), "reached by an alias"
        assert names[name]["seen_as"].startswith("100.64."), "and seen under one"
    for name, check in names.items():
        if "circuit finds nothing but probes" in name:
            assert check["sent"] > 100
            assert check["seen_as"].startswith("echo "), "the scan would have seen an answer"


def step(name: str) -> str:
    """One check of the lab, as it is written; what does not come is not waited for long."""
    found = [part for part in CHECKS.split("[[step]]") if part.startswith(f'\nname = "{name}"\n')]
    assert len(found) == 1, name
    text = found[0].partition("\n# ")[0].rstrip()
    return f"[[step]]{text}\n" + ("within = 1\n" if "\nfrom = " in text else "")


def action(on: str, run: str) -> str:
    return f"[[step]]\non = '{on}'\nrun = '''\n{run}\n'''\n"


INSIDE = "ip netns exec $(ip netns list | cut -d' ' -f1)"
FORGET_ERRORS = f"""
{INSIDE} nft flush chain inet meetme output
{INSIDE} nft insert rule inet meetme forward icmp type '{{ destination-unreachable, time-exceeded }}' drop
"""
"""Neither errors that router1's circuit makes nor those that cross it are let through."""
NARROW = f"{INSIDE} ip link set eth2 mtu 1400"
LET_ALL_IN = f"""
{INSIDE} nft insert rule inet meetme prerouting iifname eth2 meta mark set 1
{INSIDE} nft flush chain inet meetme postrouting
"""
OPEN = f"{INSIDE} nft insert rule inet meetme router accept"
BROKEN = {
    "port unreachable, from vm2 to vm1": "the sender was not told",
    "time exceeded in the translation, told to vm1": "the sender was not told",
    "time exceeded at the peer's router, told to vm1": "the sender was not told",
    "fragmentation needed on the circuit, told to vm1": "the sender was not told",
    "a spoofed source on the circuit does not reach vm1": "it arrived",
    "an alias as source on the circuit does not reach vm1": "it arrived",
    "a service of router1 is not open to vm2": "it arrived",
    "a scan of router1 from vm2 finds nothing but probes": "tcp 100.64.0.1 port 22: tcp from 100.64.0.1",
    "a scan of router1 from the circuit finds nothing but probes": "udp port 53 reached by",
    "after terminate the connection from vm1 ends": "it arrived",
    "after terminate router1 is as before": "failed (status 1)",
}
"""What is said of each check when what it is about is broken."""


@pytest.mark.slow
@pytest.mark.parametrize("host", ["root"], indirect=True)
def test_each_check_fails_where_what_it_promises_is_broken(host: Host) -> None:
    checks = {name: step(name) for name in BROKEN}
    pause = "kill -STOP $(cat /run/configurator.pid)"
    parts = [
        *(action(router, ". /hostlab/shared.startup; remember") for router in ("router1", "router2")),
        action("router1", "meetme negotiate csp-b --wait"),
        *(step(f"{kind} from vm1 to vm2") for kind in ("udp", "tcp")),
        step("a connection from vm1 to vm2 stays open"),
        action("router1", pause),
        action("router2", pause),
        action("router1", FORGET_ERRORS + NARROW),
        *(text for name, text in checks.items() if BROKEN[name] == "the sender was not told"),
        action("router1", LET_ALL_IN),
        *(text for name, text in checks.items() if "on the circuit does not reach" in name),
        action("router1", OPEN),
        *(text for name, text in checks.items() if "service" in name or "scan" in name),
        *(text for name, text in checks.items() if name.startswith("after terminate")),
    ]
    host.write("broken", checks__toml="".join(parts))
    host.lab("up", "thesis", "--timeout", "180", seconds=200)
    told = host.lab("verify", "thesis", "--checks", "broken/checks.toml", status=1, seconds=150)
    for name, why in BROKEN.items():
        line = next(line for line in told.splitlines() if f" {name}" in line)
        assert line.startswith(f"FAILED {name}: "), line
        assert why in line, line
    assert told.count("\nFAILED ") == len(BROKEN), told
    assert "ok     tcp from vm1 to vm2" in told
    host.lab("down", "thesis")
