"""A store that an older version wrote is taken over as it is."""

from __future__ import annotations

from importlib import import_module

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text

from meetme.negotiator import store
from meetme.negotiator.negotiation import Attachment
from meetme.runtime.database import Database, migrate


def test_attachments_from_before_they_named_a_peer() -> None:
    database = Database.open("sqlite://")

    def as_it_was(tx) -> None:
        context = MigrationContext.configure(tx)
        with Operations.context(context):
            import_module("meetme.negotiator.migrations.0001_negotiation").upgrade()
        tx.execute(text("CREATE TABLE negotiator_version (version_num TEXT NOT NULL)"))
        tx.execute(text("INSERT INTO negotiator_version VALUES ('0001')"))
        tx.execute(text("INSERT INTO negotiator_attachment VALUES ('c7', 'r1', 'eth2', NULL, 1400)"))

    database.run_now(as_it_was)
    migrate(database, "meetme.negotiator")
    assert database.run_now(store.attachments) == {"c7": Attachment("r1", "eth2", None, 1400)}
    database.close_now()
