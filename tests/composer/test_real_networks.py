"""Paths over real networks (Internet Topology Zoo), each city an exchange, against networkx and an exact solver."""

from __future__ import annotations

import os
from itertools import combinations
from math import cos, hypot, radians
from pathlib import Path as File
from random import Random

import networkx
import pytest

from meetme.composer.disjoint import disjoint_pair
from meetme.composer.graph import Disjoint, Edge, Graph, NoPath, Point
from meetme.composer.paths import shortest
from tests.composer import exact

SHARED = File(os.environ.get("MEETME_SHARED", File(__file__).parents[2].parent / "shared"))
FOLDER = SHARED / "topologies"
FILES = sorted(FOLDER.glob("*.graphml"))
FEW = [file for file in FILES if file.stem in {"Abilene", "Geant2012", "Nordu2010", "Garr201201", "BtEurope"}]

needs_files = pytest.mark.skipif(not FILES, reason=f"no topologies in {FOLDER}: set MEETME_SHARED")


def read(file: File) -> Graph:
    """A network as a federation: a port for each end of a link, an access port in each city; light in fibre."""
    zoo = networkx.MultiGraph(networkx.read_graphml(file))
    chance = Random(file.stem)
    places = {node: number for number, node in enumerate(zoo.nodes)}
    points = [Point(f"ix-{number}", "access") for number in places.values()]
    ports = [[number] for number in places.values()]
    edges: list[Edge] = []
    for number, (one, other) in enumerate((one, other) for one, other in zoo.edges() if one != other):
        km = _distance(zoo.nodes[one], zoo.nodes[other])
        latency = round(km / 200 + 0.1, 3) if km is not None else float(chance.randint(1, 10))
        ends = (len(points), len(points) + 1)
        for node, port in zip((one, other), ends, strict=True):
            points.append(Point(f"ix-{places[node]}", f"nni-{number}"))
            ports[places[node]].append(port)
        for tail, head in (ends, ends[::-1]):
            edges.append(Edge(tail, head, f"link-{number}", None, latency, 10_000, 1.0, 9000))
    for number, here in enumerate(ports):
        for tail, head in ((tail, head) for tail in here for head in here if tail != head):
            name = f"ix-{number}"
            edges.append(Edge(tail, head, f"{name}:{tail}-{head}", name, 0.05, 100_000, 0.1, 9000))
    return Graph(tuple(points), tuple(edges))


def _distance(one: dict[str, float], other: dict[str, float]) -> float | None:
    """Kilometres, roughly."""
    try:
        south, north = float(one["Latitude"]), float(other["Latitude"])
        east = (float(one["Longitude"]) - float(other["Longitude"])) * cos(radians((south + north) / 2))
    except KeyError:
        return None
    return 111.2 * hypot(south - north, east)


def plain(graph: Graph) -> networkx.MultiGraph[int]:
    """The same with a node per exchange."""
    number = {point.exchange: place for place, point in enumerate(graph.points) if point.port == "access"}
    drawn: networkx.MultiGraph[int] = networkx.MultiGraph()
    drawn.add_nodes_from(number.values())
    for edge in graph.edges:
        if edge.exchange is None and edge.tail < edge.head:
            ends = (number[graph.points[edge.tail].exchange], number[graph.points[edge.head].exchange])
            drawn.add_edge(*ends, latency=edge.latency_ms + 0.05)
    return drawn


def simple(drawn: networkx.MultiGraph[int]) -> networkx.Graph[int]:
    """One edge for parallel ones, each by way of a node of its own: so that connectivity counts links."""
    found: networkx.Graph[int] = networkx.Graph()
    found.add_nodes_from(drawn.nodes)
    for number, (one, other) in enumerate(drawn.edges()):
        found.add_edge(one, -number - 1)
        found.add_edge(-number - 1, other)
    return found


def compare(file: File, ends: int) -> int:
    """Look at some pairs of cities; how many."""
    graph = read(file)
    drawn = plain(graph)
    parts = simple(drawn)
    pairs = list(combinations(sorted(drawn.nodes), 2))
    chosen = Random(file.stem).sample(pairs, min(ends, len(pairs)))
    for a, b in chosen:
        if not networkx.has_path(drawn, a, b):
            with pytest.raises(NoPath, match="no path at all"):
                shortest(graph, a, b)
            continue
        expected = networkx.dijkstra_path_length(drawn, a, b, weight="latency") + 0.05
        assert shortest(graph, a, b).latency_ms == pytest.approx(expected)
        for kind, connectivity in (
            (Disjoint.LINK, networkx.edge_connectivity(parts, a, b)),
            (Disjoint.NODE, networkx.node_connectivity(parts, a, b)),
        ):
            pair = disjoint_pair(graph, a, b, kind=kind, strict=False)
            assert pair.optimal
            assert bool(pair.shared) == (connectivity < 2)
    return len(chosen)


@needs_files
@pytest.mark.parametrize("file", FEW, ids=lambda file: file.stem)
def test_some_networks_agree_with_networkx(file: File) -> None:
    assert compare(file, ends=12)


@needs_files
def test_pairs_in_abilene_agree_with_an_integer_programme() -> None:
    graph = read(FOLDER / "Abilene.graphml")
    for a, b in Random(1).sample(list(combinations(range(11), 2)), 4):
        for kind in (Disjoint.LINK, Disjoint.NODE):
            pair = disjoint_pair(graph, a, b, kind=kind)
            total = pair.primary.latency_ms + pair.secondary.latency_ms
            assert total == pytest.approx(exact.least(graph, a, b, paths=2, kind=kind))


@needs_files
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_networks_agree_with_networkx() -> None:
    looked_at = sum(compare(file, ends=20) for file in FILES)
    assert looked_at > 10 * len(FILES)


@needs_files
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("file", FEW, ids=lambda file: file.stem)
def test_pairs_in_some_networks_agree_with_an_integer_programme(file: File) -> None:
    graph = read(file)
    drawn = plain(graph)
    for a, b in Random(file.stem).sample(list(combinations(sorted(drawn.nodes), 2)), 6):
        for kind in (Disjoint.LINK, Disjoint.NODE):
            expected = exact.least(graph, a, b, paths=2, kind=kind)
            try:
                pair = disjoint_pair(graph, a, b, kind=kind)
            except NoPath:
                assert expected is None
                continue
            assert pair.primary.latency_ms + pair.secondary.latency_ms == pytest.approx(expected)
