"""Programs of the system: where they are, which package has them, and how one is run with a limit on its time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
from dataclasses import dataclass

from meetme.model.errors import DeviceFailed, Unsupported

RUN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    status: int
    stdout: str = ""
    stderr: str = ""


def find_program(name: str) -> str | None:
    """The path of a program, also where an ordinary user's PATH on Debian does not look; None: it is not there."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def package_of(program: str) -> str:
    """Which package of Debian and Ubuntu has a program."""
    return {"ip": "iproute2", "nft": "nftables"}.get(program, program)


async def run(*command: str, seconds: float = RUN_SECONDS) -> Outcome:
    """Run a program, through no shell and without input, and wait for its end; if we are cancelled it is killed.

    Raises Unsupported `program_missing`, DeviceFailed `program_timeout` after `seconds`.
    """
    program = find_program(command[0])
    if program is None:
        raise Unsupported(
            "program_missing",
            f"program: '{command[0]}' must be there",
            hint=f"apt-get install {package_of(command[0])}",
        )
    process = await asyncio.create_subprocess_exec(
        program,
        *command[1:],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        raise DeviceFailed(
            "program_timeout", f"program: must end within {seconds:g} s ('{shlex.join(command)}')"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return Outcome(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
