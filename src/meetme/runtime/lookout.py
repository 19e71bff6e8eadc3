"""Looking now and then for what is left over: it is named once, and left alone until a person has it removed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Gauge

from meetme.model.errors import MeetMeError

LOOK_SECONDS = 600.0
"""Between two looks."""
RETRY_SECONDS = 30.0
"""After one at somebody who could not be reached."""
MOST_NAMED = 10
"""How many of many a log line names."""

T = TypeVar("T")


class Lookout(ABC, Generic[T]):
    """Looks for what a service's database should know of and does not: it was lost, or is an older backup."""

    def __init__(self, service: str, gauge: tuple[str, str], registry: CollectorRegistry) -> None:
        """`gauge`: the name and the text of the figure that says how many there are."""
        self._log = structlog.get_logger().bind(service=service)
        self._named: frozenset[str] = frozenset()
        self._gauge = Gauge(*gauge, registry=registry)

    @abstractmethod
    async def look(self) -> tuple[T, ...]:
        """All of them. Raises Unreachable, and what else those say who are asked."""

    @abstractmethod
    def name(self, stray: T) -> str:
        """What a person calls it by."""

    @abstractmethod
    def warn(self, number: int, names: list[str]) -> None:
        """So many have been found that were not there before; here are the first."""

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            seconds = LOOK_SECONDS
            try:
                await self.find()
            except MeetMeError as error:
                self._log.info("what may be left over cannot be listed", problem=error.text)
                seconds = RETRY_SECONDS
            except Exception:
                self._log.exception("looking for what is left over failed unexpectedly")
            await asyncio.sleep(seconds)

    async def find(self) -> tuple[T, ...]:
        """All of them, as of now. Raises what `look` raises."""
        strays = await self.look()
        names = frozenset(self.name(each) for each in strays)
        self._gauge.set(len(names))
        if new := names - self._named:
            self.warn(len(new), sorted(new)[:MOST_NAMED])
        self._named = names
        return strays
