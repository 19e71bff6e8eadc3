"""A ledger and a notebook, on either engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meetme.runtime.database import Database, migrate

from .machines import CREATE


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database with the tables of the ledger and of the notebook."""
    database = Database.open(database_url)
    migrate(database, "meetme.runtime")
    database.run_now(lambda tx: tx.execute(CREATE))
    yield database
    database.close_now()
