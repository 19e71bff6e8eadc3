"""A small host of its own for tests of labs: every process, mount, interface and file in it can be listed and compared.

It is a net, mount and PID namespace with an empty /run. Labs are built in it by the real command, as its root or as an
ordinary user, so what a lab leaves behind cannot hide among what else runs on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

USER = 65534
MEETME = [sys.executable, "-P", "-m", "meetme.cli.lab"]

# The first process buries orphans, as that of a real host does. An ordinary user may not look into the superuser's
# home, where the interpreter may lie: show that part alone.
_OPEN_HOME = """
set -e
umount -R -l /run/netns 2>/dev/null || :
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
mkdir -p /run/user && mkdir -m 700 /run/user/$1 && chown $1 /run/user/$1
if [ -n "$2" ]; then
    mkdir /run/python && mount --rbind "$2" /run/python
    mount -t tmpfs -o mode=755 tmpfs /root && mkdir -p "$2" && mount --rbind /run/python "$2"
    umount -l /run/python && rmdir /run/python
fi
echo ready
exec "$3" -I -S -c 'import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pause()'
"""


_UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


@dataclass
class Host:
    """The host, seen as root or as a user."""

    holder: int
    user: int
    folder: Path
    inherited: set[str] = field(default_factory=set)
    """Ids of mounts that were there before the host: they vanish when their folders do, whoever removes those."""

    def __post_init__(self) -> None:
        self.inherited |= {mount.split()[0] for mount in self._mounts()}

    def command(self, *arguments: str) -> list[str]:
        """What runs `arguments` on this host."""
        enter = ["nsenter", f"--target={self.holder}", "--mount", "--net", "--pid"]
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] if self.user else []
        # A shell starts what it leaves in the background with SIGINT ignored, and everything below inherits that.
        clean = [
            "env",
            "--default-signal=INT",
            f"--chdir={self.folder}",
            "-u",
            "XDG_RUNTIME_DIR",
            "HOME=/",
            "TMPDIR=/run",
        ]
        return [*enter, *become, *clean, *arguments]

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a `meetme lab` command."""
        return subprocess.Popen(
            self.command(*MEETME, *arguments),
            text=True,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def lab(self, *arguments: str, status: int = 0, stdin: str | None = None, seconds: float = 60) -> str:
        """Run a `meetme lab` command to its end; what it printed on stdout, for another status than 0 on stderr."""
        done = subprocess.run(
            self.command(*MEETME, *arguments),
            text=True,
            input=stdin if stdin is not None else "",
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if status == 0 else done.stderr

    def json(self, *arguments: str, seconds: float = 60) -> Any:
        """The same with --format json."""
        return json.loads(self.lab(*arguments, "--format", "json", seconds=seconds))

    def inside(self, lab: str, machine: str, script: str, status: int = 0) -> str:
        """Run a shell script in a machine; what it printed, stripped."""
        return self.lab("exec", lab, machine, "--", "sh", "-c", script, status=status).strip()

    def run(self, script: str) -> str:
        """Run a shell script on the host itself."""
        return subprocess.run(self.command("sh", "-c", script), text=True, capture_output=True, check=True).stdout

    def processes(self) -> list[str]:
        """What runs on this host, but for the look itself; the dead wait for their parents, not for us."""
        look = ["ps", "-e", "-o", "args="]
        listing = subprocess.run(self.command(*look), text=True, capture_output=True, check=True).stdout
        lines = map(str.strip, listing.splitlines())
        return sorted(line for line in lines if line != " ".join(look) and not line.endswith("<defunct>"))

    def traces(self) -> dict[str, list[str]]:
        """Everything that a lab could leave: processes, mounts, interfaces, files of state and of its own."""
        looks = {
            "interfaces": "ip -o link | cut -d' ' -f2",
            "namespaces": "ip netns list",
            "files": f"find /run {self.folder} ! -name '__pycache__'",
        }
        mounts = [" ".join(m.split()[4:]) for m in self._mounts() if m.split()[0] not in self.inherited]
        return {"processes": self.processes(), "mounts": sorted(mounts)} | {
            name: sorted(self.run(look).splitlines()) for name, look in looks.items()
        }

    def _mounts(self) -> list[str]:
        return self.run("cat /proc/self/mountinfo").splitlines()

    def write(self, lab: str, **files: str) -> None:
        """Write a lab's files; in a name `__` is a dot and `___` a slash."""
        for name, text in files.items():
            path = self.folder / lab / name.replace("___", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder, _, names in os.walk(self.folder / lab):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, self.user, self.user)


@contextmanager
def a_host(user: int, folder: Path) -> Iterator[Host]:
    """Make the host, and end all that is left in it at the end."""
    home = _python_home() if user else ""
    holder = subprocess.Popen(
        [*_UNSHARE, "bash", "-c", _OPEN_HOME, "host", str(user), home, sys.executable],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != "ready\n":
            assert holder.stderr is not None
            pytest.skip(f"needs root, or `unshare -Urnm`: {holder.stderr.read().strip()}")
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        yield Host(int(children[0]), user, folder)
    finally:
        holder.kill()
        holder.wait()


def _python_home() -> str:
    """The folder below /root that holds the interpreter, where it does and an ordinary user cannot get there."""
    real = Path(sys.executable).resolve()
    if real.parts[1] != "root" or Path("/root").stat().st_mode & 0o005 == 0o005:
        return ""
    return str(Path(*real.parts[:3]))


def why_not_as_user() -> str | None:
    """Why no test can be run as an ordinary user; None where it can."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        return "only the superuser can become an ordinary user"
    if shutil.which("setpriv") is None:
        return "needs setpriv (util-linux)"
    return None


# Where a user can do it, that is the ordinary run: as root it goes the same ways.
AS_ROOT = pytest.param("root", marks=[pytest.mark.slow] if why_not_as_user() is None else [])


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until the condition holds; fail when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
