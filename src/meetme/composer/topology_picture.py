"""The federation as a drawing: on the terminal, and as an SVG that needs nothing else, in light and dark. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from meetme.composer.layout import apart, layout
from meetme.composer.topology_views import ExchangeView, LinkView, TopologyView

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a Braille pattern (Unicode 2800): by row, by column."""
_BOX_HEIGHT, _END_HEIGHT, _GAP = 40, 30, 16


def capacity(bandwidth: int) -> str:
    """Mbit/s as people write it: `10G`, `2.5G`, `100M`."""
    if bandwidth < 1000:
        return f"{bandwidth}M"
    return f"{bandwidth / 1000:g}G" if bandwidth < 1_000_000 else f"{bandwidth / 1_000_000:g}T"


def members_of(exchange: ExchangeView) -> tuple[str, ...]:
    """Who has a port there."""
    return tuple(sorted({point.member for point in exchange.points if point.member is not None}))


def _names(view: TopologyView) -> list[str]:
    """Exchanges in an order in which neighbours come near each other: that of a walk along the links."""
    beside = defaultdict[str, set[str]](set)
    for link in view.links:
        beside[link.a.exchange].add(link.b.exchange)
        beside[link.b.exchange].add(link.a.exchange)
    left = [exchange.member for exchange in view.exchanges]
    order: list[str] = []
    known = set[str]()
    for first in left:
        stack = [str(first)]
        while stack:
            name = stack.pop()
            if name not in known:
                known.add(name)
                order.append(name)
                stack += sorted(beside[name] - known, reverse=True)
    return order


def _pairs(view: TopologyView) -> dict[tuple[str, str], list[LinkView]]:
    """The links by the two exchanges that they join: two links are drawn as one line."""
    found: dict[tuple[str, str], list[LinkView]] = defaultdict(list)
    for link in view.links:
        found[link.a.exchange, link.b.exchange].append(link)
    return dict(found)


def _label(links: Sequence[LinkView]) -> str:
    quickest = min(links, key=lambda link: link.latency_ms)
    more = f" x{len(links)}" if len(links) > 1 else ""
    return f"{quickest.latency_ms:g}ms {capacity(sum(link.bandwidth for link in links))}{more}"


# --- on the terminal --------------------------------------------------------------------------------------------------


class _Canvas:
    """Lines in Braille dots, two by four to a character, with words over them."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._words: list[list[str | None]] = [[None] * width for _ in range(height)]

    def line(self, a: tuple[int, int], b: tuple[int, int]) -> None:
        """From one place to another, in dots."""
        steps = max(abs(a[0] - b[0]), abs(a[1] - b[1]), 1)
        for step in range(steps + 1):
            x = round(a[0] + (b[0] - a[0]) * step / steps)
            y = round(a[1] + (b[1] - a[1]) * step / steps)
            if 0 <= x < 2 * self.width and 0 <= y < 4 * self.height:
                self._bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]

    def free(self, x: int, y: int, length: int) -> bool:
        """Whether nothing is written there."""
        if not (0 <= y < self.height and x >= 0 and x + length <= self.width):
            return False
        return all(letter is None for letter in self._words[y][max(0, x - 1) : x + length + 1])

    def write(self, x: int, y: int, text: str) -> None:
        """A word that begins at a character."""
        x = max(0, min(x, self.width - len(text)))
        for offset, letter in enumerate(text[: self.width]):
            self._words[y][x + offset] = letter

    def rows(self) -> Iterator[str]:
        """What was drawn."""
        for bits, words in zip(self._bits, self._words, strict=True):
            drawn = (word or (chr(0x2800 + bit) if bit else " ") for bit, word in zip(bits, words, strict=True))
            yield "".join(drawn).rstrip()


def text(view: TopologyView, *, width: int = 96) -> str:
    """The exchanges, joined by lines, with what each line has."""
    names = _names(view)
    if not names:
        return "no exchange is known"
    width = max(40, min(width, 140))
    height = max(7, min(40, 5 * round(len(names) ** 0.5) + 6))
    canvas = _Canvas(width, height)
    left, right = (max(map(len, names)) + 5) // 2, width - (max(map(len, names)) + 7) // 2
    places = {
        name: (round(left + x * (right - left)), round(y * (height - 1)))
        for name, (x, y) in layout(names, _pairs(view)).items()
    }
    for a, b in _pairs(view):
        canvas.line(*((2 * places[name][0], 4 * places[name][1] + 2) for name in (a, b)))
    for exchange in view.exchanges:
        x, y = places[exchange.member]
        box = f"[{exchange.member}{f' {exchange.country}' if exchange.country else ''}]"
        canvas.write(x - len(box) // 2, y, box)
    for (a, b), links in _pairs(view).items():
        label = _label(links)
        for share in (0.5, 0.42, 0.58, 0.33, 0.67):
            x = round(places[a][0] + (places[b][0] - places[a][0]) * share) - len(label) // 2
            y = round(places[a][1] + (places[b][1] - places[a][1]) * share)
            if canvas.free(x, y, len(label)):
                canvas.write(x, y, label)
                break
    return "\n".join(canvas.rows())


# --- as SVG -----------------------------------------------------------------------------------------------------------

_STYLE = """
  svg { color-scheme: light dark; --ink: #1b2733; --soft: #5b6b7b; --line: #2f6fb0; --box: #ffffff; --back: #f7f9fb;
        --warn: #b4472b; font: 13px system-ui, sans-serif; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e8eef4; --soft: #9fb0c0; --line: #6fb1f0; --box: #1d2a36; --back: #131c25; --warn: #f0906f; }
  }
  .back { fill: var(--back); }
  .link { stroke: var(--line); stroke-linecap: round; }
  .broken { stroke: var(--warn); stroke-width: 1.5; stroke-dasharray: 5 5; }
  .box { fill: var(--box); stroke: var(--line); stroke-width: 1.5; }
  .name { fill: var(--ink); font-weight: 600; }
  .more, .label { fill: var(--soft); font-size: 11px; }
  .label { paint-order: stroke; stroke: var(--back); stroke-width: 4px; }
  text { text-anchor: middle; dominant-baseline: central; }
