"""Databases to test with: SQLite always, PostgreSQL where the machine has one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from meetme.runtime.database import Database, migrate

from .machines import CREATE


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL of our own, behind a socket in a folder of its own, gone at the end."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs PostgreSQL on this machine and psycopg (the extra 'postgresql')")
    # PostgreSQL refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="meetme-postgresql-"))
    if user:
        shutil.chown(folder, "postgres")
    run = [*user, "env", "-C", str(folder)]
    subprocess.run(
        [*run, programs[-1] / "initdb", "-D", "data", "-U", "meetme", "-A", "trust", "-N"],
        check=True, capture_output=True,
    )  # fmt: skip
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    control = [*run, programs[-1] / "pg_ctl", "-D", "data", "-w", "-l", "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True)
    try:
        yield f"postgresql://meetme@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database with the tables of the ledger and of the notebook."""
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    database = Database.open(url)
    if request.param == "postgresql":
        database.run_now(lambda tx: tx.execute(text("DROP SCHEMA public CASCADE")))
        database.run_now(lambda tx: tx.execute(text("CREATE SCHEMA public")))
    migrate(database, "meetme.runtime")
    database.run_now(lambda tx: tx.execute(CREATE))
    yield database
    database.close_now()
