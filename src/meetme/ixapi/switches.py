"""The exchange's switches, each behind its configurator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import UUID

from meetme.model.errors import NotFound, Unreachable
from meetme.model.intent import AppliedSegment, LinkEvent, Observation, Removal
from meetme.model.segment import SegmentIntent
from meetme.runtime.clock import Clock

CALL_SECONDS = 10.0
"""For one order to a configurator that hangs."""
LOOK_SECONDS = 2.0


class SwitchControl(Protocol):
    """What the exchange asks of a switch: what `meetme.configurator.client.ConfiguratorClient` offers."""

    async def apply(self, intent: SegmentIntent, *, confirm_seconds: float | None = None) -> tuple[str, ...]:
        """Bring a segment into force; the commands that it took."""

    async def confirm(self, circuit: str, agreement: UUID, generation: int) -> None:
        """End the confirm timer. Raises NotFound where the segment has been rolled back."""

    async def remove(self, circuit: str, agreement: UUID, generation: int) -> Removal:
        """Take a segment back."""

    async def observe(self) -> Observation:
        """What it has."""

    def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every segment, then every change; ends with an error when the connection does."""

    async def capabilities(self) -> object:
        """What it can do: whether it answers."""

    async def close(self) -> None:
        """Let go of the connection."""


Opener = Callable[[], Awaitable[SwitchControl]]


class SwitchDoor:
    """One switch. Connects when first needed, and again when that failed."""

    def __init__(self, name: str, opener: Opener, clock: Clock) -> None:
        self.name = name
        self._opener = opener
        self._clock = clock
        self._control: SwitchControl | None = None
        self._opening = asyncio.Lock()
        self.reached_at: float | None = None
        """When it last answered, in seconds since the epoch; None: never yet."""
        self.strays: tuple[AppliedSegment, ...] = ()
        """Segments that it has and of which the books do not know (`watching`)."""

    async def look(self) -> None:
        """Whether it answers. Raises Unreachable."""
        async with self.control(LOOK_SECONDS) as control:
            await control.capabilities()

    @asynccontextmanager
    async def control(self, seconds: float = CALL_SECONDS) -> AsyncIterator[SwitchControl]:
        """The client to give one order through, within a time. Raises Unreachable `configurator_timeout`."""
        try:
            async with asyncio.timeout(seconds):
                async with self._opening:
                    if self._control is None:
                        self._control = await self._opener()
                yield self._control
        except TimeoutError:
            raise Unreachable(
                "configurator_timeout",
                f"configurator: no answer within {seconds:g} s ('{self.name}')",
                hint="is it stuck? its log says what it waits for",
            ) from None
        self.reached_at = self._clock.now()

    async def segments(self) -> tuple[AppliedSegment, ...]:
        """Every segment that it has. Raises Unreachable, DeviceFailed."""
        async with self.control() as control:
            return (await control.observe()).segments

    async def watch(self) -> AsyncIterator[LinkEvent]:
        """The state of every segment, then every change. Ends with an error when the connection does."""
        async with self.control():
            control = self._control
        assert control is not None
        async for event in control.watch():
            self.reached_at = self._clock.now()
            yield event

    async def close(self) -> None:
        """Let go of the connection."""
        if self._control is not None:
            await self._control.close()


class Switches:
    """All of them, by name."""

    def __init__(self, openers: Mapping[str, Opener], clock: Clock) -> None:
        self._doors = {name: SwitchDoor(name, opener, clock) for name, opener in openers.items()}

    def __iter__(self) -> Iterator[SwitchDoor]:
        return iter(self._doors.values())

    def get(self, name: str) -> SwitchDoor:
        """The switch of this name. Raises NotFound `switch_unknown`."""
        door = self._doors.get(name)
        if door is None:
            raise NotFound(
                "switch_unknown",
                f"switch: must be one of the settings ('{name}')",
                hint="it carries services: put it back into the settings",
                field="switch",
            )
        return door

    async def close(self) -> None:
        """Let go of every connection."""
        await asyncio.gather(*(door.close() for door in self._doors.values()))
