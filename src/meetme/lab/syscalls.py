"""The few kernel calls of namespaces and mounts that Python 3.11 has no name for. Needs Linux 5.12 or newer."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from enum import IntFlag


class Namespace(IntFlag):
    """The CLONE_NEW* flags, namespaces(7)."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    USER = 0x10000000
    PID = 0x20000000
    NET = 0x40000000


class MountFlag(IntFlag):
    """The MS_* flags, mount(2)."""

    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    BIND = 4096
    REC = 16384
    PRIVATE = 1 << 18


_MNT_DETACH = 2
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def _call(what: str, function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: Namespace) -> None:
    """unshare(2). A new PID namespace holds from the next child on. Raises OSError."""
    _call(f"unshare {flags!r}", _libc.unshare, ctypes.c_int(flags))


def setns(descriptor: int, kind: Namespace) -> None:
    """setns(2). Raises OSError."""
    _call(f"setns {kind!r}", _libc.setns, ctypes.c_int(descriptor), ctypes.c_int(kind))


def mount(source: str, target: str, kind: str = "", flags: MountFlag | int = 0, options: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    _call(
        f"mount {kind or 'bind'} on {target}",
        _libc.mount,
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(options) or None,
    )


def make_read_only(path: str, *, recursive: bool = True) -> None:
    """mount_setattr(2): every mount at and below `path` becomes read-only, in one call. Raises OSError."""
    attributes = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    _call(
        f"mount_setattr {path}",
        _libc.syscall,
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(path),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def change_root(path: str) -> None:
    """Make the mount at `path` the root and let go of the old one: pivot_root(2), "." on both sides. Raises OSError."""
    os.chdir(path)
    _call(f"pivot_root {path}", _libc.pivot_root, b".", b".")
    _call("umount of the old root", _libc.umount2, b".", ctypes.c_int(_MNT_DETACH))
    os.chdir("/")


def set_host_name(name: str) -> None:
    """sethostname(2) in the own UTS namespace. Raises OSError."""
    encoded = name.encode()
    _call("sethostname", _libc.sethostname, encoded, ctypes.c_size_t(len(encoded)))


def stay_visible() -> None:
    """Let the owner of this process see its /proc entries although it changed user namespace, PR_SET_DUMPABLE."""
    _call("prctl", _libc.prctl, ctypes.c_int(_PR_SET_DUMPABLE), ctypes.c_ulong(1), 0, 0, 0)


def set_process_name(name: str) -> None:
    """What `ps` shows in its short form, at most 15 octets, PR_SET_NAME."""
    _call("prctl", _libc.prctl, ctypes.c_int(_PR_SET_NAME), name.encode()[:15], 0, 0, 0)