"""


@dataclass(frozen=True, slots=True)
class Course:
    """A way through the federation that the drawing shows: the exchanges in order, and who is at its ends."""

    first: tuple[str, ...]
    second: tuple[str, ...] = ()
    """Of a circuit with redundancy."""
    ends: tuple[str, ...] = ()
    """The members that it joins, at the first and the last exchange."""

    @property
    def pairs(self) -> frozenset[frozenset[str]]:
        """The exchanges that it goes between, two by two."""
        return _steps(self.first)

    @property
    def second_pairs(self) -> frozenset[frozenset[str]]:
        """The same of the second path."""
        return _steps(self.second)

    @property
    def joints(self) -> tuple[tuple[str, str], ...]:
        """Each end, and the exchange where it is."""
        return tuple(zip(self.ends, (self.first[0], self.first[-1]), strict=False)) if self.first else ()


def svg(view: TopologyView) -> str:
    """The same as SVG: as wide as a line is thick, dashed what only one end names."""
    words = (
        f"{len(view.exchanges)} exchanges, {len(view.links)} links, "
        f"as {view.me} knows them at {view.at:%Y-%m-%d %H:%M:%S} UTC"
    )
    return _drawn(view, Course(()), "The federation", words, f"<style>{_STYLE}</style>")


def svg_of_course(view: TopologyView, course: Course) -> str:
    """As a part of a page that has its own style for it: what the way goes through stands out."""
    words = f"The way: {', '.join((*course.ends[:1], *course.first, *course.ends[1:]))}"
    if course.second:
        words += f"; and a second one: {', '.join(course.second)}"
    return _drawn(view, course, "The federation, and the way through it", words, "")


def _drawn(view: TopologyView, course: Course, title: str, words: str, style: str) -> str:
    names = _names(view)
    pairs = _pairs(view)
    joints = [(_end(end), exchange) for end, exchange in course.joints if exchange in names]
    sizes = {str(exchange.member): (float(_width(exchange)), float(_BOX_HEIGHT)) for exchange in view.exchanges}
    sizes |= {_end(end): (float(_end_width(end)), float(_END_HEIGHT)) for end, _ in course.joints}
    drawn = [*names, *(name for name, _ in joints)]
    side = max(360, round(190 * max(1, len(drawn)) ** 0.5))
    rough = {name: (x * side * 1.5, y * side) for name, (x, y) in layout(drawn, [*pairs, *joints]).items()}
    places = apart(rough, {name: sizes[name] for name in drawn}, _GAP)
    width = round(max((places[name][0] + sizes[name][0] / 2 for name in drawn), default=0) + _GAP)
    height = round(max((places[name][1] + sizes[name][1] / 2 for name in drawn), default=0) + _GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="federation" viewBox="0 0 {width} {height}" role="img"'
        f' aria-labelledby="title what">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="what">{escape(words)}</desc>',
        style,
        f'<rect class="back" width="{width}" height="{height}"/>',
    ]
    for end in view.unconfirmed:
        if end.at.exchange in places and end.neighbour in places:
            told = f"{end.at.exchange}, '{end.at.port}': {end.reason}"
            lines.append(_line(places[end.at.exchange], places[end.neighbour], 'class="broken"', told))
    for (a, b), links in sorted(pairs.items(), key=lambda each: _kind(each[0], course)):
        most = max(link.bandwidth for link in links)
        told = "; ".join(f"{link.link}: {link.latency_ms:g} ms, {link.bandwidth} Mbit/s" for link in links)
        thick = 1.5 + len(str(max(1, most // 100)))
        kind = f"link{_kind((a, b), course)}"
        lines.append(_line(places[a], places[b], f'class="{kind}" stroke-width="{thick:g}"', told))
    for name, exchange in joints:
        lines.append(_line(places[name], places[exchange], 'class="link way" stroke-width="3"', name))
    for (a, b), links in pairs.items():
        (ax, ay), (bx, by) = places[a], places[b]
        lines.append(f'<text class="label" x="{(ax + bx) / 2:.0f}" y="{(ay + by) / 2:.0f}">{_label(links)}</text>')
    crossed = {*course.first, *course.second}
    lines += [
        _box(exchange, *places[exchange.member], " way" if exchange.member in crossed else "")
        for exchange in view.exchanges
    ]
    lines += [_end_box(name, *places[name]) for name, _ in joints]
    return "\n".join((*filter(None, lines), "</svg>", ""))


def _steps(path: Sequence[str]) -> frozenset[frozenset[str]]:
    return frozenset(frozenset(pair) for pair in pairwise(path))


def _kind(pair: tuple[str, str], course: Course) -> str:
    """What a line is to the way: nothing, its second path, or its first (which is drawn last, above the others)."""
    if frozenset(pair) in course.pairs:
        return " way"
    return " second" if frozenset(pair) in course.second_pairs else ""


def _end(member: str) -> str:
    """A member's name among those of exchanges: it could be the same."""
    return f"{member} "


