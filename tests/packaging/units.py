"""The systemd units, read."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "packaging/systemd"
PROGRAM = "/opt/meetme/bin/meetme"


def settings(unit: str) -> dict[str, list[str]]:
    """Every value of every key of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def capabilities(unit: str) -> list[str]:
    """The capabilities that the service has, as setpriv calls them: `net_admin`."""
    (names,) = settings(unit)["AmbientCapabilities"]
    return [name.removeprefix("CAP_").lower() for name in names.split()]
