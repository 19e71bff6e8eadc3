"""Finds a driver by name. Built-in and foreign ones come through the same door: the entry points `meetme.drivers`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from meetme.drivers.base import Driver
from meetme.model.errors import InvalidInput, Unsupported

GROUP = "meetme.drivers"


def driver_names() -> tuple[str, ...]:
    """Every driver that is installed, by name."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def load_driver(name: str) -> Driver[Any]:
    """A new driver of this name, not yet opened.

    Raises InvalidInput `driver_unknown`, Unsupported `driver_broken` where it is installed but cannot be loaded.
    """
    found: list[EntryPoint] = list(entry_points(group=GROUP, name=name))
    if not found:
        raise InvalidInput(
            "driver_unknown",
            f'driver: must be one of {", ".join(driver_names())} ("{name}")',
            hint="a driver of your own is a class behind an entry point in the group meetme.drivers",
            field="driver",
        )
    try:
        driver: Driver[Any] = found[0].load()()
    except (ImportError, AttributeError) as error:
        raise Unsupported(
            "driver_broken", f'driver: "{name}" is installed but cannot be loaded ({error})', field="driver"
        ) from error
    return driver
