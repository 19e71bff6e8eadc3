"""The oracle that cannot be wrong: all paths, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from meetme.composer.graph import Disjoint, Exclusions, Graph, Path


def all_paths(graph: Graph, a: int, b: int) -> list[Path]:
    """Every path from a to b: transit, NNI, ..., transit, no exchange twice."""
    out_of: list[list[int]] = [[] for _ in graph.points]
    for number, edge in enumerate(graph.edges):
        out_of[edge.tail].append(number)
    return [graph.path(edges) for edges in _extend(graph, out_of, a, b, frozenset(), [])]


def _extend(
    graph: Graph, out_of: list[list[int]], here: int, b: int, passed: frozenset[str], edges: list[int]
) -> Iterator[list[int]]:
    exchange = graph.points[here].exchange
    if exchange in passed:
        return
    for transit in out_of[here]:
        inside = graph.edges[transit]
        if inside.exchange is None:
            continue
        if inside.head == b:
            yield [*edges, transit]
            continue
        if exchange == graph.points[b].exchange:
            continue
        for nni in out_of[inside.head]:
            if graph.edges[nni].exchange is None:
                head = graph.edges[nni].head
                yield from _extend(graph, out_of, head, b, passed | {exchange}, [*edges, transit, nni])


def allowed(graph: Graph, path: Path, exclude: Exclusions) -> bool:
    """Whether a path keeps to what is excluded."""
    members = {crossing.exchange for crossing in graph.crossings(path)}
    countries = {graph.countries.get(member) for member in members}
    risks = frozenset[str]().union(*(graph.edges[edge].risks for edge in path.edges))
    return not (
        members & exclude.members
        or set(graph.links(path)) & exclude.links
        or countries & exclude.countries
        or (exclude.within and countries - exclude.within)
        or risks & exclude.risks
    )


def things(graph: Graph, path: Path, kind: Disjoint) -> set[tuple[str, str]]:
    """What a path depends on and another may not, by the kind of disjointness."""
    found = {("link", link) for link in graph.links(path)}
    between = [crossing.exchange for crossing in graph.crossings(path)][1:-1]
    if kind is Disjoint.NODE:
        found |= {("exchange", exchange) for exchange in between}
    if kind is Disjoint.SRLG:
        for number in path.edges:
            edge = graph.edges[number]
            if edge.exchange is None or edge.exchange in between:
                found |= {("risk", risk) for risk in edge.risks}
    return found


def best_pair(graph: Graph, paths: list[Path], kind: Disjoint, value) -> tuple[int, float] | None:  # type: ignore[no-untyped-def]
    """The fewest shared things of all pairs, and the least total value among those pairs."""
    known = [(path, things(graph, path, kind)) for path in paths]
    best: tuple[int, float] | None = None
    for number, (one, mine) in enumerate(known):
        for other, its in known[number:]:
            found = (len(mine & its), value(one) + value(other))
            best = found if best is None else min(best, found)
    return best
