"""The picture of a lab: as text, for Graphviz, or as SVG. Pure."""

from __future__ import annotations

from html import escape
from math import cos, pi, sin

from meetme.lab.plan import Plan

_WIDTH, _HEIGHT, _BOX, _LINE = 720, 480, (110, 34), 34


def text(plan: Plan) -> str:
    """One collision domain a line: who meets whom."""
    width = max((len(domain.name) for domain in plan.domains), default=0)
    lines = []
    for domain in plan.domains:
        ends = [f"{end.machine}:{end.interface}" for end in domain.ends]
        joined = " --- ".join(ends) if domain.is_wire else f"[switch] {', '.join(ends)}"
        lines.append(f"{domain.name:<{width}}  {joined}")
    lines += [f"{machine.name} stands alone" for machine in plan.machines if not machine.conf.interfaces]
    return "\n".join(lines)


def dot(plan: Plan) -> str:
    """The lab as an undirected Graphviz graph; a domain with two ends is an edge, any other a point of its own."""
    lines = [f'graph "{plan.name}" {{', "  node [shape=box];"]
    lines += [f'  "{machine.name}";' for machine in plan.machines]
    for domain in plan.domains:
        if domain.is_wire:
            one, other = domain.ends
            ends = f'taillabel="{one.interface}" headlabel="{other.interface}"'
            lines.append(f'  "{one.machine}" -- "{other.machine}" [label="{domain.name}" {ends}];')
            continue
        lines.append(f'  "domain {domain.name}" [shape=ellipse label="{domain.name}"];')
        lines += [f'  "domain {domain.name}" -- "{end.machine}" [headlabel="{end.interface}"];' for end in domain.ends]
    return "\n".join((*lines, "}"))


def svg(plan: Plan) -> str:
    """The lab as a drawing that needs nothing else: machines on a ring, domains between them."""
    count = max(len(plan.machines), 1)
    place = {
        machine.name: (
            _WIDTH / 2 - (_WIDTH / 2 - _BOX[0]) * cos(2 * pi * index / count),
            _HEIGHT / 2 - (_HEIGHT / 2 - _BOX[1]) * sin(2 * pi * index / count),
        )
        for index, machine in enumerate(plan.machines)
    }
    lines, labels = [], []
    seen: dict[frozenset[str], int] = {}
    for domain in plan.domains:
        points = [place[end.machine] for end in domain.ends]
        x, y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
        between = frozenset(end.machine for end in domain.ends)
        y += _LINE * seen.get(between, 0)  # two domains between the same machines do not lie on each other
        seen[between] = seen.get(between, 0) + 1
        lines += [f'<path d="M{px:.0f} {py:.0f} L{x:.0f} {y:.0f}" stroke="currentColor"/>' for px, py in points]
        labels.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="13" fill="Canvas" stroke="currentColor"/>')
        labels.append(_label(domain.name, x, y))
    for name, (x, y) in place.items():
        left, top = x - _BOX[0] / 2, y - _BOX[1] / 2
        box = f'x="{left:.0f}" y="{top:.0f}" width="{_BOX[0]}" height="{_BOX[1]}" rx="5"'
        labels.append(f'<rect {box} fill="Canvas" stroke="currentColor"/>')
        labels.append(_label(name, x, y))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        f' font-size="13" style="color-scheme: light dark; color: CanvasText">'
    )
    return "\n".join((head, f"<title>{escape(plan.name)}</title>", *lines, *labels, "</svg>"))


def _label(name: str, x: float, y: float) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="currentColor" text-anchor="middle" dominant-baseline="central">'
        f"{escape(name)}</text>"
    )
