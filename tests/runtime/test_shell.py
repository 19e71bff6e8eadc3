"""Programs of the system: what they say, when they fail, when they hang."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meetme.model.errors import DeviceFailed, Unsupported
from meetme.runtime.shell import Outcome, find_program, run


async def test_what_a_program_says_comes_back() -> None:
    assert await run("sh", "-c", "cat; echo out; echo error >&2; exit 3") == Outcome(3, "out\n", "error\n")


async def test_arguments_are_not_interpreted() -> None:
    assert (await run("printf", "%s|", "a b", "$HOME", ";ls")).stdout == "a b|$HOME|;ls|"


async def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(Unsupported, match="'no-such-program'") as caught:
        await run("no-such-program")
    assert (caught.value.code, caught.value.hint) == ("program_missing", "apt-get install no-such-program")


def test_programs_are_found_where_an_ordinary_user_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    (there, *_) = (path for folder in ("/usr/sbin", "/sbin") for path in Path(folder).iterdir() if path.is_file())
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program(there.name) is not None
    assert find_program("no-such-program") is None


def alive(pid_file: Path) -> bool:
    return Path(f"/proc/{pid_file.read_text().strip()}").exists()


async def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(DeviceFailed, match="must end within") as caught:
        await run("sh", "-c", f"echo $$ > {pid}; exec sleep 60", seconds=0.3)
    assert caught.value.code == "program_timeout"
    assert not alive(pid)


async def test_a_program_ends_with_the_task_that_ran_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    task = asyncio.create_task(run("sh", "-c", f"echo $$ > {pid}; exec sleep 60", seconds=60))
    async with asyncio.timeout(5):
        while not pid.exists() or not pid.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)
