"""`meetme demo`: from a click to packets, all of it taken back; kept, its catalogue is reached from the host."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from meetme.lab.state import running_labs
from tests.live.host import USER, why_not_as_user
from tests.live.labs import lab_host

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
WHY_NOT = why_not_as_user()
DEMO = [str(Path(sys.executable).with_name("meetme")), "demo", "--format", "json"]


@pytest.fixture(autouse=True)
def _none_is_up() -> None:
    if any(each.name in ("federation", "thesis") for each in running_labs()):
        pytest.skip("a lab of this name is up already: the demo builds it once")


def played(*more: str) -> dict[str, Any]:
    done = subprocess.run([*DEMO, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["checks"]
    assert all(check["ok"] for check in result["checks"])
    assert (result["left_behind"], result["verified"], result["web"]) == ([], "path", None)
    assert all(step["ok"] for step in result["steps"])
    return result


def test_a_service_two_exchanges_away_is_ordered_reached_and_given_back() -> None:
    result = played()
    assert (result["scenario"], result["lab"]) == ("federation", "federation")
    assert [step["name"] for step in result["order"]] == [
        "approve",
        "compose",
        "link",
        "attach",
        "negotiate",
        "verify",
        "active",
    ]
    times = [step["seconds"] for step in result["order"]]
    assert times == sorted(times)
    assert 0 < result["seconds_to_first_packet"] < 60
    pings = [check for check in result["checks"] if check["name"].startswith("ping")]
    assert {(check["from"], check["to"]) for check in pings} == {("vm1", "vm3"), ("vm3", "vm1")}
    assert all(not check["address"].startswith("10.0.0.") for check in pings), "both use 10.0.0.0/24 themselves"


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_an_ordinary_user_needs_no_root_for_it() -> None:
    with lab_host(USER) as host:
        before = host.traces()
        told = subprocess.run(
            host.command(sys.executable, "-P", "-m", "meetme", "demo", "--format", "json"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, f"{told.stdout}{told.stderr}"
        result = json.loads(told.stdout)
        assert all(check["ok"] for check in result["checks"])
        assert (result["left_behind"], result["verified"]) == ([], "path")
        assert host.traces() == before


@pytest.mark.slow
def test_the_scenario_of_the_thesis_is_still_there() -> None:
    assert played("--scenario", "thesis")["seconds_to_confirmed"] > 0


@pytest.mark.slow
def test_kept_its_catalogue_is_reached_from_the_host_until_it_is_interrupted() -> None:
    demo = subprocess.Popen(
        [*DEMO, "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell lets what it starts in the background ignore it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert demo.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = demo.stdout.readline()
            assert line, "it ended before it was up"
            text += line
        result = json.loads(text)
        assert result["web"].startswith("http://127.0.0.1:")
        assert len(result["password"]) >= 12
        with urlopen(result["web"] + "healthz", timeout=20) as answer:
            assert answer.status == 200
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=60) == 0
    deadline = time.monotonic() + 20
    while any(each.name == "federation" for each in running_labs()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
