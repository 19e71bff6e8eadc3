"""`meetme bench paths`: how long path computation takes, beside a textbook Dijkstra and beside other libraries.

Every exchange has two buildings; a transit between them is longer than one within. So prices are neither the same for
a whole exchange nor a sum of shares, and the searches have to look at pairs of ports. All who are asked the same
question get the same graph: with a node for coming in and one for going out at each port, where they know no transits.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from importlib import import_module, metadata
from math import hypot, isclose
from random import Random
from statistics import median
from typing import Any

import click

from meetme.composer.disjoint import disjoint_pair
from meetme.composer.graph import Disjoint, Edge, Graph, NoPath, Point
from meetme.composer.metrics import LATENCY, PRICE, Bound
from meetme.composer.paths import shortest

SIZES = ((50, 150), (1_000, 3_200), (10_000, 32_000))
"""Exchanges and links between them."""
LIBRARIES = ("rustworkx", "networkx", "highspy")
LARGEST_PROGRAMME = 1_000
"""Exchanges up to which the exact solver is asked: beyond, an answer takes minutes."""
WINDOW = 40
"""Links lead to one of that many neighbours from west to east, and one in twenty anywhere."""
SLACK = 1.25
"""How much longer than the shortest a constrained path may be, to be cheaper."""

Ends = tuple[int, int]


@dataclass
class Figures:
    """What was measured of one kind of question, answered by one of those asked."""

    exchanges: int
    links: int
    question: str
    by: str
    seconds: list[float] = field(default_factory=list)
    answers: list[float | None] = field(default_factory=list)
    """The total of each answer, to compare; None: there is none."""

    def same(self, other: Figures) -> bool:
        """Whether the totals are those that another one has."""
        return all(
            mine is its or (mine is not None and its is not None and isclose(mine, its, abs_tol=1e-3))
            for mine, its in zip(self.answers, other.answers, strict=False)
        )


def run(seed: int, count: int, largest: int) -> dict[str, Any]:
    """Measure everything; what `--format json` prints."""
    found = {name: _version(name) for name in LIBRARIES}
    rows: list[dict[str, Any]] = []
    for exchanges, links in SIZES:
        if exchanges <= largest:
            click.echo(f"{exchanges} exchanges, {links} links ...", err=True)
            rows += _measure(exchanges, links, seed, count, [name for name in LIBRARIES if found[name]])
    return {
        "seed": seed,
        "rows": rows,
        "libraries": {name: version or "not installed" for name, version in found.items()},
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    from meetme.cli.output import print_table

    rows = [
        (
            f"{row['exchanges']}/{row['links']}",
            row["question"],
            row["by"],
            f"{row['milliseconds']:.2f}",
            f"{row['p95']:.2f}",
            f"{row['ratio']:.2f}",
            str(row["asked"]),
            {True: "yes", False: "NO", None: ""}[row["agrees"]],
        )
        for row in figures["rows"]
    ]
    print_table(("graph", "question", "by", "median ms", "p95", "ratio", "asked", "same"), rows, empty="nothing")
    click.echo("milliseconds of CPU; ratio to the textbook Dijkstra on the same ends; same: the same totals as ours")
    click.echo(", ".join(f"{name} {version}" for name, version in figures["libraries"].items()))
    click.echo(figures["machine"])


def _version(name: str) -> str | None:
    try:
        import_module(name)
    except ImportError:
        return None
    return metadata.version(name)


def _measure(exchanges: int, links: int, seed: int, count: int, libraries: Sequence[str]) -> Iterator[dict[str, Any]]:
    graph = federation(exchanges, links, seed)
    chance = Random(seed)
    ends = [(one, other) for one, other in (chance.sample(range(exchanges), 2) for _ in range(count))]
    near = _neighbours(graph)
    base = _ask(Figures(exchanges, links, "shortest", "textbook"), ends, lambda a, b: _textbook(near, a, b))
    ours = _ours(graph, exchanges, links, ends)
    every = [base, *ours]
    for name in libraries:
        every += {"rustworkx": _rustworkx, "networkx": _networkx, "highspy": _highs}[name](
            graph, exchanges, links, ends
        )
    reference = {figures.question: figures for figures in ours}
    for figures in every:
        compared = figures.by not in ("meetme", "textbook")
        ordered = sorted(1000 * second for second in figures.seconds)
        yield {
            "exchanges": exchanges,
            "links": links,
            "question": figures.question,
            "by": figures.by,
            "milliseconds": median(ordered),
            "p95": ordered[round(0.95 * (len(ordered) - 1))],
            "ratio": median(ordered) / (1000 * median(base.seconds[: len(ordered)])),
            "asked": len(ordered),
            "agrees": figures.same(reference[figures.question]) if compared else None,
        }


def _ask(figures: Figures, ends: Iterable[Ends], answer: Callable[[int, int], float | None]) -> Figures:
    """Put one question for each pair of ends."""
    for a, b in ends:
        began = time.process_time()
        try:
            total = answer(a, b)
        except NoPath:
            total = None
        figures.seconds.append(time.process_time() - began)
        figures.answers.append(total)
    return figures


def federation(exchanges: int, links: int, seed: int) -> Graph:
    """A connected federation from a seed: exchanges on a plane, links mostly to neighbours, two buildings in each."""
    chance = Random(f"{seed} {exchanges} {links}")
    places = sorted((chance.uniform(0, 6000), chance.uniform(0, 3000)) for _ in range(exchanges))
    pairs: list[Ends] = []
    for one in range(exchanges - 1):
        window = range(one + 1, min(exchanges, one + 1 + WINDOW))
        pairs += ((one, other) for other in sorted(window, key=lambda other: _km(places, one, other))[:2])
    while len(pairs) < links:
        one = chance.randrange(exchanges)
        spread = exchanges if chance.random() < 0.05 else WINDOW
        other = min(exchanges - 1, max(0, one + chance.randint(-spread, spread)))
        if one != other:
            pairs.append((one, other))
    points = [Point(f"ix{number}", "access") for number in range(exchanges)]
    building = [0] * exchanges
    at: list[list[int]] = [[number] for number in range(exchanges)]
    edges: list[Edge] = []
    for number, (one, other) in enumerate(pairs[:links]):
        here, there = len(points), len(points) + 1
        for exchange, port in ((one, here), (other, there)):
            points.append(Point(f"ix{exchange}", f"nni{number}"))
            building.append(chance.randrange(2))
            at[exchange].append(port)
        latency = round(_km(places, one, other) / 200 + 0.2, 3)
        price = round(20 + 100 * chance.random() + 5 * latency, 2)
        for tail, head in ((here, there), (there, here)):
            edges.append(Edge(tail, head, f"nni{number}", None, latency, 100_000, price, 9000))
    for exchange, ports in enumerate(at):
        name = f"ix{exchange}"
        for tail in ports:
            for head in ports:
                if tail != head:
                    latency = 0.05 if building[tail] == building[head] else 0.4
                    edges.append(Edge(tail, head, f"{name}.{tail}.{head}", name, latency, 400_000, 10.0, 9000))
    return Graph(tuple(points), tuple(edges))


def _km(places: Sequence[tuple[float, float]], one: int, other: int) -> float:
    return hypot(places[one][0] - places[other][0], places[one][1] - places[other][1])


def _neighbours(graph: Graph) -> list[list[tuple[int, float]]]:
    """One node per exchange, as a textbook has it."""
    number = {point.exchange: place for place, point in enumerate(graph.points) if point.port == "access"}
    near: list[list[tuple[int, float]]] = [[] for _ in number]
    for edge in graph.edges:
        if edge.exchange is None:
            tail, head = graph.points[edge.tail].exchange, graph.points[edge.head].exchange
            near[number[tail]].append((number[head], edge.latency_ms + 0.2))
    return near


def _textbook(near: Sequence[Sequence[tuple[int, float]]], a: int, b: int) -> float | None:
    distance = {a: 0.0}
    heap = [(0.0, a)]
    while heap:
        here, node = heappop(heap)
        if node == b:
            return here
        if here > distance[node]:
            continue
        for other, length in near[node]:
            there = here + length
            if there < distance.get(other, 1e18):
                distance[other] = there
                heappush(heap, (there, other))
    return None


# --- those who are asked ----------------------------------------------------------------------------------------------


def _ours(graph: Graph, exchanges: int, links: int, ends: Sequence[Ends]) -> list[Figures]:
    index = _ask(Figures(exchanges, links, "index, once", "meetme"), ends[:1], lambda a, b: _index(graph))
    asked: dict[str, Callable[[int, int], float]] = {
        "shortest": lambda a, b: shortest(graph, a, b).latency_ms,
        "constrained": lambda a, b: shortest(graph, a, b, PRICE, bounds=[_bound(graph, a, b)]).price,
        "link-disjoint pair": lambda a, b: _pair(graph, a, b, Disjoint.LINK),
        "node-disjoint pair": lambda a, b: _pair(graph, a, b, Disjoint.NODE),
    }
    for metric in (PRICE, LATENCY):
        graph.arcs.weights(metric)
        graph.arcs.weights(metric, ties=False)
    return [index, *(_ask(Figures(exchanges, links, name, "meetme"), ends, ask) for name, ask in asked.items())]


def _index(graph: Graph) -> float:
    return float(len(graph.arcs.weights(LATENCY).edge))


def _bound(graph: Graph, a: int, b: int) -> Bound:
    return Bound(LATENCY, round(SLACK * shortest(graph, a, b).latency_ms, 6))


def _pair(graph: Graph, a: int, b: int, kind: Disjoint) -> float:
    pair = disjoint_pair(graph, a, b, kind=kind)
    return pair.primary.latency_ms + pair.secondary.latency_ms


def _in_and_out(graph: Graph) -> Iterator[tuple[int, int, float]]:
    """The graph for those who know no transits: node 2p is coming in at point p, 2p + 1 is going out there."""
    for edge in graph.edges:
        if edge.exchange is None:
            yield 2 * edge.tail + 1, 2 * edge.head, edge.latency_ms
        else:
            yield 2 * edge.tail, 2 * edge.head + 1, edge.latency_ms


def _rustworkx(graph: Graph, exchanges: int, links: int, ends: Sequence[Ends]) -> list[Figures]:
    library = import_module("rustworkx")
    drawn = library.PyDiGraph()
    drawn.add_nodes_from(range(2 * len(graph.points)))
    drawn.add_edges_from(list(_in_and_out(graph)))

    def ask(a: int, b: int) -> float:
        return float(library.dijkstra_shortest_path_lengths(drawn, 2 * a, float, 2 * b + 1)[2 * b + 1])

    return [_ask(Figures(exchanges, links, "shortest", "rustworkx"), ends, ask)]


def _networkx(graph: Graph, exchanges: int, links: int, ends: Sequence[Ends]) -> list[Figures]:
    library = import_module("networkx")
    drawn = library.DiGraph()
    drawn.add_weighted_edges_from(_in_and_out(graph))

    def ask(a: int, b: int) -> float:
        return float(library.bidirectional_dijkstra(drawn, 2 * a, 2 * b + 1)[0])

    return [_ask(Figures(exchanges, links, "shortest", "networkx"), ends[:10], ask)]


def _highs(graph: Graph, exchanges: int, links: int, ends: Sequence[Ends]) -> list[Figures]:
    if exchanges > LARGEST_PROGRAMME:
        return []
    few = ends[: 10 if exchanges <= 100 else 2]

    def limited(a: int, b: int) -> float | None:
        return _programme(graph, a, b, bounds[a, b], 1)

    bounds = {(a, b): _bound(graph, a, b).limit for a, b in few}
    pair = Figures(exchanges, links, "link-disjoint pair", "HiGHS")
    return [
        _ask(Figures(exchanges, links, "constrained", "HiGHS"), few, limited),
        _ask(pair, few, lambda a, b: _programme(graph, a, b, None, 2)),
    ]


def _programme(graph: Graph, a: int, b: int, most_ms: float | None, paths: int) -> float | None:
    """A flow of `paths` units as an integer programme: each link carries one, one way; each port keeps its balance."""
    highspy: Any = import_module("highspy")
    import numpy

    edges = graph.edges
    size = len(edges)
    nodes = 2 * len(graph.points)
    steps = list(_in_and_out(graph))
    names: dict[str, int] = {}
    rows: list[list[tuple[int, float]]] = [[] for _ in range(nodes)]
    for column, (tail, head, _) in enumerate(steps):
        rows[tail].append((column, 1.0))
        rows[head].append((column, -1.0))
    least = [0.0] * nodes
    least[2 * a], least[2 * b + 1] = float(paths), float(-paths)
    most = list(least)
    for column, edge in enumerate(edges):
        if edge.exchange is None:
            row = names.setdefault(edge.link, len(rows))
            if row == len(rows):
                rows.append([])
                least.append(0.0)
                most.append(1.0)
            rows[row].append((column, 1.0))
    if most_ms is not None:
        rows.append([(column, edge.latency_ms) for column, edge in enumerate(edges)])
        least.append(0.0)
        most.append(most_ms + 1e-7)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = size, len(rows)
    model.col_cost_ = numpy.array([edge.price if most_ms is not None else edge.latency_ms for edge in edges])
    model.col_lower_, model.col_upper_ = numpy.zeros(size), numpy.ones(size)
    model.row_lower_, model.row_upper_ = numpy.array(least), numpy.array(most)
    model.integrality_ = [highspy.HighsVarType.kInteger] * size
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = numpy.cumsum([0, *map(len, rows)])
    model.a_matrix_.index_ = numpy.array([column for row in rows for column, _ in row])
    model.a_matrix_.value_ = numpy.array([value for row in rows for _, value in row])
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return float(solver.getObjectiveValue())
