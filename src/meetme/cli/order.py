"""`meetme order OFFER`: from an offer to the address where it answers, with every step shown as it happens."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from meetme.cli import order_tables
from meetme.cli.member import LocalApi
from meetme.cli.order_names import catalog_options, offer_argument, offers_beginning, order_argument, which
from meetme.cli.order_strays import strays
from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from meetme.catalog.client import CatalogClient
    from meetme.catalog.views import EntryView, OrderView
    from meetme.catalog.ways import Ways


class OfferOrVerb(click.Group):
    """A group in which everything that is none of its verbs is an offer to be ordered: `place` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with `place` put in front where there is no verb."""
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = ["place", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs, and the offers."""
        return [*super().shell_complete(ctx, incomplete), *(offers_beginning(ctx, incomplete) if incomplete else [])]


@click.group(cls=OfferOrVerb, epilog="Example: meetme order csp-b/backup --way 2")
def order() -> None:
    """Order an offer of another member (meetme order PROVIDER/NAME), see how an order stands, take it back.

    An order is named by its id, the beginning of it, or its offer if there is one live order of it. The flags of an
    order: meetme order place --help
    """


order.add_command(strays)


@order.command(epilog="Example: meetme order csp-b/backup --dry-run")
@offer_argument
@click.option("--way", type=click.IntRange(1), help="Which way to take, by its number.  [default: the best one, 1]")
@click.option("--circuit-offer", metavar="ID", type=click.UUID, help="The same by the id of the exchange's offer.")
@click.option(
    "--redundancy", type=click.Choice(["none", "best_effort", "strict"]), help="[default: as the offer asks for]"
)
@click.option("--dry-run", is_flag=True, help="Show what it would cost and which way it would take; order nothing.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it until it is active or has ended.")
@click.option("--key", help="Idempotency key: repeat the call safely.  [default: a new one]")
@catalog_options
@format_option
@asynchronous
async def place(
    offer: str,
    way: int | None,
    circuit_offer: object | None,
    redundancy: str | None,
    dry_run: bool,
    wait: bool,
    key: str | None,
    api: LocalApi,
    form: str,
) -> int:
    """Order PROVIDER/NAME, and follow it until the service answers. `place` may be left out.

    What the service needs is built: a circuit over the exchanges, an agreement about addresses. If anything fails, all
    of it is taken back. Ctrl-C ends the watching alone: the order goes on. Exit status: 0 active, 1 failed and undone,
    3 declined or refused, 4 unreachable.
    """
    from meetme.catalog.client import CatalogClient
    from meetme.cli.watching import begun

    if way is not None and circuit_offer is not None:
        raise click.UsageError("--way and --circuit-offer exclude each other")
    provider, _, name = offer.partition("/")
    more: dict[str, str] = {}
    async with api.reach(CatalogClient) as client:
        if dry_run or way is not None:
            entry = await client.offer(provider, name)
            built = entry.offer.connectivity != "none"
            if way is not None and not built:
                raise click.BadParameter("must be left out: no connection is needed", param_hint="--way")
            if dry_run and (form == "table" or not built):
                _shown_offer(entry, form)
            if built:
                found = await client.ways(provider, name, redundancy)
                chosen = _chosen(found, way, circuit_offer)
                if dry_run:
                    return _shown(chosen, form, found.ways.index(chosen.ways[0]) + 1 if chosen.ways else 1)
                more["circuit_offer"] = str(chosen.ways[0].id)
            elif dry_run:
                click.echo("\nnothing was ordered (dry run)", err=True)
                return 0
        elif circuit_offer is not None:
            more["circuit_offer"] = str(circuit_offer)
        if redundancy is not None and "circuit_offer" not in more:
            more["redundancy"] = redundancy
        placed = await begun(
            lambda key, patience: client.place(offer, idempotency_key=key, patience=patience, **more),
            key, what="order", at="catalog", show="meetme orders",
        )  # fmt: skip
        return await _follow(client, placed, form) if wait else _result(placed, form)


@order.command()
@order_argument
@click.option("--watch", is_flag=True, help="Follow it until it has ended, or Ctrl-C.")
@catalog_options
@format_option
@asynchronous
async def show(order: str, watch: bool, api: LocalApi, form: str) -> int:
    """One order: state, steps with their times, circuit, negotiation, address, what is still owed, what went wrong."""
    from meetme.catalog.client import CatalogClient

    async with api.reach(CatalogClient) as client:
        view = await which(client, order)
        if not watch:
            order_tables.show_order(view, form)
            return 0
        async with _watched(client, view.id) as views:
            async for now in views:
                order_tables.show_order(now, form)
    return 0


