"""How a shipped lab is tested: all its checks hold and nothing is left; sabotaged by hand, they tell what is broken."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.live.host import Host, a_host

INSIDE = "ip netns exec $(ip netns list | cut -d' ' -f1)"
PAUSE, GO_ON = (f"kill -{signal} $(cat /run/configurator.pid)" for signal in ("STOP", "CONT"))
"""A configurator would mend at once what is broken by hand."""
LET_ALL_IN = (
    f"{INSIDE} nft insert rule inet meetme prerouting iifname eth2 meta mark set 1; "
    f"{INSIDE} nft flush chain inet meetme postrouting"
)
"""Everything that comes from the circuit passes as if it had been negotiated."""
CUT = "nft 'add table ip cut; add chain ip cut through { type filter hook forward priority 0; policy drop; }'"
MEND = "nft delete table ip cut"
"""A router forwards nothing between the two."""


@contextmanager
def lab_host(user: int = 0) -> Iterator[Host]:
    """A host of its own for one lab."""
    folder = Path(tempfile.mkdtemp(prefix="labs-"))
    folder.chmod(0o755)
    try:
        with a_host(user, folder) as made:
            yield made
    finally:
        shutil.rmtree(folder)


def checks_of(lab: str) -> str:
    """The text of its checks.toml."""
    return (files("meetme.labs") / lab / "checks.toml").read_text()


def every_check_holds(host: Host, lab: str, *, seconds: float = 300) -> dict[str, dict[str, Any]]:
    """Build it, prove it, take it down; the checks by name. Fails where one does not hold, or anything is left."""
    before = host.traces()
    host.lab("up", lab, "--timeout", str(seconds), seconds=seconds + 20)
    report = host.json("verify", lab, seconds=seconds)
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert report["ok"]
    assert len(report["checks"]) == checks_of(lab).count("\nname = ")
    assert all(check["sent"] > 0 for check in report["checks"])
    host.lab("down", lab)
    left = {what: now for what, now in host.traces().items() if now != before[what]}
    assert left == {}, {what: (before[what], now) for what, now in left.items()}
    return {check["name"]: check for check in report["checks"]}


@dataclass(frozen=True)
class Sabotage:
    """Something done to the lab before one of its checks, or before the unnamed action that begins with `before`."""

    before: str
    on: str
    run: str


def sabotaged(
    host: Host,
    lab: str,
    acts: Sequence[Sabotage],
    broken: Mapping[str, str],
    *,
    seconds: float = 300,
    others_not_made: bool = False,
) -> str:
    """Build it, verify it with sabotage in between: exactly the checks in `broken` fail, and each says what it maps to.

    A command that fails ends it: with `others_not_made` the checks after the last in `broken` are not made.

    Returns what `verify` printed on stderr.
    """
    steps = checks_of(lab).split("[[step]]\n")
    for act in acts:
        found = [
            i for i, step in enumerate(steps) if f'name = "{act.before}"\n' in step or f"run = {act.before}" in step
        ]
        assert len(found) == 1, f"{act.before}: {len(found)} steps are so called"
        steps.insert(found[0], f"on = '{act.on}'\nrun = '''\n{act.run}\n'''\n\n")
    host.write("sabotaged", checks__toml="[[step]]\n".join(steps))
    host.lab("up", lab, "--timeout", str(seconds), seconds=seconds + 20)
    told = host.lab("verify", lab, "--checks", "sabotaged/checks.toml", status=1, seconds=seconds)
    lines = [line.removeprefix("FAILED ") for line in told.splitlines() if line.startswith("FAILED ")]
    names = sorted(re.findall(r'^name = ["\'](.*)["\']$', checks_of(lab), re.MULTILINE), key=len, reverse=True)
    failed = {}
    for line in lines:
        name = next(name for name in names if line.startswith(f"{name}: "))
        failed[name] = line.removeprefix(f"{name}: ")
    host.lab("down", lab)
    if others_not_made:
        failed = {name: why for name, why in failed.items() if not why.startswith("not made")}
    assert sorted(failed) == sorted(broken), told
    for name, why in broken.items():
        assert why in failed[name], f"{name}: {failed[name]}"
    return told
