"""Running programs, through one door: a real one, and a fake that records what would have been run."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meetme.model.errors import DeviceFailed, Unsupported

RUN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    status: int
    stdout: str = ""
    stderr: str = ""


class Shell(Protocol):
    """Where programs run: on this machine, in a namespace, or nowhere."""

    async def run(
        self, *command: str, input: str | None = None, check: bool = True, seconds: float = RUN_SECONDS
    ) -> Outcome:
        """Run `command` without a shell and wait for its end.

        Raises Unsupported `program_missing`, DeviceFailed `program_timeout`, and with `check` DeviceFailed
        `program_failed` for a status other than 0.
        """


@dataclass(frozen=True, slots=True)
class SystemShell:
    """This machine. `prefix` comes before every command, for example `("ip", "netns", "exec", "r1")`."""

    prefix: tuple[str, ...] = ()

    async def run(
        self, *command: str, input: str | None = None, check: bool = True, seconds: float = RUN_SECONDS
    ) -> Outcome:
        """Run `command`; a program that takes longer than `seconds` is killed, and so it is when we are cancelled."""
        full = (*self.prefix, *command)
        try:
            process = await asyncio.create_subprocess_exec(
                *full,
                stdin=asyncio.subprocess.PIPE if input is not None else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise Unsupported(
                "program_missing",
                f"program: '{full[0]}' must be there and runnable ({error.strerror})",
                hint="meetme doctor says what is missing and how to get it",
            ) from None
        try:
            async with asyncio.timeout(seconds):
                stdout, stderr = await process.communicate(input.encode() if input is not None else None)
        except TimeoutError:
            raise DeviceFailed(
                "program_timeout", f"program: must end within {seconds:g} s ('{shlex.join(full)}')"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        assert process.returncode is not None
        outcome = Outcome(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        return _checked(full, outcome) if check else outcome


@dataclass(slots=True)
class RecordingShell:
    """Runs nothing: writes down every command and answers as told. Whatever it was not told about succeeds silently."""

    answers: Mapping[str, Outcome] = field(default_factory=dict)
    """By the beginning of the command line; the longest one that fits counts."""
    commands: list[str] = field(default_factory=list)
    inputs: list[str | None] = field(default_factory=list)

    async def run(
        self, *command: str, input: str | None = None, check: bool = True, seconds: float = RUN_SECONDS
    ) -> Outcome:
        """Record the command."""
        line = shlex.join(command)
        self.commands.append(line)
        self.inputs.append(input)
        fitting = [begin for begin in self.answers if line.startswith(begin)]
        outcome = self.answers[max(fitting, key=len)] if fitting else Outcome(0)
        return _checked(command, outcome) if check else outcome


def _checked(command: Sequence[str], outcome: Outcome) -> Outcome:
    if outcome.status != 0:
        said = outcome.stderr.strip() or outcome.stdout.strip() or "it said nothing"
        raise DeviceFailed(
            "program_failed",
            f"program: must end with status 0 ('{shlex.join(command)}' ended with {outcome.status}: {said[:1000]})",
        )
    return outcome