NOT_TAKEN_BACK = 4
"""Exit status: something of it is still there."""
TAKEN_BACK_SECONDS = 60.0
"""How long who follows an order that fails waits until everything is taken back."""
_wait = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until everything is taken back.")
_timeout = click.option(
    "--timeout", type=float, default=TAKEN_BACK_SECONDS, show_default=True, help="Seconds to wait for that."
)


@order.command(epilog="Example: meetme order cancel csp-b/backup")
@order_argument
@_wait
@_timeout
@catalog_options
@format_option
@asynchronous
async def cancel(order: str, wait: bool, timeout: float, api: LocalApi, form: str) -> int:
    """Take an order back that is not active yet, at any moment. Everything that was built for it goes, in reverse."""
    from meetme.catalog.words import State
    from meetme.model.errors import Conflict

    def still_under_way(view: OrderView) -> None:
        if view.state is State.ACTIVE:
            raise Conflict(
                "order_active",
                f'order: must not be active yet ("{view.id}")',
                hint=f"meetme order terminate {view.id} takes back what carries traffic",
                field="id",
            )

    return await _take_back(order, wait, timeout, api, form, still_under_way)


@order.command(epilog="Example: meetme order terminate csp-b/backup")
@order_argument
@_wait
@_timeout
@catalog_options
@format_option
@asynchronous
async def terminate(order: str, wait: bool, timeout: float, api: LocalApi, form: str) -> int:
    """Take an order back, active or not: the agreement, where the circuit lands, the circuit. Either side may."""
    return await _take_back(order, wait, timeout, api, form, lambda view: None)


@order.command(epilog="Example: meetme order approve 281c")
@order_argument
@click.option("--by", help="Who decides, for the record.  [default: the user's name]")
@catalog_options
@format_option
@asynchronous
async def approve(order: str, by: str | None, api: LocalApi, form: str) -> int:
    """Let the buyer have what it has ordered. meetme orders --waiting shows what waits for it."""
    from meetme.catalog.client import CatalogClient

    async with api.reach(CatalogClient) as client:
        view = await client.approve((await which(client, order)).id, by or _who())
    _say(view, form, "is approved")
    return 0


@order.command(epilog="Example: meetme order decline 281c --why 'no capacity before May'")
@order_argument
@click.option("--why", default="", help="What the buyer reads.")
@click.option("--by", help="Who decides, for the record.  [default: the user's name]")
@catalog_options
@format_option
@asynchronous
async def decline(order: str, why: str, by: str | None, api: LocalApi, form: str) -> int:
    """Do not let the buyer have it."""
    from meetme.catalog.client import CatalogClient

    async with api.reach(CatalogClient) as client:
        view = await client.decline((await which(client, order)).id, by or _who(), why)
    _say(view, form, "is declined")
    return 0


# --- what is chosen ---------------------------------------------------------------------------------------------------


def _chosen(found: Ways, way: int | None, circuit_offer: object | None) -> Ways:
    """The same with the way alone that is meant; none where there is none. Raises NotFound `way_unknown`."""
    from dataclasses import replace

    from meetme.model.errors import NotFound, Refused

    if way is None and circuit_offer is None:
        return replace(found, ways=found.ways[:1])
    ways = found.ways[way - 1 : way] if way is not None else tuple(w for w in found.ways if w.id == circuit_offer)
    if not ways and not found.ways:
        order_tables.show_ways(found)
        raise Refused("no_way", "circuit: must have a way over the federation (there is none)", field="circuit")
    if not ways:
        raise NotFound(
            "way_unknown",
            f'way: must be one of 1 to {len(found.ways)} ("{way or circuit_offer}")',
            hint="meetme catalog show PROVIDER/NAME lists them; they change with what is free",
            field="way",
        )
    return replace(found, ways=ways)


def _shown_offer(entry: EntryView, form: str) -> None:
    from meetme.catalog.wire import entry_json
    from meetme.cli.output import print_json

    if form == "json":
        print_json(entry_json(entry))
    else:
        order_tables.show_offer(entry)


def _shown(chosen: Ways, form: str, number: int) -> int:
    from meetme.catalog.wire import ways_json
    from meetme.cli.output import print_json

    if form == "json":
        print_json(ways_json(chosen))
    else:
        click.echo("")
        order_tables.show_ways(chosen, number)
        click.echo("\nnothing was ordered (dry run)", err=True)
    return 0 if chosen.ways else 3


