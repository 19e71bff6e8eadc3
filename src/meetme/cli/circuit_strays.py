"""`meetme circuit strays`: what stands at the exchange for circuits that its composer does not know."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options_of
from meetme.cli.output import asynchronous, format_option


@click.command(epilog="Example: meetme circuit strays --remove 3f2a...#1@0")
@click.option("--remove", metavar="REFERENCE", help="Have this one taken away.")
@api_options_of("http://127.0.0.1:8473", "The composer's local API.")
@format_option
@asynchronous
async def strays(remove: str | None, api: LocalApi, form: str) -> int:
    """Segments that this composer ordered at its exchange, and of which it knows no circuit.

    So it is when its database was lost, or is an older backup. They may carry traffic and are left alone until a
    person has one taken away.
    """
    from meetme.cli.output import print_json, print_table
    from meetme.composer.client import ComposerClient

    async with api.reach(ComposerClient) as client:
        if remove is not None:
            gone = await client.remove_stray(remove)
            click.echo(f"'{remove}' {'is gone' if gone else 'is cancelled, and the exchange is at it'}", err=True)
            return 0
        found = await client.strays()
    if form == "json":
        print_json([{"reference": s.reference, "circuit": str(s.circuit), "state": s.state} for s in found])
    else:
        rows = [(s.reference, str(s.circuit), s.state) for s in found]
        print_table(("reference", "circuit", "here it is"), rows, empty="no strays")
    return 0
