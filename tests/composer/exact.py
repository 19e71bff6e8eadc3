"""An oracle for graphs that are too large for brute force: the question as an integer programme, solved by HiGHS.

Written over points and edges, as the federation is described, not over arcs, as the searches see it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import highspy

from meetme.composer.graph import Disjoint, Graph
from meetme.composer.metrics import LATENCY, Bound, Metric


def least(
    graph: Graph,
    a: int,
    b: int,
    metric: Metric = LATENCY,
    *,
    paths: int = 1,
    kind: Disjoint = Disjoint.LINK,
    bounds: Sequence[Bound] = (),
) -> float | None:
    """The least total of `paths` disjoint paths, each within bounds to metrics that are sums. None: there are none."""
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 1e-7)
    solver.setOptionValue("threads", 1)
    goal = 0
    taken: list[list[highspy.highs.highs_var]] = []
    for _ in range(paths):
        use = [solver.addBinary() for _ in graph.edges]
        taken.append(use)
        _flow(solver, graph, a, b, use)
        goal += solver.qsum(getattr(edge, metric.field) * one for edge, one in zip(graph.edges, use, strict=True))
        for bound in bounds:
            field = bound.metric.field
            spent = solver.qsum(getattr(edge, field) * one for edge, one in zip(graph.edges, use, strict=True))
            solver.addConstr(spent <= bound.limit + 1e-9)
    if paths == 2:
        _apart(solver, graph, a, b, taken, kind)
    solver.minimize(goal)
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return float(solver.getObjectiveValue())


def _flow(solver: highspy.Highs, graph: Graph, a: int, b: int, use: list[highspy.highs.highs_var]) -> None:
    """One path: transits and NNIs by turns, no exchange twice."""
    transit_out, transit_in, nni_out, nni_in = (defaultdict(list) for _ in range(4))
    inside = defaultdict(list)
    for edge, one in zip(graph.edges, use, strict=True):
        (nni_out if edge.exchange is None else transit_out)[edge.tail].append(one)
        (nni_in if edge.exchange is None else transit_in)[edge.head].append(one)
        if edge.exchange is not None:
            inside[edge.exchange].append(one)
    for point in range(len(graph.points)):
        begins, ends = int(point == a), int(point == b)
        solver.addConstr(solver.qsum(transit_out[point]) - solver.qsum(nni_in[point]) == begins)
        solver.addConstr(solver.qsum(transit_in[point]) - solver.qsum(nni_out[point]) == ends)
    for transits in inside.values():
        solver.addConstr(solver.qsum(transits) <= 1)


def _apart(
    solver: highspy.Highs, graph: Graph, a: int, b: int, taken: list[list[highspy.highs.highs_var]], kind: Disjoint
) -> None:
    ends = {graph.points[a].exchange, graph.points[b].exchange}
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, edge in enumerate(graph.edges):
        if edge.exchange is None:
            groups["link", edge.link].append(number)
        elif kind is Disjoint.NODE and edge.exchange not in ends:
            groups["exchange", edge.exchange].append(number)
        if kind is Disjoint.SRLG and (edge.exchange is None or edge.exchange not in ends):
            for risk in edge.risks:
                groups["risk", risk].append(number)
    for edges in groups.values():
        users = []
        for use in taken:
            user = solver.addBinary()
            for number in edges:
                solver.addConstr(user >= use[number])
            users.append(user)
        solver.addConstr(solver.qsum(users) <= 1)
