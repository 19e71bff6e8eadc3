"""`meetme show ID`: everything about one negotiation."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import negotiation_argument, which


@click.command()
@negotiation_argument
@api_options
@format_option
@asynchronous
async def show(negotiation: str, api: LocalApi, form: str) -> int:
    """One negotiation: state, addresses of both sides, the steps with their times, what is still owed, what went wrong.

    What is owed says why something hangs: how often it was tried in vain, and why. It is tried again by itself.
    """
    from meetme.cli.health import health_text
    from meetme.cli.output import print_json, print_table, show_problem
    from meetme.cli.picture import agreement_lines

    async with api.client() as client:
        view = await client.negotiation(await which(client, negotiation))
    if form == "json":
        print_json(view.document)
        return 0
    click.secho(f"{view.id}  {view.state}", bold=True)
    click.echo(f"{view.role} with {view.peer} over {view.circuit}")
    if view.state == "active":
        since = f", since {view.health.since:%Y-%m-%d %H:%M:%S} UTC" if view.health and view.health.since else ""
        click.echo(f"health {health_text(view.health)}{since}; verified: {view.verified or 'no'}")
        if view.health and view.health.reason:
            click.echo(f"  {view.health.reason.text}  [{view.health.reason.code}]")
            click.echo(f"  {view.health.reason.hint}")
    if view.superseded_by:
        click.echo(f"superseded by {view.superseded_by}")
    if view.agreement is not None:
        for line in agreement_lines(view.agreement, me=view.me):
            click.echo(line)
    rows = [(s.name, f"{s.seconds:.3f}", "ok" if s.ok else "failed") for s in view.steps]
    print_table(("step", "seconds", ""), rows, empty="no step yet")
    if view.owed:
        owed = [(due.what, str(due.attempts), _when(due.due_in), due.note) for due in view.owed]
        print_table(("still to be done", "attempts", "next", "why not yet"), owed, empty="")
    if view.problem is not None:
        show_problem(view.problem)
    if view.change is not None:
        click.echo(f"change {view.change.number} is {view.change.state}")
        if view.change.problem is not None:
            show_problem(view.change.problem)
    if view.left_on_device:
        click.echo("left on the device, to be taken back by hand; then: meetme release " + str(view.id))
        for command in view.left_on_device:
            click.echo(f"  {command}")
    return 0


def _when(seconds: float) -> str:
    return f"in {seconds:.1f} s" if seconds else "now"
