"""`meetme terminate ID`: take an agreement back."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import negotiation_argument, which


@click.command()
@negotiation_argument
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until both sides have taken it back.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for the other side.")
@api_options
@format_option
@asynchronous
async def terminate(negotiation: str, wait: bool, timeout: float, api: LocalApi, form: str) -> int:
    """Take an agreement back: the own router at once, the peer's as soon as it can be reached.

    Until the peer has answered, alias, link prefix and port stay quarantined and the negotiation is `terminating`.
    Where it never does: `meetme release`, or, a day later, `meetme attachment remove` of a circuit that was given back.
    """
    import asyncio
    from contextlib import suppress

    from meetme.cli.negotiate import watched_negotiation
    from meetme.cli.output import print_json
    from meetme.model.errors import Unreachable

    async with api.client() as client:
        view = await client.terminate(await which(client, negotiation))
        if wait and view.state == "terminating":
            try:
                async with asyncio.timeout(timeout), watched_negotiation(client, view.id) as states:
                    async for now in states:
                        view = now
                        if view.state != "terminating":
                            break
            except TimeoutError:
                with suppress(Unreachable):
                    view = await client.negotiation(view.id)
    if form == "json":
        print_json(view.document)
    else:
        click.echo(f"{view.id} is {view.state}")
    if view.left_on_device:
        click.echo("this device cannot take everything back; run these, then: meetme release " + str(view.id), err=True)
        for command in view.left_on_device:
            click.echo(f"  {command}", err=True)
    if wait and view.state == "terminating":
        click.echo(f"{view.peer} has not answered yet; it is asked until it does", err=True)
        return 4
    return 0
