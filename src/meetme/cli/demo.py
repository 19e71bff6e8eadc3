"""`meetme demo`: the main job on this machine, from nothing to packets and back to nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.output import format_option

if TYPE_CHECKING:
    from meetme.lab.checks import Step
    from meetme.lab.host import Lab
    from meetme.lab.verify import CheckResult, Verifier

SCENARIOS = ("thesis",)
FIRST_PACKET_SECONDS = 60.0

SIDES = {"router1": "initiator", "vm1": "initiator", "router2": "responder", "vm2": "responder"}
"""Which machine of the scenario belongs to which side of the agreement."""


@dataclass
class Show:
    """What the demo has done so far: told as it happens, and told again as JSON at the end."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """One step with its time; whatever it raises goes on."""
        click.secho(f"\n{text}", bold=True, err=True)
        began = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            seconds = round(time.monotonic() - began, 3)
            self.steps.append({"name": name, "seconds": seconds, "ok": ok})
            mark = click.style("ok", fg="green") if ok else click.style("FAILED", fg="red")
            click.echo(f"  {mark}  {seconds:.2f} s", err=True)


@click.command(epilog="Example: meetme demo --keep")
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    default=SCENARIOS[0],
    show_default=True,
    help="thesis: two providers, both 10.0.0.0/24, joined by a pure layer-2 link.",
)
@click.option("--keep", is_flag=True, help="Leave it up and connected until Ctrl-C or `meetme lab down`.")
@format_option
def demo(scenario: str, keep: bool, form: str) -> int:
    """Two providers with the same addresses, joined in a second, on this machine.

    Builds two networks in namespaces, each with a negotiator and a configurator, connects them by one request, sends
    real packets both ways, and takes everything back. Exit status 0 only if packets really crossed.
    """
    import signal

    from meetme.cli.output import print_json
    from meetme.lab import host
    from meetme.lab.source import find_lab, read_lab
    from meetme.lab.verify import Verifier

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show = Show()
    source = read_lab(find_lab(scenario))
    with show.step("build", "Building two providers, csp-a and csp-b, both 10.0.0.0/24"):
        lab = host.up(source, progress=lambda text: click.echo(f"  {text}", err=True))
    try:
        with Verifier(lab, progress=lambda text: click.echo(f"  {text}", err=True)) as verifier:
            before, during, after = _parts(lab)
            told = _connect(lab, show, verifier, before, during)
            result = {"scenario": scenario, **told, "lab": scenario, "web": None}
            if not keep:
                _part(lab, show, verifier, after)
        if keep:
            _keep(lab, source.directory, {**result, **_facts(show)}, form)
            return 0
    finally:
        with show.step("down", "Taking the lab down"):
            host.down(source.directory)
    if lab.running.alive:
        show.left_behind.append(f"process {lab.running.keeper}")
    good = bool(show.checks) and all(c.ok for c in show.checks) and not show.left_behind
    result |= _facts(show)
    if form == "json":
        print_json(result)
    else:
        _conclude(result, show, good)
    return 0 if good else 1


def _facts(show: Show) -> dict[str, Any]:
    return {"steps": show.steps, "checks": [c.as_json() for c in show.checks], "left_behind": show.left_behind}


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


def _keep(lab: Lab, directory: Any, result: dict[str, Any], form: str) -> None:
    """Tell that it is up, and stay until somebody has enough of it."""
    from meetme.cli.output import print_json

    if form == "json":
        print_json(result)
    else:
        click.secho("\nIt is up and connected. From another terminal:", bold=True)
        click.echo("  meetme lab exec thesis vm1 -- ping 100.64.0.2")
        click.echo("  meetme lab exec thesis router1 -- meetme status")
        click.echo("  meetme lab exec thesis router2 -- bash")
        click.echo("Ctrl-C here, or `meetme lab down thesis`, takes everything down.")
    sys.stdout.flush()
    try:
        while lab.running.alive:
            time.sleep(0.5)  # polling a process that is not our child: there is nothing to wait on
    except KeyboardInterrupt:
        click.echo("", err=True)


def _conclude(result: dict[str, Any], show: Show, good: bool) -> None:
    failed = [c.name for c in show.checks if not c.ok]
    click.echo("")
    click.secho(
        f"confirmed after {result['seconds_to_confirmed'] * 1000:.0f} ms, "
        f"first packet after {result['seconds_to_first_packet'] * 1000:.0f} ms",
        bold=True,
    )
    click.echo(f"{len(show.checks) - len(failed)} of {len(show.checks)} checks hold; verified: {result['verified']}")
    for name in failed:
        click.secho(f"  FAILED  {name}", fg="red")
    click.echo(f"left behind: {', '.join(show.left_behind) or 'nothing'}")
    if good:
        click.echo("\nNext: docs/tutorial/first-agreement.md does the same by hand; meetme demo --keep leaves it up.")
