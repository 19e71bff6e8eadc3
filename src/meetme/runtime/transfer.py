"""Copies what is in one database into another one, whichever engines they have: to move to PostgreSQL, or as a backup.

The source is read in one transaction: what is copied was all true at one moment. The target is given the tables at the
source's revisions, so that nothing has to be converted; the service that opens it brings them up to date.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, Table, func, inspect, select, text

from meetme.model.errors import Conflict, NotFound
from meetme.runtime.database import Database, revision_of, upgrade
from meetme.runtime.replicas import anybody_alive

BATCH = 1000
"""Rows that are in memory at a time."""


def copied(
    source: str, target: str, rooms: Sequence[str], *, running: bool = False, dry_run: bool = False
) -> dict[str, int]:
    """Copy every table of `rooms` (packages, in the order of their migrations): how many rows each table has.

    `source` and `target` are URLs. The target must be empty; a file is made. `running`: although a process works on
    the source, as a backup; what that one writes later is not in the copy. Raises NotFound `database_missing`,
    `database_empty`, Conflict `database_in_use`, `database_not_empty`, `database_newer`; and then, as with `dry_run`,
    nothing was written.
    """
    if not _exists(source):
        raise NotFound(
            "database_missing",
            f'from: must exist ("{source}")',
            hint="a path from the root has four slashes: sqlite:////var/lib/meetme/negotiator.db",
            field="from",
        )
    made = not _exists(target)
    from_ = Database.open(source)
    try:
        if not (running or dry_run) and anybody_alive(from_):
            raise Conflict(
                "database_in_use",
                "from: must be used by nobody: what a service writes from now on would not be in the copy",
                hint="stop the service first; or add --running for a backup",
                field="from",
            )
        to = Database.open("sqlite://" if dry_run and made else target)
        try:
            return from_.read_now(lambda tx: _copy(tx, to, rooms, dry_run=dry_run))
        except BaseException:
            if made and to.file is not None:
                to.file.unlink(missing_ok=True)
            raise
        finally:
            to.close_now()
    finally:
        from_.close_now()


def _exists(url: str) -> bool:
    """Whether there is anything to open, as far as a URL shows it. A malformed one is reported where it is opened."""
    path = url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite:") else ""
    return not path or Path(path).is_file()


def _copy(source: Connection, target: Database, rooms: Sequence[str], *, dry_run: bool) -> dict[str, int]:
    revisions = {room: found for room in rooms if (found := revision_of(source, room)) is not None}
    if not revisions:
        raise NotFound("database_empty", "from: must have tables of MeetMe", hint="is it the right URL?", field="from")
    target.run_now(lambda to: _check_empty(to, rooms))
    tables = _tables(source, revisions)
    if dry_run:
        return {table.name: source.scalar(select(func.count()).select_from(table)) or 0 for table in tables}

    def fill(to: Connection) -> dict[str, int]:
        # Tables and rows in one transaction: a target that was interrupted is empty again.
        for room, revision in revisions.items():
            upgrade(to, room, revision)
        return {table.name: _fill(source, to, table) for table in tables}

    return target.run_now(fill)


def _check_empty(tx: Connection, rooms: Sequence[str]) -> None:
    for room in rooms:
        if revision_of(tx, room) is not None:
            name = room.rpartition(".")[2]
            raise Conflict(
                "database_not_empty",
                f"to: must have no tables of MeetMe (it has those of '{name}')",
                hint="name an empty database; what is in this one is not touched",
                field="to",
            )


def _tables(tx: Connection, revisions: dict[str, str]) -> list[Table]:
    prefixes = tuple(f"{room.rpartition('.')[2]}_" for room in revisions)
    versions = {f"{prefix}version" for prefix in prefixes}
    names = [name for name in inspect(tx).get_table_names() if name.startswith(prefixes) and name not in versions]
    meta = MetaData()
    return [Table(name, meta, autoload_with=tx) for name in sorted(names)]


def _fill(source: Connection, to: Connection, table: Table) -> int:
    number = 0
    rows = source.execution_options(yield_per=BATCH).execute(select(table)).mappings()
    for batch in rows.partitions(BATCH):
        to.execute(table.insert(), [dict(row) for row in batch])
        number += len(batch)
    if to.dialect.name == "postgresql":
        for column in table.primary_key.columns:
            _go_on_counting(to, table, column)
    return number


def _go_on_counting(to: Connection, table: Table, column: Column[object]) -> None:
    """The next number that the server gives out is above those that were copied: none is used twice."""
    names = {"table": table.name, "column": column.name}
    sequence = to.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), names)
    highest = to.scalar(select(func.max(column)))
    if sequence is not None and highest is not None:
        to.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})
