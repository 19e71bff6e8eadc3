"""The example alerts ask for figures that there are, with labels that they have."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging/prometheus"
PROMTOOL = shutil.which("promtool")


def told() -> dict[str, set[str]]:
    """Every metric of the reference page, with its labels."""
    rows = re.findall(r"^\| `(meetme_\w+)` \| \w+ \| (.*?) \|", (ROOT / "docs/reference/metrics.md").read_text(), re.M)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def rules() -> list[dict[str, str]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_it_asks_for_what_there_is(rule: dict[str, str]) -> None:
    known = told()
    asked = re.findall(r"(meetme_\w+)(?:\{(.*?)\})?", rule["expr"])
    assert asked or rule["expr"].startswith("up")
    for name, matchers in asked:
        labels = set(re.findall(r"(\w+)(?:=~|!=|=)", matchers))
        assert labels <= known[name] | {"job", "instance"}, name
    shown = set(re.findall(r"\$labels\.(\w+)", str(rule)))
    possible = set().union({"instance", "job"}, *(known[name] for name, _ in asked))
    assert shown <= possible


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations.keys() == {"summary", "description"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_fires_them_when_it_should() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
