"""`meetme attachment list|set|remove`: where circuits land on the own border routers."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import MemberName

_COLUMNS = ("circuit", "router", "port", "vlan", "mtu", "peer")


@click.group()
def attachment() -> None:
    """Where circuits land: each side registers its own end, by the name that both have for the circuit.

    The direct link to a peer needs none: it lands on --border-router-port.
    """


@attachment.command("list")
@api_options
@format_option
@asynchronous
async def list_(api: LocalApi, form: str) -> int:
    """Every circuit that is registered here."""
    from dataclasses import asdict

    from meetme.cli.output import print_json, print_table

    async with api.client() as client:
        found = await client.attachments()
    if form == "json":
        print_json({circuit: asdict(each) for circuit, each in found.items()})
        return 0
    rows = [
        (circuit, a.router, a.port, "-" if a.vlan is None else str(a.vlan), str(a.mtu), a.peer or "any")
        for circuit, a in found.items()
    ]
    print_table(_COLUMNS, rows, empty="no circuit; register one with: meetme attachment set CIRCUIT ROUTER/PORT")
    return 0


@attachment.command("set", epilog="Example: meetme attachment set c-1742 router1/eth3 --peer csp-b")
@click.argument("circuit")
@click.argument("place", metavar="ROUTER/PORT")
@click.option("--vlan", type=click.IntRange(1, 4094), help="The circuit's VLAN on the port.  [default: the whole port]")
@click.option("--mtu", type=click.IntRange(576, 65535), default=1500, show_default=True, help="Octets of IP packet.")
@click.option("--peer", type=MemberName(), help="Whom it leads to: nobody else may negotiate over it.  [default: any]")
@api_options
@format_option
@asynchronous
async def set_(circuit: str, place: str, vlan: int | None, mtu: int, peer: str | None, api: LocalApi, form: str) -> int:
    """Say that CIRCUIT lands on PORT of ROUTER, the name that --configurator gives to it."""
    from dataclasses import asdict

    from meetme.cli.output import print_json
    from meetme.model.agreement import MemberId
    from meetme.model.errors import InvalidInput
    from meetme.negotiator.negotiation import Attachment

    router, _, port = place.rpartition("/")
    if not router or not port:
        raise InvalidInput(
            "attachment_malformed",
            f'port: must be ROUTER/PORT ("{place}")',
            hint="for example router1/eth3; ROUTER is the name that --configurator gives to it",
            field="port",
        )
    wanted = Attachment(router, port, vlan, mtu, MemberId(peer) if peer else None)
    async with api.client() as client:
        done = await client.put_attachment(circuit, wanted)
    if form == "json":
        print_json(asdict(done))
    else:
        click.echo(f"{circuit} lands on {done.router}/{done.port}")
    return 0


@attachment.command("remove")
@click.argument("circuit")
@api_options
@asynchronous
async def remove(circuit: str, api: LocalApi) -> int:
    """Forget CIRCUIT, once it is not there any more. One that an agreement uses stays.

    What is kept for an agreement over it that has been taken back, because its peer has not answered, is free a day
    later.
    """

    async with api.client() as client:
        await client.delete_attachment(circuit)
    click.echo(f"{circuit} is forgotten")
    return 0
