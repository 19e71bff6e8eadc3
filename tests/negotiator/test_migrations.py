"""A store that an older version wrote is taken over as it is."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text

from meetme.negotiator import store, wire
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.roll import listed
from meetme.negotiator.states import State
from meetme.runtime.database import Database, migrate
from tests.negotiator import values


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


def test_agreements_from_before_they_were_listed_are_asked_about_until_they_are() -> None:
    database = Database.open("sqlite://")
    n = replace(values.negotiated(1), state=State.ACTIVE)

    def as_it_was(tx) -> None:
        with Operations.context(MigrationContext.configure(tx)):
            for name in ("0001_negotiation", "0002_attachment_peer"):
                import_module(f"meetme.negotiator.migrations.{name}").upgrade()
        tx.execute(text("CREATE TABLE negotiator_version (version_num TEXT NOT NULL)"))
        tx.execute(text("INSERT INTO negotiator_version VALUES ('0002')"))
        columns = {"id": str(n.id), "peer": n.peer, "circuit": n.circuit, "role": n.role, "state": n.state}
        row = {**columns, "revision": n.revision, "started": 1.0, "order": None, "body": wire.store_negotiation(n)}
        tx.execute(
            text(
                "INSERT INTO negotiator_negotiation"
                " VALUES (:id, :peer, :circuit, :role, :state, :revision, :started, :order, :body)"
            ),
            row,
        )

    database.run_now(as_it_was)
    migrate(database, "meetme.negotiator")
    (before,) = database.run_now(store.standings)
    assert (before.negotiation, before.peer, before.role, before.listed) == (n.id, n.peer, n.role, None)
    database.run_now(lambda tx: store.save(tx, n, new=False))
    (after,) = database.run_now(store.standings)
    assert after.listed == listed(n)
    assert after.listed is not None
    database.close_now()
