"""Programs of the system: what they say, when they fail, when they hang."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meetme.model.errors import DeviceFailed, Unsupported
from meetme.runtime.shell import Outcome, RecordingShell, SystemShell


async def test_what_a_program_says_comes_back() -> None:
    outcome = await SystemShell().run("sh", "-c", "cat; echo error >&2; exit 3", input="hello", check=False)
    assert outcome == Outcome(3, "hello", "error\n")


async def test_arguments_are_not_interpreted() -> None:
    assert (await SystemShell().run("printf", "%s|", "a b", "$HOME", ";ls")).stdout == "a b|$HOME|;ls|"


async def test_a_prefix_comes_before_every_command() -> None:
    assert (await SystemShell(("env", "X=1")).run("sh", "-c", "echo $X")).stdout == "1\n"


async def test_a_failure_says_what_was_run_and_what_it_said() -> None:
    with pytest.raises(DeviceFailed, match="'sh -c 'echo no >&2; exit 2'' ended with 2: no") as caught:
        await SystemShell().run("sh", "-c", "echo no >&2; exit 2")
    assert caught.value.code == "program_failed"


async def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(Unsupported, match="'no-such-program'") as caught:
        await SystemShell().run("no-such-program")
    assert caught.value.code == "program_missing"


def alive(pid_file: Path) -> bool:
    return Path(f"/proc/{pid_file.read_text().strip()}").exists()


async def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(DeviceFailed, match="must end within") as caught:
        await SystemShell().run("sh", "-c", f"echo $$ > {pid}; exec sleep 60", seconds=0.3)
    assert caught.value.code == "program_timeout"
    assert not alive(pid)


async def test_a_program_ends_with_the_task_that_ran_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    task = asyncio.create_task(SystemShell().run("sh", "-c", f"echo $$ > {pid}; exec sleep 60", seconds=60))
    async with asyncio.timeout(5):
        while not pid.exists() or not pid.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)


async def test_the_fake_records_and_answers_as_told() -> None:
    shell = RecordingShell({"ip": Outcome(0, "short"), "ip -j": Outcome(0, "long"), "nft": Outcome(1, "", "refused")})
    assert (await shell.run("ip", "-j", "link")).stdout == "long"
    assert (await shell.run("ip", "link")).stdout == "short"
    assert await shell.run("true") == Outcome(0)
    with pytest.raises(DeviceFailed, match="refused"):
        await shell.run("nft", "-f", "-", input="table x")
    assert (await shell.run("nft", "list", check=False)).status == 1
    assert shell.commands == ["ip -j link", "ip link", "true", "nft -f -", "nft list"]
    assert shell.inputs == [None, None, None, "table x", None]
