"""Circuits and agreements of orders that this catalog does not know: its database was lost, or is an older backup.

They cost money and may carry traffic, so they are named and left alone: a person has one taken back.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from meetme.catalog import store
from meetme.catalog.stray_views import Stray
from meetme.catalog.underlay import Underlay
from meetme.catalog.words import ENDED
from meetme.model.errors import NotFound
from meetme.runtime.database import Database
from meetme.runtime.lookout import Lookout

REMOVE_SECONDS = 20.0
"""How long who has one taken back waits for that."""
AGAIN_SECONDS = 0.2
UNKNOWN = "unknown"
FIGURE = (
    "meetme_order_strays",
    "Circuits that orders have made of which none is known here, and which are left alone.",
)


class Strays(Lookout[Stray]):
    """Looks for them at the start and now and then."""

    def __init__(self, database: Database, underlay: Underlay, registry: CollectorRegistry) -> None:
        super().__init__("catalog", FIGURE, registry)
        self._database = database
        self._underlay = underlay

    async def look(self) -> tuple[Stray, ...]:
        """All of them. Raises Unreachable, and what else those say who are asked."""
        # An order is on record before anything is made for it, and ends after all of it is gone: what is of one that
        # was live before the look, or is live after it, is no stray.
        before = await self._database.read(_standings)
        made = await self._underlay.made()
        after = await self._database.read(_standings)
        live = {id for known in (before, after) for id, state in known.orders.items() if state not in ENDED}
        return tuple(
            Stray(each, UNKNOWN if each.order is None else after.orders.get(each.order, UNKNOWN))
            for each in made
            if each.order not in live and not (each.order is None and each.circuit in before.circuits | after.circuits)
        )

    def name(self, stray: Stray) -> str:
        """Its circuit."""
        return stray.made.circuit

    def warn(self, number: int, names: list[str]) -> None:
        """Circuits are there of orders that are not known."""
        self._log.warning(
            "circuits and agreements are of no order that is known here",
            number=number,
            circuits=names,
            hint="is it the right database, or was it lost? They are left alone: meetme order strays",
        )

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


class _Standings:
    """How every order stands, and the circuits of those that have not ended."""

    def __init__(self, tx: Connection) -> None:
        known = store.orders(tx)
        self.orders: dict[UUID, str] = {n.id: n.state.value for n in known}
        self.circuits = frozenset(n.circuit.id for n in known if n.state not in ENDED and n.circuit.id is not None)


def _standings(tx: Connection) -> _Standings:
    return _Standings(tx)
