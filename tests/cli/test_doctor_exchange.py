"""`meetme doctor --exchange-config`: the switches of an exchange, and what stands on them that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meetme.cli.main import run
from meetme.ixapi import reaching, strays
from meetme.model.errors import Problem

SILENT = Problem("configurator_unreachable", "s2: does not answer")


class Found:
    """Instead of a search over the wire: a stray on one switch, and another switch that is silent."""

    closed = False

    def __init__(self, *_: Any) -> None:
        pass

    async def find(self) -> Any:
        stray = SimpleNamespace(switch="s1", intent=SimpleNamespace(circuit="stranger"))
        return SimpleNamespace(strays=(stray,), silent=(("s2", SILENT),))

    async def close(self) -> None:
        Found.closed = True


def test_switches_and_strays_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "exchange.toml"
    config.write_text(
        f"""
[ixapi]
name = "ix1"
database = "sqlite:///{tmp_path}/ixapi.db"
switch = [{{ name = "s1", configurator = "127.0.0.1:1" }}, {{ name = "s2", configurator = "127.0.0.1:2" }}]
account = [{{ id = "fed", api_key = "fed-key", api_secret = "secret", managing = true }}, {{ id = "csp-a" }}]
connection = [{{ id = "a1", account = "csp-a", switch = "s1", port = "eth1", speed = 10000 }}]
"""
    )
    (tmp_path / "secret").write_text("a-secret-of-an-exchange\n")
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setattr(strays, "StraySearch", Found)
    monkeypatch.setattr(reaching, "openers_of", lambda *_: {})
    monkeypatch.setenv("MEETME_DIR", str(tmp_path))
    arguments = ["doctor", "--only", "host", "--exchange-config", str(config), "--format", "json"]
    monkeypatch.setattr("meetme.cli.doctor._device", _nothing)
    monkeypatch.setattr("meetme.cli.doctor._device_in_user_namespace", lambda _driver: [])
    monkeypatch.setattr("meetme.cli.doctor._programs", list)
    assert run(arguments) == 1
    report = json.loads(capsys.readouterr().out)
    found = {each["what"]: each for each in report["findings"]}
    assert found["switch s1"]["ok"]
    assert (found["switch s2"]["ok"], found["switch s2"]["needed"]) == (False, True)
    stray = found["stray stranger on s1"]
    assert (stray["ok"], stray["needed"], "--remove stranger" in stray["hint"]) == (False, False, True)
    assert Found.closed


async def _nothing(_driver: str) -> list[Any]:
    return []
