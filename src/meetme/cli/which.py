"""Which one is meant: a negotiation by its id, the beginning of it or its peer; a member by its id. With completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from meetme.cli.member import API_OPTIONS, LocalApi, member_directory

if TYPE_CHECKING:
    from meetme.negotiator.client import NegotiatorClient
    from meetme.negotiator.views import NegotiationView

LEAST_BEGINNING = 4
"""Characters of an id that are enough, if no other one begins with them."""
COMPLETION_SECONDS = 1.0


class NegotiationName(click.ParamType[str]):
    """An id, the beginning of one, or the peer of the only live negotiation with it. `which` finds what is meant."""

    name = "negotiation"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids of live negotiations, each with its peer and state; none where the negotiator does not answer."""
        import asyncio

        from meetme.negotiator.states import ENDED

        async def ask() -> list[NegotiationView]:
            given = {name: ctx.params[name] for name in API_OPTIONS if ctx.params.get(name)}
            async with LocalApi(**given).client() as client:
                return await asyncio.wait_for(client.negotiations(), COMPLETION_SECONDS)

        try:
            views = asyncio.run(ask())
        except Exception:
            return []
        return [
            CompletionItem(str(view.id), help=f"{view.peer} {view.state}")
            for view in views
            if str(view.id).startswith(incomplete) and view.state not in ENDED
        ]


class MemberName(click.ParamType[str]):
    """A member of the roster."""

    name = "member"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The members that are known here."""
        from meetme.runtime.roster import read_roster

        try:
            roster = read_roster((ctx.params.get("directory") or member_directory()) / "roster.toml")
        except Exception:
            return []
        return [CompletionItem(m.id, help=m.kind) for m in roster.members if m.id.startswith(incomplete)]


negotiation_argument = click.argument("negotiation", metavar="ID", type=NegotiationName())
peer_argument = click.argument("peer", type=MemberName())
member_argument = click.argument("member", type=MemberName())


async def which(client: NegotiatorClient, name: str) -> str:
    """The id of the negotiation that a person means by `name`.

    Raises NotFound `negotiation_unknown`, InvalidInput `negotiation_ambiguous`.
    """
    from uuid import UUID

    from meetme.model.errors import InvalidInput, NotFound
    from meetme.negotiator.states import ENDED

    try:
        return str(UUID(name))
    except ValueError:
        pass
    views = await client.negotiations()
    found = [v for v in views if len(name) >= LEAST_BEGINNING and str(v.id).startswith(name.lower())]
    found = found or [v for v in views if v.peer == name and (v.state not in ENDED or v.left_on_device)]
    if len(found) > 1:
        raise InvalidInput(
            "negotiation_ambiguous",
            f'negotiation: must be one of {len(found)} ("{name}")',
            hint="write more of the id: " + ", ".join(str(v.id) for v in found[:4]),
            field="id",
        )
    if not found:
        raise NotFound(
            "negotiation_unknown",
            f'negotiation: must be an id, its first {LEAST_BEGINNING} characters or more, or a peer ("{name}")',
            hint="meetme status --all lists them",
            field="id",
        )
    return str(found[0].id)
