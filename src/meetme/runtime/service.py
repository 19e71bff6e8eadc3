"""What every service with an API is: listeners, the tasks behind them, and an end in the right order.

Each has a local API, some one for other members, some one for figures alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from starlette.types import ASGIApp

from meetme.runtime.http import build_metrics_app
from meetme.runtime.listener import GRACE_SECONDS, Listener, open_listener
from meetme.runtime.telemetry import Registry

Where = str | socket.socket
"""An address, or a socket that listens already."""


class Service:
    """The listeners and tasks of one service. Nothing runs before it is told to."""

    def __init__(self, *, vital: int = 1) -> None:
        """`vital`: without so many of its first tasks nothing works."""
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._vital = vital
        self.local_url = ""
        """Where the local API is, once it listens."""
        self.peers_url: str | None = None
        """Where other members reach it; None: they do not."""
        self.metrics_url: str | None = None
        """Where figures are served without a token; None: nowhere."""

    def alive(self) -> bool:
        """Whether what has to run all the time does. Not whether what it needs can be reached."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks[: self._vital])

    # --- listening ----------------------------------------------------------------------------------------------------

    async def _listen_local(self, app: ASGIApp, where: Where, *, beyond: ssl.SSLContext | None) -> None:
        """Serve the local API; beyond loopback only with `beyond`. Raises InvalidInput, Conflict `address_in_use`."""
        self.local_url = await self._open(app, where, beyond_loopback=beyond)

    async def _listen_peers(self, app: ASGIApp, where: Where | None, *, tls: ssl.SSLContext) -> None:
        """Serve other members, if there is a place for that. Raises as for the local API."""
        if where is not None:
            self.peers_url = await self._open(app, where, flag="--listen-peers", tls=tls)

    async def _listen_metrics(self, registry: Registry, where: str | None) -> None:
        """Serve figures alone, if there is a place for that. Raises as for the local API."""
        if where is not None:
            self.metrics_url = await self._open(build_metrics_app(registry), where, flag="--listen-metrics")

    async def _open(self, app: ASGIApp, where: Where, **how: Any) -> str:
        listener = await open_listener(app, where, **how)
        self._listeners.append(listener)
        return listener.url

    # --- the end ------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Answer no more, give back what is under way. What was agreed stays in force."""
        await self.hang_up()
        await self.kill()

    async def hang_up(self, grace: float = GRACE_SECONDS) -> None:
        """Take no more requests; those under way have `grace` seconds."""
        await asyncio.gather(*(listener.close(grace=grace) for listener in self._listeners))
        self._listeners.clear()

    async def kill(self) -> None:
        """End the own tasks; nobody is told."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
