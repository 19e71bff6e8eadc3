"""Which offer and which order is meant: PROVIDER/NAME, an id, or the beginning of one. With completion."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

from meetme.cli.member import API_OPTIONS, CATALOG_URL, LocalApi, api_options_of

if TYPE_CHECKING:
    from meetme.catalog.client import CatalogClient
    from meetme.catalog.views import OrderView

T = TypeVar("T")

LEAST_BEGINNING = 4
"""Characters of an id that are enough, if no other one begins with them."""
COMPLETION_SECONDS = 1.0
MOST_COMPLETED = 200
catalog_options = api_options_of(CATALOG_URL, "The catalog's local API.")


def asked(ctx: click.Context, question: Callable[[CatalogClient], Awaitable[list[T]]]) -> list[T]:
    """What the catalog answers while somebody types; nothing where it does not answer soon."""
    import asyncio

    from meetme.catalog.client import CatalogClient

    async def ask() -> list[T]:
        given = {name: ctx.params[name] for name in API_OPTIONS if ctx.params.get(name)}
        # Where an offer stands in the place of a verb, nothing has read the environment yet.
        for name in ("url", "token"):
            given.setdefault(name, os.environ.get(f"MEETME_{name.upper()}"))
        given = {name: value for name, value in given.items() if value}
        async with LocalApi(**{"url": CATALOG_URL, **given}).reach(CatalogClient) as client:
            return await asyncio.wait_for(question(client), COMPLETION_SECONDS)

    try:
        return asyncio.run(ask())
    except Exception:
        return []


def offers_beginning(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Offers that can be ordered, each with its title."""

    async def question(client: CatalogClient) -> list[CompletionItem]:
        found, _ = await client.search(sort="provider", size=MOST_COMPLETED)
        return [CompletionItem(each.id, help=each.offer.title) for each in found if each.id.startswith(incomplete)]

    return asked(ctx, question)


class OfferName(click.ParamType[str]):
    """PROVIDER/NAME, as the catalogue shows it."""

    name = "offer"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same; it has to have both."""
        provider, _, name = value.partition("/")
        if not (provider and name):
            self.fail(f'must be PROVIDER/NAME, as meetme catalog list shows it ("{value}")', param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What the catalogue has."""
        return offers_beginning(ctx, incomplete)


class OwnOfferName(click.ParamType[str]):
    """The name of an own offer."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What this member offers."""

        async def question(client: CatalogClient) -> list[CompletionItem]:
            mine = await client.own_offers()
            offers = [entry.offer for entry in mine]
            return [CompletionItem(each.name, help=each.title) for each in offers if each.name.startswith(incomplete)]

        return asked(ctx, question)


class OrderName(click.ParamType[str]):
    """An id of an order, the beginning of one, or PROVIDER/NAME of the only live order of it."""

    name = "order"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids of live orders, each with its offer and state."""
        from meetme.catalog.words import ENDED

        async def question(client: CatalogClient) -> list[CompletionItem]:
            return [
                CompletionItem(str(view.id), help=f"{view.offer} {view.state}")
                for view in await client.orders()
                if str(view.id).startswith(incomplete) and view.state not in ENDED
            ]

        return asked(ctx, question)


offer_argument = click.argument("offer", metavar="PROVIDER/NAME", type=OfferName())
order_argument = click.argument("order", metavar="ID", type=OrderName())


async def which(client: CatalogClient, name: str) -> OrderView:
    """The order that a person means by `name`. Raises NotFound `order_unknown`, InvalidInput `order_ambiguous`."""
    from uuid import UUID

    from meetme.catalog.words import ENDED
    from meetme.model.errors import InvalidInput, NotFound

    try:
        return await client.order(UUID(name))
    except ValueError:
        pass
    views = await client.orders()
    found = [v for v in views if len(name) >= LEAST_BEGINNING and str(v.id).startswith(name.lower())]
    found = found or [v for v in views if v.offer == name and v.state not in ENDED]
    if len(found) > 1:
        raise InvalidInput(
            "order_ambiguous",
            f'order: must be one of {len(found)} ("{name}")',
            hint="write more of the id: " + ", ".join(str(v.id) for v in found[:4]),
            field="id",
        )
    if not found:
        raise NotFound(
            "order_unknown",
            f'order: must be an id, its first {LEAST_BEGINNING} characters or more, or a live offer ("{name}")',
            hint="meetme orders --all shows them",
            field="id",
        )
    # With what it owes, which a list does not say.
    return await client.order(found[0].id)
