"""Circuits and agreements of orders that this catalog does not know: its database was lost, or is an older backup.

They cost money and may carry traffic, so they are named and left alone: a person has one taken back.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Connection

from meetme.catalog import store
from meetme.catalog.stray_views import Stray
from meetme.catalog.underlay import Underlay
from meetme.catalog.words import ENDED
from meetme.model.errors import MeetMeError, NotFound
from meetme.runtime.database import Database

LOOK_SECONDS = 600.0
"""Between two looks."""
RETRY_SECONDS = 30.0
"""After one in which somebody could not be reached."""
REMOVE_SECONDS = 20.0
"""How long who has one taken back waits for that."""
AGAIN_SECONDS = 0.2
UNKNOWN = "unknown"
MOST_NAMED = 10
"""How many of many strays a log line names."""


class Strays:
    """Looks for them at the start and now and then."""

    def __init__(self, database: Database, underlay: Underlay, registry: CollectorRegistry) -> None:
        self._database = database
        self._underlay = underlay
        self._log = structlog.get_logger().bind(service="catalog")
        self._named: frozenset[str] = frozenset()
        self._gauge = Gauge(
            "meetme_order_strays",
            "Circuits that orders have made of which none is known here, and which are left alone.",
            registry=registry,
        )

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            seconds = LOOK_SECONDS
            try:
                await self.find()
            except MeetMeError as error:
                self._log.info("what orders have made cannot be listed", problem=error.text)
                seconds = RETRY_SECONDS
            except Exception:
                self._log.exception("listing what orders have made failed unexpectedly")
            await asyncio.sleep(seconds)

    async def find(self) -> tuple[Stray, ...]:
        """All of them, as of now. Raises Unreachable, and what else those say who are asked."""
        # An order is on record before anything is made for it, and ends after all of it is gone: what is of one that
        # was live before the look, or is live after it, is no stray.
        before = await self._database.run(_standings)
        made = await self._underlay.made()
        after = await self._database.run(_standings)
        live = {id for known in (before, after) for id, state in known.orders.items() if state not in ENDED}
        strays = tuple(
            Stray(each, UNKNOWN if each.order is None else after.orders.get(each.order, UNKNOWN))
            for each in made
            if each.order not in live and not (each.order is None and each.circuit in before.circuits | after.circuits)
        )
        self._noted(strays)
        return strays

    async def remove(self, circuit: str) -> bool:
        """Have everything of one circuit taken back; whether it is gone already.

        Raises NotFound `stray_unknown`, Refused, Unreachable.
        """
        found = next((each.made for each in await self.find() if each.made.circuit == circuit), None)
        if found is None:
            raise NotFound(
                "stray_unknown",
                f"circuit: must be that of a stray ('{circuit}')",
                hint="what an order has is taken back with meetme order terminate",
                field="circuit",
            )
        self._log.warning("what an unknown order has made is taken back by a person", circuit=circuit)
        try:
            async with asyncio.timeout(REMOVE_SECONDS):
                while not await self._underlay.take_back(found):  # noqa: ASYNC110 - others are at it
                    await asyncio.sleep(AGAIN_SECONDS)
        except TimeoutError:
            return False
        await self.find()
        return True

    def _noted(self, strays: tuple[Stray, ...]) -> None:
        names = frozenset(each.made.circuit for each in strays)
        self._gauge.set(len(names))
        if new := names - self._named:
            self._log.warning(
                "circuits and agreements are of no order that is known here",
                number=len(new),
                circuits=sorted(new)[:MOST_NAMED],
                hint="is it the right database, or was it lost? They are left alone: meetme order strays",
            )
        self._named = names


class _Standings:
    """How every order stands, and the circuits of those that have not ended."""

    def __init__(self, tx: Connection) -> None:
        known = store.orders(tx)
        self.orders: dict[UUID, str] = {n.id: n.state.value for n in known}
        self.circuits = frozenset(n.circuit.id for n in known if n.state not in ENDED and n.circuit.id is not None)


def _standings(tx: Connection) -> _Standings:
    return _Standings(tx)
