"""`meetme circuit ...`: order circuits across exchanges from a composer, watch them, take them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from meetme.cli import circuit_tables
from meetme.cli.circuit_strays import strays
from meetme.cli.member import API_OPTIONS, COMPOSER_URL, LocalApi, api_options_of
from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from meetme.composer.client import ComposerClient
    from meetme.composer.views import CircuitOrder, CircuitView, EndBody

LEAST_BEGINNING = 4
"""Characters of an id that are enough, if no other one begins with them."""
COMPLETION_SECONDS = 1.0
STATE_WORDS = {
    "held": "reserving, exchange by exchange",
    "committed": "everything is reserved, the exchanges build",
    "active": "active",
    "degraded": "degraded: a path of it is broken",
    "failed": "failed, nothing of it is left",
    "releasing": "given up, every exchange takes its part back",
    "released": "released",
}
composer_options = api_options_of(COMPOSER_URL, "The composer's local API.")


class CircuitName(click.ParamType[str]):
    """An id of a circuit, or the beginning of one. `which` finds what is meant."""

    name = "circuit"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids of live circuits, each with its ends and state; none where the composer does not answer."""
        import asyncio

        from meetme.composer.client import ComposerClient
        from meetme.composer.words import ENDED

        async def ask() -> list[CircuitView]:
            given = {name: ctx.params[name] for name in API_OPTIONS if ctx.params.get(name)}
            async with LocalApi(**{"url": COMPOSER_URL, **given}).reach(ComposerClient) as client:
                return await asyncio.wait_for(client.circuits(), COMPLETION_SECONDS)

        try:
            views = asyncio.run(ask())
        except Exception:
            return []
        return [
            CompletionItem(str(view.id), help=f"{circuit_tables.ends(view)} {view.state}")
            for view in views
            if str(view.id).startswith(incomplete) and view.state not in ENDED
        ]


circuit_argument = click.argument("circuit", metavar="ID", type=CircuitName())


@click.group()
def circuit() -> None:
    """Circuits across exchanges: what there is, order one, watch it, take it back.

    They ask the composer of an exchange. An end is written MEMBER/PORT, or MEMBER/PORT:VLAN for a VLAN of one's own
    choice; ports are those that meetme topology lists (EXCHANGE/PORT where two exchanges have one of that name).
    """


circuit.add_command(strays)


