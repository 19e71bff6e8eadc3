"""Federations for the tests of paths: made by chance from a seed, and drawn by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from meetme.composer.graph import Edge, Graph, Point

KINDS = ("even", "sums", "pairwise", "gaps")
"""What the transits of an exchange cost: one price for all, a share for each port, any price for each pair, and any
price with some pairs missing."""


def federation(seed: int, exchanges: int, links: int, kind: str = "pairwise", *, whole_ms: bool = False) -> Graph:
    """A connected graph where chance allows, each link at its own pair of ports, an access port at every exchange."""
    chance = Random(f"{seed} {exchanges} {links} {kind}")
    ends = [(chance.randrange(number), number) for number in range(1, exchanges)]
    while len(ends) < links:
        one, other = chance.randrange(exchanges), chance.randrange(exchanges)
        if one != other:
            ends.append((one, other))
    return assemble(exchanges, ends, kind, chance, whole_ms=whole_ms)


def assemble(
    exchanges: int, ends: Iterable[tuple[int, int]], kind: str, chance: Random, *, whole_ms: bool = False
) -> Graph:
    """A graph with these links; values by chance. `whole_ms`: few distinct values, so that ties are many."""
    points = [Point(name(number), "access") for number in range(exchanges)]
    edges: list[Edge] = []
    at: list[list[int]] = [[number] for number in range(exchanges)]

    def value(least: float, most: float) -> float:
        return float(chance.randint(1, 3)) if whole_ms else round(chance.uniform(least, most), 3)

    for number, (one, other) in enumerate(ends):
        risks = frozenset(f"duct-{chance.randrange(12)}" for _ in range(chance.randrange(3)))
        here, there = len(points), len(points) + 1
        points += (Point(name(one), f"nni-{number}"), Point(name(other), f"nni-{number}"))
        at[one].append(here)
        at[other].append(there)
        edge = Edge(
            here,
            there,
            f"link-{number}",
            None,
            latency_ms=value(1, 30),
            bandwidth=chance.choice((100, 1_000, 10_000, 40_000)),
            price=value(1, 100),
            mtu=chance.choice((1500, 9000, 9000)),
            availability=round(chance.uniform(0.9, 1), 4),
            risks=risks,
        )
        edges += (edge, replace(edge, tail=there, head=here))
    for number, ports in enumerate(at):
        all_alike, share = value(0.1, 2), {port: value(0.1, 2) for port in ports}
        for one in ports:
            for other in ports:
                if one == other or (kind == "gaps" and chance.random() < 0.3):
                    continue
                latency = {"even": all_alike, "sums": round(share[one] + share[other], 3)}.get(kind, value(0.1, 20))
                edges.append(
                    Edge(
                        one,
                        other,
                        f"{name(number)}:{points[one].port}:{points[other].port}",
                        name(number),
                        latency_ms=latency,
                        bandwidth=chance.choice((1_000, 10_000, 100_000)),
                        price=value(0, 10),
                        mtu=9000,
                    )
                )
    countries = {name(number): chance.choice(("DE", "FR", "NL")) for number in range(exchanges)}
    return Graph(tuple(points), tuple(edges), countries)


def name(number: int) -> str:
    """What an exchange is called."""
    return f"ix-{number}"


def line(dear_middle: float) -> Graph:
    """Three exchanges in a line, and a loop at the middle one: ix-0 - ix-1 - ix-2, ix-1 = ix-3 by two links."""
    graph = assemble(4, [(0, 1), (1, 2), (1, 3), (1, 3)], "even", Random(0))
    first, second = graph.find("ix-1", "nni-0"), graph.find("ix-1", "nni-1")
    edges = tuple(
        replace(edge, latency_ms=dear_middle)
        if {edge.tail, edge.head} == {first, second}
        else replace(edge, latency_ms=1.0)
        for edge in graph.edges
    )
    return Graph(graph.points, edges, graph.countries)


def trap() -> tuple[Graph, int, int]:
    """Greedy search takes s-c-d-t, over one link of each of the two disjoint ways s-c-b-t and s-a-d-t. From s to t."""
    names = {letter: number for number, letter in enumerate("satbcd")}
    lengths = {"sc": 1, "cd": 1, "dt": 1, "sa": 4, "ad": 4, "cb": 4, "bt": 4}
    graph = assemble(6, [(names[link[0]], names[link[1]]) for link in lengths], "even", Random(0))
    lengths_of_links = {f"link-{number}": float(length) for number, length in enumerate(lengths.values())}
    edges = tuple(
        replace(edge, latency_ms=lengths_of_links.get(edge.link, 0.1), risks=frozenset()) for edge in graph.edges
    )
    graph = Graph(graph.points, edges, graph.countries)
    return graph, names["s"], names["t"]
