"""`meetme status`: all negotiations of this member."""

from __future__ import annotations

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@api_options
@format_option
@asynchronous
async def status(everything: bool, api: LocalApi, form: str) -> int:
    """All live negotiations of this member: with whom, over what, in which state, how healthy.

    Whatever has ended but is still on a device, or still quarantined, is shown too.
    """
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
