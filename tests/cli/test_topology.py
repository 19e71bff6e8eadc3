"""`meetme topology`: tables, the picture in the terminal, SVG, JSON, and a composer that is not there."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest

from meetme.cli.main import run
from meetme.composer.layout import layout
from meetme.composer.topology_picture import capacity, svg, text
from meetme.composer.topology_views import TopologyView, view_json
from tests.composer.advertisements import access, advertisement, nni
from tests.composer.views import shown

SVG = "{http://www.w3.org/2000/svg}"
ALONE = advertisement("ixp-d", access("p1", "csp-d"), nni("n1", "ixp-a", "n9"))


@pytest.fixture
def composer() -> object:
    """Answers as a composer does; `.view` is what it knows."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(view_json(server.view)).encode()  # type: ignore[attr-defined]
            self.send_response(200 if self.path == "/api/v1/topology" else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    server.view = shown(ALONE)  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(composer: HTTPServer, *arguments: str) -> int:
    return run(["topology", "--url", f"http://127.0.0.1:{composer.server_port}", "--token", "t", *arguments])


def test_tables_say_who_is_there_what_joins_them_and_what_does_not(
    composer: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(composer) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:4] == ["ixp-a", "(this", "one)", "DE"] and "csp-a/p1 10G" in line for line in lines)
    assert any("42 s ago" in line and "59 min" in line for line in lines)
    (link,) = [line for line in lines if line.startswith("ixp-a to-ixp-b")]
    assert link.split()[2:8] == ["ixp-b", "to-ixp-a", "2.5", "ms", "10G", "2-4094"]
    assert any(line.startswith("ixp-d n1") and "names no such link" in line for line in lines)
    assert any(line.startswith("ixp-b") and "must be reachable" in line for line in lines)


def test_json_is_what_the_composer_says(composer: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(composer, "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["member"] for each in said["exchanges"]] == ["ixp-a", "ixp-b", "ixp-c", "ixp-d"]
    assert said["links"][0]["link"] == "ixp-a/to-ixp-b=ixp-b/to-ixp-a"


def test_the_graph_is_drawn(composer: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(composer, "--graph") == 0
    drawn = capsys.readouterr().out
    assert all(f"[{name} DE]" in drawn for name in ("ixp-a", "ixp-b", "ixp-c", "ixp-d"))
    assert drawn.count("2.5ms 10G") == 3


def test_a_drawing_is_written_and_nothing_else_said(
    composer: HTTPServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ask(composer, "--svg", str(tmp_path / "map.svg")) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "map.svg").read_text() == svg(composer.view)  # type: ignore[attr-defined]
    assert ask(composer, "--svg", str(tmp_path / "no" / "map.svg")) == 2
    assert "--svg: must be a file that can be written" in capsys.readouterr().err


def test_no_composer_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert run(["topology", "--url", f"http://127.0.0.1:{port}", "--token", "t"]) == 4
    assert "meetme serve composer" in capsys.readouterr().err


# --- the drawings -----------------------------------------------------------------------------------------------------


def rects(view: TopologyView) -> list[tuple[float, float, float, float]]:
    root = ElementTree.fromstring(svg(view))
    return [
        tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))  # type: ignore[misc]
        for rect in root.iter(f"{SVG}rect")
        if rect.attrib["class"] == "box"
    ]


def test_an_svg_has_all_of_it_and_asks_for_nothing_else() -> None:
    root = ElementTree.fromstring(svg(shown(ALONE)))
    lines = [line.attrib["class"] for line in root.iter(f"{SVG}line")]
    assert (lines.count("link"), lines.count("broken")) == (3, 1)
    assert {text.text for text in root.iter(f"{SVG}text")} >= {"ixp-a", "ixp-d", "DE csp-a", "2.5ms 10G"}
    drawn = svg(shown(ALONE))
    assert "prefers-color-scheme: dark" in drawn
    assert drawn.count("http") == 1, "the namespace, and no other address"


@pytest.mark.parametrize("count", [0, 10, 30])
def test_no_box_lies_on_another_or_outside(count: int) -> None:
    view = shown(count=count)
    boxes = rects(view)
    assert len(boxes) == (count or 3)
    root = ElementTree.fromstring(svg(view))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for index, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for ox, oy, ow, oh in boxes[:index]:
            assert x + w <= ox or ox + ow <= x or y + h <= oy or oy + oh <= y


def test_nothing_is_drawn_of_nothing_and_one_alone() -> None:
    view = shown()
    none = TopologyView(view.me, view.at, (), (), (), ())
    assert text(none) == "no exchange is known"
    assert "<svg" in svg(none)
    one = TopologyView(view.me, view.at, view.exchanges[:1], (), (), ())
    assert "[ixp-a DE]" in text(one)
    assert len(rects(one)) == 1


def test_the_same_graph_lies_the_same_way_and_who_is_joined_lies_near() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    lines = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "f"), ("f", "d")]
    places = layout(names, lines)
    assert places == layout(names, lines)
    assert all(0 <= value <= 1 for place in places.values() for value in place)

    def far(one: str, other: str) -> float:
        return ((places[one][0] - places[other][0]) ** 2 + (places[one][1] - places[other][1]) ** 2) ** 0.5

    assert max(far(*line) for line in lines) < far("a", "f")


def test_capacity_is_short() -> None:
    assert [capacity(each) for each in (0, 100, 1000, 2500, 400_000, 1_000_000)] == [
        "0M", "100M", "1G", "2.5G", "400G", "1T",
    ]  # fmt: skip
