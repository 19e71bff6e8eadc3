"""The programs that change the kernel's tables, run in batches, and what they say when they refuse. Blocking.

A batch is one process however many lines it has: faster than a netlink library in Python, and the very commands that a
person types.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from meetme.model.errors import DeviceFailed, InvalidInput, MeetMeError, NotFound, Unsupported
from meetme.runtime.shell import find_program, package_of

P = ParamSpec("P")
T = TypeVar("T")

SECONDS = 20.0
"""How long one command may take before the device counts as dead."""


def batch(lines: Sequence[str], *program: str) -> None:
    """Give `lines` to `ip` (or to another `program` that takes `-batch`); `$$` in them is this process.

    Raises Unsupported, NotFound `port_unknown` or DeviceFailed at the first line that is refused.
    """
    command = program or ("ip",)
    script = "".join(f"{line.replace('$$', str(os.getpid()))}\n" for line in lines)
    done = run([*command, "-batch", "-"], script)
    if done.returncode != 0:
        failed = lines[_failed_line(done.stderr) - 1]
        raise refusal(f"{command[0]} {failed}", done.stderr)


def _failed_line(stderr: str) -> int:
    """`Command failed -:N` is all that a batch says of where it stopped."""
    _, _, tail = stderr.rpartition("Command failed -:")
    return int(tail.strip()) if tail.strip().isdigit() else 1


def set_all(settings: Iterable[tuple[str, str]]) -> None:
    """Kernel settings, by their paths below /proc/sys. Raises DeviceFailed `setting_unknown`, OSError."""
    for key, value in settings:
        try:
            Path("/proc/sys", key).write_text(value)
        except FileNotFoundError:
            if value != "0" and not key.endswith("/disable_ipv6"):  # a feature that the kernel lacks cannot be on
                raise DeviceFailed(
                    "setting_unknown",
                    f'kernel: has no setting "{key}"',
                    hint="IPv6 may be off: boot without ipv6.disable=1",
                ) from None


def run(command: Sequence[str], given: str) -> subprocess.CompletedProcess[str]:
    """One program with its input. Raises Unsupported `capability_missing`, DeviceFailed `device_timeout`."""
    program = find_program(command[0])
    if program is None:
        raise Unsupported(
            "capability_missing",
            f'router: has no program "{command[0]}"',
            hint=f"install it: apt-get install {package_of(command[0])}",
        )
    try:
        return subprocess.run(
            [program, *command[1:]], input=given, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceFailed(
            "device_timeout", f'device: no answer within {SECONDS:g} s ("{" ".join(command)}")'
        ) from None


def refusal(command: str, stderr: str) -> MeetMeError:
    """The error for what a program said."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Command failed")]
    said = "; ".join(lines) or "no reason given"
    if "not permitted" in said or "must be root" in said:
        return Unsupported(
            "capability_missing",
            f'router: not allowed to change the network ("{command}": {said})',
            hint="run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN, or in `unshare -Urnm`",
        )
    if " type vlan " in command and ("Unknown device type" in said or "not supported" in said):
        return Unsupported(
            "vlan_unsupported",
            "vlan: this kernel has no 802.1Q",
            field="vlan",
            hint="modprobe 8021q, or use a whole port (vlan unset)",
        )
    if "Cannot find device" in said:
        return NotFound("port_unknown", f'port: {said} ("{command}")', field="port", hint="ip link shows what is there")
    return DeviceFailed("command_failed", f'device: refused "{command}" ({said})')


def on_device(f: Callable[P, T]) -> Callable[P, T]:
    """The kernel's refusals as errors of ours."""

    def wrapped(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return f(*arguments, **options)
        except PermissionError as error:
            raise Unsupported(
                "capability_missing",
                f"router: not allowed to change the network ({error})",
                hint="run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN, or in `unshare -Urnm`",
            ) from error
        except OSError as error:
            raise DeviceFailed("device_failed", f"device: {error}") from error

    return wrapped


def check_circuit_id(circuit: str) -> None:
    """A circuit's id goes into aliases and comments. Raises InvalidInput `circuit_malformed`."""
    if not circuit or len(circuit) > 200 or not all(c.isprintable() and c not in " \"'\\" for c in circuit):
        raise InvalidInput(
            "circuit_malformed",
            f'circuit: must be 1 to 200 printable characters without blanks or quotes ("{circuit}")',
            field="circuit",
        )
