"""Notes of the drivers: small files, replaced in one step, of which nothing is left, whoever dies while writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from meetme.drivers.fabric import notes as fabric
from meetme.drivers.linux import notes as linux

FABRIC = fabric.Note("x", ("eth1", "mmx-4711"))
LINUX = linux.Note("x", 1, 2, "eth1", None)


class Died(BaseException):
    """In the middle of writing."""


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: Path, target: Path) -> Path:
        raise Died

    monkeypatch.setattr(Path, "rename", die)


def left(directory: Path) -> list[str]:
    """Every file below."""
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_a_switch_remembers_and_forgets(tmp_path: Path) -> None:
    kept = fabric.Notes(tmp_path)
    kept.write(FABRIC)
    kept.note_setting("a", "1")
    kept.note_setting("a", "2")
    assert (kept.read("x"), kept.all()) == (FABRIC, [FABRIC])
    kept.drop("x")
    assert kept.take_settings() == {"a": "1"}
    assert left(tmp_path) == []


@pytest.mark.usefixtures("dies")
def test_of_a_switch_nothing_is_left_where_somebody_died(tmp_path: Path) -> None:
    kept = fabric.Notes(tmp_path)
    for write in (lambda: kept.write(FABRIC), lambda: kept.note_setting("a", "1")):
        with pytest.raises(Died):
            write()
    assert len(left(tmp_path)) == 2
    assert kept.all() == []
    kept.drop("x")
    assert kept.take_settings() == {}
    assert left(tmp_path) == []


@pytest.mark.usefixtures("dies")
def test_of_a_router_nothing_is_left_where_somebody_died(tmp_path: Path) -> None:
    kept = linux.Notes(tmp_path)
    with pytest.raises(Died):
        kept.write("mm-x", LINUX)
    assert left(tmp_path) == ["mm-x.new"]
    assert kept.all() == []
    kept.drop("mm-x")
    assert left(tmp_path) == []
