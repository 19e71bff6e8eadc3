"""The same data plane without root: an ordinary user in a user namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNPRIVILEGED = 65534
WHOLE = "tests/live/test_dataplane.py::test_hosts_with_equal_prefixes_reach_each_other_by_the_alias"
SNAPSHOT = "tests/live/test_dataplane_life.py::test_after_removal_the_router_is_as_before"


def as_ordinary_user(*command: str) -> list[str]:
    """The command line that runs `command` as nobody where we are root, as ourselves where we are not.

    Root's own Python may be out of nobody's reach: then root's user namespace, where it has no more power, must do.
    """
    nobody = ["setpriv", f"--reuid={UNPRIVILEGED}", "--clear-groups"]
    tried = [*nobody, "unshare", "-Urnm", sys.executable, "-c", ""]
    if os.geteuid() == 0 and subprocess.run(tried, capture_output=True, check=False).returncode == 0:
        return [*nobody, *command]
    return list(command)


def why_not() -> str | None:
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        return "already in a user namespace: every test of this folder is the proof"
    tried = subprocess.run(as_ordinary_user("unshare", "-Urnm", "true"), capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"user namespaces are not allowed: {tried.stderr.strip()}"


@pytest.mark.live
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("test", [WHOLE, SNAPSHOT])
def test_rootless(test: str) -> None:
    options = "-q -x -p no:cacheprovider"
    script = f'mount -t tmpfs tmpfs /run && exec "$0" -m pytest {options} {test}'
    done = subprocess.run(
        as_ordinary_user("unshare", "-Urnm", "sh", "-c", script, sys.executable),
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout, done.stdout
