"""What the host remembers of labs that are up: one directory each, with a lock, nothing once the lab is down.

It lies in `$XDG_RUNTIME_DIR/meetme/labs`, else below `/run`, else in a private folder of the temporary directory. The
truth is the process: a directory whose keeper is gone is a leftover, and whoever comes next may clear it away.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from meetme.model.errors import Conflict, Unsupported

_LOCK_PATIENCE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Running:
    """A lab that is up. `namespaces` gives, for a machine, the descriptors that the keeper holds: mnt, net, uts."""

    name: str
    directory: str
    keeper: int
    born: str
    """When the keeper started, as the kernel counts, and the boot: a process id that came round again is told apart."""
    own_user: bool
    namespaces: dict[str, dict[str, int]]
    environments: dict[str, dict[str, str]]
    rows: list[dict[str, str]]
    """The plan as a table: the lab's files may have changed since."""
    seconds: float
    """How long `up` took."""

    @property
    def alive(self) -> bool:
        """Whether the keeper still is there."""
        return birth_of(self.keeper) == self.born


def birth_of(process: int) -> str | None:
    """Start time and boot of a process, None if there is none or it only waits to be buried."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{fields[19]}@{boot}"


def base_directory() -> Path:
    """Where the directories of labs lie. Nothing is made here: looking leaves no trace."""
    user = os.geteuid()
    places = [os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}", "/run" if user == 0 else None]
    for place in places:
        if place and os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(place, "meetme", "labs")
    return Path(tempfile.gettempdir(), f"meetme-{user}", "labs")


def _make_private(path: Path) -> None:
    """Make the directory of one lab. In a temporary directory that all share, somebody else could have been first."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parents[1].lstat().st_uid != os.geteuid():
        raise Unsupported(
            "no_runtime_directory",
            f"labs need a directory of this user's own ({path.parents[1]})",
            hint="set XDG_RUNTIME_DIR",
        )


class LabState:
    """The directory of one lab, found by the path of its files."""

    def __init__(self, directory: Path) -> None:
        digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:10]
        self.path = base_directory() / f"{directory.name}-{digest}"

    @property
    def room(self) -> Path:
        """Where the keeper mounts the lab's tmpfs; an empty folder to everybody else."""
        return self.path / "room"

    @property
    def log(self) -> Path:
        """What the keeper had to say."""
        return self.path / "keeper.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that changes this lab. Raises Conflict when somebody else does for too long."""
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            _make_private(self.path)
            try:
                descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue  # it was cleared away between the two lines
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(self.path / "lock")):
                        break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise Conflict(
                        "lab_busy",
                        f'one command at a time changes a lab ("{self.path.name}" is locked)',
                        hint="wait for it",
                    ) from None
                time.sleep(0.02)
            os.close(descriptor)
        try:
            yield
        finally:
            os.close(descriptor)

    def read(self) -> Running | None:
        """The lab if it is up, else None."""
        return _read(self.path)

    def write(self, running: Running) -> None:
        """Remember it. All or nothing."""
        draft = self.path / "state.json.new"
        draft.write_text(json.dumps(asdict(running)))
        draft.replace(self.path / "state.json")

    def clear(self) -> None:
        """Forget the lab, and leave no empty directory behind."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            for parent in (self.path.parent, self.path.parent.parent):
                parent.rmdir()


def running_labs() -> list[Running]:
    """Every lab of this user that is up, by name."""
    base = base_directory()
    found = [_read(entry) for entry in base.iterdir()] if base.is_dir() else []
    return sorted((each for each in found if each is not None), key=lambda each: (each.name, each.directory))


def _read(path: Path) -> Running | None:
    try:
        running = Running(**json.loads((path / "state.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return running if running.alive else None
