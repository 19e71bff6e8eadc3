"""`meetme order strays`: what was made for orders that the catalog does not know."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi
from meetme.cli.order_names import catalog_options
from meetme.cli.output import asynchronous, format_option


@click.command(epilog="Example: meetme order strays --remove 7d1c2b9e-0f4a-4c1e-9a57-2f6f0e1d3c58")
@click.option("--remove", metavar="CIRCUIT", help="Have everything of this one taken back.")
@catalog_options
@format_option
@asynchronous
async def strays(remove: str | None, api: LocalApi, form: str) -> int:
    """Circuits, agreements and attachments that orders of this member have made, of orders that it does not know.

    So it is when the catalog's database was lost, or is an older backup. They cost what circuits cost, and are left
    alone until a person has one taken back: the agreement first, the circuit last.
    """
    from meetme.catalog.client import CatalogClient
    from meetme.catalog.wire import stray_json
    from meetme.cli.output import print_json, print_table

    async with api.reach(CatalogClient) as client:
        if remove is not None:
            gone = await client.remove_stray(remove)
            said = "is gone" if gone else "is being taken back; say it again to go on"
            click.echo(f"'{remove}' {said}", err=True)
            return 0
        found = await client.strays()
    if form == "json":
        print_json([stray_json(each) for each in found])
    else:
        rows = [(s.made.circuit, str(s.made.order or "-"), s.state, s.made.partner or "-", str(s)) for s in found]
        print_table(("circuit", "order", "which is here", "with", "what there is"), rows, empty="no strays")
    return 0
