"""The inside of one machine: its file system, its interfaces, its startup. Runs in a child of the lab's keeper.

The root is a tmpfs. The host's directories are bound into it read-only, those that a machine writes to are overlays
whose upper layer lives in the lab's own tmpfs, so everything goes with the lab.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from meetme.lab.plan import MachinePlan
from meetme.lab.syscalls import MountFlag, change_root, make_read_only, mount, set_host_name

OVERLAID = ("etc", "root", "tmp", "var")
STARTUP_LOG = "/var/log/startup.log"
_OWN = frozenset((*OVERLAID, "dev", "hostlab", "proc", "run", "shared", "sys"))
_FAILURES = "/run/startup.failures"
_MODES = {"root": 0o700, "tmp": 0o1777}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

# Kathara gives its machines the same: they route, and do not throw away what comes from an unexpected side.
_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
_SYSCTLS_IPV6 = {
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.forwarding": "1",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.icmp.ratelimit": "0",
}
_SYSCTLS_NO_IPV6 = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}

# Runs a startup file to its end, as Kathara does, and notes each line that fails: number, status, size of log, command.
_RUNNER = f"""
_failed() {{ printf '%s\\t%s\\t%s\\t%s\\n' "$2" "$1" "$(stat -c %s {STARTUP_LOG})" "$3" >> {_FAILURES}; }}
trap '{{ _failed $? $LINENO "$BASH_COMMAND"; }} 2>/dev/null' ERR
PS4='+ $LINENO: '
set -E -x
. "$1"
"""
_LINE_TOLD = re.compile(rb"^(?:\++ |/hostlab/\S+: line )(\d+): ", re.MULTILINE)  # in a trace, or in a complaint of bash


@dataclass(frozen=True, slots=True)
class World:
    """What all machines of a lab share. `room` is the lab's tmpfs as the keeper sees it, `needed` must stay visible."""

    directory: str
    room: str
    environment: tuple[tuple[str, str], ...]
    needed: tuple[str, ...]
    layered: bool
    """Whether copies of /etc and the folders of /var lie in `room/layer`: else a user could not write there."""


@dataclass(frozen=True, slots=True)
class StartupFailure:
    """A startup that went wrong: where, and the last it printed. `line` is the last that bash told of, 0 if none."""

    machine: str
    file: str
    line: int
    status: int
    command: str
    output: str


def environment_of(plan: MachinePlan, world: World) -> dict[str, str]:
    """The environment of every process that the lab starts in this machine."""
    return {**dict(world.environment), "HOSTNAME": plan.name, **dict(plan.conf.env)}


def set_sysctl(key: str, value: str) -> None:
    """Write one sysctl of the own network namespace. Raises OSError."""
    Path("/proc/sys", *key.split(".")).write_text(value)


def set_defaults(*, ipv6: bool) -> None:
    """What a machine starts with, before its interfaces arrive and inherit it."""
    for key, value in {**_SYSCTLS, **(_SYSCTLS_IPV6 if ipv6 else _SYSCTLS_NO_IPV6)}.items():
        with contextlib.suppress(OSError):  # a kernel without IPv6, or with fewer knobs
            set_sysctl(key, value)


def bring_up(plan: MachinePlan) -> None:
    """Loopback and every interface up, then the lab's own sysctls. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name in ("lo", *(interface.name for interface in plan.conf.interfaces)):
            request = struct.pack("16sh22x", name.encode(), 0)
            flags = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)[0]
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), flags | _IFF_UP))
    for key, value in plan.conf.sysctls:
        try:
            set_sysctl(key, value)
        except OSError as wrong:
            raise OSError(wrong.errno, f"sysctl {key}={value}: {os.strerror(wrong.errno or 0)}") from None


def build_root(plan: MachinePlan, world: World) -> None:
    """Put the machine's file system together and move into it. Raises OSError."""
    set_host_name(plan.name)
    base = Path(world.room, plan.name)
    root = base / "root"
    root.mkdir(parents=True)
    files = Path(world.directory, plan.name) if plan.has_files else None
    mount("tmpfs", str(root), "tmpfs", 0, "mode=755")
    written = _written_folders(files)
    for entry in sorted(os.scandir("/"), key=lambda each: each.name):
        target = root / entry.name
        if entry.is_symlink():
            target.symlink_to(os.readlink(entry.path))
        elif entry.is_dir() and entry.name not in _OWN | written:
            target.mkdir()
            mount(entry.path, str(target), flags=MountFlag.BIND | MountFlag.REC)
            make_read_only(str(target))
    if files is not None:
        _own_folders(files, base / "upper", layered=world.layered)
    for name in sorted({*OVERLAID, *written}):
        _overlay(name, base, layered=world.layered)
    _devices(root)
    _kernel_file_systems(root)
    for path in world.needed:
        _keep_visible(path, root)
    _shared(root, world)
    _place_files(plan, world, root, files)
    change_root(str(root))


