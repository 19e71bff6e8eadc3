"""What the driver must remember of a circuit: which interfaces are its, and how its whole ports were before.

One small file a circuit, on the tmpfs that a reboot empties as it empties the kernel's tables.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from meetme.drivers.fabric.config import PortBefore, bridge_name

_SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class Note:
    """One circuit's file."""

    circuit: str
    devices: tuple[str, ...]
    """Interfaces that are, or may be, part of it."""
    before: tuple[tuple[str, PortBefore], ...] = ()
    fresh: tuple[str, ...] = ()
    """Those that are being made: they were not there when this was written, and may have no tag yet."""


class Notes:
    """The files of one switch: a network namespace, told by its inode."""

    def __init__(self, directory: Path) -> None:
        self._root = directory

    def read(self, circuit: str) -> Note | None:
        """None where there is none that can be read."""
        return _note(_load(self._path(circuit)))

    def write(self, note: Note) -> None:
        """Replace the note in one step. Raises OSError."""
        ports = {
            name: {"mtu": b.mtu, "up": b.up, "ipv6_off": b.ipv6_off, "addresses": [str(a) for a in b.addresses]}
            for name, b in note.before
        }
        said = {"circuit": note.circuit, "devices": list(note.devices), "before": ports, "fresh": list(note.fresh)}
        _store(self._path(note.circuit), said)

    def drop(self, circuit: str) -> None:
        """Forget; what is not there is no error."""
        _drop(self._path(circuit))

    def all(self) -> list[Note]:
        """Every note there is."""
        found = (_note(_load(path)) for path in sorted(self._directory.glob("mmb-*.json")))
        return [note for note in found if note is not None]

    def note_setting(self, key: str, value: str) -> None:
        """What a setting of the switch was before we changed it; the first word stays."""
        path = self._directory / _SETTINGS
        noted = _load(path) or {}
        _store(path, {key: value} | noted)

    def take_settings(self) -> dict[str, str]:
        """All of them, which are then forgotten."""
        path = self._directory / _SETTINGS
        noted = {str(key): str(value) for key, value in (_load(path) or {}).items()}
        _drop(path)
        return noted

    @property
    def _directory(self) -> Path:
        return self._root / str(os.stat("/proc/thread-self/ns/net").st_ino)

    def _path(self, circuit: str) -> Path:
        return self._directory / f"{bridge_name(circuit)}.json"


def _load(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _store(path: Path, whole: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = _draft(path)
    new.write_text(json.dumps(whole))
    new.rename(path)


def _draft(path: Path) -> Path:
    return path.with_suffix(".new")


def _drop(path: Path) -> None:
    path.unlink(missing_ok=True)
    _draft(path).unlink(missing_ok=True)  # of somebody who died while writing


def _note(found: dict[str, Any] | None) -> Note | None:
    if found is None:
        return None
    try:
        before = {
            name: PortBefore(b["mtu"], b["up"], b["ipv6_off"], tuple(ip_interface(a) for a in b["addresses"]))
            for name, b in found["before"].items()
        }
        fresh = tuple(found.get("fresh", ()))
        return Note(found["circuit"], tuple(found["devices"]), tuple(sorted(before.items())), fresh)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
