"""Telling a service manager how we are: `sd_notify(3)`, by its datagram protocol, with nothing but a socket.

Where no manager listens (no `NOTIFY_SOCKET`), all of this does nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog


@dataclass(frozen=True, slots=True)
class Manager:
    """The service manager that started us, if one did."""

    address: str | None = None
    watchdog_seconds: float | None = None
    """How long it waits for a sign of life before it takes us for stuck; None: for ever."""

    @classmethod
    def of(cls, environ: Mapping[str, str], *, pid: int | None = None) -> Manager:
        """As the environment says. The watchdog is ours only if it is meant for this process."""
        address = environ.get("NOTIFY_SOCKET") or None
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant_for = environ.get("WATCHDOG_PID", "")
        ours = not meant_for or meant_for == str(os.getpid() if pid is None else pid)
        seconds = int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) and ours else None
        return cls(address, seconds if address else None)

    def tell(self, **assignments: str) -> None:
        """Send `READY="1"` and the like. That nobody takes it is no reason to fail, nor to wait."""
        if self.address is None:
            return
        # A name that begins with @ is in the abstract namespace, where it begins with a zero octet.
        to = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        text = "\n".join(f"{key}={value}" for key, value in assignments.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
                out.sendto(text.encode(), to)
        except OSError as error:
            structlog.get_logger().warning("the service manager cannot be told", said=text, problem=str(error))

    async def show_life(self, alive: Callable[[], bool]) -> None:
        """Give a sign of life twice as often as is asked for, as long as `alive` says so. Runs until cancelled."""
        while self.watchdog_seconds is not None:
            if alive():
                self.tell(WATCHDOG="1")
            await asyncio.sleep(self.watchdog_seconds / 2)
