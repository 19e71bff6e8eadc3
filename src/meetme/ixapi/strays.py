"""Segments on switches that no service of the books has, for a person to look at and to take away.

The server names them in its log and its figures and leaves them alone: its store may have been lost or be an older
backup, and then they are circuits that carry traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from meetme.ixapi import comparing, store
from meetme.ixapi.switches import Opener, SwitchDoor, Switches
from meetme.model.errors import InvalidInput, MeetMeError, NotFound, Problem
from meetme.model.segment import SegmentIntent
from meetme.runtime.clock import Clock
from meetme.runtime.database import Database


@dataclass(frozen=True, slots=True)
class Stray:
    """One of them."""

    switch: str
    intent: SegmentIntent


@dataclass(frozen=True, slots=True)
class Found:
    """Those of all switches that answered, and why the others did not."""

    strays: tuple[Stray, ...]
    silent: tuple[tuple[str, Problem], ...]


class StraySearch:
    """Looks at every switch, beside a server that may be running."""

    def __init__(self, database: Database, openers: Mapping[str, Opener], clock: Clock) -> None:
        self._database = database
        self._switches = Switches(openers, clock)
        self._clock = clock

    async def find(self) -> Found:
        """What is in force on the switches and in no book.

        Raises NotFound `database_unused`: without books everything would be a stray.
        """
        if not await self._database.read(store.exists):
            raise NotFound(
                "database_unused",
                f"database: must be that of the IX-API server ('{self._database.file or 'it'}' has none of its tables)",
                hint="name it with --config, or with MEETME_IXAPI_DATABASE",
                field="database",
            )
        strays: list[Stray] = []
        silent: list[tuple[str, Problem]] = []
        for door, looked in zip(self._switches, await self._look(), strict=True):
            if isinstance(looked, MeetMeError):
                silent.append((door.name, looked.problem))
            else:
                strays += looked
        return Found(tuple(strays), tuple(silent))

    async def remove(self, circuit: str, switch: str | None = None) -> tuple[Stray, ...]:
        """Take a stray off its switch, or off each that has it; what was taken.

        Raises NotFound `stray_unknown`, InvalidInput `stray_stays`, and what the configurators say.
        """
        found = await self.find()
        chosen = tuple(s for s in found.strays if s.intent.circuit == circuit and switch in (None, s.switch))
        if not chosen:
            raise NotFound(
                "stray_unknown",
                f"circuit: must be a stray ('{circuit}')",
                hint="what a service has ordered is cancelled with the service",
                field="circuit",
            )
        for stray in chosen:
            generation = max(stray.intent.generation + 1, int(self._clock.now() * 1000))
            async with self._switches.get(stray.switch).control() as control:
                removal = await control.remove(circuit, stray.intent.service, generation)
            if removal.left_on_device:
                raise InvalidInput(
                    "stray_stays",
                    f"circuit: cannot be taken back by '{stray.switch}' ({'; '.join(removal.left_on_device)})",
                    hint="take it back by hand",
                    field="circuit",
                )
        return chosen

    async def close(self) -> None:
        """Let go of the switches."""
        await self._switches.close()

    async def _look(self) -> list[list[Stray] | MeetMeError]:
        return await asyncio.gather(*(self._look_at(door) for door in self._switches))

    async def _look_at(self, door: SwitchDoor) -> list[Stray] | MeetMeError:
        try:
            segments = await door.segments()
        except MeetMeError as error:
            return error
        books = await self._database.read(store.standing)
        return [Stray(door.name, each.intent) for each in comparing.unknown(door.name, books, segments)]