# --- how it goes ------------------------------------------------------------------------------------------------------


def _watched(client: CatalogClient, id: UUID) -> AbstractAsyncContextManager[AsyncGenerator[OrderView, None]]:
    from meetme.cli.watching import watched

    return watched(client.follow, id, what="order", at="catalog", show="meetme order show")


async def _as_it_is(client: CatalogClient, view: OrderView) -> OrderView:
    """How it stands after `view`, if the catalog answers."""
    from contextlib import suppress

    from meetme.model.errors import Unreachable

    with suppress(Unreachable):
        return await client.order(view.id)
    return view


async def _follow(client: CatalogClient, view: OrderView, form: str) -> int:
    import asyncio

    from meetme.catalog.words import ENDED, State

    shown, waits = 0, False
    taken: set[str] = set()
    click.secho(f"{view.id}  {view.offer} of {view.seller}", bold=True, err=True)
    try:
        async with asyncio.timeout(None) as limit, _watched(client, view.id) as views:
            async for now in views:
                view = now
                order_tables.show_steps(view.steps[shown:])
                shown = len(view.steps)
                if view.state is State.APPROVING and not waits:
                    waits = True
                    until = "" if view.deadline is None else f", until {view.deadline:%Y-%m-%d %H:%M} UTC"
                    click.echo(f"                  a person at {view.seller} decides{until}", err=True)
                if view.state is State.TERMINATING:
                    if limit.when() is None:
                        limit.reschedule(asyncio.get_running_loop().time() + TAKEN_BACK_SECONDS)
                    gone = {thing.what.value for thing in view.things if thing.presence in ("gone", "sweeping")}
                    for what in sorted(gone - taken):
                        click.echo(f"                  {what}: taken back", err=True)
                    taken |= gone
                if view.state in ENDED or view.state is State.ACTIVE:
                    break
    except TimeoutError:
        view = await _as_it_is(client, view)
    except asyncio.CancelledError:
        click.echo(f"\nthe order goes on; see it: meetme order show {view.id}", err=True)
        click.echo(f"  take it back: meetme order cancel {view.id}", err=True)
        raise
    code = _result(view, form)
    return code if view.state in ENDED or view.state is State.ACTIVE else _still_there(view)


def _result(view: OrderView, form: str) -> int:
    from meetme.catalog.words import State
    from meetme.cli.circuit import REFUSED as NO_CIRCUIT
    from meetme.cli.negotiate import UNREACHABLE
    from meetme.cli.output import print_json, show_problem

    if form == "json":
        print_json(order_tables.json_of(view))
    elif view.state is State.ACTIVE:
        click.echo(order_tables.reached(view) or f"{view.id} is active")
    else:
        click.echo(f"{view.id} is {view.state}")
    if view.problem is not None:
        show_problem(view.problem)
    code = view.problem.code if view.problem is not None else ""
    match view.state:
        case State.DECLINED:
            return 3
        case State.FAILED:
            return 4 if code in UNREACHABLE else 3 if code in (*REFUSED, *NO_CIRCUIT) else 1
        case State.CANCELLED | State.TERMINATED | State.TERMINATING:
            return 1
        case _:
            return 0


async def _take_back(
    name: str, wait: bool, timeout: float, api: LocalApi, form: str, check: Callable[[OrderView], None]
) -> int:
    import asyncio

    from meetme.catalog.client import CatalogClient
    from meetme.catalog.words import ENDED

    async with api.reach(CatalogClient) as client:
        view = await which(client, name)
        check(view)
        view = await client.terminate(view.id)
        if wait and view.state not in ENDED:
            try:
                async with asyncio.timeout(timeout), _watched(client, view.id) as views:
                    async for now in views:
                        view = now
            except TimeoutError:
                view = await _as_it_is(client, view)
    _say(view, form, f"is {view.state}")
    if wait and view.state not in ENDED:
        return _still_there(view)
    return 0


def _still_there(view: OrderView) -> int:
    click.echo("not everything is taken back yet; it is tried until it is", err=True)
    for due in view.owed:
        if due.note:
            click.echo(f"  {due.what}: {due.note}", err=True)
    return NOT_TAKEN_BACK


def _say(view: OrderView, form: str, words: str) -> None:
    from meetme.cli.output import print_json

    if form == "json":
        print_json(order_tables.json_of(view))
    else:
        click.echo(f"{view.id} {words}")


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


REFUSED = ("no_way", "way_unknown", "port_missing", "offer_withdrawn", "offer_changed")
"""Of an order that came to nothing: somebody said no."""