def _end_width(name: str) -> int:
    return 8 * len(name) + 28


def _end_box(name: str, x: float, y: float) -> str:
    wide = _end_width(name.strip())
    box = f'x="{x - wide / 2:.1f}" y="{y - _END_HEIGHT / 2:.1f}" width="{wide}" height="{_END_HEIGHT}" rx="15"'
    return (
        f'<g class="end"><rect class="box" {box}/>'
        f'<text class="name" x="{x:.0f}" y="{y:.0f}">{escape(name.strip())}</text></g>'
    )


def _line(a: tuple[float, float], b: tuple[float, float], how: str, told: str) -> str:
    ends = f'x1="{a[0]:.0f}" y1="{a[1]:.0f}" x2="{b[0]:.0f}" y2="{b[1]:.0f}"'
    return f"<line {how} {ends}><title>{escape(told)}</title></line>"


def _more(exchange: ExchangeView) -> str:
    members = members_of(exchange)
    few = ", ".join(members) if sum(map(len, members)) <= 24 else f"{len(members)} members"
    return " ".join(filter(None, (exchange.country, few)))


def _width(exchange: ExchangeView) -> int:
    return max(84, 8 * len(exchange.member) + 20, 6 * len(_more(exchange)) + 16)


def _box(exchange: ExchangeView, x: float, y: float, kind: str = "") -> str:
    wide, members = _width(exchange), ", ".join(members_of(exchange))
    told = f"{exchange.member}, version {exchange.version}, said {exchange.age:.0f} s ago; {members}"
    box = f'x="{x - wide / 2:.1f}" y="{y - _BOX_HEIGHT / 2:.1f}" width="{wide}" height="{_BOX_HEIGHT}" rx="7"'
    return (
        f'<g class="exchange{kind}"><title>{escape(told)}</title><rect class="box" {box}/>'
        f'<text class="name" x="{x:.0f}" y="{y - 7:.0f}">{escape(exchange.member)}</text>'
        f'<text class="more" x="{x:.0f}" y="{y + 9:.0f}">{escape(_more(exchange))}</text></g>'
    )