def wish_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is wanted between two ends, the same for `offers` and `create`."""
    options = (
        click.option("--bandwidth", type=click.IntRange(1), help="Mbit/s, each way."),
        click.option(
            "--objective",
            type=click.Choice(["latency", "throughput", "hops", "price"]),
            default="latency",
            show_default=True,
            help="What the route is chosen by.",
        ),
        click.option("--max-latency-ms", type=float, help="One way, at most."),
        click.option("--avoid-member", "avoid_members", multiple=True, help="Exchange to keep away from; repeatable."),
        click.option("--avoid-country", "avoid_countries", multiple=True, help="Two letters; repeatable."),
        click.option("--within-country", "within_countries", multiple=True, help="Stay in these; repeatable."),
        click.option(
            "--redundancy",
            type=click.Choice(["none", "best_effort", "strict"]),
            default="none",
            show_default=True,
            help="A second path.",
        ),
        click.option(
            "--disjoint",
            type=click.Choice(["link", "node", "srlg"]),
            default="link",
            show_default=True,
            help="What the two paths must not share.",
        ),
        click.option("--mtu", type=int, help="Octets of Ethernet payload that have to pass.  [default: any]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@circuit.command(epilog="Example: meetme circuit offers csp-a/p1 csp-b/p7 --bandwidth 100")
@click.argument("a")
@click.argument("b")
@wish_options
@composer_options
@format_option
@asynchronous
async def offers(a: str, b: str, api: LocalApi, form: str, **wishes: Any) -> int:
    """Every way from A to B of which none is better than another in every respect. Nothing is held.

    Where there is none: which constraint stands in the way, and the nearest value that would do. An offer is taken
    with meetme circuit create --offer ID.
    """
    from meetme.composer.client import ComposerClient

    async with api.reach(ComposerClient) as client:
        return circuit_tables.show_offers(await client.offers(_order(a, b, **wishes)), form)


@circuit.command(epilog="Example: meetme circuit create csp-a/p1 csp-b/p7 --bandwidth 100")
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option("--offer", help="Take this offer; instead of everything else.")
@wish_options
@click.option("--then", type=click.Choice(["negotiate"]), help="Start the L3 negotiation over it at once.")
@click.option("--dry-run", is_flag=True, help="Show which way it would take; hold nothing.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it until it is active or has ended.")
@click.option("--key", help="Idempotency key: repeat the call safely.  [default: a new one]")
@composer_options
@format_option
@asynchronous
async def create(
    a: str | None,
    b: str | None,
    offer: str | None,
    dry_run: bool,
    wait: bool,
    key: str | None,
    api: LocalApi,
    form: str,
    **wishes: Any,
) -> int:
    """Have a circuit from A to B, or take an offer, and follow it until it is active.

    If anything fails on the way, every exchange is as before. Exit status: 0 active, 1 failed and undone, 3 refused,
    4 unreachable.
    """
    from meetme.cli.watching import begun
    from meetme.composer.client import ComposerClient

    order = _offered(offer) if offer is not None else _order(a, b, **wishes)
    async with api.reach(ComposerClient) as client:
        if dry_run:
            if offer is not None:
                raise click.UsageError("--dry-run shows what an order would lead to; --offer says that already")
            return circuit_tables.show_offers(await client.offers(order), form, best=True)
        started = await begun(
            lambda key, patience: client.create(order, idempotency_key=key, patience=patience),
            key, what="circuit", at="composer", show="meetme circuit list",
        )  # fmt: skip
        return await _follow(client, started, form) if wait else _result(started, form)


@circuit.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("--watch", is_flag=True, help="Again whenever something changes, until Ctrl-C.")
@composer_options
@format_option
@asynchronous
async def list_circuits(everything: bool, watch: bool, api: LocalApi, form: str) -> int:
    """The circuits that this exchange knows of: their ends, state and way."""
    import asyncio

    from meetme.composer.client import ComposerClient
    from meetme.composer.words import ENDED

    async with api.reach(ComposerClient) as client:
        shown: list[CircuitView] | None = None
        while True:
            views = [v for v in await client.circuits() if everything or v.state not in ENDED]
            if views != shown:
                circuit_tables.show_list(views, form)
                shown = views
            if not watch:
                return 0
            await asyncio.sleep(1.0)


@circuit.command()
@circuit_argument
@click.option("--watch", is_flag=True, help="Follow it until it has ended, or Ctrl-C.")
@composer_options
@format_option
@asynchronous
async def show(circuit: str, watch: bool, api: LocalApi, form: str) -> int:
    """One circuit: state, ends with their VLANs, the way it takes, what is still owed, what went wrong."""
    from meetme.composer.client import ComposerClient

    async with api.reach(ComposerClient) as client:
        id = await which(client, circuit)
        if not watch:
            circuit_tables.show_one(await client.circuit(id), form)
            return 0
        async with _watched(client, id) as views:
            async for view in views:
                circuit_tables.show_one(view, form)
    return 0


@circuit.command()
@circuit_argument
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until every exchange has taken it back.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the others.")
@click.option("--let-go", is_flag=True, help="Of one that is being taken back: do not wait for who never answers.")
@composer_options
@format_option
@asynchronous
async def delete(circuit: str, wait: bool, timeout: float, let_go: bool, api: LocalApi, form: str) -> int:
    """Take a circuit back, at every exchange on its way.

    Until every exchange has answered, what they share with this one stays reserved and the circuit is `releasing`.
    --let-go ends that on your own responsibility: the other side may still use the VLAN.
    """
    import asyncio
    from contextlib import suppress

    from meetme.cli.output import print_json
    from meetme.composer.client import ComposerClient
    from meetme.composer.words import ENDED
    from meetme.model.errors import Unreachable

    async with api.reach(ComposerClient) as client:
        id = await which(client, circuit)
        view = await (client.release(id) if let_go else client.delete(id))
        if wait and view.state not in ENDED:
            try:
                async with asyncio.timeout(timeout), _watched(client, view.id) as views:
                    async for now in views:
                        view = now
            except TimeoutError:
                with suppress(Unreachable):
                    view = await client.circuit(view.id)
    if form == "json":
        print_json(view.document)
    else:
        click.echo(f"{view.id} is {view.state}")
    if wait and view.state not in ENDED:
        click.echo("not every exchange has taken it back yet; they are asked until they have", err=True)
        for due in view.owed:
            if due.note:
                click.echo(f"  {due.what}: {due.note}", err=True)
        return 4
    return 0


async def which(client: ComposerClient, name: str) -> str:
    """The id of the circuit that a person means by `name`.

    Raises NotFound `circuit_unknown`, InvalidInput `circuit_ambiguous`.
    """
    from uuid import UUID

    from meetme.model.errors import InvalidInput, NotFound

    try:
        return str(UUID(name))
    except ValueError:
        pass
    found = [v for v in await client.circuits() if len(name) >= LEAST_BEGINNING and str(v.id).startswith(name.lower())]
    if len(found) > 1:
        raise InvalidInput(
            "circuit_ambiguous",
            f'circuit: must be one of {len(found)} ("{name}")',
            hint="write more of the id: " + ", ".join(str(v.id) for v in found[:4]),
            field="id",
        )
    if not found:
        raise NotFound(
            "circuit_unknown",
            f'circuit: must be an id, or its first {LEAST_BEGINNING} characters or more ("{name}")',
            hint="meetme circuit list --all shows them",
            field="id",
        )
    return str(found[0].id)


# --- what is asked ----------------------------------------------------------------------------------------------------


def _order(a: str | None, b: str | None, *, then: str | None = None, **wishes: Any) -> CircuitOrder:
    from meetme.composer.views import CircuitOrder, ConstraintsBody

    if a is None or b is None:
        raise click.UsageError("two ends are needed, each MEMBER/PORT (or --offer ID)")
    if wishes["bandwidth"] is None:
        raise click.UsageError("--bandwidth is needed: Mbit/s, each way")
    constraints = ConstraintsBody(
        wishes["max_latency_ms"],
        tuple(wishes["avoid_members"]),
        tuple(wishes["avoid_countries"]),
        tuple(wishes["within_countries"]),
    )
    return CircuitOrder(
        _end(a),
        _end(b),
        wishes["bandwidth"],
        wishes["objective"],
        constraints,
        wishes["redundancy"],
        wishes["disjoint"],
        wishes["mtu"],
        then,
    )


def _offered(text: str) -> CircuitOrder:
    from uuid import UUID

    from meetme.composer.views import CircuitOrder

    try:
        return CircuitOrder(offer=UUID(text))
    except ValueError:
        raise click.BadParameter(f'must be the id of an offer ("{text}")', param_hint="--offer") from None


def _end(text: str) -> EndBody:
    from meetme.composer.views import EndBody

    member, slash, port = text.partition("/")
    name, colon, vlan = port.rpartition(":")
    if colon and vlan.isdigit():
        return EndBody(member, name, int(vlan))
    if not slash or not member or not port:
        raise click.UsageError(f'an end is written MEMBER/PORT or MEMBER/PORT:VLAN ("{text}")')
    return EndBody(member, port)


# --- how it goes -----------------------------------------------------------------------------------------------------


def _watched(client: ComposerClient, id: UUID | str) -> AbstractAsyncContextManager[AsyncGenerator[CircuitView, None]]:
    from meetme.cli.watching import watched

    return watched(client.follow, id, what="circuit", at="composer", show="meetme circuit show")


async def _follow(client: ComposerClient, view: CircuitView, form: str) -> int:
    import time

    begin, said = time.monotonic(), ""
    click.secho(f"{view.id}  {circuit_tables.ends(view)}", bold=True, err=True)
    async with _watched(client, view.id) as views:
        async for now in views:
            view = now
            line = STATE_WORDS.get(view.state, view.state)
            if view.path and view.state in ("held", "committed"):
                line += f"  {circuit_tables.way(view.path)}"
            if line != said:
                click.echo(f"  {time.monotonic() - begin:7.3f} s  {line}", err=True)
                said = line
            given_up = view.state == "releasing" and view.problem is not None
            if given_up or view.state in ("active", "degraded", "failed", "released"):
                break
    return _result(view, form)


def _result(view: CircuitView, form: str) -> int:
    from meetme.cli.negotiate import UNREACHABLE

    circuit_tables.show_one(view, form)
    if view.state in ("failed", "released") or (view.problem is not None and view.state == "releasing"):
        code = view.problem.code if view.problem is not None else ""
        return 4 if code in UNREACHABLE else 3 if code in REFUSED else 1
    return 0


REFUSED = ("no_path", "mandate_missing", "port_of_another", "port_unknown", "negotiator_missing", "end_unknown")
"""Of an order that came to nothing: somebody said no."""
