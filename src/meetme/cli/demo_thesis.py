"""The demo of the thesis: one negotiation between two providers over a pure layer-2 link."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from meetme.cli.demo import Show
    from meetme.lab.checks import Step
    from meetme.lab.host import Lab
    from meetme.lab.verify import Verifier

BUILD = "Building two providers, csp-a and csp-b, both 10.0.0.0/24"
FIRST_PACKET_SECONDS = 60.0
SIDES = {"router1": "initiator", "vm1": "initiator", "router2": "responder", "vm2": "responder"}
"""Which machine of the scenario belongs to which side of the agreement."""
UP = (
    "meetme lab exec thesis vm1 -- ping 100.64.0.2",
    "meetme lab exec thesis router1 -- meetme status",
    "meetme lab exec thesis router2 -- bash",
)
"""What one may try while it stays up."""


def run(lab: Lab, show: Show, verifier: Verifier, keep: bool, held: ExitStack) -> dict[str, Any]:
    """Connect the two, and, unless it is to stay, part them again; what came of it for the JSON document."""
    before, during, after = _parts(lab)
    told = _connect(lab, show, verifier, before, during)
    if not keep:
        _part(lab, show, verifier, after)
    return {**told, "web": None}


def _connect(
    lab: Lab, show: Show, verifier: Verifier, before: Sequence[Step], during: Sequence[Step]
) -> dict[str, Any]:
    """Negotiate, and see the first packet; what came of it for the JSON document."""
    from meetme.lab import first_packet

    _remember(lab)
    with show.step("alone", "Before: each network is alone"):
        show.checks += verifier.do(before)
    with show.step("dry-run", "What would be agreed (meetme negotiate csp-b --dry-run)"):
        plan = _meetme(lab, "negotiate", "csp-b", "--dry-run", "--format", "json")
        address = _reached_as(lab, plan["agreement"], "vm1", "vm2")
        click.echo(f"  vm1 will reach vm2 at {address}; nothing is held, nothing was changed", err=True)
    with show.step("negotiate", "One request to one negotiator (meetme negotiate csp-b)"):
        command = [sys.executable, "-I", "-S", first_packet.__file__, address, str(FIRST_PACKET_SECONDS)]
        watcher = lab.popen("vm1", command, stdout=-1)
        assert watcher.stdout is not None
        watcher.stdout.readline()
        try:
            view = _meetme(lab, "negotiate", "csp-b", "--format", "json")
            arrived = float(watcher.stdout.readline())
        finally:
            watcher.kill()
            watcher.communicate()
        started = datetime.fromisoformat(view["started"]).timestamp()
        for step in view["steps"]:
            click.echo(f"  {step['seconds']:7.3f} s  {step['name']}", err=True)
        click.echo(f"  {arrived - started:7.3f} s  first packet of vm1 answered by vm2", err=True)
    with show.step("packets", "Packets, both ways, and what must not cross"):
        show.checks += verifier.do(during)
    confirmed = next(s["seconds"] for s in view["steps"] if s["name"] == "active")
    lab_state = {"verified": view["verified"], "seconds_to_confirmed": round(confirmed, 4)}
    return {**lab_state, "seconds_to_first_packet": round(arrived - started, 4)}


def _part(lab: Lab, show: Show, verifier: Verifier, after: Sequence[Step]) -> None:
    """Terminate, see that nothing crosses any more and that the routers are as before."""
    views = _meetme(lab, "status", "--format", "json")
    with show.step("terminate", "One more request (meetme terminate ID)"):
        _meetme(lab, "terminate", views[0]["id"], "--format", "json")
    with show.step("gone", "After: nothing crosses, nothing is left"):
        show.checks += verifier.do(after)
        for router in ("router1", "router2"):
            show.left_behind += [f"{router}: {line}" for line in _changes(lab, router)]
        click.echo(f"  left on the routers: {', '.join(show.left_behind) or 'nothing'}", err=True)


def _meetme(lab: Lab, *arguments: str) -> Any:
    """Run meetme on router1, as its operator would; its JSON. Raises DeviceFailed with what it said."""
    from meetme.model.errors import DeviceFailed, Fault

    done = lab.run("router1", ["meetme", *arguments])
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise DeviceFailed("demo_failed", f"meetme {' '.join(arguments)}: {said}", fault=Fault.LOCAL)
    return json.loads(done.stdout)


def _parts(lab: Lab) -> tuple[Sequence[Step], Sequence[Step], Sequence[Step]]:
    """The lab's steps: those before it is connected, while it is, and after.

    The actions that negotiate and terminate divide them, and are not among them: the demo does that itself, and shows
    how long it takes.
    """
    from pathlib import Path

    from meetme.lab.checks import Action
    from meetme.lab.verify import read_checks

    steps = read_checks(Path(lab.running.directory, "checks.toml"), lab.machines)
    negotiate, terminate = (
        next(i for i, step in enumerate(steps) if isinstance(step, Action) and f"meetme {verb} " in step.run)
        for verb in ("negotiate", "terminate")
    )
    return steps[:negotiate], steps[negotiate + 1 : terminate], steps[terminate + 1 :]


def _reached_as(lab: Lab, agreement: dict[str, Any], source: str, to: str) -> str:
    from meetme.lab.agreements import alias_in

    listing = json.loads(lab.run(to, ["ip", "-j", "-4", "address"]).stdout)
    own = [a["local"] for link in listing for a in link.get("addr_info", ()) if a.get("scope") == "global"]
    found = (alias_in(agreement, SIDES[source], real) for real in own)
    return next(address for address in found if address is not None)


LOOKS = (
    "ip -o address | sed 's/valid_lft.*//'",
    "ip -o link | sed 's/qlen.*//'",
    "ip route show table all",
    "ip -6 route show table all | sed 's/ expires [0-9]*sec//'",
    "ip rule; ip -6 rule",
    "ip netns list",
    "nft list ruleset",
)
"""What makes up a router, as commands; what changes by itself is cut off."""


def _look(lab: Lab, router: str) -> set[str]:
    said = lab.run(router, ["sh", "-c", "; ".join(LOOKS)]).stdout
    return {line.strip() for line in said.splitlines() if line.strip()}


def _remember(lab: Lab) -> None:
    for router in ("router1", "router2"):
        text = "\n".join(sorted(_look(lab, router)))
        lab.run(router, ["sh", "-c", "cat > /tmp/before"], input=text)


def _changes(lab: Lab, router: str) -> list[str]:
    before = {line for line in lab.run(router, ["cat", "/tmp/before"]).stdout.splitlines() if line}
    now = _look(lab, router)
    return [f"+ {line}" for line in sorted(now - before)] + [f"- {line}" for line in sorted(before - now)]
