"""What the host remembers of labs: leftovers are told from labs, and nothing stays."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meetme.lab import state
from meetme.lab.state import LabState, Running, birth_of, running_labs
from meetme.model.errors import Conflict


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def running(keeper: int, born: str | None = None) -> Running:
    return Running("x", "/labs/x", keeper, born or birth_of(keeper) or "", False, {}, {}, [], 0.1)


def test_looking_leaves_no_trace() -> None:
    assert running_labs() == []
    assert LabState(Path("/labs/x")).read() is None


def test_a_lab_is_remembered_while_its_keeper_lives() -> None:
    lab = LabState(Path("/labs/x"))
    with lab.locked():
        lab.write(running(os.getpid()))
        assert lab.read() == running(os.getpid())
        assert running_labs() == [running(os.getpid())]
        lab.clear()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"name": 1}'])
def test_a_spoilt_file_is_a_leftover(text: str) -> None:
    lab = LabState(Path("/labs/x"))
    with lab.locked():
        (lab.path / "state.json").write_text(text)
        assert lab.read() is None
        lab.clear()


def test_a_process_id_that_came_round_again_is_not_the_keeper() -> None:
    lab = LabState(Path("/labs/x"))
    with lab.locked():
        lab.write(running(os.getpid(), born="12@another boot"))
        assert lab.read() is None
        lab.clear()


def test_labs_of_the_same_name_in_different_places_are_two() -> None:
    assert LabState(Path("/one/lab")).path != LabState(Path("/two/lab")).path


def _hold(ready: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    with LabState(Path("/labs/x")).locked():
        ready.set()
        done.wait(30)


def test_only_one_changes_a_lab_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_LOCK_PATIENCE", 0.1)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(ready, done))
    holder.start()
    try:
        assert ready.wait(30)
        lab = LabState(Path("/labs/x"))
        with pytest.raises(Conflict, match="one command at a time"), lab.locked():
            pass
    finally:
        done.set()
        holder.join()
    with lab.locked():
        lab.clear()
