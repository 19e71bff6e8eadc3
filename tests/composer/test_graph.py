"""The graph's own rules: what an edge may be, what a path comes to, how it is told."""

from __future__ import annotations

import pytest

from meetme.composer.graph import Crossing, Edge, Graph, Point
from meetme.model.errors import InvalidInput, NotFound


def edge(tail: int, head: int, exchange: str | None = None, **values: float) -> Edge:
    return Edge(
        tail,
        head,
        f"{min(tail, head)}-{max(tail, head)}",
        exchange,
        latency_ms=values.get("latency", 1.0),
        bandwidth=int(values.get("bandwidth", 100)),
        price=values.get("price", 2.0),
        mtu=int(values.get("mtu", 9000)),
        availability=values.get("availability", 1.0),
    )


POINTS = (Point("x", "access"), Point("x", "nni"), Point("y", "nni"), Point("y", "access"))
EDGES = (
    edge(0, 1, "x", availability=0.5),
    edge(1, 2, latency=7, bandwidth=40, availability=0.5),
    edge(2, 3, "y", mtu=1500),
)


def test_a_path_combines_the_values_of_its_edges() -> None:
    path = Graph(POINTS, EDGES).path((0, 1, 2))
    assert (path.latency_ms, path.bandwidth, path.hops) == (9.0, 40, 2)
    assert (path.price, path.availability, path.mtu) == (6.0, 0.25, 1500)


def test_a_path_tells_its_exchanges_ports_and_links() -> None:
    graph = Graph(POINTS, EDGES)
    path = graph.path((0, 1, 2))
    assert graph.crossings(path) == (Crossing("x", "access", "nni"), Crossing("y", "nni", "access"))
    assert graph.links(path) == ("1-2",)


def test_a_point_is_found_by_its_names() -> None:
    graph = Graph(POINTS, EDGES)
    assert graph.find("y", "access") == 3
    with pytest.raises(NotFound, match='"nowhere": not a port that "y" advertises'):
        graph.find("y", "nowhere")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (edge(0, 4), r"edges\[0\]: both ends are points of the graph"),
        (edge(-1, 1), r"edges\[0\]: both ends are points of the graph"),
        (edge(0, 1), "an NNI joins two exchanges"),
        (edge(0, 1, "y"), "a transit stays in y"),
        (edge(1, 2, "x"), "a transit stays in x"),
        (edge(0, 1, "x", latency=-1), "no value is negative"),
        (edge(0, 1, "x", price=float("nan")), "no value is negative or without end"),
        (edge(0, 1, "x", latency=float("inf")), "no value is negative or without end"),
        (edge(0, 1, "x", availability=0), "above 0, at most 1"),
    ],
)
def test_an_edge_that_contradicts_its_points_is_refused(wrong: Edge, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        Graph(POINTS, (wrong,))
