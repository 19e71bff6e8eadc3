"""What the documents say is true: their links lead somewhere, their commands print what stands beneath them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])


@dataclass(frozen=True)
class Command:
    """One `$ command` of a console block, with the output that the page promises (`...` stands for anything)."""

    line: str
    expected: str


def commands(page: Path) -> list[Command]:
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = part.partition("\n")
            found.append(Command(line, expected.strip("\n")))
    return found


def matches(expected: str, seen: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, seen.strip("\n"), re.DOTALL) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_to_be_copied_can_be_read(page: Path) -> None:
    for block in blocks(page, "toml"):
        tomllib.loads(block)
    for block in blocks(page, "sh"):
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{block}\n{checked.stderr}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)]+)\)", index.read_text())}
    assert {page for page in PAGES if page.is_relative_to(index.parent) and page != index} <= linked


TUTORIALS = [
    pytest.param("first-agreement.md", "thesis"),
    pytest.param("many-partners.md", "eight-partners", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


@pytest.mark.live
@pytest.mark.parametrize(("page", "lab"), TUTORIALS)
def test_tutorial_does_what_it_says(page: str, lab: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    steps = commands(ROOT / "docs/tutorial" / page)
    assert len(steps) > 10
    subprocess.run(["meetme", "lab", "down", lab], env=environment, capture_output=True, check=False)
    try:
        for step in steps:
            done = subprocess.run(
                ["bash", "-c", step.line],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=320,
                check=False,
            )
            assert done.returncode == 0, f"$ {step.line}\n{done.stdout}"
            accepted = matches(step.expected, done.stdout)
            assert accepted, f"$ {step.line}\nexpected:\n{step.expected}\nseen:\n{done.stdout}"
    finally:
        subprocess.run(["meetme", "lab", "down", lab], env=environment, capture_output=True, check=False)
