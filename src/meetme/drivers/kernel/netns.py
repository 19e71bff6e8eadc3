"""Network namespaces: made, named, kept, entered, let go. Linux 3.8 and later, `namespaces(7)`, `ip-netns(8)`.

A namespace of ours has two names: the one in /run/netns that people see and use with `ip netns`, and a second one in a
private directory. `ip netns del` takes the first and not the second, so nothing happens to the traffic, and the driver
gives the first name back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PUBLIC = Path("/run/netns")
_NEWNET = 0x40000000
_BIND, _REC, _SHARED, _DETACH = 0x1000, 0x4000, 0x100000, 2


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def in_thread(f: Callable[[], T]) -> T:
    """Run `f` in a thread of its own, which dies with whatever namespace it went into."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(f())
        except BaseException as error:  # handed to the caller, whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, name="meetme-netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def inside(namespace: Path, f: Callable[[], T]) -> T:
    """Run `f` inside the namespace bound to `namespace`; processes it starts are there too. Raises OSError."""

    def run() -> T:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc().setns(descriptor, _NEWNET), "setns")
        finally:
            os.close(descriptor)
        return f()

    return in_thread(run)


def fresh(f: Callable[[], T]) -> T:
    """Run `f` inside a new namespace that goes when `f` ends, unless `f` keeps it (`keep`). Raises OSError."""

    def run() -> T:
        _checked(_libc().unshare(_NEWNET), "unshare")
        return f()

    return in_thread(run)


def keep(path: Path) -> None:
    """Give the calling thread's network namespace the name `path`. Raises OSError."""
    bind(Path(f"/proc/self/task/{threading.get_native_id()}/ns/net"), path)


def bind(source: Path, path: Path) -> None:
    """Bind the namespace at `source` to `path`, a name that is free or a left-over file. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if path.parent == PUBLIC:
        _share(PUBLIC)
    path.touch(mode=0o444, exist_ok=True)
    _checked(_libc().mount(str(source).encode(), str(path).encode(), b"none", _BIND, None), f"mount {path}")


def alive(path: Path) -> bool:
    """Whether a namespace is bound there, and not just a file left."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False


def identity(path: Path | str = "/proc/self/ns/net") -> int | None:
    """The inode of the namespace at `path`: equal for two names of one namespace."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def let_go(path: Path) -> None:
    """Take a name away, as `ip netns del` does. What is not there is no error."""
    _libc().umount2(str(path).encode(), _DETACH)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _share(directory: Path) -> None:
    """As `ip netns add`: names made in one mount namespace shall be seen in the others."""
    libc, where = _libc(), str(directory).encode()
    for _ in range(2):
        if libc.mount(b"", where, b"none", _SHARED | _REC, None) == 0:
            return
        if ctypes.get_errno() != errno.EINVAL:
            _checked(-1, f"mount {directory}")
        _checked(libc.mount(where, where, b"none", _BIND | _REC, None), f"mount {directory}")
