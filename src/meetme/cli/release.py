"""`meetme release ID`: end a quarantine by a person's word."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import negotiation_argument, which


@click.command()
@negotiation_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@api_options
@format_option
@asynchronous
async def release(negotiation: str, yes: bool, api: LocalApi, form: str) -> int:
    """Free the aliases, link prefix and port of an ended negotiation although a removal could not be verified.

    Do this only when you know that nothing of it is left on the own device and at the peer.
    """
    from meetme.cli.output import print_json

    if not yes:
        click.confirm("Is everything of it gone from the devices?", abort=True, err=True)
    async with api.client() as client:
        view = await client.release(await which(client, negotiation))
    if form == "json":
        print_json(view.document)
    else:
        click.echo(f"{view.id} is {view.state} and released")
    return 0
