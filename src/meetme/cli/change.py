"""`meetme change ID`: other prefixes or another MTU for an agreement that is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meetme.cli.member import LocalApi, api_options
from meetme.cli.output import asynchronous, format_option
from meetme.cli.which import negotiation_argument, which

if TYPE_CHECKING:
    from meetme.negotiator.client import NegotiatorClient
    from meetme.negotiator.views import NegotiationView


@click.command(epilog="Example: meetme change csp-b --add 10.9.0.0/24 --withdraw 10.1.0.0/24")
@negotiation_argument
@click.option("--add", multiple=True, metavar="PREFIX", help="Own prefix to make reachable as well; repeatable.")
@click.option("--withdraw", multiple=True, metavar="PREFIX", help="Own prefix to take back; repeatable.")
@click.option("--private-networks", multiple=True, help="Pool for the aliases of new prefixes; repeatable.")
@click.option("--mtu", type=click.IntRange(576, 65535), help="Octets of IP packet on the circuit.")
@click.option("--dry-run", is_flag=True, help="Show the agreement and the commands; hold nothing, change nothing.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it until it is in force or has failed.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the other side.")
@click.option("--key", help="Idempotency key: repeat the call safely.  [default: a new one]")
@api_options
@format_option
@asynchronous
async def change(
    negotiation: str,
    add: tuple[str, ...],
    withdraw: tuple[str, ...],
    private_networks: tuple[str, ...],
    mtu: int | None,
    dry_run: bool,
    wait: bool,
    timeout: float,
    key: str | None,
    api: LocalApi,
    form: str,
) -> int:
    """Add or withdraw own prefixes of an active agreement, or change its MTU, while traffic on what stays flows on.

    What stays keeps its addresses; new prefixes get aliases where they overlap. If anything fails, at either side, the
    agreement stays as it is. Exit status: 0 in force, 1 failed and undone, 3 refused, 4 the peer has not answered.
    """
    from meetme.cli.negotiate import show_plan
    from meetme.cli.watching import begun
    from meetme.negotiator.views import ChangeRequest

    async with api.client() as client:
        before = await client.negotiation(await which(client, negotiation))
        local = _prefixes(before, add, withdraw) if add or withdraw else None
        request = ChangeRequest(local, list(private_networks) or None, mtu)
        if dry_run:
            show_plan(await client.plan_change(before.id, request), form)
            return 0
        started = await begun(
            lambda key, patience: client.change(before.id, request, idempotency_key=key, patience=patience),
            key, what="change", at="negotiator", show=f"meetme show {before.id}",
        )  # fmt: skip
        after = await _follow(client, before, started, timeout) if wait else started
    return _result(before, after, form, wait=wait)


def _prefixes(view: NegotiationView, add: tuple[str, ...], withdraw: tuple[str, ...]) -> list[str]:
    """All that this side announces afterwards. Raises InvalidInput `prefix_not_announced`."""
    from meetme.model.addresses import parse_prefix
    from meetme.model.errors import InvalidInput

    own = view.agreement.side(view.role).prefixes if view.agreement else ()
    announced = [str(entry.real) for entry in own]
    for number, text in enumerate(withdraw):
        prefix = str(parse_prefix(text, field=f"withdraw[{number}]"))
        if prefix not in announced:
            raise InvalidInput(
                "prefix_not_announced",
                f"withdraw[{number}]: must be a prefix of this side's in the agreement ({prefix})",
                hint="its own ones: " + (", ".join(str(entry.real) for entry in own) or "none"),
                field="withdraw",
            )
        announced.remove(prefix)
    new = [str(parse_prefix(text, field=f"add[{number}]")) for number, text in enumerate(add)]
    return [*announced, *(prefix for prefix in dict.fromkeys(new) if prefix not in announced)]


async def _follow(
    client: NegotiatorClient, before: NegotiationView, begun: NegotiationView, timeout: float
) -> NegotiationView:
    import asyncio
    from contextlib import suppress

    from meetme.cli.negotiate import show_step, watched_negotiation
    from meetme.model.errors import Unreachable

    view, shown = begun, len(before.steps)
    if begun.change is None:
        return begun
    number = begun.change.number
    click.secho(f"change {number} of {view.id}  with {view.peer} over {view.circuit}", bold=True, err=True)
    try:
        async with asyncio.timeout(timeout), watched_negotiation(client, view.id) as states:
            async for now in states:
                view = now
                for done in view.steps[shown:]:
                    show_step(done)
                shown = max(shown, len(view.steps))
                if not _under_way(view, number):
                    break
    except TimeoutError:
        with suppress(Unreachable):
            view = await client.negotiation(view.id)
    return view


def _under_way(view: NegotiationView, number: int) -> bool:
    ended = ("failed", "refused", "terminated", "terminating")
    if view.state != "active" or view.change is None:
        return False
    return view.change.number <= number and view.change.state not in ended


def _result(before: NegotiationView, after: NegotiationView, form: str, *, wait: bool) -> int:
    from meetme.cli.negotiate import UNREACHABLE
    from meetme.cli.output import print_json, show_problem
    from meetme.cli.picture import agreement_lines

    was, now = before.agreement, after.agreement
    if form == "json":
        print_json(after.document)
    elif now is not None:
        for line in agreement_lines(now, me=after.me):
            click.echo(line)
    if after.state != "active":
        click.echo(f"{after.id} is {after.state}", err=True)
        return 1
    if was is not None and now is not None and now.revision > was.revision:
        return 0
    if after.change is None:
        click.echo("nothing to change: it is like that already", err=True)
        return 0
    if after.change.problem is not None:
        show_problem(after.change.problem)
        if after.change.state == "refused":
            return 3
        return 4 if after.change.problem.code in UNREACHABLE else 1
    if wait:
        click.echo(f"change {after.change.number} is {after.change.state}; it goes on by itself", err=True)
        return 4
    return 0
