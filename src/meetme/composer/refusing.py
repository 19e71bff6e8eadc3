"""Why there is no path, and what would have to be asked for instead.

For each constraint, all others unchanged: the nearest value of it that would pass. A bound: the best that there is. A
list of what to avoid: the same without one entry or, where none alone helps, without all that the best path meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from meetme.composer.finding import find
from meetme.composer.graph import NOTHING, Exclusions, Graph, NoPath, Path, Refusal, Value
from meetme.composer.metrics import HOPS, Bound
from meetme.composer.query import Budget, Meter

TRIES = 32
"""How many entries of a list are left out one by one before all are at once."""

Ask = Callable[[Sequence[Bound], Exclusions], Path | None]
"""A path, where one exists, under these constraints."""


def refuse(
    graph: Graph,
    a: int,
    b: int,
    bounds: Sequence[Bound],
    exclude: Exclusions,
    budget: Budget,
    *,
    proven: bool = True,
) -> NoPath:
    """What there is to say where no single path satisfies everything. Not `proven`: as far as the budget went."""

    meter = Meter(budget)

    def ask(within: Sequence[Bound], without: Exclusions) -> Path | None:
        return find(graph, a, b, HOPS, within, without, meter)

    def best(bound: Bound, others: Sequence[Bound]) -> float | None:
        path = find(graph, a, b, bound.metric, others, exclude, meter)
        return None if path is None else path.value(bound.metric)

    refusals = [*nearest_bounds(bounds, best), *nearest_lists(graph, bounds, exclude, ask)]
    return no_path(graph, a, b, refusals, exists=ask((), NOTHING) is not None, proven=proven)


def no_path(graph: Graph, a: int, b: int, refusals: Sequence[Refusal], *, exists: bool, proven: bool = True) -> NoPath:
    """The error that carries refusals."""
    ends = " to ".join(f'"{point.exchange}" "{point.port}"' for point in (graph.points[a], graph.points[b]))
    if not exists:
        return NoPath(f"{ends}: they are connected (no path at all)", [Refusal("path", ends)])
    words = "; ".join(f"{one.constraint} {_say(one.asked)}{_would(one.nearest)}" for one in refusals)
    hint = "relax one of them" if proven else "relax one of them: none was found in time, though there may be one"
    return NoPath(f"{ends}: a path satisfies every constraint ({words})", refusals, hint=hint)


def nearest_bounds(
    bounds: Sequence[Bound], best: Callable[[Bound, Sequence[Bound]], float | None]
) -> Iterator[Refusal]:
    """For each bound that is broken when the others hold: the best value there is."""
    for bound in bounds:
        value = best(bound, [other for other in bounds if other is not bound])
        if value is not None and bound.metric.passes(value, bound.limit):
            continue
        yield Refusal(bound.name, bound.limit, value)


def nearest_lists(graph: Graph, bounds: Sequence[Bound], exclude: Exclusions, ask: Ask) -> Iterator[Refusal]:
    """For each list of exclusions that matters: what could stay in it."""
    for name, constraint in (
        ("members", "avoid_members"),
        ("links", "avoid_links"),
        ("countries", "avoid_countries"),
        ("risks", "avoid_risks"),
    ):
        asked: frozenset[str] = getattr(exclude, name)
        if asked:
            yield Refusal(constraint, _sorted(asked), _without_some(graph, name, asked, bounds, exclude, ask))
    if exclude.within:
        yield Refusal("within_countries", _sorted(exclude.within), _with_some(graph, bounds, exclude, ask))


def _without_some(
    graph: Graph, name: str, asked: frozenset[str], bounds: Sequence[Bound], exclude: Exclusions, ask: Ask
) -> Value:
    for one in _sorted(asked)[:TRIES] if len(asked) > 1 else ():
        if ask(bounds, _replaced(exclude, name, asked - {one})) is not None:
            return _sorted(asked - {one})
    path = ask(bounds, _replaced(exclude, name, frozenset()))
    return None if path is None else _sorted(asked - _met(graph, path, name))


def _with_some(graph: Graph, bounds: Sequence[Bound], exclude: Exclusions, ask: Ask) -> Value:
    more = _sorted(set(graph.countries.values()) - exclude.within - exclude.countries)
    for one in more[:TRIES]:
        if ask(bounds, replace(exclude, within=exclude.within | {one})) is not None:
            return _sorted(exclude.within | {one})
    path = ask(bounds, replace(exclude, within=frozenset()))
    if path is None or any(crossing.exchange not in graph.countries for crossing in graph.crossings(path)):
        return None
    return _sorted(exclude.within | _met(graph, path, "countries"))


def _met(graph: Graph, path: Path, name: str) -> frozenset[str]:
    """What of a kind a path meets."""
    members = [crossing.exchange for crossing in graph.crossings(path)]
    match name:
        case "members":
            return frozenset(members)
        case "links":
            return frozenset(graph.links(path))
        case "countries":
            return frozenset(graph.countries[member] for member in members if member in graph.countries)
        case _:
            return frozenset[str]().union(*(graph.edges[edge].risks for edge in path.edges))


def _replaced(exclude: Exclusions, name: str, value: frozenset[str]) -> Exclusions:
    return Exclusions(**{each: getattr(exclude, each) for each in Exclusions.__slots__} | {name: value})


def _sorted(names: set[str] | frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _say(value: Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "empty"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _would(value: Value) -> str:
    return ": to relax it alone does not help" if value is None else f": {_say(value)} would pass"
