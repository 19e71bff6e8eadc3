"""Proves with packets what a lab's `checks.toml` says, step by step."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from meetme.lab import traffic
from meetme.lab.agreements import AgreementResolver, Resolver
from meetme.lab.checks import Action, Check, Expectation, Protocol, Step, parse_checks
from meetme.lab.host import Lab
from meetme.model.errors import DeviceFailed, Fault, NotFound

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check: frames that left the sender, nonces that the receiver saw, and from where they came."""

    name: str
    ok: bool
    source: str
    to: str
    proto: str
    address: str | None = None
    sent: int = 0
    received: int = 0
    seen_as: str | None = None
    why: str = ""
    """Why it is not ok, for a person; not part of the document."""

    def as_json(self) -> dict[str, Any]:
        """The entry of the document."""
        return {
            "name": self.name,
            "ok": self.ok,
            "from": self.source,
            "to": self.to,
            "proto": self.proto,
            "address": self.address,
            "sent": self.sent,
            "received": self.received,
            "seen_as": self.seen_as,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all of them. Not ok either when an action failed: the checks after it were not made."""

    lab: str
    ok: bool
    checks: tuple[CheckResult, ...]

    def as_json(self) -> dict[str, Any]:
        """The document."""
        return {"lab": self.lab, "ok": self.ok, "checks": [check.as_json() for check in self.checks]}


def read_checks(file: Path, machines: tuple[str, ...]) -> tuple[Step, ...]:
    """Read the checks of a lab. Raises NotFound, or InvalidInput that shows every mistake."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as wrong:
        raise NotFound("checks_not_found", f"{file}: a lab to verify has checks ({wrong.strerror})") from None
    return parse_checks(text, machines, file=file.name)


def verify_lab(
    lab: Lab, steps: Sequence[Step], *, resolver: Resolver | None = None, progress: Progress = lambda text: None
) -> Report:
    """Do the steps in order. An action that fails ends it; a check that fails does not."""
    results: list[CheckResult] = []
    broken = ""
    with _Agents(lab) as agents:
        through = resolver or AgreementResolver(lab.running.rows, lab.machines, agents.ask)
        verifier = _Verifier(lab, agents, through)
        for step in steps:
            if isinstance(step, Action):
                if not broken:
                    broken = _act(lab, step)
                    progress(f"{step.on}: {step.run}{f': {broken}' if broken else ''}")
                continue
            result = _result(step, why="not made, an action before it failed") if broken else verifier.check(step)
            results.append(result)
            progress(f"{'ok    ' if result.ok else 'FAILED'} {result.name}{f': {result.why}' if result.why else ''}")
    return Report(lab.running.name, not broken and all(result.ok for result in results), tuple(results))


def _act(lab: Lab, action: Action) -> str:
    """Run an action; what went wrong."""
    try:
        done = lab.run(action.on, ["bash", "-c", action.run], stdin=subprocess.DEVNULL, timeout=action.within)
    except subprocess.TimeoutExpired:
        return f"not done in {action.within:g} s"
    if done.returncode == 0:
        return ""
    return f"failed (status {done.returncode}) {(done.stderr or done.stdout).strip()}"


def _result(check: Check, *, why: str = "", **facts: Any) -> CheckResult:
    facts.setdefault("address", check.address)
    return CheckResult(check.name, not why, check.source, check.to, check.protocol.value, why=why, **facts)


class _Verifier:
    def __init__(self, lab: Lab, agents: _Agents, resolver: Resolver) -> None:
        self._lab, self._agents, self._resolver = lab, agents, resolver
        self._known: dict[tuple[str, str], str] = {}

    def check(self, check: Check) -> CheckResult:
        address = check.address or self._address(check)
        if address is None and check.protocol is not Protocol.ETHERNET:
            return _result(check, why="no active agreement joins the two, and no address is given")
        family = socket.AF_INET
        if address is not None and check.protocol is not Protocol.ETHERNET and ip_address(address).version == 6:
            family = socket.AF_INET6
        blocked = check.expect is Expectation.BLOCKED
        nonce, control = secrets.token_hex(16), secrets.token_hex(16)
        ear = {"proto": check.protocol.value, "family": int(family), "ethertype": check.ethertype}
        try:
            listening = self._agents.ask(check.to, "listen", port=check.port or 0, nonce=nonce, control=control, **ear)
            said = self._agents.ask(
                check.source,
                "send",
                address=address or "",
                port=listening["port"],
                nonce=nonce,
                size=check.size,
                within=check.within,
                until_answered=not blocked,
                interfaces=self._interfaces(check),
                **ear,
            )
            listens = self._agents.ask(check.to, "control")["heard"]
            heard = self._agents.ask(check.to, "heard")
        except DeviceFailed as wrong:
            return _result(check, address=address, why=wrong.text)
        facts = {"address": address, "sent": said["sent"], **heard}
        arrived = heard["received"] > 0
        if not said["sent"]:
            why = f"nothing was sent ({said['trouble'] or 'no frame left'})"
        elif not listens:
            why = "the receiver did not even hear itself"
        elif blocked:
            why = "it arrived" if arrived else "it was answered" if _answered(check, said) else ""
        else:
            why = "" if arrived and said["answered"] else "it was not answered" if arrived else "it did not arrive"
        return _result(check, why=why, **facts)

    def _address(self, check: Check) -> str | None:
        """Where `to` is now, else where it was when it last could be reached: there it must be gone from."""
        if check.protocol is Protocol.ETHERNET:
            return None
        found = self._resolver.resolve(check.source, check.to)
        if found is not None:
            self._known[check.source, check.to] = found
        elif check.expect is Expectation.BLOCKED:
            found = self._known.get((check.source, check.to))
        return found

    def _interfaces(self, check: Check) -> list[str]:
        """Where a bare frame goes out: towards the receiver where both share a domain, else everywhere."""
        rows = self._lab.running.rows
        theirs = {row["domain"] for row in rows if row["machine"] == check.to and row["domain"]}
        own = {row["interface"]: row["domain"] for row in rows if row["machine"] == check.source and row["domain"]}
        return [name for name, domain in own.items() if domain in theirs] or list(own)


def _answered(check: Check, said: Mapping[str, Any]) -> bool:
    return bool(said["answered"]) and check.protocol is not Protocol.ETHERNET


class _Agents:
    """The agents in the machines, each started when it is first asked and ended with the whole."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._running: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> _Agents:
        return self

    def __exit__(self, *reason: object) -> None:
        for agent in self._running.values():
            assert agent.stdin is not None
            with suppress(OSError):
                agent.stdin.close()
        for agent in self._running.values():
            agent.wait()

    def ask(self, machine: str, order: str, **arguments: object) -> Mapping[str, Any]:
        """Give an order and wait for the answer. Raises DeviceFailed when it cannot be done."""
        agent = self._running.get(machine)
        if agent is None:
            command = [sys.executable, "-I", "-S", str(Path(traffic.__file__))]
            agent = self._lab.popen(machine, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._running[machine] = agent
        assert agent.stdin is not None
        assert agent.stdout is not None
        try:
            agent.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
            agent.stdin.flush()
            line = agent.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise DeviceFailed("agent_gone", f"{machine}: the agent in it ended early", fault=Fault.LOCAL)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DeviceFailed("agent_failed", f"{machine}: {answer['error']}", fault=Fault.LOCAL)
        return answer
