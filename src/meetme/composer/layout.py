"""Where to draw the points of a graph so that its lines are easy to follow (Fruchterman and Reingold 1991). Pure.

The same graph is drawn the same way every time: it begins with a ring, in the order given; nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import cos, hypot, pi, sin

ROUNDS, WORK = 300, 3_000_000
"""As many rounds as it takes to settle; fewer where there are so many points that it would take seconds."""
Place = tuple[float, float]


def layout(names: Sequence[str], lines: Iterable[tuple[str, str]]) -> dict[str, Place]:
    """A place for each name, both coordinates from 0 to 1."""
    count = len(names)
    if count < 2:
        return dict.fromkeys(names, (0.5, 0.5))
    number = {name: index for index, name in enumerate(names)}
    joined = {(number[a], number[b]) for a, b in lines if a in number and b in number and a != b}
    xs = [cos(2 * pi * index / count - pi / 2) for index in range(count)]
    ys = [sin(2 * pi * index / count - pi / 2) for index in range(count)]
    rounds = max(4, min(ROUNDS, WORK // max(1, count * count)))
    ideal = 1.8 / count**0.5
    for turn in range(rounds):
        _settle(xs, ys, joined, ideal, 0.3 * (1 - turn / rounds))
    return {name: place for name, place in zip(names, _scaled(xs, ys), strict=True)}  # noqa: C416 - a dict, named


def apart(places: dict[str, Place], sizes: dict[str, Place], gap: float) -> dict[str, Place]:
    """The same places, moved as little as it takes that no two boxes of these sizes lie on each other; then all at
    or below (right of) `gap`.
    """
    xs, ys = ({name: place[axis] for name, place in places.items()} for axis in (0, 1))
    names = list(places)
    for _ in range(ROUNDS):
        moved = False
        for index, one in enumerate(names):
            for other in names[:index]:
                wide = (sizes[one][0] + sizes[other][0]) / 2 + gap - abs(xs[one] - xs[other])
                high = (sizes[one][1] + sizes[other][1]) / 2 + gap - abs(ys[one] - ys[other])
                if wide > 1e-6 and high > 1e-6:
                    moved = True
                    axis, by = (xs, wide) if wide < high else (ys, high)
                    way = 0.5 if axis[one] >= axis[other] else -0.5
                    axis[one] += by * way
                    axis[other] -= by * way
        if not moved:
            break
    left = min((xs[name] - sizes[name][0] / 2 for name in names), default=gap)
    top = min((ys[name] - sizes[name][1] / 2 for name in names), default=gap)
    return {name: (xs[name] - left + gap, ys[name] - top + gap) for name in names}


def _settle(xs: list[float], ys: list[float], joined: set[tuple[int, int]], ideal: float, most: float) -> None:
    """One round: all push each other away, those that are joined pull; nobody moves further than `most`."""
    count = len(xs)
    dx, dy = [0.0] * count, [0.0] * count
    for one in range(count):
        for other in range(one):
            x, y = xs[one] - xs[other], ys[one] - ys[other]
            # Two in one place would push with all their might in no direction.
            square = max(x * x + y * y, 1e-6)
            push = ideal * ideal / square
            dx[one] += x * push
            dy[one] += y * push
            dx[other] -= x * push
            dy[other] -= y * push
    for one, other in joined:
        x, y = xs[one] - xs[other], ys[one] - ys[other]
        pull = hypot(x, y) / ideal
        dx[one] -= x * pull
        dy[one] -= y * pull
        dx[other] += x * pull
        dy[other] += y * pull
    for index in range(count):
        far = hypot(dx[index], dy[index]) or 1.0
        step = min(far, most) / far
        xs[index] += dx[index] * step
        ys[index] += dy[index] * step


def _scaled(xs: Sequence[float], ys: Sequence[float]) -> list[Place]:
    return list(zip(_spread(xs), _spread(ys), strict=True))


def _spread(values: Sequence[float]) -> list[float]:
    least, most = min(values, default=0.0), max(values, default=0.0)
    if most - least < 1e-9:
        return [0.5] * len(values)
    return [(value - least) / (most - least) for value in values]
