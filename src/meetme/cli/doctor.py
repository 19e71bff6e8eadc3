"""`meetme doctor`: what this machine can do, and how the member that runs on it does. Touches nothing."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meetme.cli.member import LocalApi, api_options, service_option
from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from rich.text import Text

    from meetme.model.intent import Capabilities


VLAN_UNSUPPORTED = "vlan_unsupported"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `needed`: without it the main job does not work here."""

    what: str
    ok: bool
    detail: str
    hint: str = ""
    needed: bool = True


@click.command()
@click.option("--driver", default="linux", show_default=True, help="The driver to ask.")
@click.option(
    "--only",
    type=click.Choice(["host", "member"]),
    help="Look at nothing else.  [default: the host; the member too, if its service answers]",
)
@click.option(
    "--exchange-config",
    "exchange",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Settings file of meetme serve ixapi: look at the switches of that exchange too.",
)
@click.option("--inside", is_flag=True, hidden=True)
@service_option
@api_options
@format_option
@asynchronous
async def doctor(
    driver: str, only: str | None, exchange: Path | None, inside: bool, service: str, api: LocalApi, form: str
) -> int:
    """What this machine can do, probed in throw-away namespaces, and how the running member does.

    Of the member: database and disk, certificates, every peer (way, key, clock), every router (reachable, links as
    ordered), what is owed for long or stuck. Of an exchange (--service composer): its exchange, its neighbours, its
    circuits and strays; with --exchange-config its switches and strays on them. Of a catalog (--service catalog): its
    ports and composers, offers of others, orders that wait or hang. Each finding has a hint. Exit status 0 when nothing
    that is needed fails: a border router can run here or a lab can be built, and the member works; 1 otherwise.
    """
    from dataclasses import asdict

    from meetme.cli.output import print_json, print_table

    if inside:
        print_json([asdict(f) for f in await _device(driver)])
        return 0
    findings: list[Finding] = []
    if only != "member":
        findings += [_python(), *_programs(), _namespaces()]
        findings += await _device(driver) if os.geteuid() == 0 else _device_in_user_namespace(driver)
    if only != "host":
        findings += await _member(api, service, asked=only == "member")
    if exchange is not None:
        findings += await _switches(exchange)
    good = all(f.ok for f in findings if f.needed)
    if form == "json":
        print_json({"ok": good, "findings": [asdict(f) for f in findings]})
    else:
        rows = [(f.what, _mark(f), f.detail) for f in findings]
        print_table(("", "", ""), rows, empty="nothing was looked at")
        for finding in findings:
            if not finding.ok and finding.hint:
                click.echo(f"{finding.what}: {finding.hint}")
    return 0 if good else 1


async def _member(api: LocalApi, service: str, *, asked: bool) -> list[Finding]:
    """How the running member does. Raises what the negotiator raises, if one was asked for."""
    from meetme.model.errors import MeetMeError, Unreachable

    try:
        async with api.of(service) as client:
            diagnosis = await client.diagnosis()
    except Unreachable:
        if asked:
            raise
        return []
    except MeetMeError as error:
        if asked:
            raise
        return [Finding("member", False, error.text, error.hint, needed=False)]
    return [Finding(f.what, f.ok, f.detail, f.hint, f.needed) for f in diagnosis.findings]


async def _switches(config: Path) -> list[Finding]:
    """The switches of an exchange, and what stands on them that no service of its books has."""
    from meetme.cli.serve import exchange_of
    from meetme.ixapi.reaching import openers_of
    from meetme.ixapi.strays import StraySearch
    from meetme.runtime.clock import SystemClock

    settings, identity, database = exchange_of(config)
    try:
        search = StraySearch(database, openers_of(settings, identity), SystemClock())
        try:
            found = await search.find()
        finally:
            await search.close()
    finally:
        await database.close()
    silent = dict(found.silent)
    findings = []
    for switch in settings.switch:
        problem = silent.get(switch.name)
        detail, hint = ("answers", "") if problem is None else (problem.text, problem.hint or "start its configurator")
        findings.append(Finding(f"switch {switch.name}", problem is None, detail, hint))
    for stray in found.strays:
        circuit = stray.intent.circuit
        hint = f"was a database lost? meetme exchange strays --config {config} --remove {circuit} takes it away"
        findings.append(
            Finding(f"stray {circuit} on {stray.switch}", False, "belongs to no service that is known", hint, False)
        )
    return findings


def _mark(finding: Finding) -> Text:
    from rich.text import Text

    return Text("yes", "green") if finding.ok else Text("no", "red" if finding.needed else "yellow")


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", sys.version_info >= (3, 11), version, "3.11 or later is needed")


def _programs() -> list[Finding]:
    from meetme.runtime.shell import find_program, package_of

    found = {program: find_program(program) for program in ("ip", "nft", "conntrack")}
    return [
        Finding(f"program {program}", place is not None, place or "not found", f"apt-get install {package_of(program)}")
        for program, place in found.items()
    ]


def _namespaces() -> Finding:
    """Whether a lab can be built: as root always, else in a user namespace where the kernel allows it."""
    import subprocess

    if os.geteuid() == 0:
        return Finding("labs", True, "as root")
    tried = subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, text=True, check=False)
    hint = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run it with sudo"
    if tried.returncode == 0:
        return Finding("labs", True, "rootless, in a user namespace")
    return Finding("labs", False, tried.stderr.strip() or "user namespaces are not allowed", hint)


async def _device(driver: str) -> list[Finding]:
    """What driver and kernel can do here, in this very namespace."""
    from meetme.drivers.registry import load_driver

    can: Capabilities = await load_driver(driver).capabilities()
    switch, router = can.segments, can.translate or can.unnumbered
    findings = [] if router and not switch else [Finding("segments", switch, "of circuits, as a switch of an exchange")]
    if router or not switch:
        findings += [
            Finding("translation", can.translate, "one-to-one on whole prefixes, both directions"),
            Finding("unnumbered links", can.unnumbered, "IPv4 over an IPv6 link-local next hop"),
            Finding("probes", can.probe, "echo requests along the customers' path"),
        ]
    findings += [
        Finding("IPv6", can.ipv6, "prefixes of both families", needed=False),
    ]
    hints = {p.code: p for p in can.missing}
    without = hints.pop(VLAN_UNSUPPORTED, None)
    vlan = Finding("VLAN", can.vlan, "802.1Q sub-interfaces; without, a circuit takes a whole port", needed=False)
    findings.append(vlan if without is None else replace(vlan, hint=without.hint))
    return findings + [Finding(p.code, False, p.text, p.hint, needed=False) for p in hints.values()]


def _device_in_user_namespace(driver: str) -> list[Finding]:
    """An ordinary user may not touch this network, but a namespace of its own tells the same about the kernel."""
    import json
    import subprocess

    script = 'mount -t tmpfs tmpfs /run && exec "$0" -m meetme.cli.doctor "$1"'
    command = ["unshare", "-Urnm", "sh", "-c", script, sys.executable, driver]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        detail = done.stderr.strip().splitlines()[-1:] or ["the probe did not run"]
        return [Finding("translation", False, detail[0], "run it as root to see more")]
    return [Finding(**found) for found in json.loads(done.stdout)]


if __name__ == "__main__":
    doctor(args=["--inside", "--driver", sys.argv[1]])
