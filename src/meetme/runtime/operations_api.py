"""The part of a local API that is for whoever runs the service: its diagnosis, and its audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Query

from meetme.runtime.database import Database
from meetme.runtime.diagnosis import Diagnosis
from meetme.runtime.http import Access
from meetme.runtime.logbook import AuditEntry, Logbook
from meetme.runtime.tokens import Tokens

MOST_ENTRIES = 1000
LAST_ENTRY = 2**63 - 1
"""No database counts further."""
After = Annotated[int, Query(ge=0, le=LAST_ENTRY, description="behind which entry to begin")]
Look = Callable[[], Awaitable[Diagnosis]]
Limit = Annotated[int, Query(ge=1, le=MOST_ENTRIES, description="how many at most")]


def add_routes(app: FastAPI, tokens: Tokens, look: Look, book: Logbook, database: Database) -> None:
    """Let `app` offer them."""
    read = [Access(tokens).read]

    @app.get(
        "/api/v1/diagnosis",
        dependencies=read,
        tags=["operations"],
        summary="What is wrong with this service, or will be soon, and what to do about it",
    )
    async def diagnosis() -> Diagnosis:
        return await look()

    @app.get(
        "/api/v1/audit",
        dependencies=read,
        tags=["operations"],
        summary="The audit log, the oldest first; each hash covers all entries before it",
    )
    async def audit(after: After = 0, limit: Limit = MOST_ENTRIES) -> list[AuditEntry]:
        return await database.read(lambda tx: book.audit_entries(tx, after, limit))
