"""The Pareto front against all paths, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meetme.composer.graph import NoPath, Path
from meetme.composer.metrics import BANDWIDTH, HOPS, LATENCY, MTU, PRICE, Better, Bound, Metric
from meetme.composer.pareto import pareto
from meetme.composer.query import Budget
from tests.composer.random_graphs import federation
from tests.composer.test_paths import A, Asked, B, questions

CHOICES = ((LATENCY, BANDWIDTH, PRICE, HOPS), (LATENCY, PRICE), (BANDWIDTH, MTU), (PRICE, BANDWIDTH), (HOPS,))


def worth(path: Path, metrics: tuple[Metric, ...]) -> tuple[float, ...]:
    """Less is better in all."""
    return tuple(path.value(each) if each.better is Better.LESS else -path.value(each) for each in metrics)


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= its for mine, its in zip(one, other, strict=True))


@given(asked=questions(), metrics=st.sampled_from(CHOICES))
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_no_path_beats(asked: Asked, metrics: tuple[Metric, ...]) -> None:
    every = {worth(path, metrics) for path in asked.passing()}
    expected = {each for each in every if not any(beats(other, each) for other in every)}
    try:
        front = pareto(asked.graph, A, B, metrics, bounds=asked.bounds, exclude=asked.exclude)
    except NoPath:
        assert not expected
        return
    assert front.complete
    assert [worth(path, metrics) for path in front.paths] == sorted(expected)
    assert {path.edges for path in front.paths} <= {path.edges for path in asked.passing()}


def test_a_front_cut_short_says_so() -> None:
    graph = federation(7, 40, 110, "pairwise")
    whole = pareto(graph, A, 30)
    assert whole.complete
    assert len(whole.paths) > 3
    few = pareto(graph, A, 30, most=2)
    assert not few.complete
    assert set(few.paths) <= {replace(path, optimal=False) for path in whole.paths}
    assert not pareto(graph, A, 30, budget=Budget(steps=5)).complete


def test_the_front_between_two_ports_of_one_exchange_is_its_transit() -> None:
    graph = federation(3, 4, 5)
    nni = next(place for place, point in enumerate(graph.points) if point.exchange == "ix-0" and place != A)
    assert len(pareto(graph, A, nni).paths) == 1
    with pytest.raises(NoPath):
        pareto(graph, A, nni, bounds=[Bound(LATENCY, 0.0)])
