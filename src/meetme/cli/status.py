"""`meetme status`: all negotiations of this member."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options, service_option
from meetme.cli.output import asynchronous, format_option


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@service_option
@api_options
@format_option
@asynchronous
async def status(everything: bool, service: str, api: LocalApi, form: str) -> int:
    """All live negotiations of this member: with whom, over what, in which state, how healthy.

    Whatever has ended but is still on a device, or still quarantined, is shown too. With --service composer it shows
    the circuits, with --service catalog the orders, bought and sold.
    """
    if service == "composer":
        return await _circuits(everything, api, form)
    if service == "catalog":
        return await _orders(everything, api, form)
    return await _negotiations(everything, api, form)


async def _circuits(everything: bool, api: LocalApi, form: str) -> int:
    from meetme.cli import circuit_tables
    from meetme.composer.client import ComposerClient
    from meetme.composer.words import ENDED

    async with api.at("composer").reach(ComposerClient) as client:
        circuit_tables.show_list([v for v in await client.circuits() if everything or v.state not in ENDED], form)
    return 0


async def _orders(everything: bool, api: LocalApi, form: str) -> int:
    from meetme.catalog.client import CatalogClient
    from meetme.catalog.words import ENDED
    from meetme.cli import order_tables

    async with api.at("catalog").reach(CatalogClient) as client:
        order_tables.show_orders([v for v in await client.orders() if everything or v.state not in ENDED], form)
    return 0


async def _negotiations(everything: bool, api: LocalApi, form: str) -> int:
    from meetme.cli.health import health_text
    from meetme.cli.output import print_json, print_table
    from meetme.negotiator.states import ENDED

    async with api.client() as client:
        views = await client.negotiations()
    shown = [v for v in views if everything or v.state not in ENDED or v.left_on_device]
    if form == "json":
        print_json([v.document for v in shown])
        return 0
    rows: list[tuple[str, ...]] = []
    for view in shown:
        reach = ", ".join(str(p.alias) for p in view.peer_prefixes) or "-"
        health = health_text(view.health) if view.state == "active" else "-"
        vain = ", ".join(f"{due.what} ({due.note.partition(':')[0]})" for due in view.owed) or "-"
        rows.append((str(view.id), view.peer, view.circuit, view.role, view.state, health, reach, vain))
    columns: tuple[str, ...] = ("id", "peer", "circuit", "role", "state", "health", "reached as", "tried in vain")
    if all(row[-1] == "-" for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(columns, rows, empty="no negotiation; start one with: meetme negotiate PEER")
    return 0
