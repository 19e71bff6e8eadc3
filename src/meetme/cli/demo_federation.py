"""The demo of the federation: a service is found in the catalogue, ordered, reached, and given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meetme.cli.ordering import Bought, Buyer, buy, give_back, listed
from meetme.model.errors import DeviceFailed, Fault

if TYPE_CHECKING:
    from meetme.catalog.order import StepTime
    from meetme.cli.demo import Show
    from meetme.lab.checks import Step
    from meetme.lab.host import Lab
    from meetme.lab.verify import Verifier

BUILD = "Building four exchanges with two switches each, and three providers; csp-a and csp-c both use 10.0.0.0/24"
OFFER = "csp-c/object-storage"
SERVICE = IPv4Address("10.0.0.2")
ROUTER, MACHINE = "router1", "vm1"
PORTS = (8472, 8471)
"""On which its catalog and its negotiator listen."""
TOKEN_FILE, CONFIG = "/etc/meetme/token", "/etc/meetme/meetme.toml"
ACCOUNT = "anna"
"""Who may log in at the page while it stays up."""
BACK_SECONDS = 60.0
UP = (
    "meetme lab exec federation router1 -- meetme status",
    "meetme lab exec federation ixa -- meetme circuit list",
    "meetme lab exec federation vm1 -- bash",
)
"""What one may try while it stays up."""


def run(lab: Lab, show: Show, verifier: Verifier, keep: bool, held: ExitStack) -> dict[str, Any]:
    """Order, reach, and, unless it is to stay, give back; what came of it for the JSON document.

    `held`: what stays open as long as the demo does.
    """
    from meetme.lab.door import doors

    before, during, after = parts(lab)
    catalog, negotiator = held.enter_context(doors(lab, ROUTER, PORTS, preferred=PORTS[0] if keep else 0))
    with show.step("alone", "Before: nothing crosses"):
        show.checks += verifier.do(before)
    bought = asyncio.run(_order(lab, show, catalog, negotiator))
    reach = bought.order.reach
    with show.step("packets", f"Packets, both ways, to {reach.address if reach else SERVICE} and from there"):
        show.checks += verifier.do(during)
    if not keep:
        asyncio.run(_give_back(lab, show, catalog, negotiator, bought))
        with show.step("gone", "After: nothing crosses, every switch and every router is as before"):
            show.checks += verifier.do(after)
            show.left_behind += [f"{c.source}: {c.why}" for c in show.checks if "as before" in c.name and not c.ok]
            click.echo(f"  left on switches and routers: {', '.join(show.left_behind) or 'nothing'}", err=True)
    active = next(step.seconds for step in bought.order.steps if step.name == "active")
    return {
        "offer": OFFER,
        "address": None if reach is None else str(reach.address),
        "verified": bought.negotiation.verified,
        "seconds_to_confirmed": round(active, 4),
        "seconds_to_first_packet": round(bought.seconds_to_first_packet, 4),
        "order": [{"name": step.name, "seconds": round(step.seconds, 4)} for step in bought.order.steps],
        "web": f"http://{catalog}/" if keep else None,
        **(_account(lab) if keep else {}),
    }


def _account(lab: Lab) -> dict[str, str]:
    """Somebody who may log in at the page, with a password that was made up for it. Raises DeviceFailed."""
    roles = [word for role in ("order", "approve") for word in ("--role", role)]
    command = ["meetme", "account", "add", ACCOUNT, *roles, "--generate", "--config", CONFIG, "--format", "json"]
    done = lab.run(ROUTER, command)
    if done.returncode != 0:
        raise DeviceFailed("demo_failed", f"meetme account add: {done.stderr.strip()}", fault=Fault.LOCAL)
    return {"account": ACCOUNT, "password": json.loads(done.stdout)["password"]}


def buyer(lab: Lab, catalog: str, negotiator: str) -> Buyer:
    """csp-a, asked from the host through its doors."""
    from meetme.catalog.client import CatalogClient
    from meetme.negotiator.client import NegotiatorClient

    token = lab.run(ROUTER, ["cat", TOKEN_FILE]).stdout.split()[0]
    clients = CatalogClient(f"http://{catalog}", token), NegotiatorClient(f"http://{negotiator}", token)
    return Buyer(*clients, lab, MACHINE)


def parts(lab: Lab) -> tuple[Sequence[Step], Sequence[Step], Sequence[Step]]:
    """The lab's steps about an order: how everything was before, what holds while it is active, and what after it."""
    from meetme.lab.checks import Action, Check, Expectation
    from meetme.lab.verify import read_checks

    steps = read_checks(Path(lab.running.directory, "checks.toml"), lab.machines)
    ordered, given_back = (
        next(i for i, step in enumerate(steps) if isinstance(step, Action) and f"; {verb} " in step.run)
        for verb in ("buy", "give_back")
    )
    first = next(i for i, step in enumerate(steps) if isinstance(step, Check) and step.expect is Expectation.BLOCKED)
    return steps[: first + 1], steps[ordered + 1 : given_back], steps[given_back + 1 :]


async def _order(lab: Lab, show: Show, catalog: str, negotiator: str) -> Bought:
    csp_a = buyer(lab, catalog, negotiator)
    async with csp_a.catalog, csp_a.negotiator:
        with show.step("find", f"What the catalogue of csp-a says of {OFFER}"):
            await listed(csp_a, OFFER)
            entry = await csp_a.catalog.offer(*OFFER.split("/", 1))
            click.echo(f"  {entry.offer.title}, {entry.offer.location}: {entry.offer.description}", err=True)
        with show.step("order", f"One order at one catalog (meetme order {OFFER})"):
            bought = await buy(csp_a, OFFER, SERVICE, _told)
            click.echo(f"  {bought.seconds_to_first_packet:7.3f} s  first packet of vm1 answered by vm3", err=True)
            noted = lab.run(ROUTER, ["sh", "-c", "cat > /shared/storage.address"], input=_address(bought))
            assert noted.returncode == 0
    return bought


async def _give_back(lab: Lab, show: Show, catalog: str, negotiator: str, bought: Bought) -> None:
    csp_a = buyer(lab, catalog, negotiator)
    async with csp_a.catalog, csp_a.negotiator:
        with show.step("terminate", f"One more request (meetme order terminate {str(bought.order.id)[:8]})"):
            async with asyncio.timeout(BACK_SECONDS):
                await give_back(csp_a, bought.order)


def _address(bought: Bought) -> str:
    return str(bought.order.reach.address) if bought.order.reach is not None else ""


def _told(step: StepTime) -> None:
    click.echo(f"  {step.seconds:7.3f} s  {step.name}", err=True)