def _written_folders(files: Path | None) -> frozenset[str]:
    """The top folders that the lab brings files for, beside the usual ones: `/bin` counts as what it points to."""
    if files is None:
        return frozenset()
    tops = (os.path.realpath(f"/{entry.name}").split("/")[1] for entry in files.iterdir() if entry.is_dir())
    return frozenset(top for top in tops if top not in _OWN and os.path.isdir(f"/{top}"))


def _own_folders(files: Path, upper: Path, *, layered: bool) -> None:
    """Take over the folders that the lab brings files for: a user may not write to those of the host.

    What the user may not even read there, the lab's folder hides.
    """
    for current, _, _ in os.walk(files):
        host = os.path.realpath(f"/{os.path.relpath(current, files)}")
        folder = upper / host.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(host):
            shutil.copymode(host, folder)
            if not os.access(host, os.R_OK | os.X_OK):
                os.setxattr(folder, f"{'user' if layered else 'trusted'}.overlay.opaque", b"y")
                folder.chmod(0o755)


def _overlay(name: str, base: Path, *, layered: bool) -> None:
    host = f"/{name}"
    upper, work, target = base / "upper" / name, base / "work" / name, base / "root" / name
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    upper.chmod(_MODES.get(name, 0o755))
    lower = [f"../layer/{name}"] if layered and (base.parent / "layer" / name).is_dir() else []
    os.chdir(base)  # relative names: a comma or a colon in the lab's own path cannot spoil the options
    with contextlib.suppress(OSError):
        if os.access(host, os.R_OK | os.X_OK):
            _mount_overlay(name, [*lower, host], layered=layered)
            return
    # The user may not read it, or the host mounted something below it, which the kernel does not let a user take apart.
    if lower:
        _mount_overlay(name, lower, layered=layered)
    else:
        mount(str(upper), str(target), flags=MountFlag.BIND)


def _mount_overlay(name: str, lower: list[str], *, layered: bool) -> None:
    options = f"lowerdir={':'.join(lower)},upperdir=upper/{name},workdir=work/{name}"
    # In a user namespace the overlay's own marks must be user attributes; elsewhere that is not needed.
    mount("overlay", f"root/{name}", "overlay", 0, f"{options},userxattr" if layered else options)


def _devices(root: Path) -> None:
    target = root / "dev"
    target.mkdir()
    mount("/dev", str(target), flags=MountFlag.BIND | MountFlag.REC)
    make_read_only(str(target))
    if (target / "shm").is_dir():
        mount("tmpfs", str(target / "shm"), "tmpfs", MountFlag.NOSUID | MountFlag.NODEV, "mode=1777")


def _kernel_file_systems(root: Path) -> None:
    for name in ("proc", "run", "sys"):
        (root / name).mkdir()
    quiet = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    mount("tmpfs", str(root / "run"), "tmpfs", MountFlag.NOSUID | MountFlag.NODEV, "mode=755")
    (root / "run" / "netns").mkdir()
    (root / "run" / "lock").mkdir()
    (root / "run" / "lock").chmod(0o1777)
    mount("proc", str(root / "proc"), "proc", quiet)
    try:
        mount("sysfs", str(root / "sys"), "sysfs", quiet)
    except PermissionError:  # a container that hides parts of its own /sys
        mount("/sys", str(root / "sys"), flags=MountFlag.BIND | MountFlag.REC)
        make_read_only(str(root / "sys"))


