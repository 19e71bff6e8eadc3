"""Finding and reading a lab's directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from meetme.lab.source import find_lab, read_lab, shipped_labs
from meetme.model.errors import InvalidInput, NotFound


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_path_comes_before_a_shipped_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_lab("thesis") == shipped_labs()["thesis"].resolve()
    (tmp_path / "thesis").mkdir()
    assert find_lab("thesis") == shipped_labs()["thesis"].resolve(), "a folder without lab.conf is no lab"
    write(tmp_path / "thesis", lab__conf="a[0]=A")
    assert find_lab("thesis") == tmp_path / "thesis"


def test_what_is_no_lab_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r'directory with a lab.conf \(".*"\)') as raised:
        find_lab(str(tmp_path))
    assert "thesis" in raised.value.hint


def test_mistakes_of_all_files_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, lab__conf="a[0]=A\nb[]=A", lab__dep="a: z", zz__startup="true", shared__startup="true")
    with pytest.raises(InvalidInput) as raised:
        read_lab(tmp_path)
    assert [line.split(" ", 1)[0] for line in raised.value.text.splitlines()] == [
        "lab.conf:2:",
        "lab.dep:1:",
        "zz.startup:",
    ]


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.conf").write_bytes(b"a[0]=\xff")
    with pytest.raises(InvalidInput, match=r"lab.conf: a file of a lab is UTF-8 \(octet 5\)"):
        read_lab(tmp_path)
