"""`meetme orders`: what was bought and sold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meetme.cli import order_tables
from meetme.cli.member import LocalApi
from meetme.cli.order_names import catalog_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import MemberName

if TYPE_CHECKING:
    from meetme.catalog.views import OrderView


@click.command(epilog="Example: meetme orders --waiting")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("--bought", is_flag=True, help="What this member has ordered.")
@click.option("--sold", is_flag=True, help="What others have ordered of it.")
@click.option("--waiting", is_flag=True, help="What waits for a decision of this member.")
@click.option("--state", "states", multiple=True, help="In this state alone; repeatable.")
@click.option("--with", "partner", type=MemberName(), help="With this member alone.")
@click.option("--watch", is_flag=True, help="Again whenever something changes, until Ctrl-C.")
@catalog_options
@format_option
@asynchronous
async def orders(
    everything: bool,
    bought: bool,
    sold: bool,
    waiting: bool,
    states: tuple[str, ...],
    partner: str | None,
    watch: bool,
    api: LocalApi,
    form: str,
) -> int:
    """The orders of this member, bought and sold, the newest first: state, and where each service answers."""
    import asyncio

    from meetme.catalog.client import CatalogClient
    from meetme.catalog.words import ENDED, Party, State

    if unknown := set(states) - {state.value for state in State}:
        raise click.BadParameter(
            f"must be one of {', '.join(State)} ({', '.join(sorted(unknown))})", param_hint="--state"
        )

    def wanted(view: OrderView) -> bool:
        mine = view.party is Party.BUYER
        return (
            (everything or bool(states) or view.state not in ENDED)
            and (bought == sold or mine is bought)
            and (not waiting or (not mine and view.state is State.APPROVING))
            and (not states or view.state.value in states)
            and partner in (None, view.seller if mine else view.buyer)
        )

    async with api.reach(CatalogClient) as client:
        shown: list[OrderView] | None = None
        while True:
            views = [view for view in await client.orders() if wanted(view)]
            if views != shown:
                order_tables.show_orders(views, form)
                shown = views
            if not watch:
                return 0
            await asyncio.sleep(1.0)
