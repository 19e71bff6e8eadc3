"""What is there and what others have of it, as the rules read it: in the transaction that uses it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from meetme.composer import store
from meetme.composer.capacity import Ledger, resources
from meetme.composer.domain import Domain
from meetme.composer.words import Hop


class Accounts:
    """The books of one exchange."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def ledger(self, tx: Connection, circuit: UUID, *ways: tuple[tuple[Hop, ...], int]) -> Ledger:
        """All that the own hop of each of these routes (with its position in it) needs, and who else has some of it."""
        wanted = tuple(
            resource for hops, position in ways if 0 <= position < len(hops) for resource in resources(hops, position)
        )
        return Ledger(self._domain.limits(wanted), store.held(tx, wanted, circuit))
