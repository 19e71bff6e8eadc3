"""The agents that `verify` starts in the machines of a lab: one process each, orders and answers in lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from meetme.lab.host import Lab
from meetme.model.errors import DeviceFailed, Fault


class Agents:
    """All of them, started and ended together."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, machines: Sequence[str]) -> None:
        """Start those of all these machines at the same time."""
        command = [sys.executable, "-P", "-m", "meetme.lab.agent"]
        for machine in machines:
            self._running[machine] = self._lab.popen(machine, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self) -> None:
        """End them all."""
        for agent in self._running.values():
            assert agent.stdin is not None
            with suppress(OSError):
                agent.stdin.close()
        for agent in self._running.values():
            agent.wait()

    def ask(self, machine: str, order: str, **arguments: object) -> Mapping[str, Any]:
        """Give an order and wait for the answer. Raises DeviceFailed when it cannot be done."""
        return self.ask_all((machine,), order, **arguments)[machine]

    def ask_all(self, machines: Sequence[str], order: str, **arguments: object) -> dict[str, Mapping[str, Any]]:
        """Give several the same order, at the same time. Raises DeviceFailed as soon as one cannot do it."""
        for machine in machines:
            self._give(machine, order, arguments)
        answers = {machine: self._line(machine) for machine in machines}
        return {machine: _read(machine, line) for machine, line in answers.items()}

    def _give(self, machine: str, order: str, arguments: Mapping[str, object]) -> None:
        agent = self._running[machine]
        assert agent.stdin is not None
        with suppress(BrokenPipeError):  # the answer, or none, tells
            agent.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
            agent.stdin.flush()

    def _line(self, machine: str) -> str:
        agent = self._running[machine]
        assert agent.stdout is not None
        return agent.stdout.readline()


def _read(machine: str, line: str) -> Mapping[str, Any]:
    if not line:
        raise DeviceFailed("agent_gone", f"{machine}: the agent in it ended early", fault=Fault.LOCAL)
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise DeviceFailed("agent_failed", f"{machine}: {answer['error']}", fault=Fault.LOCAL)
    return answer
