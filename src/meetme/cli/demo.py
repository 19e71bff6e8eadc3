"""`meetme demo`: the main job on this machine, from nothing to packets and back to nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.output import format_option

if TYPE_CHECKING:
    from meetme.lab.host import Lab
    from meetme.lab.verify import CheckResult

FEDERATION, THESIS = "federation", "thesis"
BUILD_SECONDS = 300.0
"""What a slow machine may take for the startup of everything."""


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

    @property
    def document(self) -> dict[str, Any]:
        """As it is told at the end."""
        return {"steps": self.steps, "checks": [c.as_json() for c in self.checks], "left_behind": self.left_behind}


@click.command(epilog="Example: meetme demo --keep")
@click.option(
    "--scenario",
    type=click.Choice((FEDERATION, THESIS)),
    default=FEDERATION,
    show_default=True,
    help="federation: a service ordered over three exchanges. thesis: two providers and one pure layer-2 link.",
)
@click.option("--keep", is_flag=True, help="Leave it up and connected until Ctrl-C or `meetme lab down`.")
@format_option
def demo(scenario: str, keep: bool, form: str) -> int:
    """From a click to packets between networks with the same addresses, on this machine.

    Builds a federation in namespaces (exchanges with their switches, providers with their border routers), orders a
    service of a provider two exchanges away from the catalogue, sends real packets both ways, and takes everything
    back. Exit status 0 only if packets really crossed.
    """
    import signal

    from meetme.cli import demo_federation, demo_thesis
    from meetme.cli.output import print_json
    from meetme.lab import host
    from meetme.lab.source import find_lab, read_lab
    from meetme.lab.verify import Verifier

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show = Show()
    source = read_lab(find_lab(scenario))
    player = demo_federation if scenario == FEDERATION else demo_thesis
    with show.step("build", player.BUILD):
        lab = host.up(source, timeout=BUILD_SECONDS, progress=_say)
    result: dict[str, Any] = {"scenario": scenario}
    try:
        with ExitStack() as held:
            with Verifier(lab, progress=_say) as verifier:
                result |= player.run(lab, show, verifier, keep, held)
            if keep:
                _keep(lab, {**result, **show.document, "lab": scenario}, player.UP, form)
                return 0
    finally:
        with show.step("down", "Taking the lab down"):
            host.down(source.directory)
    if lab.running.alive:
        show.left_behind.append(f"process {lab.running.keeper}")
    good = bool(show.checks) and all(c.ok for c in show.checks) and not show.left_behind
    result |= {**show.document, "lab": scenario}
    if form == "json":
        print_json(result)
    else:
        _conclude(result, show, good)
    return 0 if good else 1


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)


def _keep(lab: Lab, result: dict[str, Any], commands: tuple[str, ...], form: str) -> None:
    """Tell that it is up, and stay until somebody has enough of it."""
    from meetme.cli.output import print_json

    if form == "json":
        print_json(result)
    else:
        click.secho("\nIt is up and connected.", bold=True)
        if result["web"] is not None:
            click.echo(f"The buyer's catalogue in your browser: {result['web']}")
            click.echo(f"  log in as {result['account']}, password {result['password']}")
        click.echo("From another terminal:")
        for command in commands:
            click.echo(f"  {command}")
        click.echo(f"Ctrl-C here, or `meetme lab down {result['lab']}`, takes everything down.")
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
