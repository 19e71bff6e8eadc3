"""What holds of the whole tree: one version, modules that say what they are, files that can be read at once."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

from meetme import __version__

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
MACHINE = re.compile(r"(?<![\w.])/(home|Users|work|workspace|mnt)/\w")
TEXTS = {".py", ".md", ".toml", ".sh", ".conf", ".startup", ".proto", ".js", ".json"}


def tracked(*patterns: str) -> list[Path]:
    """The files of the repository; those on disk where it is no clone (an unpacked source archive)."""
    listed = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split() if listed.returncode == 0 else []
    paths = [ROOT / name for name in names] or [path for pattern in patterns for path in ROOT.rglob(pattern)]
    return sorted(path for path in paths if path.is_file())


PYTHON = [path for path in tracked("*.py") if "_pb2" not in path.name]


def shown(paths: Iterable[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == __version__ == newest[1]


def test_every_module_says_what_it_is() -> None:
    assert len(PYTHON) > 100
    parsed = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PYTHON if path.stat().st_size}
    assert shown(path for path, tree in parsed.items() if not ast.get_docstring(tree)) == []


def test_no_file_wants_to_be_two() -> None:
    source = [path for path in PYTHON if "src" in path.relative_to(ROOT).parts]
    longer = [path for path in source if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES]
    assert shown(longer) == []


def test_no_path_of_somebody_s_machine() -> None:
    texts = [path for path in tracked("*") if path.suffix in TEXTS or path.name == "Makefile"]
    assert shown(path for path in texts if MACHINE.search(path.read_text(encoding="utf-8"))) == []
