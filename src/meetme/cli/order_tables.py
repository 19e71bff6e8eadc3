"""How offers, ways and orders are shown: tables for people, JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meetme.catalog.offers import Offer
    from meetme.catalog.order import StepTime
    from meetme.catalog.views import EntryView, OrderView
    from meetme.catalog.ways import Way, Ways

STEP_WORDS = {
    "approve": "approved",
    "decline": "declined",
    "compose": "a way over the federation is reserved",
    "link": "the exchanges carry it",
    "attach": "the own end is ready",
    "negotiate": "agreed on addresses, routers programmed",
    "verify": "the service answers",
    "undo": "given up: everything is taken back",
    "terminated": "terminated, nothing of it is left",
    "cancelled": "cancelled, nothing of it is left",
    "failed": "failed, nothing of it is left",
    "declined": "declined",
}
_NOT_WANTED = ("undo", "failed", "decline", "declined")


# --- offers -----------------------------------------------------------------------------------------------------------


def show_offers(entries: list[EntryView], total: int) -> None:
    """A line for each offer."""
    from meetme.cli.output import print_table

    rows: list[tuple[str, ...]] = []
    for entry in entries:
        offer = entry.offer
        where = ", ".join(filter(None, (offer.location, offer.country))) or "-"
        rows.append((entry.id, offer.title, offer.category, where, price(offer), offer.connectivity.value, _age(entry)))
    columns: tuple[str, ...] = ("offer", "title", "category", "where", "price", "connection", "")
    if all(not row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(columns, rows, empty="nothing is offered that fits; meetme catalog list shows everything")
    if len(entries) < total:
        click.echo(f"{len(entries)} of {total}; more with --page, or --size", err=True)


def price(offer: Offer) -> str:
    """What it costs, for people."""
    if offer.price is None:
        return "on request"
    per = "once" if offer.price.per == "once" else f"a {offer.price.per}"
    return f"{offer.price.amount} {offer.price.currency} {per}"


def _age(entry: EntryView) -> str:
    return "expired" if entry.expired else "may be out of date" if entry.stale else ""


def show_offer(entry: EntryView) -> None:
    """Everything about one offer, without the ways to it."""
    from meetme.cli.output import print_table

    offer, needs = entry.offer, entry.offer.needs
    click.secho(f"{entry.id}  {offer.title}", bold=True)
    if entry.stale:
        click.echo(f"{_age(entry)}: {entry.provider} was not heard of lately", err=True)
    for text in (offer.description, offer.instructions):
        if text:
            click.echo(text)
    wants = [f"{needs.bandwidth} Mbit/s"]
    wants += [f"at most {needs.max_latency_ms:g} ms"] if needs.max_latency_ms is not None else []
    wants += [f"redundancy {needs.redundancy}"] if needs.redundancy != "none" else []
    wants += [f"MTU {needs.mtu}"] if needs.mtu is not None else []
    connected = offer.connectivity != "none"
    rows = [
        ("category", offer.category),
        ("where", ", ".join(filter(None, (offer.location, offer.country)))),
        ("price", price(offer)),
        ("approval", "a person at the provider decides" if offer.approval else "at once"),
        (
            "connection",
            {"none": "none is needed", "l2": "a circuit"}.get(offer.connectivity, "a circuit and addresses"),
        ),
        ("needs", ", ".join(wants) if connected else ""),
        ("lives in", str(offer.prefix or "")),
        ("answers at", str(offer.address or "")),
        ("ends at", ", ".join(f"{end.exchange} {end.port}" for end in offer.ends)),
        ("tags", ", ".join(offer.tags)),
    ]
    print_table(("", ""), [row for row in rows if row[1]], empty="")


def show_ways(ways: Ways, first: int = 1) -> None:
    """The ways to a service, each with its number; that of the first is `first`."""
    from meetme.cli.output import print_table, show_problem

    rows: list[tuple[str, ...]] = [
        (
            str(number),
            f"{way.circuit.latency_ms:g}",
            str(way.circuit.bandwidth),
            str(way.circuit.hops),
            f"{way.circuit.price:g}",
            course(way),
            ", ".join(f"{one.kind} {one.name}" for one in way.circuit.shared) or "-",
        )
        for number, way in enumerate(ways.ways, first)
    ]
    columns: tuple[str, ...] = ("way", "ms", "free Mbit/s", "hops", "price a month", "through", "shared")
    if all(row[-1] == "-" for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(columns, rows, empty="there is no way to it")
    for refusal in ways.refused:
        nearest = "nothing alone would help" if refusal.nearest is None else f"{refusal.nearest} would do"
        click.echo(f"  {refusal.constraint} {refusal.asked}: {nearest}", err=True)
    for problem in ways.problems:
        show_problem(problem)


def course(way: Way) -> str:
    """The exchanges of a way; both paths, where there are two."""
    paths = [way.circuit.path, *([way.circuit.second_path] if way.circuit.second_path else [])]
    return "\n".join(" > ".join(hop.exchange for hop in path) for path in paths)


# --- orders -----------------------------------------------------------------------------------------------------------


def show_orders(views: list[OrderView], form: str) -> None:
    """A line for each order."""
    from meetme.cli.output import print_json, print_table

    if form == "json":
        print_json([json_of(view) for view in views])
        return
    rows: list[tuple[str, ...]] = [
        (
            str(view.id),
            view.offer,
            "bought" if view.party == "buyer" else f"sold to {view.buyer}",
            view.state.value,
            f"{view.began:%Y-%m-%d %H:%M}",
            reached(view) or "-",
            "-" if view.problem is None else view.problem.code,
        )
        for view in views
    ]
    columns: tuple[str, ...] = ("id", "offer", "", "state", "ordered", "use it at", "problem")
    if all(row[-1] == "-" for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(columns, rows, empty="no order; order something with: meetme order PROVIDER/NAME")


def json_of(view: OrderView) -> object:
    """An order as the API has it."""
    from meetme.catalog.wire import view_json

    return view_json(view)


def reached(view: OrderView) -> str:
    """Where the buyer reaches the service; empty: not yet, or this is the seller."""
    if view.reach is None or view.state != "active" or view.party != "buyer":
        return ""
    return str(view.reach.address or view.reach.prefix or view.reach.words)


def show_order(view: OrderView, form: str) -> None:
    """Everything about one order."""
    from meetme.cli.output import print_json, print_table, show_problem

    if form == "json":
        print_json(json_of(view))
        return
    state = view.state.value + (f", will be {view.outcome}" if view.outcome is not None else "")
    click.secho(f"{view.id}  {state}", bold=True)
    side = f"bought from {view.seller}" if view.party == "buyer" else f"sold to {view.buyer}"
    click.echo(f"{view.offer}, {side}, ordered {view.began:%Y-%m-%d %H:%M:%S} UTC")
    if view.deadline is not None and view.state == "approving":
        click.echo(f"waits for a decision until {view.deadline:%Y-%m-%d %H:%M:%S} UTC")
    if view.decided_by:
        click.echo(f"decided by {view.decided_by}")
    if view.end is not None:
        vlan = "" if view.end.vlan is None else f", VLAN {view.end.vlan}"
        click.echo(f"own end: {view.end.exchange} {view.end.port}{vlan}, MTU {view.end.mtu}")
    for what, id in (("circuit", view.circuit), ("negotiation", view.negotiation)):
        if id:
            click.echo(f"{what} {id}")
    rows = [(step.name, f"{step.seconds:.3f}", "ok" if went_well(step) else "failed") for step in view.steps]
    print_table(("step", "seconds", ""), rows, empty="no step yet")
    if view.owed:
        owed = [(due.what, str(due.attempts), f"{due.due_in:.1f} s", due.note) for due in view.owed]
        print_table(("still to be done", "attempts", "next", "why not yet"), owed, empty="")
    if place := reached(view):
        click.echo(f"use it at {place}")
    if view.problem is not None:
        show_problem(view.problem)


def went_well(step: StepTime) -> bool:
    """Whether it is a step that somebody wanted."""
    return step.ok and step.name not in _NOT_WANTED


def show_steps(steps: Iterable[StepTime]) -> None:
    """Finished steps, on stderr, each with its time since the order."""
    for step in steps:
        mark = click.style("ok  ", fg="green") if went_well(step) else click.style("FAIL", fg="red")
        click.echo(f"  {mark} {step.seconds:7.3f} s  {STEP_WORDS.get(step.name, step.name)}", err=True)
