"""The part of the local API that is for whoever runs the member: its diagnosis, and its audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query

from meetme.negotiator import logbook
from meetme.negotiator.diagnosis import Diagnosis, Doctor
from meetme.negotiator.logbook import AuditEntry
from meetme.runtime.database import Database
from meetme.runtime.http import Access
from meetme.runtime.tokens import Tokens

MOST_ENTRIES = 1000
LAST_ENTRY = 2**63 - 1
"""No database counts further."""
After = Annotated[int, Query(ge=0, le=LAST_ENTRY, description="behind which entry to begin")]
Limit = Annotated[int, Query(ge=1, le=MOST_ENTRIES, description="how many at most")]


def add_routes(app: FastAPI, tokens: Tokens, doctor: Doctor, database: Database) -> None:
    """Let `app` offer them."""
    read = [Access(tokens).read]

    @app.get(
        "/api/v1/diagnosis",
        dependencies=read,
        tags=["operations"],
        summary="What is wrong with this member, or will be soon, and what to do about it",
    )
    async def diagnosis() -> Diagnosis:
        return await doctor.look()

    @app.get(
        "/api/v1/audit",
        dependencies=read,
        tags=["operations"],
        summary="The audit log, the oldest first; each hash covers all entries before it",
    )
    async def audit(after: After = 0, limit: Limit = MOST_ENTRIES) -> list[AuditEntry]:
        return await database.run(lambda tx: logbook.audit_entries(tx, after, limit))
