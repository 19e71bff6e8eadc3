"""`meetme negotiate PEER`: from nothing to packets, with every step shown as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import peer_argument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from meetme.negotiator.client import NegotiatorClient
    from meetme.negotiator.negotiation import StepTime
    from meetme.negotiator.views import NegotiationView, Plan

STEP_WORDS = {
    "propose": "agreed on addresses",
    "held": "addresses held for the peer",
    "commit": "the peer committed",
    "configure": "router programmed",
    "probe": "packets crossed, both ways",
    "peer_ready": "peer programmed and probed",
    "active": "active",
    "failed": "failed",
    "refused": "refused",
    "terminate": "being taken back",
    "terminated": "terminated",
}


@click.command(epilog="Example: meetme negotiate csp-b --dry-run")
@peer_argument
@click.option("--circuit", help="The L2 circuit to use.  [default: the direct link to the peer]")
@click.option("--port", help="Border router port.  [default: the negotiator's --border-router-port]")
@click.option("--order", help="The catalogue order that this belongs to.")
@click.option("--local-subnet", "local_subnets", multiple=True, help="Prefixes to make reachable.")
@click.option("--private-networks", multiple=True, help="Pools for aliases on overlap.")
@click.option("--negotiated-networks", multiple=True, help="Pools for a numbered link.")
@click.option("--translation", type=click.Choice(["auto", "none", "single", "each-own"]), help="[default: auto]")
@click.option("--link", type=click.Choice(["auto", "numbered", "unnumbered"]), help="[default: auto]")
@click.option("--mtu", type=click.IntRange(576, 65535), help="Octets of IP packet on the circuit.")
@click.option("--probe-target", help="A real address of the peer to reach as the last proof.")
@click.option("--dry-run", is_flag=True, help="Show the agreement and the commands; hold nothing, change nothing.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it until it is active or has ended.")
@click.option("--key", help="Idempotency key: repeat the call safely.  [default: a new one]")
@api_options
@format_option
@asynchronous
async def negotiate(
    peer: str, dry_run: bool, wait: bool, key: str | None, api: LocalApi, form: str, **terms: Any
) -> int:
    """Agree on layer 3 with PEER, program both border routers and prove that packets cross.

    Overlapping ranges are told apart by aliases. What is not given here comes from the negotiator's settings; a list is
    a repeated flag, or one with commas. If anything fails, both routers are as before. Exit status: 0 active, 1 failed
    and undone, 3 refused, 4 unreachable.
    """
    from meetme.cli.watching import begun
    from meetme.negotiator.views import StartRequest

    given = {name: value for name, value in terms.items() if value not in (None, ())}
    given = {name: _listed(value) if isinstance(value, tuple) else value for name, value in given.items()}
    request = StartRequest(peer=peer, **given)
    async with api.client() as client:
        if dry_run:
            show_plan(await client.plan(request), form)
            return 0
        started = await begun(
            lambda key, patience: client.start(request, idempotency_key=key, patience=patience),
            key, what="negotiation", at="negotiator", show="meetme status",
        )  # fmt: skip
        return await _follow(client, started, form) if wait else _result(started, form)


def show_plan(plan: Plan, form: str) -> None:
    """What a dry run has found."""
    from meetme.cli.output import print_json
    from meetme.cli.picture import agreement_lines

    if form == "json":
        print_json(plan.document)
        return
    for line in agreement_lines(plan.agreement, me=plan.me):
        click.echo(line)
    click.secho("\nthis router would be told:", bold=True)
    for command in plan.plan:
        click.echo(f"  {command}")
    click.echo("\nnothing is held, nothing was changed", err=True)


def show_step(done: StepTime) -> None:
    """A finished step, on stderr."""
    name = done.name.partition(": ")[2] or done.name  # of a change, every step says its number
    mark = click.style("ok  ", fg="green") if done.ok else click.style("FAIL", fg="red")
    click.echo(f"  {mark} {done.seconds:7.3f} s  {STEP_WORDS.get(name, name)}", err=True)


def _listed(values: tuple[str, ...]) -> list[str]:
    """A list is a repeated flag, or one with commas, as in the settings."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def watched_negotiation(
    client: NegotiatorClient, id: UUID
) -> AbstractAsyncContextManager[AsyncGenerator[NegotiationView, None]]:
    """It is followed, also while the negotiator is away for a while."""
    from meetme.cli.watching import watched

    return watched(client.follow, id, what="negotiation", at="negotiator", show="meetme show")


async def _follow(client: NegotiatorClient, view: NegotiationView, form: str) -> int:
    shown = 0
    click.secho(f"{view.id}  with {view.peer} over {view.circuit}", bold=True, err=True)
    async with watched_negotiation(client, view.id) as states:
        async for now in states:
            view = now
            for done in view.steps[shown:]:
                show_step(done)
            shown = len(view.steps)
            if view.state in ("active", "refused", "failed", "terminated") or view.superseded_by:
                break
    return _result(view, form)


def _result(view: NegotiationView, form: str) -> int:
    from meetme.cli.output import print_json, show_problem
    from meetme.cli.picture import agreement_lines

    if form == "json":
        print_json(view.document)
    elif view.agreement is not None and view.state in ("active", "confirming", "committed"):
        for line in agreement_lines(view.agreement, me=view.me):
            click.echo(line)
    elif view.problem is None:
        click.echo(f"{view.id} is {view.state}")
    if view.state == "superseded":
        click.echo(f"the peer started at the same time; its negotiation survives: {view.superseded_by}", err=True)
        return 0
    if view.problem is not None and view.state in ("refused", "failed"):
        show_problem(view.problem)
    if view.state == "refused":
        return 3
    if view.state == "failed":
        unreachable = view.problem is not None and view.problem.code in UNREACHABLE
        return 4 if unreachable else 1
    return 0


UNREACHABLE = (
    "negotiation_timeout",
    "peer_answer_malformed",
    "peer_answer_too_large",
    "peer_certificate_unknown",
    "peer_connection_disturbed",
    "peer_hung_up",
    "peer_refuses_certificate",
    "peer_speaks_no_tls",
    "peer_timeout",
    "peer_unreachable",
)
