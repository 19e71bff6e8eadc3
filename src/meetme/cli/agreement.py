"""`meetme agreement ID`: the signed document."""

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
async def agreement(negotiation: str, api: LocalApi, form: str) -> int:
    """The agreement that both members signed: contract, reference for drift, record for an audit.

    JSON is the document itself (JWS, RFC 7515, over canonical JSON, RFC 8785) as both sides keep it.
    """
    from meetme.cli.output import print_json
    from meetme.cli.picture import agreement_lines

    async with api.client() as client:
        signed = await client.agreement(await which(client, negotiation))
    if form == "json":
        print_json(signed.document)
        return 0
    for line in agreement_lines(signed.agreement, me=None):
        click.echo(line)
    click.echo("signed by " + " and ".join(signed.signers))
    return 0
