"""The member's border routers, each behind its configurator, with what it was last seen to have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

from meetme.configurator.client import RouterControl
from meetme.model.errors import NotFound, Unreachable, Unsupported
from meetme.model.intent import LinkEvent, LinkIntent
from meetme.negotiator.facts import RouterView
from meetme.runtime.clock import Clock
from meetme.runtime.shared_call import SharedCall

CALL_SECONDS = 10.0
"""For one order to a configurator that hangs: longer than any router takes, shorter than a decision."""
LOOK_SECONDS = 5.0
CONNECTED_SECONDS = 30.0
"""Longer than a connection that cannot be made, or is dead, goes unnoticed."""
FRESH_SECONDS = 2.0
"""How old a look at a router may be before a new negotiation takes another."""

Opener = Callable[[], Awaitable[RouterControl]]


class Router:
    """One border router. Connects when first needed, and again when that failed."""

    def __init__(self, name: str, opener: Opener, clock: Clock) -> None:
        self.name = name
        self._opener = opener
        self._clock = clock
        self._control: RouterControl | None = None
        self._view: RouterView | None = None
        self._seen = float("-inf")
        self._reached_at: float | None = None
        self._watched_since: float | None = None
        self._opening = asyncio.Lock()
        self._look = SharedCall(self._look_now)
        self.strays: tuple[LinkIntent, ...] = ()
        """Links that it has and of which the store does not know (`strays`)."""

    @property
    def view(self) -> RouterView | None:
        """What it was last seen to have; None: it was never reached."""
        return self._view

    @property
    def reached_at(self) -> float | None:
        """When it was last known to answer, in seconds since the epoch: now, while it is watched. None: never yet."""
        now, since = self._clock.now(), self._watched_since
        return now if since is not None and now - since > CONNECTED_SECONDS else self._reached_at

    async def control(self) -> RouterControl:
        """The client to give orders through. Raises Unreachable."""
        async with self._opening:
            if self._control is None:
                async with limited(self.name, LOOK_SECONDS):
                    self._control = await self._opener()
            return self._control

    async def look(self, *, fresh: bool = True) -> RouterView:
        """What it has, as of now or, not `fresh`, of a moment ago. Raises Unreachable, DeviceFailed."""
        age = self._clock.monotonic() - self._seen
        if self._view is not None and not fresh and age < FRESH_SECONDS:
            return self._view
        return await self._look()

    async def _look_now(self) -> RouterView:
        control = await self.control()
        async with limited(self.name, LOOK_SECONDS):
            capabilities = await control.capabilities() if self._view is None else self._view.capabilities
            try:
                self._view = RouterView(capabilities, await control.observe())
            except Unsupported:
                self._view = RouterView(capabilities, None)
        self._seen, self._reached_at = self._clock.monotonic(), self._clock.now()
        return self._view

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every link, then every change. Ends with an error when the connection does."""
        control = await self.control()
        self._watched_since = self._clock.now()
        try:
            async for event in control.watch():
                self._reached_at = self._clock.now()
                yield event
        finally:
            self._watched_since = None

    async def close(self) -> None:
        """Let go of the connection."""
        if self._control is not None:
            await self._control.close()


@asynccontextmanager
async def limited(router: str, seconds: float) -> AsyncIterator[None]:
    """A time limit for talking to a configurator. Raises Unreachable `configurator_timeout`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unreachable(
            "configurator_timeout",
            f'configurator: no answer within {seconds:g} s ("{router}")',
            hint="is it stuck? its log says what it waits for",
        ) from None


class Routers:
    """All of them, by name."""

    def __init__(self, routers: Mapping[str, Router]) -> None:
        self._routers = dict(routers)

    def __iter__(self) -> Iterator[Router]:
        return iter(self._routers.values())

    def get(self, name: str) -> Router:
        """The router of this name. Raises NotFound `router_unknown`."""
        router = self._routers.get(name)
        if router is None:
            raise NotFound(
                "router_unknown",
                f'router: must be one of the configurators ("{name}")',
                hint=f"configurators: {', '.join(self._routers) or 'none'}",
                field="router",
            )
        return router

    async def close(self) -> None:
        """Let go of every connection."""
        await asyncio.gather(*(router.close() for router in self._routers.values()))
