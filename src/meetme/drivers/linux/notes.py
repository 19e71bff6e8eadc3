"""What the driver must remember about a circuit while its namespace lives: one small file beside the namespace's name.

It lies on the same tmpfs as the namespace's names, so a reboot takes both. Lost, it costs no more than a reload of the
ruleset, and the port comes back without the settings it had: the veth's alias still says whose circuit it is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_interface, ip_network
from pathlib import Path

from meetme.drivers.linux.config import PortBefore
from meetme.model.addresses import Prefix


@dataclass(frozen=True, slots=True)
class Note:
    """One circuit's file. `router` and `namespace` are the inodes of the two namespaces it is about."""

    circuit: str
    router: int
    namespace: int
    port: str
    vlan: int | None
    before: PortBefore | None = None
    ruleset: str = ""
    generation: int = 0
    """The namespace's nftables generation right after `ruleset` was loaded: any later one means somebody was there."""
    tracked: tuple[Prefix, ...] = ()


class Notes:
    """The files in one directory, by namespace name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str) -> Note | None:
        """The note, or None where there is none that can be read."""
        path = f"{self._directory}/{name}.json"
        try:
            found = os.stat(path)
        except OSError:
            return None
        return _read(path, found.st_ino, found.st_mtime_ns)

    def write(self, name: str, note: Note) -> None:
        """Replace the note in one step. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = note.before
        whole = {
            "circuit": note.circuit,
            "router": note.router,
            "namespace": note.namespace,
            "port": note.port,
            "vlan": note.vlan,
            "before": None
            if before is None
            else {
                "mtu": before.mtu,
                "up": before.up,
                "alias": before.alias,
                "mac": before.mac,
                "addresses": [str(a) for a in before.addresses],
                "sysctls": list(before.sysctls),
            },
            "ruleset": note.ruleset,
            "generation": note.generation,
            "tracked": [str(p) for p in note.tracked],
        }
        new = self._draft(name)
        new.write_text(json.dumps(whole))
        new.rename(self._directory / f"{name}.json")

    def drop(self, name: str) -> None:
        """Forget; what is not there is no error."""
        (self._directory / f"{name}.json").unlink(missing_ok=True)
        self._draft(name).unlink(missing_ok=True)  # of somebody who died while writing

    def _draft(self, name: str) -> Path:
        return self._directory / f"{name}.new"

    def all(self) -> list[Note]:
        """Every note there is."""
        try:
            names = sorted(name for name in os.listdir(self._directory) if name.endswith(".json"))
        except FileNotFoundError:
            return []
        found = (self.read(name.removesuffix(".json")) for name in names)
        return [note for note in found if note is not None]


@lru_cache(8192)
def _read(path: str, inode: int, changed: int) -> Note | None:
    """A note is replaced, never written into: one with the same inode and time is the same."""
    try:
        found = json.loads(Path(path).read_text())
        before = found["before"]
        return Note(
            circuit=found["circuit"],
            router=found["router"],
            namespace=found["namespace"],
            port=found["port"],
            vlan=found["vlan"],
            before=None if before is None else _before(before),
            ruleset=found["ruleset"],
            generation=found["generation"],
            tracked=tuple(ip_network(p) for p in found["tracked"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _before(found: dict[str, object]) -> PortBefore:
    addresses, sysctls = found["addresses"], found["sysctls"]
    if not isinstance(addresses, list) or not isinstance(sysctls, list):
        raise ValueError("not a note of ours")
    return PortBefore(
        mtu=int(str(found["mtu"])),
        up=bool(found["up"]),
        alias=str(found["alias"]),
        mac=str(found["mac"]) if found["mac"] is not None else None,
        addresses=tuple(ip_interface(a) for a in addresses),
        sysctls=tuple((str(key), str(value)) for key, value in sysctls),
    )
