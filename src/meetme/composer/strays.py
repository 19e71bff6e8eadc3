"""Segments at the own exchange that no circuit knows: the composer's database was lost, or is an older backup.

They are told by their reference, which names the circuit (`words.reference`); what else the account has ordered is not
ours to judge. They may carry traffic, so they are named and left alone: a person has one taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from meetme.composer import store
from meetme.composer.stray_views import Stray
from meetme.composer.words import ENDED
from meetme.ixapi.exchange import Exchange
from meetme.model.errors import NotFound, Pending
from meetme.runtime.database import Database
from meetme.runtime.lookout import Lookout

UNKNOWN = "unknown"
FIGURE = (
    "meetme_circuit_stray_segments",
    "Segments at the own exchange of which no circuit is known here, and which are left alone.",
)


class Strays(Lookout[Stray]):
    """Looks for them at the start and now and then."""

    def __init__(self, database: Database, exchange: Exchange, registry: CollectorRegistry) -> None:
        super().__init__("composer", FIGURE, registry)
        self._database = database
        self._exchange = exchange

    async def look(self) -> tuple[Stray, ...]:
        """All of them. Raises Unreachable, and what else the exchange says."""
        # A circuit is on record before its first segment is ordered, and ends after the last one is gone.
        live = await self._database.read(lambda tx: {c.id for c in store.circuits(tx, live=True)})
        ours = {each: id for each in await self._exchange.references() if (id := circuit_of(each)) is not None}
        after = await self._database.read(_states(frozenset(ours.values())))
        return tuple(Stray(each, id, after[id]) for each, id in ours.items() if id in after and id not in live)

    def name(self, stray: Stray) -> str:
        """Its reference at the exchange."""
        return stray.reference

    def warn(self, number: int, names: list[str]) -> None:
        """Segments are there of circuits that are not known."""
        self._log.warning(
            "segments at the exchange are of no circuit that is known here",
            number=number,
            references=names,
            hint="is it the right database, or was it lost? They are left alone: meetme circuit strays",
        )

    async def remove(self, reference: str) -> bool:
        """Have one taken away; whether it is gone already. Raises NotFound `stray_unknown`, Refused, Unreachable."""
        if reference not in {each.reference for each in await self.find()}:
            raise NotFound(
                "stray_unknown",
                f"reference: must be that of a stray ('{reference}')",
                hint="a circuit that is known is taken back with meetme circuit delete",
                field="reference",
            )
        self._log.warning("a stray segment is taken away by a person", reference=reference)
        try:
            await self._exchange.remove(reference)
        except Pending:
            return False
        await self.find()
        return True


def circuit_of(reference: str) -> UUID | None:
    """The circuit that a composer has ordered something for under this reference; None: it is of another kind."""
    head, hash, leg = reference.partition("#")
    path, at, attempt = leg.partition("@")
    try:
        id = UUID(head)
    except ValueError:
        return None
    return id if hash and at and path.isdigit() and attempt.isdigit() and str(id) == head else None


def _states(ids: frozenset[UUID]) -> Callable[[Connection], dict[UUID, str]]:
    """Those of circuits that are not live."""

    def read(tx: Connection) -> dict[UUID, str]:
        found = {id: store.state_of(tx, id) for id in ids}
        return {id: state or UNKNOWN for id, state in found.items() if state is None or state in ENDED}

    return read
