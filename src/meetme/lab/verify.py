"""Proves with packets what a lab's `checks.toml` says, step by step."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from meetme.lab.agents import Agents
from meetme.lab.agreements import AgreementResolver, Resolver
from meetme.lab.checks import AS_AGREED, Action, Check, Expectation, Protocol, Step, parse_checks
from meetme.lab.host import Lab
from meetme.model.errors import DeviceFailed, Fault, NotFound

Progress = Callable[[str], None]

_CLOSED_PORT = 33434
"""Where nobody listens: the port of traceroute."""
_SCANNED_PORTS = [22, 53, 179, 443, 8470, 8471, 8475]
"""What a router may offer, and what MeetMe does."""
_GROUPS = ("224.0.0.1", "ff02::1")
_BROADCAST = "ff:ff:ff:ff:ff:ff"


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
    with Verifier(lab, resolver=resolver, progress=progress) as verifier:
        verifier.do(steps)
        return verifier.report()


class Verifier:
    """Does steps, some now, some later: flows, and the addresses that were found, are kept in between."""

    def __init__(self, lab: Lab, *, resolver: Resolver | None = None, progress: Progress = lambda text: None) -> None:
        self._lab, self._progress = lab, progress
        self._agents = Agents(lab)
        self._resolver = resolver or AgreementResolver(lab.running.rows, lab.machines, self._agents.ask)
        self._results: list[CheckResult] = []
        self._broken = False
        self._reached: dict[tuple[str, str, str | None], Sequence[str]] = {}
        """Addresses since the last action."""
        self._known: dict[tuple[str, str, str | None], Sequence[str]] = {}
        self._flows: dict[str, tuple[str, int]] = {}
        self._macs: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Verifier:
        self._agents.start(self._lab.machines)
        return self

    def __exit__(self, *reason: object) -> None:
        self._agents.end()

    def report(self) -> Report:
        """What has come of it so far."""
        good = not self._broken and all(result.ok for result in self._results)
        return Report(self._lab.running.name, good, tuple(self._results))

    def do(self, steps: Sequence[Step]) -> tuple[CheckResult, ...]:
        """Do some steps in order; what came of them."""
        begun = len(self._results)
        for step in steps:
            if self._broken:
                self._skip(step)
            elif isinstance(step, Action):
                self._act(step)
            else:
                self._note(self._check(step))
        return tuple(self._results[begun:])

    def _note(self, result: CheckResult) -> None:
        self._results.append(result)
        self._progress(f"{'ok    ' if result.ok else 'FAILED'} {result.name}{f': {result.why}' if result.why else ''}")

    def _skip(self, step: Step) -> None:
        why = "not made, an action before it failed"
        if isinstance(step, Check):
            self._note(_result(step, why=why))
        elif step.name is not None:
            self._note(_acted(step, why, sent=0))

    def _act(self, action: Action) -> None:
        """Run an action; one with a name, and one that fails, is in the report."""
        self._reached = {}
        try:
            done = self._agents.ask(action.on, "run", run=action.run, within=action.within)
            if done["status"] is None:
                why = f"not done in {action.within:g} s"
            else:
                why = "" if done["status"] == 0 else f"failed (status {done['status']}) {done['said'].strip()}"
        except DeviceFailed as wrong:
            why = wrong.text
        self._broken = bool(why)
        result = _acted(action, why)
        if action.name is not None:
            self._note(result)
        else:
            self._progress(f"{result.name}{f': {why}' if why else ''}")
            self._results += [result] if why else []

    def _check(self, check: Check) -> CheckResult:
        try:
            if check.expect is Expectation.CLOSED:
                return self._scan(check)
            if check.protocol is Protocol.ETHERNET:
                return self._send(check, check.address or "", socket.AF_INET)
            address = self._address(check)
            if address is None:
                return _result(check, why="no active agreement joins the two, and no address is given")
            family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
            if check.stream is not None:
                return self._stream(check, address, family)
            return self._provoke(check, address) if check.expect.is_error else self._send(check, address, family)
        except DeviceFailed as wrong:
            return _result(check, why=wrong.text)

    def _send(self, check: Check, address: str, family: socket.AddressFamily) -> CheckResult:
        """Send, see what arrives, and that the receiver listened."""
        blocked = check.expect is Expectation.BLOCKED
        _, port = self._flows.get(check.flow or "", (address, check.port or 0))
        nonce, control = secrets.token_hex(16), secrets.token_hex(16)
        ear = {"proto": check.protocol.value, "family": int(family), "ethertype": check.ethertype, "flow": check.flow}
        listening = self._agents.ask(check.to, "listen", port=port, nonce=nonce, control=control, **ear)
        watchers = (check.to, *check.unseen_by) if check.unseen_by else ()
        self._agents.ask_all(watchers, "watch", nonce=nonce)
        if check.protocol is Protocol.ETHERNET:
            facts = {"interfaces": self._interfaces(check), "address": address, "ethertype": check.ethertype}
            within = check.within if blocked else 0.0
            said = self._agents.ask(check.source, "ethernet", nonce=nonce, size=check.size, within=within, **facts)
        else:
            said = self._speak(check, address, listening["port"], nonce)
        if check.flow is not None:
            self._flows[check.flow] = address, listening["port"]
        listens = self._agents.ask(check.to, "control")["heard"]
        heard = self._agents.ask(check.to, "heard")
        watched = self._agents.ask_all(watchers, "watched")
        arrived, answered = heard["received"] > 0, said["answered"] > 0 or check.protocol is Protocol.ETHERNET
        if not said["sent"]:
            why = f"nothing was sent ({said['trouble'] or 'no frame left'})"
        elif not listens:
            why = "the receiver did not even hear itself"
        elif blocked:
            why = "it arrived" if arrived else "it was answered" if said["answered"] else ""
        else:
            why = "" if arrived and answered else "it was not answered" if arrived else "it did not arrive"
            why = why or self._stranger(check, heard["seen_as"])
        why = why or _watched(check, watched)
        return _result(check, why=why, address=address or None, sent=said["sent"], **heard)

    def _provoke(self, check: Check, address: str) -> CheckResult:
        """Send what must come to grief; the sender is to receive the ICMP error."""
        said = self._speak(check, address, check.port or _CLOSED_PORT, secrets.token_hex(16))
        why = ""
        if not said["sent"]:
            why = f"nothing was sent ({said['trouble'] or 'no frame left'})"
        elif not said["answered"]:
            why = f"the sender was not told{' but ' + said['trouble'] if said['trouble'] else ''}"
        why = why or self._stranger(check, said["heard_from"], told=True)
        facts = {"sent": said["sent"], "received": said["answered"], "seen_as": said["heard_from"]}
        return _result(check, why=why, address=address, **facts)

    def _stream(self, check: Check, address: str, family: socket.AddressFamily) -> CheckResult:
        """Start a stream of numbered packets, or end it: then each of them must have come, and its echo too."""
        flow = f"stream {check.stream}"
        if check.expect is Expectation.UNBROKEN:
            said = self._agents.ask(check.source, "end_stream", stream=check.stream, within=check.within)
            heard = self._agents.ask(check.to, "recall", flow=flow)
            self._flows.pop(flow, None)
            why = "" if said["sent"] else "nothing was sent"
            if said["missing"]:
                lost = said["missing"]
                why = f"{len(lost)} of {said['sent']} packets were lost, from number {lost[0]} to {lost[-1]}"
        else:
            nonce, control = secrets.token_hex(16), secrets.token_hex(16)
            ear = {"proto": "udp", "family": int(family), "ethertype": check.ethertype, "flow": flow}
            port = self._agents.ask(check.to, "listen", port=check.port or 0, nonce=nonce, control=control, **ear)[
                "port"
            ]
            self._flows[flow] = address, port
            way = {"address": address, "port": port, "source": check.own, "source_port": check.source_port}
            said = self._agents.ask(
                check.source, "stream", stream=check.stream, nonce=nonce, within=check.within, **way
            )
            heard = self._agents.ask(check.to, "heard")
            why = "" if said["answered"] else f"it was not answered {said['trouble']}".strip()
        return _result(
            check, why=why or self._stranger(check, heard["seen_as"]), address=address, sent=said["sent"], **heard
        )

    def _speak(self, check: Check, address: str, port: int, nonce: str) -> Mapping[str, Any]:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        return self._agents.ask(
            check.source,
            "send",
            proto=check.protocol.value,
            address=address,
            family=int(family),
            port=port,
            source=check.own,
            source_port=check.source_port,
            ttl=check.ttl,
            nonce=nonce,
            size=check.size,
            within=check.within,
            error=check.expect.value if check.expect.is_error else None,
            flow=check.flow,
            via=check.via,
            mac=self._mac(check) if check.via is not None else "",
        )

    def _scan(self, check: Check) -> CheckResult:
        """Knock at every address of the receiver, which listens everywhere: nothing but probes may be answered."""
        probed = self._address(check)
        if probed is None:
            return _result(check, why="no active agreement joins the two, and no address is given")
        addresses = [probed, *self._aliases(check)]
        if check.to in self._beyond(check):
            addresses += [*self._own_addresses(check.to), *_GROUPS]
        if not self._agents.ask(check.to, "serve", ports=_SCANNED_PORTS)["listens"]:
            return _result(check, why="the receiver did not even hear itself")
        addresses = list(dict.fromkeys(addresses))
        facts = {
            "source": check.own,
            "source6": check.own6,
            "addresses": addresses,
            "ports": _SCANNED_PORTS,
            "within": check.within,
        }
        said = self._agents.ask(check.source, "scan", via=check.via, mac=self._mac(check), **facts)
        found = list(self._agents.ask(check.to, "visitors")["visitors"])
        answering = {probed, *self._resolver.probes(check.viewer or check.source, check.to)}
        probes = [words for address, proto, words in said["answered"] if address in answering and proto == "echo"]
        found += [words for _, _, words in said["answered"] if words not in probes]
        why = "; ".join(found) if found else "" if probes else "not even the echo of probes was answered"
        seen_as = "; ".join([*probes, *found]) or None
        return _result(check, why=why, address=probed, sent=said["sent"], received=len(found), seen_as=seen_as)

    def _address(self, check: Check) -> str | None:
        """Where `to` is now, else where it was when it last could be reached: there it must be gone from."""
        started = self._flows.get(f"stream {check.stream}" if check.stream is not None else check.flow or "")
        if started is not None:
            return started[0]
        aliases = (alias for alias in self._aliases(check) if check.family in (None, ip_address(alias).version))
        return check.address or next(aliases, None)

    def _stranger(self, check: Check, seen_as: str | None, *, told: bool = False) -> str:
        """What is wrong with the address under which it came, or from which the sender was `told` of an error."""
        expected: Sequence[str] = (check.seen_as,) if check.seen_as is not None else ()
        if check.seen_as == AS_AGREED and told:
            expected = self._aliases(check)
        elif check.seen_as == AS_AGREED:
            expected = self._resolver.resolve(check.to, check.source, check.own)
        if check.seen_as is None or seen_as in expected:
            return ""
        return f"it was seen as {seen_as}, not as {' or '.join(expected) or 'agreed, for nothing is'}"

    def _aliases(self, check: Check) -> Sequence[str]:
        ends = check.viewer or check.source, check.to, check.real
        found = self._reached.get(ends)
        if found is None:
            found = self._reached[ends] = self._resolver.resolve(*ends)
        if found:
            self._known[ends] = found
        elif check.expect is Expectation.BLOCKED:
            found = self._known.get(ends, ())
        return found

    def _own_addresses(self, machine: str) -> list[str]:
        """All of them, in all its namespaces, but loopback."""
        links = self._agents.ask(machine, "everywhere")["links"]
        held = [address for link in links for address in link.get("addr_info", ()) if address.get("scope") != "host"]
        return list(dict.fromkeys(address["local"] for address in held if "local" in address))

    def _beyond(self, check: Check) -> dict[str, str]:
        """Who is at the other end of the port that a check goes out of, and the interface there."""
        rows = self._lab.running.rows
        domain = next((r["domain"] for r in rows if (r["machine"], r["interface"]) == (check.source, check.via)), "")
        found = {r["machine"]: r["interface"] for r in rows if domain and r["domain"] == domain}
        found.pop(check.source, None)
        if not found:
            text = f'{check.source}: has no joined interface "{check.via}"'
            raise DeviceFailed("interface_unknown", text, fault=Fault.LOCAL)
        return found

    def _mac(self, check: Check) -> str:
        """To whom frames on that port are addressed: the receiver, or who leads there."""
        beyond = self._beyond(check)
        machine = check.to if check.to in beyond else next(iter(beyond))
        where = machine, beyond[machine]
        if where not in self._macs:
            links = self._agents.ask(machine, "everywhere")["links"]
            self._macs[where] = next((link["address"] for link in links if link["ifname"] == where[1]), _BROADCAST)
        return self._macs[where]

    def _interfaces(self, check: Check) -> list[str]:
        """Where a bare frame goes out: as the check says, else towards the receiver where both share a domain."""
        if check.via is not None:
            return [check.via]
        rows = self._lab.running.rows
        theirs = {row["domain"] for row in rows if row["machine"] == check.to and row["domain"]}
        own = {row["interface"]: row["domain"] for row in rows if row["machine"] == check.source and row["domain"]}
        return [name for name, domain in own.items() if domain in theirs] or list(own)


def _watched(check: Check, watched: Mapping[str, Mapping[str, Any]]) -> str:
    """Who saw packets that are none of its business; or why that cannot be told."""
    seen = [f"{name} saw {watched[name]['seen']} of its packets" for name in check.unseen_by if watched[name]["seen"]]
    blind = [f"{name} lost sight of {each['lost']} packets" for name, each in watched.items() if each["lost"]]
    if watched and check.expect is Expectation.REACHES and not watched[check.to]["seen"]:
        blind.append(f"not even {check.to} saw its packets on a port")
    return "; ".join([*seen, *blind])


def _result(check: Check, *, why: str = "", **facts: Any) -> CheckResult:
    facts.setdefault("address", check.address)
    return CheckResult(check.name, not why, check.source, check.to, check.protocol.value, why=why, **facts)


def _acted(action: Action, why: str, *, sent: int = 1) -> CheckResult:
    """An action as a check: one command was given, and it succeeded or not."""
    first, *more = action.run.strip().splitlines()
    name = action.name or f"{action.on}: {first}{' ...' if more else ''}"
    return CheckResult(name, not why, action.on, action.on, "command", sent=sent, received=int(not why), why=why)
