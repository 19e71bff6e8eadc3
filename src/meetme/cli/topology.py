"""`meetme topology`: the federation as a composer knows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meetme.cli.member import COMPOSER_URL, LocalApi, api_options_of
from meetme.cli.output import asynchronous, format_option

if TYPE_CHECKING:
    from meetme.composer.topology_views import ExchangeView, TopologyView


@click.command(epilog="Example: meetme topology --svg federation.svg")
@click.option("--graph", is_flag=True, help="Draw it, instead of tables.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write a drawing into this file.")
@api_options_of(COMPOSER_URL, "The composer's local API.")
@format_option
@asynchronous
async def topology(graph: bool, svg: Path | None, api: LocalApi, form: str) -> int:
    """The exchanges, the links between them with their latency, capacity and VLANs, and how fresh that is.

    Capacity is what each exchange says is free, in sixteenths. A link counts when both exchanges name it; what only one
    of them names is listed by itself, with what is wrong with it.
    """
    from meetme.cli.output import print_json
    from meetme.composer import topology_picture
    from meetme.composer.client import ComposerClient
    from meetme.composer.topology_views import view_json

    async with api.reach(ComposerClient) as client:
        view = await client.topology()
    if svg is not None:
        _write(svg, topology_picture.svg(view))
    if form == "json":
        print_json(view_json(view))
    elif graph:
        click.echo(topology_picture.text(view, width=_columns()))
    elif svg is None:
        _print(view)
    return 0


def _write(path: Path, drawing: str) -> None:
    from meetme.model.errors import InvalidInput

    try:
        path.write_text(drawing, encoding="utf-8")
    except OSError as error:
        text = f"--svg: must be a file that can be written ('{path}': {error.strerror})"
        raise InvalidInput("file_not_writable", text, field="svg") from None
    click.echo(f"wrote {path}", err=True)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((96, 40)).columns


def _print(view: TopologyView) -> None:
    from meetme.cli.output import print_table
    from meetme.composer.topology_picture import capacity

    exchanges = [
        (_name(view, each), each.country or "-", _ports(each), f"{_span(each.age)} ago", _left(view, each))
        for each in view.exchanges
    ]
    columns = ("exchange", "country", "ports of members", "said", "good for")
    print_table(columns, exchanges, empty="no exchange is known")
    links = [
        (
            f"{link.a.exchange} {link.a.port}",
            f"{link.b.exchange} {link.b.port}",
            f"{link.latency_ms:g} ms",
            capacity(link.bandwidth),
            f"{link.vlans.first}-{link.vlans.last}",
            str(link.mtu),
            f"{link.price:g}" if link.price else "-",
            ", ".join(link.risks) or "-",
        )
        for link in view.links
    ]
    click.echo()
    heads = ("link from", "to", "latency", "free", "VLANs", "MTU", "price", "risks")
    print_table(heads, links, empty="no two exchanges name a link between them")
    if view.unconfirmed:
        click.echo()
        alone = [(f"{end.at.exchange} {end.at.port}", end.neighbour, end.reason) for end in view.unconfirmed]
        print_table(("not used", "towards", "because"), alone, empty="")
    away = [(each.member, each.problem) for each in view.neighbours if each.problem]
    if away:
        click.echo()
        print_table(("neighbour", "cannot be asked what it knows"), away, empty="")


def _name(view: TopologyView, exchange: ExchangeView) -> str:
    return f"{exchange.member} (this one)" if exchange.member == view.me else exchange.member


def _ports(exchange: ExchangeView) -> str:
    from meetme.composer.topology_picture import capacity

    ports = [(point.member, point) for point in exchange.points if point.member is not None]
    return ", ".join(f"{member}/{point.port} {capacity(point.bandwidth)}" for member, point in sorted(
        ports, key=lambda each: (each[0], each[1].port)
    )) or "-"  # fmt: skip


def _left(view: TopologyView, exchange: ExchangeView) -> str:
    return _span(max(0.0, (exchange.expires - view.at).total_seconds()))


def _span(seconds: float) -> str:
    """Seconds in a person's words."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
