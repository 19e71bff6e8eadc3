"""`meetme catalog ...`: what all members offer, and what this one does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meetme.cli import order_tables
from meetme.cli.member import LocalApi
from meetme.cli.order_names import OwnOfferName, catalog_options, offer_argument
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import MemberName

if TYPE_CHECKING:
    from collections.abc import Callable

    from meetme.catalog.offers import Offer


@click.group()
def catalog() -> None:
    """What all members offer: look through it, see what reaching a service would cost, offer something.

    An offer is named PROVIDER/NAME. To order one: meetme order PROVIDER/NAME
    """


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is looked for besides words, the same for `list` and `search`."""
    options = (
        click.option("--category", help="Of this category alone, for example storage."),
        click.option("--provider", type=MemberName(), help="Of this member alone."),
        click.option("--country", help="In this country alone: two letters."),
        click.option("--connectivity", type=click.Choice(["none", "l2", "l3"]), help="What reaching it takes."),
        click.option("--max-price", type=float, help="At most, in the offer's own currency."),
        click.option(
            "--sort",
            type=click.Choice(["relevance", "title", "price", "provider"]),
            help="[default: by provider; for a search, what fits best]",
        ),
        click.option("--page", type=click.IntRange(1), default=1, show_default=True),
        click.option("--size", type=click.IntRange(1, 200), default=100, show_default=True, help="Offers on a page."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@catalog.command(name="list", epilog="Example: meetme catalog list --category storage --max-price 20")
@click.option("--mine", is_flag=True, help="What this member offers.")
@filter_options
@catalog_options
@format_option
@asynchronous
async def list_(mine: bool, api: LocalApi, form: str, **filters: Any) -> int:
    """Everything that is offered, by provider."""
    return await _search(api, form, {**filters, "sort": filters["sort"] or "provider"}, mine=mine)


@catalog.command(epilog="Example: meetme catalog search backup vault --country DE")
@click.argument("words", nargs=-1, required=True)
@filter_options
@catalog_options
@format_option
@asynchronous
async def search(words: tuple[str, ...], api: LocalApi, form: str, **filters: Any) -> int:
    """Offers in which every one of WORDS is found: in title, provider, category, place, tags or description."""
    return await _search(api, form, {**filters, "text": " ".join(words)})


async def _search(api: LocalApi, form: str, query: dict[str, Any], *, mine: bool = False) -> int:
    from meetme.catalog.client import CatalogClient
    from meetme.catalog.wire import entry_json
    from meetme.cli.output import print_json

    async with api.reach(CatalogClient) as client:
        own = await client.own_offers() if mine else []
        if own:
            query = {**query, "provider": own[0].provider}
        found, total = await client.search(**query) if own or not mine else ([], 0)
    if form == "json":
        print_json({"offers": [entry_json(entry) for entry in found], "total": total})
    else:
        order_tables.show_offers(found, total)
    return 0


@catalog.command(epilog="Example: meetme catalog show csp-b/backup --redundancy strict")
@offer_argument
@click.option(
    "--redundancy", type=click.Choice(["none", "best_effort", "strict"]), help="[default: as the offer asks for]"
)
@click.option("--ways/--no-ways", default=True, show_default=True, help="Ask the exchanges for the ways to it.")
@catalog_options
@format_option
@asynchronous
async def show(offer: str, redundancy: str | None, ways: bool, api: LocalApi, form: str) -> int:
    """One offer, and every way to it: latency, free bandwidth, price, the exchanges it crosses. Nothing is held.

    A way is ordered with meetme order PROVIDER/NAME --way NUMBER
    """
    from meetme.catalog.client import CatalogClient
    from meetme.catalog.wire import entry_json, ways_json
    from meetme.cli.output import print_json

    provider, _, name = offer.partition("/")
    async with api.reach(CatalogClient) as client:
        entry = await client.offer(provider, name)
        wanted = ways and entry.offer.connectivity != "none"
        found = await client.ways(provider, name, redundancy) if wanted else None
    if form == "json":
        print_json({**entry_json(entry), **({} if found is None else {"ways": ways_json(found)})})
        return 0
    order_tables.show_offer(entry)
    if found is not None:
        click.echo("")
        order_tables.show_ways(found)
    return 0


@catalog.command(epilog="Example: meetme catalog publish offers.toml --dry-run")
@click.argument("file", metavar="FILE")
@click.option("--only", is_flag=True, help="Also withdraw what is offered and not in FILE.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@catalog_options
@format_option
@asynchronous
async def publish(file: str, only: bool, dry_run: bool, api: LocalApi, form: str) -> int:
    """Offer what is in FILE, in the place of what was offered under the same names.

    FILE is TOML with one [[offer]] table for each, or JSON with one offer or a list of them (-: JSON from the standard
    input). All of it is offered at once, or nothing. Members see it within seconds. Orders that there are stay as they
    are.
    """
    from meetme.catalog.client import CatalogClient
    from meetme.catalog.wire import offer_json
    from meetme.cli.output import print_json

    wanted = [offer_json(offer) for offer in _offers(file)]
    async with api.reach(CatalogClient) as client:
        changes = await client.publish(wanted, only=only, dry_run=dry_run)
    if form == "json":
        print_json({"changes": [{"name": name, "what": what} for name, what in changes], "dry_run": dry_run})
        return 0
    for name, what in changes:
        click.echo(f"{name}: {what}")
    if not changes:
        click.echo("everything is offered like that already", err=True)
    elif dry_run:
        click.echo("nothing was changed (dry run)", err=True)
    return 0


@catalog.command(epilog="Example: meetme catalog withdraw backup")
@click.argument("name", type=OwnOfferName())
@catalog_options
@asynchronous
async def withdraw(name: str, api: LocalApi) -> int:
    """Offer NAME no more. Orders of it stay as they are: meetme orders --sold"""
    from meetme.catalog.client import CatalogClient

    async with api.reach(CatalogClient) as client:
        await client.withdraw(name)
    click.echo(f"{name} is withdrawn")
    return 0


def _offers(file: str) -> tuple[Offer, ...]:
    """What a file says. Raises NotFound, InvalidInput with everything that is wrong."""
    from meetme.catalog.offers_file import read_all, read_offers
    from meetme.model.errors import InvalidInput, NotFound

    path = Path(file)
    if file != "-" and path.suffix != ".json":
        found = read_offers(path)
    else:
        try:
            raw = json.loads(sys.stdin.read() if file == "-" else path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(
                "offers_missing", f"{file}: must be a file that can be read ({error})", field="file"
            ) from None
        except ValueError as error:
            raise InvalidInput("offers_malformed", f"{file}: must be JSON ({error})", field="file") from None
        if not isinstance(raw, dict | list):
            raise InvalidInput("offers_malformed", f"{file}: must be a JSON object, or a list of them", field="file")
        found = read_all([raw] if isinstance(raw, dict) else raw)
    return found
