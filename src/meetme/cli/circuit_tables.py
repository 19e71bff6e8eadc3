"""How `meetme circuit` shows offers and circuits: tables for people, JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meetme.composer.views import CircuitView, HopView, OffersView, OfferView


def show_offers(found: OffersView, form: str, *, best: bool = False) -> int:
    """All offers with what stood in the way of others, or the best alone. Returns the exit status."""
    from meetme.cli.output import print_json, print_table

    if form == "json":
        print_json(found.document)
        return 0 if found.offers else 3
    shown: Iterable[OfferView] = found.offers[:1] if best else found.offers
    rows: list[tuple[str, ...]] = [
        (
            "-" if best else str(each.id),
            f"{each.latency_ms:g}",
            str(each.bandwidth),
            str(each.hops),
            f"{each.price:g}",
            str(each.mtu),
            way(each.path) + (f"\n{way(each.second_path)}" if each.second_path else ""),
            ", ".join(f"{one.kind} {one.name}" for one in each.shared) or "-",
        )
        for each in shown
    ]
    columns: tuple[str, ...] = ("offer", "ms", "free Mbit/s", "hops", "price", "MTU", "way", "shared")
    if all(row[-1] == "-" for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    if best:
        columns, rows = columns[1:], [row[1:] for row in rows]
    print_table(columns, rows, empty="there is no way that keeps to all of it")
    for refusal in found.refused:
        nearest = "nothing alone would help" if refusal.nearest is None else f"{_value(refusal.nearest)} would do"
        click.echo(f"  {refusal.constraint} {_value(refusal.asked)}: {nearest}", err=True)
    if best and found.offers:
        click.echo("\nnothing is held, nothing was changed", err=True)
    return 0 if found.offers else 3


def _value(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple | list) else str(value)


def way(hops: Iterable[HopView]) -> str:
    """The exchanges of a path in order, each between the ports it is entered and left by."""
    return " > ".join(f"{hop.in_port} {hop.exchange} {hop.out_port}" for hop in hops) or "-"


def ends(view: CircuitView) -> str:
    """The two ends, as they are ordered."""
    return " - ".join(f"{end.member}/{end.port}" for end in view.ends)


def show_list(views: list[CircuitView], form: str) -> None:
    """A line for each circuit; columns of which nobody has anything to say are left out."""
    from meetme.cli.output import print_json, print_table

    if form == "json":
        print_json([view.document for view in views])
        return
    rows: list[tuple[str, ...]] = []
    for view in views:
        vain = ", ".join(f"{due.what} ({due.note.partition(':')[0]})" for due in view.owed) or "-"
        through = " ".join(hop.exchange for hop in view.path) or "-"
        second = " ".join(hop.exchange for hop in view.second_path) or "-"
        rows.append((str(view.id), ends(view), str(view.bandwidth), view.state, through, second, vain))
    columns: tuple[str, ...] = ("id", "ends", "Mbit/s", "state", "through", "second path", "tried in vain")
    for index in (6, 5):
        if all(row[index] == "-" for row in rows):
            columns = columns[:index] + columns[index + 1 :]
            rows = [row[:index] + row[index + 1 :] for row in rows]
    print_table(columns, rows, empty="no circuit; order one with: meetme circuit create")


def show_one(view: CircuitView, form: str) -> None:
    """Everything about one circuit."""
    from meetme.cli.output import print_json, print_table, show_problem

    if form == "json":
        print_json(view.document)
        return
    click.secho(f"{view.id}  {view.state}", bold=True)
    click.echo(f"{view.bandwidth} Mbit/s each way, ordered by {view.ordered_by} at {view.began:%Y-%m-%d %H:%M:%S} UTC")
    rows = [(end.member, end.port, end.exchange or "-", str(end.vlan or "-"), str(end.mtu or "-")) for end in view.ends]
    print_table(("member", "port", "exchange", "VLAN", "MTU"), rows, empty="")
    for name, hops in (("way", view.path), ("second way", view.second_path)):
        if hops:
            click.echo(f"{name}: {way(hops)}")
    if view.owed:
        owed = [(due.what, str(due.attempts), f"{due.due_in:.1f} s", due.note) for due in view.owed]
        print_table(("still to be done", "attempts", "next", "why not yet"), owed, empty="")
    if view.problem is not None:
        show_problem(view.problem)