def _keep_visible(path: str, root: Path) -> None:
    """A mount of the host below an overlaid folder is not seen through it: bind it again where the package needs it."""
    target = root / path.lstrip("/")
    if target.is_dir() and any(os.scandir(target)):
        return
    target.mkdir(parents=True, exist_ok=True)
    mount(path, str(target), flags=MountFlag.BIND | MountFlag.REC)
    make_read_only(str(target))


def _shared(root: Path, world: World) -> None:
    target = root / "shared"
    target.mkdir()
    own = Path(world.directory, "shared")
    mount(str(own if own.is_dir() else Path(world.room, "shared")), str(target), flags=MountFlag.BIND)


def _place_files(plan: MachinePlan, world: World, root: Path, files: Path | None) -> None:
    (root / "etc" / "hostname").unlink(missing_ok=True)
    (root / "etc" / "hostname").write_text(f"{plan.name}\n")
    (root / "etc" / "hosts").unlink(missing_ok=True)
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {plan.name}\n::1 localhost ip6-localhost\n")
    (root / "hostlab").mkdir()
    for name in plan.startups:
        text = Path(world.directory, name).read_bytes().replace(b"\r\n", b"\n")
        (root / "hostlab" / name).write_bytes(text)
        (root / "hostlab" / name).chmod(0o755)
    log = root / STARTUP_LOG.lstrip("/")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    log.touch()
    if files is not None:
        _copy_tree(files, root)


def _copy_tree(source: Path, target: Path) -> None:
    for entry in sorted(os.scandir(source), key=lambda each: each.name):
        place = target / entry.name
        if entry.is_symlink():
            place.unlink(missing_ok=True)
            place.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            place.mkdir(exist_ok=True)
            _copy_tree(Path(entry.path), place)
        else:
            place.unlink(missing_ok=True)  # never written through: the old file may belong to somebody else
            shutil.copyfile(entry.path, place)
            shutil.copymode(entry.path, place)


def run_startup(plan: MachinePlan, environment: dict[str, str]) -> list[StartupFailure]:
    """Run the startup files in order, then the lab.conf's `exec` lines, and tell what failed."""
    failures: list[StartupFailure] = []
    for name in plan.startups:
        arguments = ["bash", "-c", _RUNNER, "startup", f"/hostlab/{name}"]
        failures += _run(plan.name, name, "", arguments, environment)
    for command in plan.conf.commands:
        failures += _run(plan.name, "lab.conf", command, ["bash", "-x", "-c", command], environment)
    return failures


def _run(
    machine: str, file: str, command: str, arguments: list[str], environment: dict[str, str]
) -> list[StartupFailure]:
    """Run one of them with its output in the log; `command` is what to show where no line is to blame."""
    Path(_FAILURES).unlink(missing_ok=True)
    with open(STARTUP_LOG, "ab", buffering=0) as log:
        before = log.tell()
        status = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment, check=False
        ).returncode
    printed = Path(STARTUP_LOG).read_bytes()[before:]
    noted = Path(_FAILURES).read_text(errors="replace").splitlines() if os.path.exists(_FAILURES) else []
    failures = []
    for entry in noted:
        if entry.count("\t") < 3:
            continue  # the rest of a command that spans lines
        line, code, size, failed = entry.split("\t", 3)
        if not failed.startswith('. "$1"'):
            output = _tail(printed[: int(size) - before])
            failures.append(StartupFailure(machine, file, int(line), int(code), failed[:200], output))
    if status != 0 and not failures:
        told = [int(number) for number in _LINE_TOLD.findall(printed)]
        failures.append(StartupFailure(machine, file, told[-1] if told else 0, status, command, _tail(printed)))
    return failures


def _tail(text: bytes, lines: int = 5, longest: int = 200) -> str:
    return "\n".join(line[:longest] for line in text.decode(errors="replace").splitlines()[-lines:])
